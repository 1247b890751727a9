//! The disk quota of one data folder, as numbers: who asks first gets the bytes.
//!
//! Shared by the blob store and by whoever makes task folders. Knows no files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the quota refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("disk quota: {wanted} more bytes do not fit, {used} of {quota} bytes are in use")]
pub struct QuotaExceeded {
    /// Bytes asked for.
    pub wanted: u64,
    /// Bytes taken or reserved at that moment.
    pub used: u64,
    /// The quota in bytes.
    pub quota: u64,
}

impl QuotaExceeded {
    /// The stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "store.quota"
    }
}

#[derive(Debug)]
struct State {
    quota: u64,
    used: u64,
}

/// A byte budget that can be shared and cloned; all clones count together.
#[derive(Debug, Clone)]
pub struct DiskBudget(Arc<Mutex<State>>);

impl DiskBudget {
    /// A budget of `quota` bytes, nothing used yet.
    #[must_use]
    pub fn new(quota: u64) -> Self {
        Self(Arc::new(Mutex::new(State { quota, used: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two integers, changed together by code that cannot panic in between: poison carries no meaning.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The quota in bytes.
    #[must_use]
    pub fn quota(&self) -> u64 {
        self.state().quota
    }

    /// Bytes taken or reserved. May exceed the quota after it was lowered.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// Bytes still to be had.
    #[must_use]
    pub fn free(&self) -> u64 {
        let s = self.state();
        s.quota.saturating_sub(s.used)
    }

    /// Changes the quota; what is already taken stays taken.
    pub fn set_quota(&self, quota: u64) {
        self.state().quota = quota;
    }

    /// Sets bytes aside before anything is written. Given back when the reservation is dropped.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, QuotaExceeded> {
        self.take(bytes)?;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }

    fn take(&self, bytes: u64) -> Result<(), QuotaExceeded> {
        let mut s = self.state();
        match s.used.checked_add(bytes) {
            Some(used) if used <= s.quota => {
                s.used = used;
                Ok(())
            }
            _ => Err(QuotaExceeded {
                wanted: bytes,
                used: s.used,
                quota: s.quota,
            }),
        }
    }

    /// Counts bytes that are on the disk already, whether or not they fit.
    pub(crate) fn count(&self, bytes: u64) {
        let mut s = self.state();
        s.used = s.used.saturating_add(bytes);
    }

    /// Gives bytes back.
    pub(crate) fn release(&self, bytes: u64) {
        let mut s = self.state();
        s.used = s.used.saturating_sub(bytes);
    }
}

/// Bytes set aside; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: DiskBudget,
    bytes: u64,
}

impl Reservation {
    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds at least `bytes` from now on.
    ///
    /// # Errors
    /// When the difference does not fit; what was held stays held.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), QuotaExceeded> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            self.budget.take(more)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Ends the reservation leaving exactly `bytes` counted as used (no more than were held).
    pub(crate) fn settle(mut self, bytes: u64) {
        let kept = bytes.min(self.bytes);
        self.budget.release(self.bytes - kept);
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reservation_counts_while_it_lives() {
        let b = DiskBudget::new(100);
        let mut r = b.reserve(60).unwrap();
        assert_eq!(
            b.reserve(41).unwrap_err(),
            QuotaExceeded {
                wanted: 41,
                used: 60,
                quota: 100
            }
        );
        r.grow_to(80).unwrap();
        assert!(r.grow_to(101).is_err());
        assert_eq!((r.bytes(), b.free()), (80, 20));
        r.settle(30);
        assert_eq!(b.used(), 30);
        drop(b.reserve(70).unwrap());
        assert_eq!(b.used(), 30);
        assert!(b.reserve(u64::MAX).is_err());
    }

    #[test]
    fn bytes_found_on_disk_count_even_over_the_quota() {
        let b = DiskBudget::new(10);
        b.count(25);
        assert_eq!((b.used(), b.free()), (25, 0));
        assert!(b.reserve(1).is_err());
        b.release(20);
        assert!(b.reserve(5).is_ok());
    }
}
