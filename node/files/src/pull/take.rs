//! Taking the answers of one stream in: what was announced is read, no more and no less, and handed on.

use crate::{
    buffers::{LARGEST, UNIT},
    limits::{Class, Direction},
    pull::{
        answer::{Ask, AskError, HaveAnswer, ManyAnswer, TreeAnswer, Want},
        job::{SegmentJob, SinkError},
        lane::LaneParts,
    },
};
use hive_net::{FrameError, frame};
use hive_protocol::file::{self, CHUNK_ROW, FileReply, GROUP, MAX_CHUNKS, MAX_FETCHERS};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{Semaphore, mpsc},
    time::Instant,
};

/// Pieces of one stream that are being verified and written while it reads on.
const PIECES: usize = 3;
/// A piece that takes longer than this makes the next one smaller, so that slow peers do not sit on large buffers.
const SLOW_PIECE: Duration = Duration::from_millis(250);
/// A piece faster than this makes the next one larger.
const FAST_PIECE: Duration = Duration::from_millis(60);

/// The reading side of a stream.
pub struct Reading<R> {
    io: R,
    parts: LaneParts,
    moved: Arc<AtomicU64>,
    /// Bytes of the next piece at most.
    piece: usize,
    pieces: Arc<Semaphore>,
    /// Set by a blocking thread that found wrong bytes.
    wrong: Arc<AtomicBool>,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    /// Reads from this half of a stream; `moved` counts what comes.
    pub fn new(parts: LaneParts, io: R, moved: Arc<AtomicU64>) -> Self {
        Self {
            io,
            parts,
            moved,
            piece: UNIT,
            pieces: Arc::new(Semaphore::new(PIECES)),
            wrong: Arc::default(),
        }
    }

    /// Takes answers in, in the order of the asks; `due` counts those still to come. Ends with why it ended.
    pub async fn answers(&mut self, answers: &mut mpsc::Receiver<Ask>, due: &AtomicU64) -> AskError {
        loop {
            let Some(mut ask) = answers.recv().await else {
                return AskError::Broken("the stream was closed".to_owned());
            };
            let Some(want) = ask.take() else { continue };
            let reply = match frame::read::<FileReply, _>(&mut self.io).await {
                Ok(Some(reply)) => reply,
                Ok(None) => {
                    let end = AskError::Broken("the provider closed the stream".to_owned());
                    want.fail(&end);
                    return end;
                }
                Err(e) => {
                    let end = broken(e);
                    want.fail(&end);
                    return end;
                }
            };
            self.moved.fetch_add(1, Ordering::Relaxed);
            let result = match refusal(&reply) {
                Some(error) => {
                    want.fail(&error);
                    Ok(())
                }
                None => self.answer(want, reply).await,
            };
            due.fetch_sub(1, Ordering::Relaxed);
            if let Err(end) = result {
                return end;
            }
            if self.wrong.load(Ordering::Relaxed) {
                return AskError::Corrupt;
            }
        }
    }

    /// Takes one answer in. An error ends the stream; whoever waits has been told.
    async fn answer(&mut self, want: Want, reply: FileReply) -> Result<(), AskError> {
        match (want, reply) {
            (
                Want::Have(to),
                FileReply::Have {
                    size,
                    whole,
                    segments,
                    fetchers,
                },
            ) => {
                if fetchers.len() > MAX_FETCHERS {
                    return give_up(AskError::Wrong("too many fetchers"), Want::Have(to));
                }
                let answer = HaveAnswer {
                    size,
                    whole,
                    segments,
                    fetchers,
                };
                drop(to.send(Ok(answer)));
                Ok(())
            }
            (Want::Tree { to, max_size }, FileReply::Tree { size }) => {
                if size > max_size.min(file::MAX_CONTENT) {
                    // A size over the limit should have been refused by the provider: nothing of it is read.
                    return give_up(AskError::TooLarge(size), Want::Tree { to, max_size });
                }
                match self.tree(size).await {
                    Ok(answer) => {
                        drop(to.send(Ok(answer)));
                        Ok(())
                    }
                    Err(e) => give_up(e, Want::Tree { to, max_size }),
                }
            }
            (Want::Segment(job), FileReply::Segment { mask, bytes }) => {
                let told = self.segment(&job, mask, bytes).await;
                match told {
                    Ok(()) => {
                        job.read_all();
                        Ok(())
                    }
                    Err(Stop::Peer(e)) => {
                        job.fail(e.clone());
                        Err(e)
                    }
                    Err(Stop::Ours(e)) => {
                        let end = AskError::Broken("our store could not take it".to_owned());
                        job.refuse(e);
                        Err(end)
                    }
                }
            }
            (Want::Many { to, count, bytes }, FileReply::Many { sizes }) => {
                match self.many(sizes, count, bytes).await {
                    Ok(answer) => {
                        drop(to.send(Ok(answer)));
                        Ok(())
                    }
                    Err(e) => give_up(e, Want::Many { to, count, bytes }),
                }
            }
            (Want::Chunks(to), FileReply::Chunks { count }) => match self.chunks(count).await {
                Ok(rows) => {
                    drop(to.send(Ok(rows)));
                    Ok(())
                }
                Err(e) => give_up(e, Want::Chunks(to)),
            },
            (want, _) => give_up(AskError::Wrong("an answer to another question"), want),
        }
    }

    /// Fills a buffer from the stream.
    async fn fill(&mut self, class: Class, buf: &mut [u8]) -> Result<(), AskError> {
        let node = self.parts.node;
        let mut rest = buf;
        while !rest.is_empty() {
            let part = self
                .parts
                .limits
                .take(Direction::In, class, node, rest.len(), &self.moved)
                .await;
            let (mut now, later) = std::mem::take(&mut rest).split_at_mut(part);
            rest = later;
            while !now.is_empty() {
                let n = self
                    .io
                    .read(now)
                    .await
                    .map_err(|e| AskError::Broken(format!("the stream broke: {e}")))?;
                if n == 0 {
                    return Err(AskError::Broken("the stream ended within an answer".to_owned()));
                }
                self.moved.fetch_add(n as u64, Ordering::Relaxed);
                now = now.get_mut(n..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Reads `count` rows of 32 bytes, growing with what has really come.
    async fn cvs(&mut self, count: usize) -> Result<Vec<[u8; 32]>, AskError> {
        let mut out: Vec<[u8; 32]> = Vec::new();
        let mut buf = [0; 32 * 128];
        while out.len() < count {
            let rows = (count - out.len()).min(128);
            let part = buf.get_mut(..rows * 32).unwrap_or_default();
            self.fill(Class::Control, part).await?;
            out.extend(part.as_chunks::<32>().0);
        }
        Ok(out)
    }

    async fn tree(&mut self, size: u64) -> Result<TreeAnswer, AskError> {
        let count = match file::segments(size) {
            1 => 0,
            // At most 262,144 by the check of the size.
            n => usize::try_from(n).unwrap_or(0),
        };
        let segments = self.cvs(count).await?;
        Ok(TreeAnswer { size, segments })
    }

    async fn chunks(&mut self, count: u32) -> Result<Vec<([u8; 32], u32)>, AskError> {
        if count > MAX_CHUNKS {
            return Err(AskError::Wrong("too many chunks"));
        }
        let mut out = Vec::new();
        let mut row = [0; CHUNK_ROW * 64];
        let mut left = count as usize;
        while left > 0 {
            let now = left.min(64);
            let part = row.get_mut(..now * CHUNK_ROW).unwrap_or_default();
            self.fill(Class::Control, part).await?;
            for row in part.as_chunks::<CHUNK_ROW>().0 {
                let mut hash = [0; 32];
                let mut len = [0; 4];
                hash.iter_mut().zip(row).for_each(|(h, r)| *h = *r);
                len.iter_mut().zip(row.iter().skip(32)).for_each(|(l, r)| *l = *r);
                out.push((hash, u32::from_le_bytes(len)));
            }
            left -= now;
        }
        Ok(out)
    }

    async fn many(&mut self, sizes: Vec<u32>, count: usize, most: u64) -> Result<ManyAnswer, AskError> {
        let given = sizes.iter().filter(|s| **s != u32::MAX);
        if sizes.len() != count || given.clone().any(|s| u64::from(*s) > file::MAX_SMALL) {
            return Err(AskError::Wrong("sizes that were not asked for"));
        }
        let total: u64 = given.map(|s| u64::from(*s)).sum();
        // A little more is read: if a manifest says too little of a file it is the liar, and the bytes prove it.
        if total > most.saturating_add(file::MAX_SMALL) {
            return Err(AskError::Wrong("more bytes than the manifest says"));
        }
        // Bounded by `most`, which is what the caller has reserved, and a little; grown as bytes come.
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while bytes.len() < total {
            let from = bytes.len();
            bytes.resize(from.saturating_add(LARGEST).min(total), 0);
            let part = bytes.get_mut(from..).unwrap_or_default();
            self.fill(Class::Small, part).await?;
        }
        Ok(ManyAnswer { sizes, bytes })
    }

    async fn segment(&mut self, job: &Arc<SegmentJob>, mask: u64, bytes: u32) -> Result<(), Stop> {
        if mask != job.mask || u64::from(bytes) != job.payload() {
            return Err(Stop::Peer(AskError::Wrong("other groups than asked for")));
        }
        let cvs = self.cvs(job.cvs()).await?;
        if !cvs.is_empty() && job.wanted() {
            match job.groups(&cvs) {
                Err(SinkError::Corrupt) => return Err(Stop::Peer(AskError::Corrupt)),
                other => other?,
            }
        }
        let mut done = 0;
        while let Some((groups, len)) = job.piece_of(done, u32::try_from(self.piece / UNIT).unwrap_or(1)) {
            done |= groups;
            self.piece(job, groups, len).await?;
            if self.wrong.load(Ordering::Relaxed) {
                return Err(Stop::Peer(AskError::Corrupt));
            }
        }
        Ok(())
    }

    async fn piece(&mut self, job: &Arc<SegmentJob>, groups: u64, len: usize) -> Result<(), Stop> {
        let place = Arc::clone(&self.pieces).acquire_owned().await;
        let mut buffer = self.parts.buffers.take(len).await;
        let start = Instant::now();
        self.fill(Class::Bulk, &mut buffer).await?;
        let taken = start.elapsed();
        if taken > SLOW_PIECE {
            self.piece = (self.piece / 2).max(UNIT);
        } else if taken < FAST_PIECE {
            self.piece = (self.piece * 2).min(LARGEST);
        }
        job.received.fetch_add(len as u64, Ordering::Relaxed);
        job.begin_piece();
        let (job, wrong) = (Arc::clone(job), Arc::clone(&self.wrong));
        tokio::task::spawn_blocking(move || {
            if job.piece(groups, &buffer) == Err(SinkError::Corrupt) {
                wrong.store(true, Ordering::Relaxed);
            }
            drop((buffer, place));
        });
        Ok(())
    }
}

/// Why a segment is not read on.
enum Stop {
    Peer(AskError),
    Ours(SinkError),
}

impl From<AskError> for Stop {
    fn from(e: AskError) -> Self {
        Self::Peer(e)
    }
}

impl From<SinkError> for Stop {
    fn from(e: SinkError) -> Self {
        Self::Ours(e)
    }
}

fn give_up(error: AskError, want: Want) -> Result<(), AskError> {
    want.fail(&error);
    Err(error)
}

fn broken(e: FrameError) -> AskError {
    match e {
        FrameError::Codec(_) => AskError::Wrong("a malformed frame"),
        other => AskError::Broken(other.to_string()),
    }
}

/// The answers that are one word.
fn refusal(reply: &FileReply) -> Option<AskError> {
    match reply {
        FileReply::NotFound => Some(AskError::NotFound),
        FileReply::TooLarge { size } => Some(AskError::TooLarge(*size)),
        FileReply::Changed => Some(AskError::Changed),
        FileReply::Busy { retry_ms } => Some(AskError::Busy(*retry_ms)),
        FileReply::Have { .. }
        | FileReply::Tree { .. }
        | FileReply::Segment { .. }
        | FileReply::Many { .. }
        | FileReply::Chunks { .. } => None,
    }
}

/// Bytes of one group; a piece is made of whole ones.
const _: () = assert!(GROUP as usize == UNIT);
