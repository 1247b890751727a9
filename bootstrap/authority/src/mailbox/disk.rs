//! The mailbox's folder: notices and places in one sled tree, so that a change of both is one batch.

use super::MailboxError;
use hive_mailbox::{Key, Mailbox, Row};
use hive_protocol::{
    codec::{self, CodecError},
    keys::{Document, Signed},
    notice::Notice,
    time::Timestamp,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Memory sled may use for its cache.
const CACHE_BYTES: u64 = 4 << 20;
/// Room the disk must have for a change: sled does not survive a full disk, so it never meets one.
const RESERVE_BYTES: u64 = 8 << 20;
/// Bytes of a signed notice: the document, the key, the signature, a length.
const MAX_SIGNED: usize = Notice::MAX + 128;
const TAG: usize = 16;
const NOTICE: u8 = b'n';
const PLACE: u8 = b'p';

/// The open folder.
pub(super) struct Disk {
    db: sled::Db,
    path: std::path::PathBuf,
}

fn guarded<T>(work: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, MailboxError> {
    let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| MailboxError::Panic)?;
    Ok(done?)
}

fn full_key(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(rest);
    key
}

fn tag(key: &[u8], payload: &[u8]) -> [u8; TAG] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::try_from(key.len()).unwrap_or(u8::MAX)]);
    hasher.update(key);
    hasher.update(payload);
    let mut tag = [0; TAG];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

fn seal(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = tag(key, payload).to_vec();
    value.extend_from_slice(payload);
    value
}

fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, payload) = value.split_first_chunk::<TAG>()?;
    (tag(key, payload) == *stored).then_some(payload)
}

fn read_notice(payload: &[u8]) -> Result<Signed<Notice>, CodecError> {
    codec::decode("mailbox notice", payload, MAX_SIGNED)
}

impl Disk {
    /// Opens the folder; whether an unreadable one was moved aside.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), MailboxError> {
        std::fs::create_dir_all(path)?;
        match Self::try_open(path) {
            Ok(disk) => Ok((disk, false)),
            Err(MailboxError::Sled(sled::Error::Io(e))) => Err(e.into()),
            Err(e) => {
                tracing::error!(target: "hive_authority", "{e}; its folder is moved aside and a new one begun");
                let aside = path.with_extension("bad");
                if aside.exists() {
                    std::fs::remove_dir_all(&aside)?;
                }
                std::fs::rename(path, aside)?;
                std::fs::create_dir_all(path)?;
                Ok((Self::try_open(path)?, true))
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, MailboxError> {
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let disk = Self {
            db: guarded(|| config.open())?,
            path: path.to_path_buf(),
        };
        Ok(disk)
    }

    /// Reads everything; how many records are of no use. Those are removed.
    pub(super) fn load(&self, now: Timestamp) -> Result<(Mailbox, usize), MailboxError> {
        let mut core = Mailbox::new();
        let mut useless: Vec<Vec<u8>> = Vec::new();
        // Notices sort before places.
        let mut items = self.db.iter();
        while let Some((key, value)) = guarded(|| items.next().transpose())? {
            if Self::take(&mut core, &key, &value).is_none() {
                useless.push(key.to_vec());
            }
        }
        for key in &useless {
            guarded(|| self.db.remove(key))?;
        }
        core.restored(now);
        Ok((core, useless.len()))
    }

    fn take(core: &mut Mailbox, key: &[u8], value: &[u8]) -> Option<()> {
        let payload = unseal(key, value)?;
        let (kind, rest) = key.split_first()?;
        match *kind {
            NOTICE => {
                let signed = read_notice(payload).ok()?;
                let notice = signed.peek().ok()?;
                if Row::notice_key(&(notice.from, notice.id)) != rest {
                    return None;
                }
                core.restore_notice(&notice, signed.bytes().len());
                Some(())
            }
            PLACE => {
                let (node, order, key) = Row::read_place(rest, payload).ok()?;
                core.restore_place(node, order, key).ok()
            }
            _ => None,
        }
    }

    /// Whether there is room for a change.
    pub(super) fn room(&self) -> Result<(), MailboxError> {
        let space = rustix::fs::statvfs(&self.path).map_err(std::io::Error::from)?;
        if space.f_bavail.saturating_mul(space.f_frsize) < RESERVE_BYTES {
            return Err(MailboxError::Full);
        }
        Ok(())
    }

    /// Makes all changes or none; durable after [`Disk::flush`].
    pub(super) fn apply(&self, stored: &[(Key, Signed<Notice>)], rows: &[Row]) -> Result<(), MailboxError> {
        let mut batch = sled::Batch::default();
        for (key, signed) in stored {
            let key = full_key(NOTICE, &Row::notice_key(key));
            let Ok(payload) = codec::encode("mailbox notice", signed, MAX_SIGNED) else {
                continue;
            };
            let value = seal(&key, &payload);
            batch.insert(key, value);
        }
        for row in rows {
            match row {
                Row::Place { node, order, key } => {
                    let place = full_key(PLACE, &Row::place_key(node, *order));
                    let value = seal(&place, &Row::notice_key(key));
                    batch.insert(place, value);
                }
                Row::Free { node, order } => batch.remove(full_key(PLACE, &Row::place_key(node, *order))),
                Row::Gone(key) => batch.remove(full_key(NOTICE, &Row::notice_key(key))),
            }
        }
        guarded(|| self.db.apply_batch(batch))
    }

    /// Hands everything to the operating system.
    pub(super) fn flush(&self) -> Result<(), MailboxError> {
        guarded(|| self.db.flush()).map(|_| ())
    }

    /// A notice; `None` when it is damaged or not there.
    pub(super) fn notice(&self, key: &Key) -> Result<Option<Signed<Notice>>, MailboxError> {
        let key = full_key(NOTICE, &Row::notice_key(key));
        let value = guarded(|| self.db.get(&key))?;
        Ok(value.and_then(|v| read_notice(unseal(&key, &v)?).ok()))
    }
}
