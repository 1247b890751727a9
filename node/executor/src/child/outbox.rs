//! Frames on their way to the parent. Many threads push, whoever flushes writes all of it at once, so a
//! burst of short tasks costs one system call. Blocks its pushers when the parent does not read.

use super::{fatal, lock};
use crate::wire::FromChild;
use hive_protocol::codec;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

/// Bytes that may wait before a pusher has to write them itself. Also what one write carries at most,
/// give or take a frame.
const FLUSH_AT: usize = 32 << 10;

pub(super) struct Outbox {
    waiting: Mutex<Vec<u8>>,
    pipe: Mutex<Writer>,
}

struct Writer {
    file: File,
    /// The buffer being written; swapped with `waiting` so that neither is allocated anew.
    busy: Vec<u8>,
}

impl Outbox {
    pub(super) fn new(file: File) -> Self {
        Self {
            waiting: Mutex::default(),
            pipe: Mutex::new(Writer {
                file,
                busy: Vec::new(),
            }),
        }
    }

    /// Queues a frame; writes if enough has gathered.
    pub(super) fn push(&self, frame: &FromChild) {
        let len = {
            let mut waiting = lock(&self.waiting);
            if let Err(e) = codec::frame_into(frame, &mut waiting) {
                // Every frame is bounded where it is made.
                fatal(&format!("frame: {e}"));
            }
            waiting.len()
        };
        if len >= FLUSH_AT {
            self.flush();
        }
    }

    /// Writes everything queued. May block until the parent reads.
    pub(super) fn flush(&self) {
        let mut pipe = lock(&self.pipe);
        let Writer { file, busy } = &mut *pipe;
        std::mem::swap(&mut *lock(&self.waiting), busy);
        if busy.is_empty() {
            return;
        }
        if file.write_all(busy).is_err() {
            // The parent is gone, and with it every reason to go on.
            std::process::exit(0);
        }
        busy.clear();
    }

    /// Whether something waits.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.waiting).is_empty()
    }
}
