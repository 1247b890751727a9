//! Watches what running guests have on disk and stops those over their limits. Looking is periodic: a
//! guest can overshoot by what it writes in one period, and is checked again when it has ended.

use super::control::{Control, Stop};
use super::sinks::Sinks;
use super::ticker::Pulse;
use super::tree::{self, Measure};
use crate::task::Limits;
use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom};
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks. At 1 GB/s a guest writes 20 MB in it.
const PERIOD: Duration = Duration::from_millis(20);
/// Bytes of one listing of open descriptors.
const LISTING: usize = 8 << 10;

/// A running task with directories to write to.
pub(super) struct Watched {
    pub(super) task: u64,
    /// `work/<task>/out` and `work/<task>/tmp`, where they exist.
    pub(super) dirs: Vec<PathBuf>,
    /// `work/<task>/`, absolute.
    pub(super) base: String,
    pub(super) limits: Limits,
    pub(super) sinks: Arc<Sinks>,
}

impl Watched {
    /// Everything the task has on disk, its streams and `hidden` bytes in deleted files.
    pub(super) fn measure(&self, hidden: u64) -> Result<Measure, Stop> {
        let mut sum = Measure {
            bytes: self.sinks.written().saturating_add(hidden),
            entries: 0,
        };
        sum.check(&self.limits)?;
        for dir in &self.dirs {
            tree::measure(dir, &self.limits, &mut sum)?;
        }
        Ok(sum)
    }
}

/// Runs for the life of the process.
pub(super) fn watch(controls: &[Arc<Control>], pulse: &Pulse, fds: Option<OwnedFd>) -> ! {
    loop {
        pulse.pause(PERIOD);
        let watched: Vec<_> = controls
            .iter()
            .filter_map(|c| c.watched().map(|w| (c, w)))
            .collect();
        if watched.is_empty() {
            continue;
        }
        let hidden = fds.as_ref().map(deleted_files).unwrap_or_default();
        for (control, watched) in watched {
            let unseen = hidden
                .iter()
                .filter(|(path, _)| path.starts_with(&watched.base))
                .map(|(_, size)| size)
                .sum();
            if let Err(stop) = watched.measure(unseen) {
                control.stop(watched.task, stop);
            }
        }
    }
}

/// Sizes of files that were deleted but are still open, by their last path: no listing shows them.
fn deleted_files(fds: &OwnedFd) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    if rustix::fs::seek(fds, SeekFrom::Start(0)).is_err() {
        return found;
    }
    let mut buffer = [MaybeUninit::uninit(); LISTING];
    let mut entries = RawDir::new(fds, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        // Following the link asks the open file itself; "." and ".." are no regular files.
        let Ok(stat) = rustix::fs::statat(fds, entry.file_name(), AtFlags::empty()) else {
            continue;
        };
        if stat.st_nlink != 0 || !FileType::from_raw_mode(stat.st_mode).is_file() {
            continue;
        }
        if let Ok(path) = rustix::fs::readlinkat(fds, entry.file_name(), Vec::new()) {
            let size = found.entry(path.to_string_lossy().into_owned()).or_insert(0u64);
            *size = (*size).max(u64::try_from(stat.st_size).unwrap_or(0));
        }
    }
    found
}
