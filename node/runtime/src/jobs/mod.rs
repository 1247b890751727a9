//! The daemon's own jobs: the journal that survives kill -9 and the book people look at.

mod accept;
mod book;
mod journal;
mod records;
#[cfg(test)]
mod records_golden;
mod restore;
mod show;

pub use accept::{Accepted, Intake, accept, task as accept_task};
pub use book::{Book, Entry, Lookup, MAX_KEPT_JOBS};
pub use journal::{JobJournal, KeptReceipt, TREES};
pub use records::{Ended, EndedTask, JobMeta, JobStanding, TaskMeta};
pub use restore::{restore, result_blobs};
pub use show::{job_view, task_row, task_view};
