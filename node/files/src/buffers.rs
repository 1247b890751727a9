//! The bytes in flight: one pool of reused buffers for everything this crate receives and sends.
//!
//! Buffers are initialised once, because what reads from a stream into fresh memory has to clear it first, and are
//! given back instead of freed, because fresh pages cost more than the copy that fills them.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The smallest buffer: one group.
pub const UNIT: usize = 64 << 10;
/// The largest buffer: what is read, verified and written in one go. Small enough to stay in the second and third
/// level of a processor's cache between those steps, large enough that the hop to another thread costs nothing.
pub const LARGEST: usize = 1 << 20;
/// Bytes of one pool: for receiving and for sending there is one each.
pub const POOL: usize = 12 << 20;
/// Free buffers kept of each size: what a busy stream or two use.
const KEPT: usize = 6;
/// 64 KiB, 128 KiB, 256 KiB, 512 KiB, 1 MiB.
const SIZES: usize = 5;

/// Free buffers of one size.
type Free = Mutex<Vec<Box<[u8]>>>;

/// A pool. Clones share it.
#[derive(Debug, Clone)]
pub struct Buffers {
    room: Arc<Semaphore>,
    free: Arc<[Free; SIZES]>,
}

/// A buffer from a pool, given back on drop. Its length is the size asked for.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    home: Option<(Buffers, OwnedSemaphorePermit)>,
}

fn class(len: usize) -> usize {
    let units = len.div_ceil(UNIT).max(1).next_power_of_two();
    (units.trailing_zeros() as usize).min(SIZES - 1)
}

impl Buffers {
    /// A pool of [`POOL`] bytes, none of them taken yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(POOL / UNIT)),
            free: Arc::default(),
        }
    }

    /// A buffer of `len` bytes, at most [`LARGEST`]; waits, in turn, until there is room.
    pub async fn take(&self, len: usize) -> Buffer {
        let class = class(len);
        let units = 1_u32 << class;
        // The semaphore is never closed; were it, an unpooled buffer would do as well.
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await.ok();
        let kept = self.free.get(class).and_then(|f| lock(f).pop());
        let bytes = kept.unwrap_or_else(|| vec![0; UNIT << class].into_boxed_slice());
        Buffer {
            len: len.min(bytes.len()),
            bytes,
            home: permit.map(|p| (self.clone(), p)),
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

fn lock(free: &Free) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((home, permit)) = self.home.take() {
            let bytes = std::mem::take(&mut self.bytes);
            if let Some(free) = home.free.get(class(bytes.len())) {
                let mut free = lock(free);
                if free.len() < KEPT {
                    free.push(bytes);
                }
            }
            drop(permit);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_pool_is_bounded_and_reused() {
        let pool = Buffers::new();
        let mut held = Vec::new();
        for _ in 0..POOL / LARGEST {
            held.push(pool.take(LARGEST).await);
        }
        let wait = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, pool.take(1)).await.is_err());
        held.pop();
        let small = pool.take(UNIT + 1).await;
        assert_eq!(small.len(), UNIT + 1);
        drop(small);
        held.clear();
        assert_eq!(pool.room.available_permits(), POOL / UNIT);
        let kept: usize = pool.free.iter().map(|f| lock(f).len()).sum();
        assert!(kept <= KEPT + 1);
    }
}
