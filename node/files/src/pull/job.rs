//! One segment asked of one provider: its pieces are verified and written by blocking threads while the stream
//! reads on; the last of them tells the end.

use crate::pull::answer::AskError;
use hive_protocol::{file, ids::NodeId};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::mpsc;

/// Why verified bytes could not be kept, or bytes were not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkError {
    /// They do not belong to the content.
    Corrupt,
    /// The store refused: its code and its words.
    Store(&'static str, String),
}

/// Where verified groups go. Called by blocking threads, several at a time for different groups.
pub trait Sink: Send + Sync {
    /// The chaining values of all groups of a segment.
    ///
    /// # Errors
    /// They do not merge to the segment's, or cannot be kept.
    fn groups(&self, segment: u32, cvs: &[[u8; 32]]) -> Result<(), SinkError>;

    /// The groups of this mask, back to back. Groups that are there already may come again.
    ///
    /// # Errors
    /// One of them is wrong (the others of this call may have been kept), or cannot be kept.
    fn write(&self, segment: u32, mask: u64, bytes: &[u8]) -> Result<(), SinkError>;
}

/// How an ask for a segment has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All groups are verified and kept.
    Done,
    /// The provider's fault or lack.
    Failed(AskError),
    /// Our store's: its code and words.
    Store(&'static str, String),
}

/// The end of an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Of whom.
    pub peer: NodeId,
    /// Which segment.
    pub segment: u32,
    /// Its groups that were verified and kept.
    pub kept: u64,
    /// Whether it was still wanted. Otherwise only what was kept is news.
    pub wanted: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// A segment's ask.
pub struct SegmentJob {
    /// Of whom.
    pub peer: NodeId,
    /// Which segment.
    pub segment: u32,
    /// Which groups.
    pub mask: u64,
    /// Size of the content.
    pub size: u64,
    /// Whether the chaining values were asked for.
    pub hashes: bool,
    /// Counts bytes as they come, for rates.
    pub received: Arc<AtomicU64>,
    /// Gone when nobody wants what comes: so that nothing of an ended transfer stays open.
    sink: Mutex<Option<Arc<dyn Sink>>>,
    ends: mpsc::Sender<SegmentEnd>,
    kept: AtomicU64,
    cancelled: AtomicBool,
    /// Pieces under way, and one for the stream that reads them.
    open: AtomicUsize,
    failed: Mutex<Option<Outcome>>,
}

impl SegmentJob {
    /// An ask for a segment. Its end is told by `ends`, which must have room for all asks under way.
    pub fn new(
        (peer, segment, mask, hashes): (NodeId, u32, u64, bool),
        size: u64,
        sink: Arc<dyn Sink>,
        received: Arc<AtomicU64>,
        ends: mpsc::Sender<SegmentEnd>,
    ) -> Self {
        Self {
            peer,
            segment,
            mask,
            size,
            hashes,
            received,
            sink: Mutex::new(Some(sink)),
            ends,
            kept: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            open: AtomicUsize::new(1),
            failed: Mutex::new(None),
        }
    }

    /// Its end is no news any more; what comes is kept all the same, since it comes anyway.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// What comes is thrown away from now on.
    pub fn forget(&self) {
        drop(self.sink.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether what comes is still wanted.
    pub fn wanted(&self) -> bool {
        self.sink().is_some()
    }

    fn sink(&self) -> Option<Arc<dyn Sink>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Payload bytes of the answer.
    pub fn payload(&self) -> u64 {
        file::mask_bytes(self.size, u64::from(self.segment), self.mask)
    }

    /// Chaining values that come before the bytes.
    pub fn cvs(&self) -> usize {
        if self.hashes && self.size > file::GROUP {
            file::groups_of(self.size, u64::from(self.segment)) as usize
        } else {
            0
        }
    }

    /// The next groups after those of `done`, at most `most` of them: their mask and bytes; none when all are done.
    pub fn piece_of(&self, done: u64, most: u32) -> Option<(u64, usize)> {
        let segment = u64::from(self.segment);
        let mut rest = self.mask & file::whole_mask(self.size, segment) & !done;
        let mut piece = 0;
        for _ in 0..most.max(1) {
            piece |= rest & rest.wrapping_neg();
            rest &= rest.wrapping_sub(1);
        }
        let bytes = usize::try_from(file::mask_bytes(self.size, segment, piece)).unwrap_or(0);
        (piece != 0).then_some((piece, bytes))
    }

    /// Takes in the chaining values of the groups.
    pub fn groups(&self, cvs: &[[u8; 32]]) -> Result<(), SinkError> {
        self.sink().map_or(Ok(()), |sink| sink.groups(self.segment, cvs))
    }

    /// A piece begins its way; to be followed by [`Self::piece`].
    pub fn begin_piece(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Verifies and keeps a piece: on a blocking thread.
    pub fn piece(&self, mask: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let sink = self.sink();
        let result = sink
            .as_ref()
            .map_or(Ok(()), |s| s.write(self.segment, mask, bytes));
        match &result {
            Ok(()) if sink.is_some() => {
                self.kept.fetch_or(mask, Ordering::AcqRel);
            }
            Ok(()) => {}
            Err(SinkError::Corrupt) => self.note(Outcome::Failed(AskError::Corrupt)),
            Err(SinkError::Store(code, words)) => self.note(Outcome::Store(code, words.clone())),
        }
        drop(sink);
        self.end_one();
        result
    }

    /// The stream has read all of it.
    pub fn read_all(&self) {
        self.end_one();
    }

    /// The stream cannot read (more of) it. Instead of [`Self::read_all`].
    pub fn fail(&self, error: AskError) {
        self.note(Outcome::Failed(error));
        self.end_one();
    }

    /// Our side cannot take it. Instead of [`Self::read_all`].
    pub fn refuse(&self, error: SinkError) {
        self.note(match error {
            SinkError::Corrupt => Outcome::Failed(AskError::Corrupt),
            SinkError::Store(code, words) => Outcome::Store(code, words),
        });
        self.end_one();
    }

    /// The first word counts, but wrong bytes overrule all others: they are evidence.
    fn note(&self, outcome: Outcome) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() || outcome == Outcome::Failed(AskError::Corrupt) {
            *failed = Some(outcome);
        }
    }

    fn end_one(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let wanted = self.wanted() && !self.cancelled.load(Ordering::Relaxed);
        self.forget();
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = SegmentEnd {
            peer: self.peer,
            segment: self.segment,
            kept: self.kept.load(Ordering::Acquire),
            wanted,
            outcome: failed.unwrap_or(Outcome::Done),
        };
        // The channel has room for every ask under way; it is closed when the content is not wanted any more.
        if let Err(mpsc::error::TrySendError::Full(end)) = self.ends.try_send(end) {
            tracing::error!(?end, "no room for the end of an ask");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Nowhere;
    impl Sink for Nowhere {
        fn groups(&self, _: u32, _: &[[u8; 32]]) -> Result<(), SinkError> {
            Ok(())
        }
        fn write(&self, _: u32, mask: u64, _: &[u8]) -> Result<(), SinkError> {
            if mask & 1 << 9 == 0 {
                Ok(())
            } else {
                Err(SinkError::Corrupt)
            }
        }
    }

    fn job(mask: u64, size: u64) -> (SegmentJob, mpsc::Receiver<SegmentEnd>) {
        let (ends, told) = mpsc::channel(4);
        let what = (NodeId([1; 32]), 0, mask, true);
        (
            SegmentJob::new(what, size, Arc::new(Nowhere), Arc::default(), ends),
            told,
        )
    }

    #[test]
    fn pieces_cover_the_mask_once() {
        let (job, _told) = job(0b1011_1000_0111 | 1 << 63, file::SEGMENT - 5);
        let (mut done, mut pieces, mut bytes) = (0, 0, 0);
        while let Some((mask, len)) = job.piece_of(done, 3) {
            assert_eq!((done & mask, mask & !job.mask), (0, 0));
            pieces += 1;
            bytes += len as u64;
            done |= mask;
        }
        assert_eq!((pieces, done), (3, job.mask));
        assert_eq!(bytes, job.payload());
        assert_eq!(job.cvs(), 64);
    }

    #[test]
    fn the_last_piece_tells_the_end_and_what_was_kept() {
        let (job, mut told) = job(0x3ff, 10 * file::GROUP);
        job.begin_piece();
        job.begin_piece();
        job.read_all();
        assert!(job.piece(1 << 9, &[]).is_err());
        assert!(told.try_recv().is_err());
        job.piece(3, &[]).unwrap();
        let end = told.try_recv().unwrap();
        assert_eq!((end.kept, end.outcome), (3, Outcome::Failed(AskError::Corrupt)));
    }
}
