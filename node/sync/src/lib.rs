//! hive-sync: one-way mirrors of folders: watching one's own, becoming like another's.
//!
//! Joins the decisions of `hive_transfer::mirror` with the disk. Moves no content itself.

mod error;
mod ground;
mod ignore;

pub use error::SyncError;
pub use ignore::{IGNORE_FILE, STAGING, VERSIONS};
