//! Files in and out of a lease's directory. Inputs are placed read-only; outputs are opened without
//! following a link, because by then a guest or whatever broke out of it has written there.

use crate::task::{InputFile, MAX_INPUTS};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::{
    fs::{self, File},
    io::{Error, ErrorKind, Result},
    path::{Component, Path, PathBuf},
};

/// Bytes of one component of a name: what file systems take.
const MAX_COMPONENT: usize = 255;
/// Components of an input's name.
const MAX_DEPTH: usize = 8;

/// Whether a name is a plain relative path of at most `depth` components.
pub(super) fn is_plain(name: &str, depth: usize) -> bool {
    let parts: Vec<_> = Path::new(name)
        .components()
        .take(depth.saturating_add(1))
        .collect();
    let plain = |c: &Component<'_>| matches!(c, Component::Normal(part) if part.len() <= MAX_COMPONENT);
    // `components` swallows "a//b", "a/./b" and a trailing slash: such a name would not be found by it.
    let exact = name.split('/').count() == parts.len();
    !parts.is_empty() && parts.len() <= depth && exact && parts.iter().all(plain) && !name.contains('\0')
}

/// Whether an input's name can be placed.
pub(super) fn check_name(name: &str) -> std::result::Result<(), String> {
    if is_plain(name, MAX_DEPTH) {
        return Ok(());
    }
    let shown: String = name.escape_debug().take(100).collect();
    Err(format!("input name \"{shown}\" is not a plain relative path"))
}

/// Where a task's standard input comes from, as far as something must be placed for it.
pub(super) enum Feed {
    /// Nothing, or bytes in the message.
    None,
    /// This file.
    File(PathBuf),
    /// A pipe.
    Pipe,
}

/// What to place for one task.
pub(super) struct Inputs {
    pub(super) stdin: Feed,
    pub(super) files: Vec<InputFile>,
}

/// Places inputs in `dir` (`in/<task>`); the error names the input.
///
/// With `link` files are hard-linked, which is only safe while the executor cannot write below `in`.
/// Returns the writing end of the pipe, where one was asked for.
pub(super) fn place(
    dir: &Path,
    inputs: &Inputs,
    link: bool,
) -> std::result::Result<Option<File>, (String, Error)> {
    let top = dir.join("files");
    let named = |name: &str| {
        let name = name.to_owned();
        move |e: Error| (name, e)
    };
    fs::create_dir_all(if inputs.files.is_empty() { dir } else { &top }).map_err(named("/in"))?;
    let stdin = dir.join("stdin");
    let pipe = match &inputs.stdin {
        Feed::None => None,
        Feed::File(path) => {
            place_one(path, &stdin, link).map_err(named("stdin"))?;
            None
        }
        Feed::Pipe => Some(make_pipe(&stdin).map_err(named("stdin"))?),
    };
    for input in inputs.files.iter().take(MAX_INPUTS) {
        let target = top.join(&input.name);
        let made = match target.parent() {
            Some(parent) => fs::create_dir_all(parent),
            None => Ok(()),
        };
        made.and_then(|()| place_one(&input.path, &target, link))
            .map_err(named(&input.name))?;
    }
    Ok(pipe)
}

/// Makes a named pipe and opens it for writing. Opened for both ways it needs no reader to be there yet.
fn make_pipe(path: &Path) -> Result<File> {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn place_one(from: &Path, to: &Path, link: bool) -> Result<()> {
    if !fs::metadata(from)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    if link {
        // Another file system, too many links, a symbolic link: copying always works.
        let real = from.canonicalize()?;
        if fs::hard_link(&real, to).is_ok() {
            return Ok(());
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, "two inputs have this name"));
    }
    fs::copy(from, to).map(|_| ())
}

/// Opens a regular file below `top`, following no link and leaving neither directory nor file system.
pub(super) fn open_beneath(top: &Path, path: &str) -> Result<File> {
    let dir = File::open(top)?;
    // NONBLOCK: opening a pipe somebody made there must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = File::from(rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)?);
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_that_could_lead_out_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "a/../b",
            "../x",
            "a//b",
            "a/./b",
            "a/",
            "./a",
            "a\0b",
        ] {
            assert!(check_name(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(check_name(&"x".repeat(256)).is_err());
        assert!(check_name(&["d"; 9].join("/")).is_err());
        for good in ["a", "a/b", "ä ö.txt", "-rf", "a\nb", "..a"] {
            assert_eq!(check_name(good), Ok(()));
        }
    }

    #[test]
    fn outputs_are_opened_without_following_anything() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        fs::create_dir_all(out.join("sub")).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        fs::write(out.join("sub/good"), "g").unwrap();
        symlink("../secret", out.join("link")).unwrap();
        symlink("..", out.join("up")).unwrap();
        symlink("sub", out.join("inside")).unwrap();
        for bad in [
            "link",
            "up/secret",
            "../secret",
            "/etc/passwd",
            "inside/good",
            "sub",
        ] {
            assert!(open_beneath(&out, bad).is_err(), "{bad} was opened");
        }
        assert!(open_beneath(&out, "sub/good").is_ok());
    }

    #[test]
    fn inputs_are_linked_or_copied() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "data").unwrap();
        for (n, link) in [true, false].into_iter().enumerate() {
            let inputs = Inputs {
                stdin: Feed::File(source.clone()),
                files: vec![InputFile {
                    name: "a/b".to_owned(),
                    path: source.clone(),
                }],
            };
            let place_dir = dir.path().join(n.to_string());
            place(&place_dir, &inputs, link).unwrap();
            assert_eq!(fs::read(place_dir.join("files/a/b")).unwrap(), b"data");
            assert_eq!(fs::read(place_dir.join("stdin")).unwrap(), b"data");
        }
        let missing = Inputs {
            stdin: Feed::None,
            files: vec![InputFile {
                name: "x".to_owned(),
                path: "/nowhere".into(),
            }],
        };
        assert_eq!(place(&dir.path().join("9"), &missing, true).unwrap_err().0, "x");
    }
}
