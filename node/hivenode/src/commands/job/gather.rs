//! From the paths on the command line to the inputs of a job, in sorted order.

use super::report::Failure;
use crate::output::CliError;
use hive_protocol::task::MAX_TASKS_PER_JOB;
use hive_runtime::port::Kind;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, DirEntry, File},
    path::{Path, PathBuf},
};

/// An input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place below the output folder, and its name in all reports.
    pub label: String,
    /// Where it lies: absolute, valid UTF-8.
    pub path: PathBuf,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Inputs.
    pub entries: Vec<Entry>,
    /// Inputs that cannot be submitted; they count as failed.
    pub bad: Vec<Failure>,
    /// What is no input: symbolic links, sockets, the output folder: (path, why).
    pub skipped: Vec<(String, &'static str)>,
}

/// Collects files, and folders with everything below them. `out` itself is left out where it lies inside.
///
/// # Errors
/// `job.missing_input` when a path named does not exist, `job.no_input` when nothing was found,
/// `job.too_many_tasks`.
pub fn gather(paths: &[PathBuf], out: &Path) -> Result<Gathered, CliError> {
    let mut roots = Vec::new();
    let mut missing = Vec::new();
    for path in paths {
        match path.canonicalize() {
            Ok(whole) => roots.push(whole),
            Err(e) => missing.push(format!("{}: {e}", path.display())),
        }
    }
    if let Some(first) = missing.first() {
        let mut error = CliError::new(Kind::NotFound, "job.missing_input", format!("input {first}"));
        for other in missing.iter().skip(1).take(20) {
            error = error.note("also", other.clone());
        }
        return Err(error.note("note", "nothing was submitted"));
    }
    let mut walk = Walk {
        found: Gathered::default(),
        out: out.canonicalize().ok(),
    };
    let alone = roots.len() == 1;
    let mut taken = BTreeSet::new();
    for root in &roots {
        // One folder is mirrored as it is; several paths get a name each, so that none hides another.
        if alone && root.is_dir() {
            walk.folder(root, "")?;
            continue;
        }
        let name = root
            .file_name()
            .map_or_else(|| OsString::from("root"), OsString::from);
        let Some(name) = name.to_str() else {
            walk.bad_name(root);
            continue;
        };
        let label = free_name(name, &mut taken);
        if root.is_dir() {
            walk.folder(root, &label)?;
        } else {
            walk.file(root, label)?;
        }
    }
    if walk.found.entries.is_empty() && walk.found.bad.is_empty() {
        let where_: Vec<String> = paths.iter().take(3).map(|p| p.display().to_string()).collect();
        let mut error = CliError::usage("job.no_input", format!("no file in {}", where_.join(", ")));
        if !walk.found.skipped.is_empty() {
            error = error.note(
                "note",
                format!(
                    "{} symbolic links or special files were skipped",
                    walk.found.skipped.len()
                ),
            );
        }
        return Err(error.hint("name files, or a folder with files in it"));
    }
    Ok(walk.found)
}

/// `name`, or `name~2`, `name~3` … where it is taken.
fn free_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut label = name.to_owned();
    let mut number = 2_u32;
    while !taken.insert(label.clone()) {
        label = format!("{name}~{number}");
        number += 1;
    }
    label
}

struct Walk {
    found: Gathered,
    out: Option<PathBuf>,
}

impl Walk {
    fn fail(&mut self, input: String, code: &str, message: String) {
        self.found.bad.push(Failure {
            input,
            task: None,
            code: code.into(),
            message,
            exit_code: None,
        });
    }

    fn bad_name(&mut self, path: &Path) {
        let shown = path.to_string_lossy().into_owned();
        self.fail(
            shown,
            "job.bad_name",
            "the name is not UTF-8 and cannot travel".into(),
        );
    }

    fn file(&mut self, path: &Path, label: String) -> Result<(), CliError> {
        if self.found.entries.len() >= MAX_TASKS_PER_JOB as usize {
            return Err(CliError::usage(
                "job.too_many_tasks",
                format!("more than {MAX_TASKS_PER_JOB} files; a job takes at most so many"),
            )
            .hint("run it folder by folder"));
        }
        if path.to_str().is_none() {
            self.bad_name(path);
            return Ok(());
        }
        // Found out here, one unreadable file costs itself; found out by the daemon, it would cost its batch.
        if let Err(e) = File::open(path) {
            self.fail(label, "job.unreadable_input", format!("cannot read it: {e}"));
            return Ok(());
        }
        self.found.entries.push(Entry {
            label,
            path: path.to_owned(),
        });
        Ok(())
    }

    fn folder(&mut self, root: &Path, prefix: &str) -> Result<(), CliError> {
        // Entries still to visit, deepest last; reversed so that the smallest name is visited first.
        let mut stack = self.children(root, prefix);
        while let Some((path, label)) = stack.pop() {
            let kind = match fs::symlink_metadata(&path) {
                Ok(meta) => meta.file_type(),
                Err(e) => {
                    self.fail(label, "job.unreadable_input", format!("cannot read it: {e}"));
                    continue;
                }
            };
            if kind.is_symlink() {
                self.found.skipped.push((label, "a symbolic link"));
            } else if kind.is_dir() {
                if self.out.as_deref() == Some(path.as_path()) {
                    self.found.skipped.push((label, "the output folder"));
                } else {
                    stack.extend(self.children(&path, &label));
                }
            } else if kind.is_file() {
                self.file(&path, label)?;
            } else {
                self.found.skipped.push((label, "no regular file"));
            }
        }
        Ok(())
    }

    /// What lies in a folder, largest name first.
    fn children(&mut self, folder: &Path, prefix: &str) -> Vec<(PathBuf, String)> {
        let list: Result<Vec<DirEntry>, _> = fs::read_dir(folder).and_then(Iterator::collect);
        let mut list = match list {
            Ok(list) => list,
            Err(e) => {
                let shown = if prefix.is_empty() {
                    folder.display().to_string()
                } else {
                    prefix.to_owned()
                };
                self.fail(
                    shown,
                    "job.unreadable_input",
                    format!("cannot list the folder: {e}"),
                );
                return Vec::new();
            }
        };
        list.sort_by_key(|e| std::cmp::Reverse(e.file_name()));
        let mut children = Vec::with_capacity(list.len());
        for entry in list {
            let path = entry.path();
            match entry.file_name().to_str() {
                Some(name) if prefix.is_empty() => children.push((path, name.to_owned())),
                Some(name) => children.push((path, format!("{prefix}/{name}"))),
                None => self.bad_name(&path),
            }
        }
        children
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::{ffi::OsStringExt, fs::symlink};

    fn labels(g: &Gathered) -> Vec<&str> {
        g.entries.iter().map(|e| e.label.as_str()).collect()
    }

    #[test]
    fn a_folder_is_mirrored_sorted_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["b/2", "b/1", "a", "c/d/e", "hive-out/old"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        symlink("a", root.join("z")).unwrap();
        let bad = OsString::from_vec(vec![b'x', 0xff]);
        fs::write(root.join(&bad), "").unwrap();
        let g = gather(&[root.to_owned()], &root.join("hive-out")).unwrap();
        assert_eq!(labels(&g), ["a", "b/1", "b/2", "c/d/e"]);
        assert_eq!(g.skipped.len(), 2, "{:?}", g.skipped);
        assert_eq!(g.bad.len(), 1);
        assert_eq!(g.bad[0].code, "job.bad_name");
        assert!(g.entries.iter().all(|e| e.path.is_absolute()));
    }

    #[test]
    fn several_paths_never_hide_each_other() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x/f", "y/x/f", "y/z"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let at = |n: &str| dir.path().join(n);
        let g = gather(&[at("x"), at("y/x"), at("x/f"), at("y/z")], Path::new("/none")).unwrap();
        assert_eq!(labels(&g), ["x/f", "x~2/f", "f", "z"]);
    }

    #[test]
    fn nothing_and_missing_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = gather(&[dir.path().to_owned()], Path::new("/none")).unwrap_err();
        assert_eq!((error.code.as_str(), error.exit.0), ("job.no_input", 2));
        let error = gather(
            &[dir.path().to_owned(), dir.path().join("no")],
            Path::new("/none"),
        )
        .unwrap_err();
        assert_eq!((error.code.as_str(), error.exit.0), ("job.missing_input", 3));
    }
}
