//! The worker core's hands: executors, one per lease, and the blobs that go in and come out.

mod coming;
mod feed;
mod pump;
mod results;
mod shell;

pub use coming::{Reader, Streams};
pub use shell::{ExecPlaces, ExecShell};
