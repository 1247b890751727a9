//! Opening sled with distrust: what its errors mean, what its panics mean, and what to do with rubbish.

use super::{JournalError, check::Check, record};
use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Memory sled may use for pages: a journal of running jobs is small.
const CACHE_BYTES: u64 = 8 << 20;
/// How often sled hands late changes to the operating system.
const FLUSH_MS: u64 = 500;
/// Where the check record lies: no tree has an empty name.
pub(super) const CHECK_KEY: &[u8] = &[0];
/// The most unreadable journals kept; more point to a dying disk, which deserves an error and not a 101st folder.
const MAX_ASIDE: usize = 100;

/// Why opening failed: moved aside and begun anew, or passed on.
pub(super) enum OpenFault {
    Unreadable(String),
    Other(JournalError),
}

pub(super) fn open_db(db_path: &Path, path: &Path) -> Result<sled::Db, OpenFault> {
    let config = sled::Config::new()
        .path(db_path)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_MS))
        .use_compression(false);
    guarded(|| config.open())
        .map_err(OpenFault::Unreadable)?
        .map_err(|e| fault(e, path))
}

/// Runs sled code that may panic on rubbish; a panic becomes the reason.
pub(super) fn guarded<T>(
    work: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<Result<T, sled::Error>, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| format!("sled gave up: {}", panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

/// Reads everything once and compares it with the check record; `None` in an empty database. A damaged single
/// record keeps its tag and is found when it is read.
pub(super) fn audit(db: &sled::Db) -> Result<Option<Check>, String> {
    let read = guarded(|| {
        let (mut found, mut noted, mut empty) = (Check::default(), None, true);
        for item in db.iter() {
            let (key, bytes) = item?;
            empty = false;
            if key.as_ref() == CHECK_KEY {
                noted = Check::from_bytes(&bytes);
            } else {
                found.add(record::stored_tag(&bytes).unwrap_or_default());
            }
        }
        Ok((found, noted, empty))
    })?;
    match read.map_err(|e| e.to_string())? {
        (_, None, true) => Ok(None),
        (found, Some(noted), _) if found.same_records(noted) => Ok(Some(noted)),
        (found, Some(noted), _) => Err(format!(
            "{} records were written, {} others are there",
            noted.count(),
            found.count()
        )),
        (_, None, false) => Err("the record of what was written is missing".into()),
    }
}

pub(super) fn fault(e: sled::Error, path: &Path) -> OpenFault {
    match e {
        sled::Error::Io(source) if is_lock(&source) => {
            OpenFault::Other(JournalError::Locked { path: path.into() })
        }
        sled::Error::Io(source) if is_rubbish(&source) => OpenFault::Unreadable(source.to_string()),
        sled::Error::Io(source) => OpenFault::Other(io_error("use", path, source)),
        other => OpenFault::Unreadable(other.to_string()),
    }
}

/// sled wraps the refusal of its lock in an error of kind `Other`.
fn is_lock(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock || e.to_string().contains("could not acquire lock")
}

fn is_rubbish(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotADirectory, UnexpectedEof};
    matches!(
        e.kind(),
        InvalidData | InvalidInput | UnexpectedEof | IsADirectory | NotADirectory
    ) || (e.kind() == io::ErrorKind::Other && e.raw_os_error().is_none())
}

pub(super) fn io_error(what: &'static str, path: &Path, source: io::Error) -> JournalError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            JournalError::DiskFull { path: path.into() }
        }
        _ => JournalError::Io {
            what,
            path: path.into(),
            source,
        },
    }
}

/// Renames the journal's folder to the first free `<name>.corrupt-N`.
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, JournalError> {
    for n in 1..=MAX_ASIDE {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{n}"));
        let to = PathBuf::from(name);
        if !to.exists() {
            fs::rename(path, &to).map_err(|e| io_error("move aside", path, e))?;
            return Ok(to);
        }
    }
    Err(JournalError::TooLarge {
        what: "list of unreadable journals",
        size: MAX_ASIDE + 1,
        limit: MAX_ASIDE,
    })
}
