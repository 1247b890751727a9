//! From the journal back to the submitter core after a restart.

use super::{
    book::Entry,
    journal::JobJournal,
    records::{JobMeta, JobStanding},
};
use hive_protocol::{ids::BlobHash, time::Timestamp};
use hive_scheduler::submitter::Input;
use hive_store::JournalError;

/// A job read back.
pub struct Restored {
    /// For the book.
    pub entry: Entry,
    /// For the core; `None` for jobs that had ended.
    pub input: Option<Input>,
    /// Records that could not be read.
    pub damaged: usize,
}

/// Reads one job back. `wake` forces the core's input even when the job had ended (a user's retry).
///
/// # Errors
/// The journal cannot be read.
pub fn restore(
    journal: &JobJournal,
    meta: &JobMeta,
    standing: Option<JobStanding>,
    wake: bool,
) -> Result<Restored, JournalError> {
    let mut entry = Entry::new(meta);
    if let Some(standing) = standing {
        entry.standing = standing;
    }
    let (tasks, mut damaged) = journal.tasks(meta.job)?;
    let (ended, more) = journal.ended(meta.job)?;
    damaged += more;
    let mut specs = Vec::with_capacity(tasks.len());
    for (index, task) in tasks {
        // A gap is a damaged record: the tasks after it keep their numbers, the lost one fails by name.
        while specs.len() < index.0 as usize {
            entry.push("(record damaged)");
            specs.push(hive_protocol::task::TaskSpec::default());
        }
        entry.push(&task.label);
        entry.pins.extend(task.spec.blobs().map(|b| b.hash));
        specs.push(task.spec);
    }
    entry.pins.sort_unstable();
    entry.pins.dedup();
    let mut ends = Vec::with_capacity(ended.len());
    for (index, end) in &ended {
        entry.ended(*index, end);
        ends.push((*index, end.task_end()));
    }
    entry.settled = entry.standing.is_final();
    let input = (wake || !entry.standing.is_final()).then(|| {
        let mut spec = entry.spec.clone();
        spec.tasks = u32::try_from(specs.len()).unwrap_or(u32::MAX);
        spec.open = entry.standing.open;
        Input::Restore {
            job: meta.job,
            spec: Box::new(spec),
            tasks: specs,
            ended: ends,
            spent: entry.standing.spent,
        }
    });
    if input.is_some() {
        entry.in_core = true;
        entry.standing.ended = Timestamp(0);
    }
    Ok(Restored {
        entry,
        input,
        damaged,
    })
}

/// Blobs of results that must be kept while the job is in the journal.
#[must_use]
pub fn result_blobs(ended: &super::records::EndedTask) -> Vec<BlobHash> {
    ended
        .result
        .iter()
        .flat_map(|r| r.blobs().filter(|b| b.inline.is_none()).map(|b| b.hash))
        .collect()
}
