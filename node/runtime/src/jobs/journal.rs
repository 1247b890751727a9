//! The journal's keys and the cutting of large records; what the records mean is in `records`.
//!
//! Keys: jobs and standings under the job's 16 bytes; tasks and ended tasks under job ‖ index (4 bytes, big
//! endian); kept receipts under the lease. A record larger than one journal record continues under its key
//! with one more byte, the part's number.

use super::records::{EndedTask, JobMeta, JobStanding, SCHEMA, TaskMeta};
use hive_protocol::{
    codec,
    ids::{HoldId, JobId, LeaseId, TaskIndex},
    receipt::Countersigned,
    time::Timestamp,
};
use hive_store::{Journal, JournalError, Op, Record, SledJournal};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;

const JOBS: &str = "jobs";
const STANDINGS: &str = "standings";
const TASKS: &str = "tasks";
const ENDED: &str = "ended";
const RECEIPTS: &str = "receipts";
/// The trees, for opening.
pub const TREES: [&str; 5] = [JOBS, STANDINGS, TASKS, ENDED, RECEIPTS];
/// Largest record over all its parts: a result with 256 output names of 512 bytes and their inline bytes.
const MAX_RECORD: usize = 2 << 20;
/// Operations handed to the journal at once.
const BATCH: usize = 512;
/// Records read at once.
const PAGE: usize = 512;

/// A receipt a worker may still have to capture after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReceipt {
    /// Its lease.
    pub lease: LeaseId,
    /// Its hold.
    pub hold: HoldId,
    /// When the hold ends.
    pub expires: Timestamp,
    /// The receipt.
    pub receipt: Countersigned,
}

/// A job as submitted, with where it stands if that was ever written.
pub type KeptJob = (JobMeta, Option<JobStanding>);

/// The daemon's journal: gathers changes and writes them in batches.
#[derive(Clone)]
pub struct JobJournal {
    journal: Arc<SledJournal>,
    gathered: Vec<Op>,
}

fn task_key(job: JobId, index: TaskIndex) -> Vec<u8> {
    let mut key = job.0.to_vec();
    key.extend_from_slice(&index.0.to_be_bytes());
    key
}

fn malformed(e: &codec::CodecError) -> JournalError {
    JournalError::Io {
        what: "read or write",
        path: "journal record".into(),
        source: std::io::Error::other(e.to_string()),
    }
}

impl JobJournal {
    /// Over an open journal.
    #[must_use]
    pub fn new(journal: SledJournal) -> Self {
        Self {
            journal: Arc::new(journal),
            gathered: Vec::new(),
        }
    }

    /// The journal under it, for others' rows.
    #[must_use]
    pub fn shared(&self) -> Arc<SledJournal> {
        Arc::clone(&self.journal)
    }

    fn put<T: Serialize>(&mut self, tree: &'static str, key: Vec<u8>, value: &T) -> Result<(), JournalError> {
        let bytes = codec::encode("journal record", value, MAX_RECORD).map_err(|e| malformed(&e))?;
        let mut parts = bytes.chunks(hive_store::journal::MAX_PAYLOAD_BYTES);
        let first = parts.next().unwrap_or_default().to_vec();
        self.gathered.push(Op::Put {
            tree,
            key: key.clone(),
            record: Record {
                schema: SCHEMA,
                payload: first,
            },
        });
        for (n, part) in parts.enumerate() {
            let mut key = key.clone();
            key.push(u8::try_from(n).unwrap_or(u8::MAX));
            self.gathered.push(Op::Put {
                tree,
                key,
                record: Record {
                    schema: SCHEMA,
                    payload: part.to_vec(),
                },
            });
        }
        Ok(())
    }

    /// Gathers a new job.
    ///
    /// # Errors
    /// A record over its bound.
    pub fn put_job(&mut self, meta: &JobMeta) -> Result<(), JournalError> {
        self.put(JOBS, meta.job.0.to_vec(), meta)
    }
    /// Gathers a task of a job.
    ///
    /// # Errors
    /// A record over its bound.
    pub fn put_task(&mut self, job: JobId, index: TaskIndex, meta: &TaskMeta) -> Result<(), JournalError> {
        self.put(TASKS, task_key(job, index), meta)
    }
    /// Gathers the end of a task.
    ///
    /// # Errors
    /// A record over its bound.
    pub fn put_ended(&mut self, job: JobId, index: TaskIndex, ended: &EndedTask) -> Result<(), JournalError> {
        self.put(ENDED, task_key(job, index), ended)
    }
    /// Gathers that an ended task runs again.
    pub fn delete_ended(&mut self, job: JobId, index: TaskIndex) {
        self.gathered.push(Op::Delete {
            tree: ENDED,
            key: task_key(job, index),
        });
    }
    /// Gathers where a job stands.
    ///
    /// # Errors
    /// A record over its bound.
    pub fn put_standing(&mut self, job: JobId, standing: &JobStanding) -> Result<(), JournalError> {
        self.put(STANDINGS, job.0.to_vec(), standing)
    }
    /// Gathers a receipt to keep.
    ///
    /// # Errors
    /// A record over its bound.
    pub fn put_receipt(&mut self, kept: &KeptReceipt) -> Result<(), JournalError> {
        self.put(RECEIPTS, kept.lease.0.to_vec(), kept)
    }
    /// Gathers that a kept receipt may go.
    pub fn delete_receipt(&mut self, lease: LeaseId) {
        self.gathered.push(Op::Delete {
            tree: RECEIPTS,
            key: lease.0.to_vec(),
        });
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// Writes what was gathered; it survives the death of this process when this returns.
    ///
    /// # Errors
    /// Full disk, I/O; what was not written is gathered no longer: the caller must stop.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        let mut ops = std::mem::take(&mut self.gathered);
        while !ops.is_empty() {
            let rest = ops.split_off(ops.len().min(BATCH));
            self.journal.apply(ops)?;
            ops = rest;
        }
        Ok(())
    }

    /// Reads every whole record under a prefix, in key order. Damaged ones are passed over and counted.
    fn scan<T: DeserializeOwned>(
        &self,
        tree: &'static str,
        prefix: &[u8],
        key_len: usize,
        mut each: impl FnMut(&[u8], T),
    ) -> Result<usize, JournalError> {
        let mut after: Option<Vec<u8>> = None;
        let mut damaged = 0;
        let mut open: Option<(Vec<u8>, Vec<u8>)> = None;
        let mut close = |open: &mut Option<(Vec<u8>, Vec<u8>)>, damaged: &mut usize| {
            if let Some((key, bytes)) = open.take() {
                match codec::decode::<T>("journal record", &bytes, MAX_RECORD) {
                    Ok(value) => each(&key, value),
                    Err(_) => *damaged += 1,
                }
            }
        };
        loop {
            let page = self.journal.scan(tree, prefix, after.as_deref(), PAGE)?;
            damaged += page.damaged.len();
            for (key, record) in page.records {
                if key.len() == key_len {
                    close(&mut open, &mut damaged);
                    if record.schema == SCHEMA {
                        open = Some((key, record.payload));
                    } else {
                        damaged += 1;
                    }
                } else if let Some((_, bytes)) = &mut open {
                    bytes.extend_from_slice(&record.payload);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        close(&mut open, &mut damaged);
        Ok(damaged)
    }

    /// All jobs with where they stand.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn jobs(&self) -> Result<(Vec<KeptJob>, usize), JournalError> {
        let mut jobs = Vec::new();
        let mut damaged = self.scan::<JobMeta>(JOBS, &[], 16, |_, meta| jobs.push((meta, None)))?;
        for (meta, standing) in &mut jobs {
            damaged += self.scan::<JobStanding>(STANDINGS, &meta.job.0, 16, |_, s| *standing = Some(s))?;
        }
        Ok((jobs, damaged))
    }

    /// All tasks of a job, in order.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn tasks(&self, job: JobId) -> Result<(Vec<(TaskIndex, TaskMeta)>, usize), JournalError> {
        let mut tasks = Vec::new();
        let damaged = self.scan(TASKS, &job.0, 20, |key, meta| tasks.push((index_of(key), meta)))?;
        Ok((tasks, damaged))
    }

    /// All ended tasks of a job, in order.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn ended(&self, job: JobId) -> Result<(Vec<(TaskIndex, EndedTask)>, usize), JournalError> {
        let mut ended = Vec::new();
        let damaged = self.scan(ENDED, &job.0, 20, |key, e| ended.push((index_of(key), e)))?;
        Ok((ended, damaged))
    }

    /// One task as submitted and, if it has ended, how.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn task(
        &self,
        job: JobId,
        index: TaskIndex,
    ) -> Result<(Option<TaskMeta>, Option<EndedTask>), JournalError> {
        let key = task_key(job, index);
        let (mut meta, mut ended) = (None, None);
        self.scan::<TaskMeta>(TASKS, &key, 20, |_, m| meta = Some(m))?;
        self.scan::<EndedTask>(ENDED, &key, 20, |_, e| ended = Some(e))?;
        Ok((meta, ended))
    }

    /// How a task ended, if it has.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn ended_task(&self, job: JobId, index: TaskIndex) -> Result<Option<EndedTask>, JournalError> {
        let mut ended = None;
        self.scan::<EndedTask>(ENDED, &task_key(job, index), 20, |_, e| ended = Some(e))?;
        Ok(ended)
    }

    /// Receipts kept by the worker side.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn receipts(&self) -> Result<Vec<KeptReceipt>, JournalError> {
        let mut kept = Vec::new();
        self.scan(RECEIPTS, &[], 16, |_, k| kept.push(k))?;
        Ok(kept)
    }

    /// Forgets a job and all its tasks.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub fn remove_job(&mut self, job: JobId) -> Result<(), JournalError> {
        for tree in [ENDED, TASKS, STANDINGS, JOBS] {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = self.journal.scan(tree, &job.0, after.as_deref(), PAGE)?;
                let keys = page.records.into_iter().map(|(key, _)| key).chain(page.damaged);
                self.gathered.extend(keys.map(|key| Op::Delete { tree, key }));
                self.commit()?;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn index_of(key: &[u8]) -> TaskIndex {
    let bytes = key.get(16..20).and_then(|b| b.try_into().ok()).unwrap_or([0; 4]);
    TaskIndex(u32::from_be_bytes(bytes))
}
