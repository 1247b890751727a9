//! Walks a directory a guest has written: counts what is there and lists regular files. Never follows
//! a link, never goes deeper or further than the limits.

use super::control::Stop;
use crate::task::{Limits, MAX_FILES, MAX_OUTPUT_DEPTH, MAX_PATH_BYTES, OutputFile};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;

/// What a task has on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Measure {
    fn add(&mut self, relative: &str, meta: &Metadata, limits: &Limits) -> Result<(), Stop> {
        self.entries += 1;
        let most = u64::from(limits.files.min(MAX_FILES));
        if self.entries > most {
            return Err(Stop::Files {
                what: "files and directories",
                limit: most,
            });
        }
        if meta.is_file() {
            let size = meta.len();
            if size > limits.file_bytes {
                let what = format!("file {:?}", shorten(relative));
                return Err(Stop::Output {
                    what,
                    bytes: size,
                    limit: limits.file_bytes,
                });
            }
            self.bytes = self.bytes.saturating_add(size);
            self.check(limits)?;
        }
        Ok(())
    }

    /// Whether the sum is within the limit; `bytes` may have been added to from elsewhere.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Stop> {
        if self.bytes > limits.output_bytes {
            let what = "all output".to_owned();
            return Err(Stop::Output {
                what,
                bytes: self.bytes,
                limit: limits.output_bytes,
            });
        }
        Ok(())
    }
}

fn shorten(path: &str) -> String {
    path.chars().take(100).collect()
}

/// Adds everything below `dir` to `measure`; an error is the limit it breaks.
pub(super) fn measure(dir: &Path, limits: &Limits, measure: &mut Measure) -> Result<(), Stop> {
    walk(dir, &mut |relative, meta| measure.add(relative, meta, limits))
}

/// Lists the regular files below `dir`, sorted, and adds everything to `measure`.
pub(super) fn list(dir: &Path, limits: &Limits, measure: &mut Measure) -> Result<Vec<OutputFile>, Stop> {
    let mut files = Vec::new();
    let mut names = 0usize;
    walk(dir, &mut |relative, meta| {
        measure.add(relative, meta, limits)?;
        if meta.is_file() {
            names = names.saturating_add(relative.len());
            if names > MAX_PATH_BYTES {
                return Err(Stop::Files {
                    what: "bytes of all paths",
                    limit: MAX_PATH_BYTES as u64,
                });
            }
            files.push(OutputFile {
                path: relative.to_owned(),
                bytes: meta.len(),
            });
        }
        Ok(())
    })?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(top: &Path, visit: &mut dyn FnMut(&str, &Metadata) -> Result<(), Stop>) -> Result<(), Stop> {
    // Bounded by the entry limit, which `visit` enforces.
    let mut open = vec![(String::new(), 0usize)];
    while let Some((base, depth)) = open.pop() {
        let entries = match std::fs::read_dir(top.join(&base)) {
            Ok(entries) => entries,
            // A running guest may have removed it.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(Stop::Host(format!("listing outputs: {e}"))),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) if e.kind() == ErrorKind::NotFound => break,
                Err(e) => return Err(Stop::Host(format!("listing outputs: {e}"))),
            };
            // WASI names are UTF-8; anything else did not come from a guest.
            let Ok(name) = entry.file_name().into_string() else {
                return Err(Stop::Host("an output's name is not UTF-8".to_owned()));
            };
            let relative = if base.is_empty() {
                name
            } else {
                format!("{base}/{name}")
            };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(Stop::Host(format!("listing outputs: {e}"))),
            };
            visit(&relative, &meta)?;
            if meta.is_dir() {
                if depth + 1 >= MAX_OUTPUT_DEPTH {
                    return Err(Stop::Files {
                        what: "directories inside each other",
                        limit: MAX_OUTPUT_DEPTH as u64,
                    });
                }
                open.push((relative, depth + 1));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::fs;

    fn limits() -> Limits {
        Limits {
            files: 10,
            output_bytes: 100,
            file_bytes: 60,
            ..Limits::default()
        }
    }

    #[test]
    fn lists_files_with_odd_names_and_skips_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/\n\u{1b}[31m"), "12345").unwrap();
        fs::write(dir.path().join("z"), "1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let mut sum = Measure::default();
        let files = list(dir.path(), &limits(), &mut sum).unwrap();
        let paths: Vec<_> = files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["a/\n\u{1b}[31m", "z"]);
        assert_eq!(sum, Measure { bytes: 6, entries: 4 });
    }

    #[test]
    fn every_limit_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let check = || measure(dir.path(), &limits(), &mut Measure::default());
        fs::File::create(dir.path().join("sparse"))
            .unwrap()
            .set_len(61)
            .unwrap();
        assert!(matches!(check(), Err(Stop::Output { limit: 60, .. })));
        fs::write(dir.path().join("sparse"), [0; 60]).unwrap();
        fs::write(dir.path().join("more"), [0; 41]).unwrap();
        assert!(matches!(check(), Err(Stop::Output { limit: 100, .. })));
        fs::remove_file(dir.path().join("more")).unwrap();
        for i in 0..10 {
            fs::write(dir.path().join(i.to_string()), "").unwrap();
        }
        assert!(matches!(check(), Err(Stop::Files { limit: 10, .. })));
    }

    #[test]
    fn a_deep_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let deep = ["d"; MAX_OUTPUT_DEPTH + 1].join("/");
        fs::create_dir_all(dir.path().join(deep)).unwrap();
        let wide = Limits {
            files: 1000,
            ..limits()
        };
        assert!(matches!(
            measure(dir.path(), &wide, &mut Measure::default()),
            Err(Stop::Files { limit: 32, .. })
        ));
    }
}
