//! One inbound stream: requests are read ahead, answers are prepared one piece ahead of the socket.

use crate::{
    access::Access,
    limits::{Class, Clock, Direction, Limits},
    news::News,
    outgoing::{Outgoing, Pieces},
    serve::{
        fetchers::Fetchers,
        prepare::{self, MANY_GIVEN, Opened, PIECE_GROUPS, Sending},
    },
};
use hive_net::{BulkInbound, FrameReader};
use hive_protocol::{
    file::{FileReply, FileRequest, GROUP, MAX_HAVE_WAIT_MS, MAX_PIPELINE, Via},
    ids::{BlobHash, NodeId},
};
use hive_store::files::FileStore;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    time::Instant,
};

/// Sessions at once over all peers: each costs some kilobytes while it is idle.
const MAX_SESSIONS: usize = 512;
/// A session that is asked nothing for so long ends.
const IDLE: Duration = Duration::from_secs(90);
/// A piece that the peer does not take within this time ends its session.
const WRITE_WITHIN: Duration = Duration::from_secs(60);
/// News of growing content are gathered for so long before they are told.
const GATHER: Duration = Duration::from_millis(40);
/// Pieces get smaller for a peer that takes longer than this for one, and larger again below a quarter of it.
const SLOW_PIECE: Duration = Duration::from_millis(400);

/// What serving needs.
#[derive(Clone)]
pub struct Serving {
    /// Where it comes from.
    pub store: FileStore,
    /// Who may have it.
    pub access: Access,
    /// How fast.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// Who fetches what.
    pub fetchers: Fetchers,
    /// What grows.
    pub news: News,
    /// Room for what is being sent.
    pub pieces: Pieces,
    /// Payload bytes sent since the start.
    pub sent: Arc<AtomicU64>,
}

/// Serves streams until the network ends.
pub async fn accept(mut inbound: BulkInbound, serving: Serving) {
    let places = Arc::new(Semaphore::new(MAX_SESSIONS));
    while let Some((node, stream)) = inbound.accept().await {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // Dropping the stream tells the peer: it backs off and comes again.
            tracing::warn!(
                ?node,
                limit = MAX_SESSIONS,
                "too many file sessions; one more was refused"
            );
            continue;
        };
        let serving = serving.clone();
        tokio::spawn(async move {
            let (reader, writer) = stream.split();
            session(node, reader, writer, serving).await;
            drop(place);
        });
    }
}

async fn session<R, W>(node: NodeId, reader: R, mut writer: W, serving: Serving)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (asked, requests) = mpsc::channel(MAX_PIPELINE);
    let mut feeder = Feeder {
        opened: Some(Opened::new(serving.store.clone(), serving.access.clone(), node)),
        node,
        serving,
        requests,
        sending: None,
        groups: 1,
    };
    let mut frames = FrameReader::<FileRequest, _>::new(reader);
    let reading = async {
        loop {
            match frames.next().await {
                Ok(Some(request)) => {
                    if asked.send(request).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    tracing::debug!(?node, error = %e, "a file session broke off");
                    return;
                }
            }
        }
        // The peer asks no more but may still read: the answers under way end the session.
        drop(asked);
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        () = reading => Ok(()),
        result = feeder.respond(&mut writer) => result,
    };
    if let Err(e) = result {
        tracing::debug!(?node, error = %e, "a file session ended");
        return;
    }
    // The peer may have gone already.
    let _ = tokio::time::timeout(WRITE_WITHIN, writer.shutdown()).await;
}

struct Feeder {
    opened: Option<Opened>,
    node: NodeId,
    serving: Serving,
    requests: mpsc::Receiver<FileRequest>,
    sending: Option<Sending>,
    /// Groups of the next piece.
    groups: u32,
}

/// A piece and what it counts as.
struct Piece {
    bytes: Outgoing,
    class: Class,
}

impl Feeder {
    async fn respond<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> std::io::Result<()> {
        let (limits, node) = (self.serving.limits.clone(), self.node);
        let sent = Arc::clone(&self.serving.sent);
        let mut next = self.next().await?;
        while let Some(piece) = next {
            let start = Instant::now();
            let sending = async {
                send(writer, piece, &limits, node, &sent).await?;
                Ok(start.elapsed())
            };
            let (taken, after) = tokio::try_join!(sending, self.next())?;
            if taken > SLOW_PIECE {
                self.groups = (self.groups / 2).max(1);
            } else if taken < SLOW_PIECE / 4 {
                self.groups = (self.groups * 2).min(PIECE_GROUPS);
            }
            next = after;
        }
        Ok(())
    }

    /// The next piece to send; `None` when the peer asks no more.
    async fn next(&mut self) -> std::io::Result<Option<Piece>> {
        if let Some(mut sending) = self.sending.take() {
            let groups = self.groups;
            let mut bytes = self.serving.pieces.take(groups as usize * GROUP as usize).await;
            let (sending, bytes) = blocking(move || {
                let result = sending.next(groups, &mut bytes);
                result.map(|()| (sending, bytes)).map_err(std::io::Error::other)
            })
            .await??;
            self.sending = Some(sending).filter(|s| !s.is_done());
            return Ok(Some(Piece {
                bytes,
                class: Class::Bulk,
            }));
        }
        match tokio::time::timeout(IDLE, self.requests.recv()).await {
            Ok(Some(request)) => self.answer(request).await.map(Some),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    async fn answer(&mut self, request: FileRequest) -> std::io::Result<Piece> {
        let groups = self.groups;
        let (room, class) = match &request {
            FileRequest::Have {
                hash,
                via,
                seen,
                wait_ms,
            } => {
                let (hash, via, seen, wait) = (*hash, *via, *seen, *wait_ms);
                return self.have(hash, via, seen, wait).await;
            }
            FileRequest::Tree { .. } | FileRequest::Chunks { .. } => (GROUP as usize, Class::Control),
            FileRequest::Segment { .. } => (groups as usize * GROUP as usize, Class::Bulk),
            FileRequest::Many { .. } => (MANY_GIVEN, Class::Small),
        };
        self.note(&request);
        let mut bytes = self.serving.pieces.take(room).await;
        let Some(mut opened) = self.opened.take() else {
            return Err(std::io::Error::other("an answer was interrupted"));
        };
        let (opened, sending, bytes) = blocking(move || {
            let sending = opened.reply(&request, groups, &mut bytes);
            (opened, sending, bytes)
        })
        .await?;
        self.opened = Some(opened);
        self.sending = sending.filter(|s| !s.is_done());
        Ok(Piece { bytes, class })
    }

    /// Notes the peer as a fetcher.
    fn note(&self, request: &FileRequest) {
        let of = |hash: &BlobHash, via: &Via| match via {
            Via::Root(root) => *root,
            Via::Lease(_) => *hash,
        };
        let hash = match request {
            FileRequest::Have { hash, via, .. }
            | FileRequest::Tree { hash, via, .. }
            | FileRequest::Segment { hash, via, .. } => of(hash, via),
            FileRequest::Many {
                via: Via::Root(root), ..
            } => *root,
            FileRequest::Many { .. } | FileRequest::Chunks { .. } => return,
        };
        self.serving
            .fetchers
            .note(hash, self.node, (self.serving.clock)());
    }

    async fn have(&mut self, hash: BlobHash, via: Via, seen: u32, wait_ms: u32) -> std::io::Result<Piece> {
        let mut bytes = self.serving.pieces.take(GROUP as usize).await;
        let done = |bytes| Piece {
            bytes,
            class: Class::Control,
        };
        let Some(opened) = self.opened.as_ref() else {
            return Err(std::io::Error::other("an answer was interrupted"));
        };
        if !opened.may(via, &hash) {
            prepare::frame(&FileReply::NotFound, &mut bytes);
            return Ok(done(bytes));
        }
        self.note(&FileRequest::Have {
            hash,
            via,
            seen,
            wait_ms,
        });
        let end = Instant::now() + Duration::from_millis(u64::from(wait_ms.min(MAX_HAVE_WAIT_MS)));
        loop {
            let news = self.serving.news.of(&hash);
            let content = self.serving.store.content(&hash);
            let (whole, count) = content.as_ref().map_or((false, 0), |c| {
                (c.whole, c.segments.iter().map(|b| b.count_ones()).sum())
            });
            let waited = tokio::time::timeout_at(end, async {
                match news {
                    Some(mut news) if !whole && count <= seen => {
                        // An error means that it grows no longer: whole, or given up.
                        let _ = news.changed().await;
                        tokio::time::sleep(GATHER).await;
                        true
                    }
                    _ => false,
                }
            });
            if waited.await == Ok(true) {
                continue;
            }
            let fetchers = self.fetchers(&hash, via);
            let reply = match content {
                Some(c) => FileReply::Have {
                    size: c.size,
                    whole: c.whole,
                    segments: if c.whole { Vec::new() } else { c.segments },
                    fetchers,
                },
                None => FileReply::Have {
                    size: 0,
                    whole: false,
                    segments: Vec::new(),
                    fetchers,
                },
            };
            prepare::frame(&reply, &mut bytes);
            return Ok(done(bytes));
        }
    }

    fn fetchers(&self, hash: &BlobHash, via: Via) -> Vec<NodeId> {
        let key = match via {
            Via::Root(root) => root,
            Via::Lease(_) => *hash,
        };
        self.serving.fetchers.of(&key, (self.serving.clock)())
    }
}

/// Runs on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)
}

async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    piece: Piece,
    limits: &Limits,
    node: NodeId,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    let mut rest: &[u8] = &piece.bytes;
    let alive = AtomicU64::new(0);
    while !rest.is_empty() {
        let part = limits
            .take(Direction::Out, piece.class, node, rest.len(), &alive)
            .await;
        let (now, later) = rest.split_at_checked(part).unwrap_or((rest, &[]));
        let writing = async {
            writer.write_all(now).await?;
            writer.flush().await
        };
        tokio::time::timeout(WRITE_WITHIN, writing)
            .await
            .map_err(|_| std::io::Error::other("the peer takes nothing"))??;
        sent.fetch_add(now.len() as u64, Ordering::Relaxed);
        rest = later;
    }
    Ok(())
}
