//! How many tasks a second the two cores drive, wired together by a perfect link, single-threaded.
fn main() {}
