//! Room for what is being sent: growing buffers out of a bounded whole, reused.

use crate::buffers::{LARGEST, POOL, UNIT};
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Free buffers kept: two for each of a few busy sessions.
const KEPT: usize = 8;
/// Room in a fresh buffer beyond its piece: frame and chaining values.
const HEAD: usize = 8 << 10;

/// The pool. Clones share it.
#[derive(Debug, Clone)]
pub struct Pieces {
    room: Arc<Semaphore>,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer out of the pool, empty at first; given back on drop.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Pieces {
    /// A pool of [`POOL`] bytes.
    pub fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(POOL / UNIT)),
            free: Arc::default(),
        }
    }

    /// A buffer for a piece of about this many bytes; waits, in turn, until there is room.
    pub async fn take(&self, bytes: usize) -> Outgoing {
        let units = u32::try_from(bytes.min(POOL).div_ceil(UNIT)).unwrap_or(1);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.ok();
        let kept = lock(&self.free).pop();
        let mut vec = kept.unwrap_or_default();
        // Small answers do not need a large buffer, and a kept one is mostly large enough.
        vec.reserve(bytes.min(LARGEST).saturating_add(HEAD));
        Outgoing {
            bytes: vec,
            free: Arc::clone(&self.free),
            _room: room,
        }
    }
}

fn lock(free: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = lock(&self.free);
        if free.len() < KEPT && bytes.capacity() <= LARGEST + 2 * HEAD {
            free.push(bytes);
        }
    }
}

impl Deref for Outgoing {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Outgoing {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}
