//! How long a gigabyte, or ten thousand small files, take from one process to another: wall, processor, memory.
//!
//! `one_to_one [--dir DIR] [--mib N] [--files N] [--size BYTES] [--rounds N]`: the parent serves, a child process
//! pulls. `FILES=0` or `MIB=0` leaves a case out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code
)]

#[path = "../tests/files/node.rs"]
mod node;

use hive_files::{Audience, Hint, PullRequest, Target};
use hive_protocol::ids::{BlobHash, NodeId};
use hive_store::files::AddOptions;
use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::AtomicBool,
    time::Instant,
};

/// Processor seconds and peak memory in MB of this process.
fn usage() -> (f64, f64) {
    // SAFETY: getrusage fills the struct it is given and keeps nothing.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let secs = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (
        secs(usage.ru_utime) + secs(usage.ru_stime),
        usage.ru_maxrss as f64 / 1024.0,
    )
}

fn arg(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.nth(1).map_or(default, |v| v.parse().unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if std::env::args().any(|a| a == "--receive") {
        runtime.block_on(receive());
    } else {
        runtime.block_on(serve());
    }
}

/// Pulls what the parent names, line by line: `root folder dest`, after a first line with the provider.
async fn receive() {
    let dir = PathBuf::from(std::env::args().skip_while(|a| a != "--receive").nth(1).unwrap());
    let me = node::start(2, &dir).await;
    let lines: Vec<String> = std::io::stdin()
        .lock()
        .lines()
        .take(1)
        .map(|l| l.unwrap())
        .collect();
    let mut words = lines[0].split(' ');
    let hint = Hint {
        node: words.next().unwrap().parse::<NodeId>().unwrap(),
        addrs: words.map(str::to_owned).collect(),
        whole: true,
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let root: BlobHash = words[0].parse().unwrap();
        let (before, _) = usage();
        let start = Instant::now();
        let mut request = PullRequest::new(root, words[1] == "folder", Target::Path(words[2].into()));
        request.hints = vec![hint.clone()];
        request.lookup = false;
        if let Some(size) = words.get(3) {
            request.size_hint = Some(size.parse().unwrap());
        }
        let transfer = me.files.pull(request).await.unwrap();
        let pulled = transfer.done().await.unwrap();
        let wall = start.elapsed().as_secs_f64();
        let (after, rss) = usage();
        let path = transfer.view().peers.first().map_or("-", |p| p.path);
        println!(
            "{wall:.3} {:.2} {rss:.0} {} {path}",
            after - before,
            pulled.fetched
        );
        std::io::stdout().flush().unwrap();
    }
    me.files.close().await;
    me.net.shutdown().await;
}

async fn serve() {
    let base = std::env::args()
        .skip_while(|a| a != "--dir")
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("one-to-one-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let me = node::start(1, &dir.join("seeder")).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--receive".as_ref(), dir.join("receiver").as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut say = child.stdin.take().unwrap();
    let mut hear = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    writeln!(say, "{} {}", me.id(), me.net.listen_addrs().join(" ")).unwrap();
    println!("case            n  add s  add cpu  wall s   MB/s  cpu tx  cpu rx  rss tx  rss rx  path");
    let (mib, files, size) = (
        arg("--mib", 1024),
        arg("--files", 10_000),
        arg("--size", 16 << 10),
    );
    for round in 0..arg("--rounds", 3) {
        if mib > 0 {
            let from = dir.join(format!("big{round}"));
            write_noise(&from, round, mib << 20);
            case(&me, "one file", round, &from, false, &dir, &mut say, &mut hear).await;
        }
        if files > 0 {
            let from = dir.join(format!("many{round}"));
            for n in 0..files {
                let folder = from.join(format!("d{}", n / 1000));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(
                    folder.join(format!("f{n}")),
                    node::noise(round << 32 | n, size as usize),
                )
                .unwrap();
            }
            case(&me, "many files", round, &from, true, &dir, &mut say, &mut hear).await;
        }
    }
    drop(say);
    child.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

fn write_noise(path: &Path, seed: u64, len: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = node::noise(seed, 8 << 20);
    let mut left = len;
    let mut n = 0_u64;
    while left > 0 {
        let now = left.min(block.len() as u64) as usize;
        // Each block differs, so that nothing can be shared between them.
        file.write_all(&n.to_le_bytes()).unwrap();
        file.write_all(&block[8..now.max(8)]).unwrap();
        left -= now as u64;
        n += 1;
    }
}

#[allow(clippy::too_many_arguments)]
async fn case(
    me: &node::TestNode,
    name: &str,
    round: u64,
    from: &Path,
    folder: bool,
    dir: &Path,
    say: &mut impl Write,
    hear: &mut impl Iterator<Item = std::io::Result<String>>,
) {
    let (before, _) = usage();
    let start = Instant::now();
    let options = AddOptions {
        tag: Some("bench"),
        ..AddOptions::default()
    };
    let store = me.files.store().clone();
    let path = from.to_path_buf();
    let added = tokio::task::spawn_blocking(move || {
        store.add_path(&path, &options, &AtomicBool::new(false)).unwrap()
    });
    let root = added.await.unwrap().root;
    me.files.share(root.hash, Audience::Members).await.unwrap();
    let add = start.elapsed().as_secs_f64();
    let (middle, _) = usage();
    let kind = if folder { "folder" } else { "file" };
    let to = dir.join(format!("got-{}-{round}", name.replace(' ', "-")));
    writeln!(say, "{} {kind} {} {}", root.hash, to.display(), root.size).unwrap();
    let line = hear.next().unwrap().unwrap();
    let (after, rss) = usage();
    let words: Vec<&str> = line.split(' ').collect();
    let wall: f64 = words[0].parse().unwrap();
    println!(
        "{name:12} {round:4}  {add:5.2}  {:7.2}  {wall:6.3}  {:5.0}  {:6.2}  {:>6}  {rss:6.0}  {:>6}  {}",
        middle - before,
        root.size as f64 / 1e6 / wall,
        after - middle,
        words[1],
        words[2],
        words[4],
    );
    let same = Command::new("diff")
        .arg("-rq")
        .args([from, to.as_path()])
        .status()
        .unwrap();
    assert!(same.success());
    for gone in [from, to.as_path()] {
        if gone.is_dir() {
            std::fs::remove_dir_all(gone).unwrap();
        } else {
            std::fs::remove_file(gone).unwrap();
        }
    }
}
