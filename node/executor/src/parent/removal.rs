//! Removing what a guest has left: however deep it is, whatever it is called, and wherever its links lead.

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{Error, ErrorKind, Result},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Directories moved of one tree: more than any limit lets a guest make. One that broke out of its limits could go on
/// making them.
const MOST_MOVED: u64 = 1 << 22;

/// Removes a directory a guest may have filled, however deep it is; one that is missing is no error.
///
/// Every directory in it is first moved to its top: nothing is called or held open for each level, as it is in
/// `std::fs::remove_dir_all`, whose stack a guest can overflow. And everything is done from open directories, by single
/// names: whoever swaps one for a link meanwhile has the link removed, not what it leads to.
///
/// # Errors
/// What the system says of the first entry that can be neither listed, moved nor removed.
pub fn remove_tree(dir: &Path) -> Result<()> {
    let no_name = || Error::new(ErrorKind::InvalidInput, "a directory without a name");
    let name = dir.file_name().ok_or_else(no_name)?;
    let parent = match File::open(dir.parent().ok_or_else(no_name)?) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    let top = match open_dir(parent.as_fd(), name) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => {
            let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
                return Err(e.into());
            }
            return Ok(unlinkat(&parent, name, AtFlags::empty())?);
        }
    };
    let mut moved = 0;
    let mut open = Vec::new();
    clear(&top, |entry| {
        open.push(entry.to_owned());
        Ok(())
    })?;
    while let Some(name) = open.pop() {
        match open_dir(top.as_fd(), name.as_c_str()) {
            Ok(current) => {
                clear(&current, |entry| {
                    open.push(move_up(current.as_fd(), entry, top.as_fd(), &mut moved)?);
                    Ok(())
                })?;
                unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
            }
            // Swapped for something else since it was listed.
            Err(Errno::LOOP | Errno::NOTDIR) => unlinkat(&top, &name, AtFlags::empty())?,
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

fn open_dir<P: rustix::path::Arg>(at: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// Removes what is no directory, and hands over the names of those that are.
fn clear(dir: &OwnedFd, mut folder: impl FnMut(&CStr) -> Result<()>) -> Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(found.st_mode)
            }
            kind => kind,
        };
        if kind == FileType::Directory {
            folder(name)?;
        } else {
            unlinkat(dir, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Moves a directory to the top, under a name that nothing has there: a guest may have given names like ours.
fn move_up(from: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> Result<CString> {
    while *moved < MOST_MOVED {
        let to = CString::new(format!(".flat-{moved}"))?;
        *moved += 1;
        let done = match renameat_with(from, name, top, &to, RenameFlags::NOREPLACE) {
            // Not every file system knows how.
            Err(Errno::INVAL) => match statat(top, &to, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => renameat(from, name, top, &to),
                _ => Err(Errno::EXIST),
            },
            done => done,
        };
        match done {
            Err(Errno::EXIST) => {}
            done => return Ok(done.map(|()| to)?),
        }
    }
    Err(Error::other("more directories than any limit allows"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn a_very_deep_tree_is_removed() {
        /// Enough for one directory, not for one call each.
        const STACK: usize = 128 << 10;
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("work");
        fs::create_dir(&top).unwrap();
        // Deeper than PATH_MAX: built from the bottom up by moving.
        for _ in 0..5000 {
            let outer = dir.path().join("outer");
            fs::create_dir(&outer).unwrap();
            fs::rename(&top, outer.join("d")).unwrap();
            fs::rename(&outer, &top).unwrap();
        }
        let gone = top.clone();
        let small = std::thread::Builder::new().stack_size(STACK);
        let removed = small.spawn(move || remove_tree(&gone)).unwrap();
        removed.join().unwrap().unwrap();
        assert!(!top.exists());
        assert!(remove_tree(&top).is_ok(), "a missing tree is no error");
    }

    #[test]
    fn a_tree_with_names_like_ours_and_links_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (top, other) = (dir.path().join("work"), dir.path().join("other"));
        for n in 0..4 {
            fs::create_dir_all(top.join(format!(".flat-{n}/.flat-{}/a", n + 1))).unwrap();
            fs::write(top.join(format!(".flat-{n}/.flat-{}/f", n + 1)), "f").unwrap();
            fs::create_dir_all(top.join(format!("a/b{n}/c"))).unwrap();
        }
        fs::write(top.join(".flat-4"), "a file").unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "kept").unwrap();
        symlink(&other, top.join("a/link")).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert_eq!(fs::read(other.join("kept")).unwrap(), b"kept");
        fs::write(&top, "a file").unwrap();
        assert!(remove_tree(&top).is_err(), "a file is not taken for a tree");
    }

    #[test]
    fn a_link_in_the_place_of_a_tree_is_removed_and_what_it_leads_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (top, other) = (dir.path().join("work"), dir.path().join("other"));
        fs::create_dir_all(other.join("sub")).unwrap();
        fs::write(other.join("sub/kept"), "kept").unwrap();
        symlink(&other, &top).unwrap();
        remove_tree(&top).unwrap();
        assert!(top.symlink_metadata().is_err(), "the link is gone");
        assert_eq!(fs::read(other.join("sub/kept")).unwrap(), b"kept");
        // One that leads nowhere, and one below the top.
        symlink("nowhere", &top).unwrap();
        remove_tree(&top).unwrap();
        fs::create_dir(&top).unwrap();
        symlink(&other, top.join("link")).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists() && other.join("sub/kept").exists());
    }
}
