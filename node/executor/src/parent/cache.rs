//! Compiled modules on disk, kept by the daemon. Executor processes cannot reach this directory.
//!
//! A compiled module is machine code: loading a forged one is running foreign code. Therefore every
//! file carries a BLAKE3 tag under a key that only the daemon reads, computed over the module's hash and
//! the artefact, and is only written from a process that saw nothing but that module. A file whose tag
//! is wrong is removed and the module compiled again.

use super::{lock, make_dir};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// File format; a change makes every older file a miss.
const MAGIC: &[u8; 8] = b"hivecw01";
const TAG: usize = 32;
/// The largest artefact in bytes; machine code is some four times its module.
pub(super) const MAX_ARTEFACT: u64 = 512 << 20;

pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    limit: u64,
    /// One eviction at a time.
    evicting: Mutex<()>,
    counter: AtomicU64,
}

impl Cache {
    pub(super) fn open(dir: &Path, limit: u64) -> Result<Self> {
        make_dir(dir)?;
        // Left behind by a daemon that was killed while compiling.
        match fs::remove_dir_all(dir.join("build")) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        make_dir(&dir.join("build"))?;
        let dir = dir.canonicalize()?;
        let key = read_or_make_key(&dir.join("key"))?;
        Ok(Self {
            dir,
            key,
            limit,
            evicting: Mutex::new(()),
            counter: AtomicU64::new(0),
        })
    }

    /// A new directory for one compilation.
    pub(super) fn build_dir(&self) -> Result<PathBuf> {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join("build").join(format!("{}-{n}", std::process::id()));
        make_dir(&dir)?;
        for name in ["in", "work"] {
            make_dir(&dir.join(name))?;
        }
        Ok(dir)
    }

    fn path(&self, module: &blake3::Hash) -> PathBuf {
        self.dir.join(format!("{module}.cwasm"))
    }

    fn tag(&self, module: &blake3::Hash, artefact: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(module.as_bytes());
        hasher.update(artefact);
        hasher.finalize()
    }

    /// The artefact of this module, if there is one and its tag is right.
    pub(super) fn get(&self, module: &blake3::Hash) -> Option<Vec<u8>> {
        let path = self.path(module);
        let mut file = File::open(&path).ok()?;
        let good = read_all(&mut file).ok().and_then(|mut bytes| {
            let rest = bytes.strip_prefix(MAGIC)?;
            let (tag, artefact) = rest.split_first_chunk::<TAG>()?;
            // blake3::Hash compares in constant time.
            if blake3::Hash::from_bytes(*tag) != self.tag(module, artefact) {
                return None;
            }
            bytes.drain(..MAGIC.len() + TAG);
            Some(bytes)
        });
        match good {
            Some(artefact) => {
                // For eviction; a read-only disk only makes it less fair.
                let _ = file.set_modified(SystemTime::now());
                Some(artefact)
            }
            None => {
                tracing::warn!(module = %module, "cached module is damaged: it is compiled again");
                self.remove(module);
                None
            }
        }
    }

    /// Keeps an artefact; makes room first.
    pub(super) fn put(&self, module: &blake3::Hash, artefact: &[u8]) -> Result<()> {
        self.make_room(artefact.len() as u64);
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .dir
            .join("build")
            .join(format!("put-{}-{n}", std::process::id()));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(self.tag(module, artefact).as_bytes())?;
            file.write_all(artefact)?;
            // No fsync: after a power cut a torn file fails its tag and is made again.
            fs::rename(&temporary, self.path(module))
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    pub(super) fn remove(&self, module: &blake3::Hash) {
        // Not there is as good as removed; anything else shows at the next `put`.
        let _ = fs::remove_file(self.path(module));
    }

    fn make_room(&self, bytes: u64) {
        let _one = lock(&self.evicting);
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(std::result::Result::ok)
            .filter(|e| e.path().extension().is_some_and(|x| x == "cwasm"))
            .filter_map(|e| {
                e.metadata()
                    .ok()
                    .map(|m| (m.modified().unwrap_or(SystemTime::UNIX_EPOCH), m.len(), e.path()))
            })
            .collect();
        files.sort();
        let mut total = files.iter().map(|f| f.1).fold(bytes, u64::saturating_add);
        for (_, size, path) in files {
            if total <= self.limit {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total = total.saturating_sub(size);
            }
        }
    }
}

fn read_all(file: &mut File) -> Result<Vec<u8>> {
    let most = MAX_ARTEFACT + (MAGIC.len() + TAG) as u64;
    let size = file.metadata()?.len();
    if size > most {
        return Err(std::io::Error::new(
            ErrorKind::InvalidData,
            "larger than any artefact",
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_or_make_key(path: &Path) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    if File::open(path).is_ok_and(|mut f| f.read_exact(&mut key).is_ok()) {
        return Ok(key);
    }
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    // A missing or short key file only costs the cache: older artefacts fail their tag.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn module(n: u8) -> blake3::Hash {
        blake3::hash(&[n])
    }

    #[test]
    fn keeps_artefacts_across_restarts_and_refuses_altered_ones() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1 << 20).unwrap();
        cache.put(&module(1), b"machine code").unwrap();
        let again = Cache::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(again.get(&module(1)).as_deref(), Some(&b"machine code"[..]));
        assert_eq!(again.get(&module(2)), None);

        let path = again.path(&module(1));
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(again.get(&module(1)), None);
        assert!(!path.exists(), "a damaged file must go");
    }

    #[test]
    fn an_artefact_of_one_module_is_not_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1 << 20).unwrap();
        cache.put(&module(1), b"machine code").unwrap();
        fs::copy(cache.path(&module(1)), cache.path(&module(2))).unwrap();
        assert_eq!(cache.get(&module(2)), None);
    }

    #[test]
    fn another_key_makes_every_artefact_foreign() {
        let dir = tempfile::tempdir().unwrap();
        Cache::open(dir.path(), 1 << 20)
            .unwrap()
            .put(&module(1), b"machine code")
            .unwrap();
        fs::remove_file(dir.path().join("key")).unwrap();
        assert_eq!(Cache::open(dir.path(), 1 << 20).unwrap().get(&module(1)), None);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 2500).unwrap();
        for n in 1..=2 {
            cache.put(&module(n), &[n; 1000]).unwrap();
            let file = File::options().write(true).open(cache.path(&module(n))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n)))
                .unwrap();
        }
        assert!(cache.get(&module(1)).is_some());
        cache.put(&module(3), &[3; 1000]).unwrap();
        assert!(cache.get(&module(2)).is_none());
        assert!(cache.get(&module(1)).is_some());
        assert!(cache.get(&module(3)).is_some());
    }
}
