//! A provider that does not keep to the protocol, in every way we could think of.

use crate::node::{net, open};
use hive_files::Hint;
use hive_net::{FrameReader, NetHandle, ProtocolPolicy, frame};
use hive_protocol::{
    file::{self, FileReply, FileRequest, GROUP},
    ids::BlobHash,
};
use hive_store::files::{AddOptions, FileStore, Source};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One byte of every segment is wrong.
    WrongBytes,
    /// The chaining values of the groups are wrong.
    WrongGroups,
    /// The list of segments is wrong.
    WrongTree,
    /// The tree is of a size that is a lie.
    LyingSize,
    /// Half of a segment, then the end.
    Short,
    /// More bytes than were asked for.
    Long,
    /// Bytes without end, whatever was asked.
    Endless,
    /// Says that it has all and gives nothing.
    Lacks,
    /// Takes every question and answers none.
    Silent,
    /// Its file has changed.
    Changed,
    /// Always busy.
    Busy,
    /// Answers with another answer.
    Mixed,
    /// Noise instead of frames.
    Garbage,
    /// Breaks every stream at once.
    Breaks,
}

pub const ALL: [Fault; 14] = [
    Fault::WrongBytes,
    Fault::WrongGroups,
    Fault::WrongTree,
    Fault::LyingSize,
    Fault::Short,
    Fault::Long,
    Fault::Endless,
    Fault::Lacks,
    Fault::Silent,
    Fault::Changed,
    Fault::Busy,
    Fault::Mixed,
    Fault::Garbage,
    Fault::Breaks,
];

pub struct Hostile {
    pub net: NetHandle,
    store: FileStore,
    /// Streams and requests that came.
    asked: Arc<AtomicU64>,
}

/// A hostile provider of this file.
pub async fn start(seed: u8, dir: &Path, file: &Path, fault: Fault) -> Hostile {
    let (net, mut events) = net(seed).await;
    tokio::spawn(async move { while events.next().await.is_some() {} });
    let (store, _) = open(&dir.join("data"));
    store
        .add_path(file, &AddOptions::default(), &AtomicBool::new(false))
        .unwrap();
    let mut inbound = net.serve_bulk(file::PROTOCOL, ProtocolPolicy::default()).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let hostile = Hostile {
        net,
        store: store.clone(),
        asked: Arc::clone(&asked),
    };
    tokio::spawn(async move {
        while let Some((_, stream)) = inbound.accept().await {
            let (store, asked) = (store.clone(), Arc::clone(&asked));
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                if fault == Fault::Breaks {
                    return;
                }
                let (reader, writer) = stream.split();
                // The other side hangs up as soon as it notices.
                let _ = serve(reader, writer, &store, fault, &asked).await;
            });
        }
    });
    hostile
}

impl Hostile {
    pub fn hint(&self) -> Hint {
        Hint {
            node: self.net.me(),
            addrs: self.net.listen_addrs(),
            whole: true,
        }
    }

    /// Whether anybody has come to it.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    pub fn has(&self, hash: &BlobHash) -> bool {
        self.store.content(hash).is_some()
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: R,
    mut out: W,
    store: &FileStore,
    fault: Fault,
    asked: &AtomicU64,
) -> Ended {
    let mut frames = FrameReader::<FileRequest, _>::new(reader);
    while let Some(request) = frames.next().await? {
        asked.fetch_add(1, Ordering::Relaxed);
        match fault {
            Fault::Silent => continue,
            Fault::Garbage => {
                out.write_all(&crate::node::noise(5, 5000)).await?;
                out.flush().await?;
                continue;
            }
            Fault::Endless => loop {
                out.write_all(&[7; 1 << 16]).await?;
            },
            Fault::Busy => {
                frame::write(&mut out, &FileReply::Busy { retry_ms: 200 }).await?;
                continue;
            }
            _ => {}
        }
        answer(&mut out, store, fault, request).await?;
        out.flush().await?;
    }
    Ok(())
}

async fn answer<W: AsyncWrite + Unpin>(
    out: &mut W,
    store: &FileStore,
    fault: Fault,
    request: FileRequest,
) -> Ended {
    match request {
        FileRequest::Have { hash, .. } => {
            let size = store.source(&hash).map_or(0, |s| s.size());
            let reply = FileReply::Have {
                size,
                whole: true,
                segments: Vec::new(),
                fetchers: Vec::new(),
            };
            tokio::time::sleep(Duration::from_millis(100)).await; // paced: as if it had nothing new
            frame::write(out, &reply).await?;
        }
        FileRequest::Tree { hash, .. } => {
            let source = store.source(&hash)?;
            let (mut size, mut cvs) = (source.size(), source.segment_cvs()?);
            match fault {
                Fault::WrongTree => cvs[0][0] ^= 1,
                // The same number of segments, so that the list still merges to the root.
                Fault::LyingSize => size -= 1,
                _ => {}
            }
            frame::write(out, &FileReply::Tree { size }).await?;
            out.write_all(cvs.as_flattened()).await?;
        }
        FileRequest::Segment {
            hash,
            segment,
            mask,
            hashes,
            ..
        } => {
            let source = store.source(&hash)?;
            segment_of(out, &source, fault, (u64::from(segment), mask, hashes)).await?;
        }
        FileRequest::Many { hashes, .. } => {
            let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
            store.small(&hashes, &mut bytes, &mut sizes, 4 << 20)?;
            if let (Fault::WrongBytes, Some(last)) = (fault, bytes.last_mut()) {
                *last ^= 1;
            }
            if fault == Fault::Long {
                sizes.push(9);
            }
            frame::write(out, &FileReply::Many { sizes }).await?;
            out.write_all(&bytes).await?;
        }
        FileRequest::Chunks { .. } => frame::write(out, &FileReply::NotFound).await?,
    }
    Ok(())
}

async fn segment_of<W: AsyncWrite + Unpin>(
    out: &mut W,
    source: &Source,
    fault: Fault,
    (segment, mask, hashes): (u64, u64, bool),
) -> Ended {
    let bytes = file::mask_bytes(source.size(), segment, mask) as u32;
    let mut cvs = if hashes {
        source.group_cvs(segment)?
    } else {
        Vec::new()
    };
    let mut data = Vec::new();
    source.read(segment, mask, &mut data)?;
    let mut reply = FileReply::Segment { mask, bytes };
    match fault {
        Fault::WrongBytes => *data.last_mut().unwrap() ^= 1,
        Fault::WrongGroups => cvs.iter_mut().for_each(|c| c[0] ^= 1),
        Fault::Long => {
            reply = FileReply::Segment {
                mask,
                bytes: bytes + GROUP as u32,
            };
            data.extend_from_slice(&[0; GROUP as usize]);
        }
        Fault::Lacks => reply = FileReply::NotFound,
        Fault::Changed => reply = FileReply::Changed,
        Fault::Mixed => reply = FileReply::Chunks { count: 3 },
        _ => {}
    }
    frame::write(out, &reply).await?;
    if matches!(reply, FileReply::NotFound | FileReply::Changed) {
        return Ok(());
    }
    out.write_all(cvs.as_flattened()).await?;
    if fault == Fault::Short {
        out.write_all(&data[..data.len() / 2]).await?;
        out.flush().await?;
        return Err("enough".into());
    }
    out.write_all(&data).await?;
    Ok(())
}
