//! An executor process and nothing else: what tests start in place of the whole daemon.

fn main() {
    hive_executor::child_main()
}
