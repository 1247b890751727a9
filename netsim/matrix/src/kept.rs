//! What is kept of failed runs: the captures and logs of a pair that did not do what it must, for whoever looks for the
//! cause.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Most bytes kept of a log of a failed run.
const MAX_LOG: usize = 8 << 20;
/// Failed runs kept of one matrix: a capture may have 14 MB, and each run has several. Where more fail, the first ones
/// say enough.
const MAX_RUNS: usize = 32;
/// Failed runs kept of one combination.
const MAX_OF_ONE: usize = 4;

/// Matrices whose failed runs are kept side by side, the newest; each may have some gigabytes.
const MAX_MATRICES: usize = 10;

/// A folder for failed runs; made when the first one is kept.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// Whether it is one of many, called by the time each was begun.
    among_others: bool,
    runs: AtomicUsize,
    left_out: AtomicUsize,
}

impl Kept {
    /// Nothing yet.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            among_others: false,
            runs: AtomicUsize::new(0),
            left_out: AtomicUsize::new(0),
        }
    }

    /// Nothing yet, in a folder called by the time, in seconds, beside those of earlier times: when something is kept,
    /// the oldest of them go.
    #[must_use]
    pub fn among_others(folder: PathBuf) -> Self {
        Self {
            among_others: true,
            ..Self::new(folder)
        }
    }

    /// One line for the end of a matrix; none when nothing has failed.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        let (runs, left_out) = (
            self.runs.load(Ordering::Relaxed),
            self.left_out.load(Ordering::Relaxed),
        );
        let more = match left_out {
            0 => String::new(),
            n => format!(" (and {n} not kept)"),
        };
        let folder = self.folder.display();
        (runs + left_out > 0).then(|| {
            format!("failed runs kept with their logs and packet captures: {runs}{more}, in {folder}")
        })
    }

    /// Copies captures, logs and the networks' description out of a laboratory's folder, into one for the `n`th run of
    /// a combination. What cannot be kept is counted; it is not worth ending a matrix for.
    pub fn keep(&self, combination: &str, n: usize, home: &Path, plan: &str) {
        let of_this = self.folder.join(combination);
        let kept = fs::read_dir(&of_this).map_or(0, Iterator::count);
        if self.among_others && !self.folder.exists() {
            make_room(&self.folder);
        }
        let place = kept < MAX_OF_ONE && self.runs.fetch_add(1, Ordering::Relaxed) < MAX_RUNS;
        if place && copy(home, &of_this.join(n.to_string()), plan).is_ok() {
            return;
        }
        if kept < MAX_OF_ONE {
            self.runs.fetch_sub(1, Ordering::Relaxed);
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }
}

/// Deletes the oldest folders beside one that is about to be made, all but a few. What is not called by a time is
/// somebody else's.
fn make_room(folder: &Path) {
    let Some(parent) = folder.parent() else { return };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let time = |path: PathBuf| Some((path.file_name()?.to_str()?.parse::<u64>().ok()?, path));
    let mut earlier: Vec<_> = entries.filter_map(|e| time(e.path())).collect();
    earlier.sort_unstable();
    let too_many = (earlier.len() + 1).saturating_sub(MAX_MATRICES);
    for (_, old) in earlier.iter().take(too_many) {
        // What cannot be deleted stays; it is not worth ending a matrix for.
        let _ = fs::remove_dir_all(old);
    }
}

fn copy(home: &Path, to: &Path, plan: &str) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(home)?.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if let Ok(log) = fs::read(path.join("log")) {
                let end = log.get(log.len().saturating_sub(MAX_LOG)..).unwrap_or_default();
                fs::write(to.join(name).with_extension("log"), end)?;
            }
        } else if path.extension().is_some_and(|e| e == "pcap" || e == "json") {
            fs::copy(&path, to.join(name))?;
        }
    }
    fs::write(to.join("plan.txt"), plan)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A laboratory's folder after a run, and one to keep things in, gone when dropped.
    struct Folders(PathBuf);

    impl Folders {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("hive-kept-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("home/a1")).unwrap();
            fs::write(root.join("home/a1/log"), "what it said").unwrap();
            fs::write(root.join("home/a1/key"), "nobody's business").unwrap();
            fs::write(root.join("home/a.pcap"), "packets").unwrap();
            fs::write(root.join("home/paths.json"), "{}").unwrap();
            Self(root)
        }
        fn home(&self) -> PathBuf {
            self.0.join("home")
        }
        fn kept(&self) -> PathBuf {
            self.0.join("kept")
        }
    }

    impl Drop for Folders {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn logs_captures_and_the_plan_of_a_failed_run_are_kept_and_told() {
        let folders = Folders::new("told");
        let kept = Kept::new(folders.kept());
        assert!(
            kept.said().is_none() && !folders.kept().exists(),
            "nothing failed"
        );
        kept.keep("cone-to-cone", 3, &folders.home(), "net wan");
        let run = folders.kept().join("cone-to-cone/3");
        let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
        assert_eq!(read("a1.log"), "what it said");
        assert_eq!(
            (read("a.pcap"), read("paths.json")),
            ("packets".into(), "{}".into())
        );
        assert_eq!(read("plan.txt"), "net wan");
        assert_eq!(fs::read_dir(&run).unwrap().count(), 4, "and nothing else");
        let said = kept.said().unwrap();
        assert!(said.contains("captures: 1, in ") && said.contains(&folders.kept().display().to_string()));
    }

    #[test]
    fn of_earlier_matrices_the_newest_stay() {
        let folders = Folders::new("earlier");
        let all = folders.kept();
        for name in ["7", "99", "1000", "mine", "100x"].map(str::to_owned) {
            fs::create_dir_all(all.join(name).join("a")).unwrap();
        }
        for time in 2000..2008 {
            fs::create_dir_all(all.join(time.to_string())).unwrap();
        }
        let kept = Kept::among_others(all.join("3000"));
        assert_eq!(fs::read_dir(&all).unwrap().count(), 13, "nothing has failed yet");
        for n in 0..2 {
            kept.keep("cone-to-cone", n, &folders.home(), "");
        }
        let mut names: Vec<_> = fs::read_dir(&all)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let stay = [
            "1000", "100x", "2000", "2001", "2002", "2003", "2004", "2005", "2006", "2007", "3000", "mine",
        ];
        assert_eq!(names, stay);
        // A folder somebody has named is never tidied.
        Kept::new(all.join("4000")).keep("cone-to-cone", 0, &folders.home(), "");
        assert_eq!(fs::read_dir(&all).unwrap().count(), 13);
    }

    #[test]
    fn where_much_fails_the_first_ones_are_kept() {
        let folders = Folders::new("much");
        let kept = Kept::new(folders.kept());
        for combination in 0..20 {
            for n in 0..5 {
                kept.keep(&combination.to_string(), n, &folders.home(), "");
            }
        }
        let runs = |c: usize| fs::read_dir(folders.kept().join(c.to_string())).map_or(0, Iterator::count);
        assert_eq!((0..20).map(runs).max(), Some(MAX_OF_ONE));
        assert_eq!((0..20).map(runs).sum::<usize>(), MAX_RUNS);
        let said = kept.said().unwrap();
        assert!(said.contains("captures: 32 (and 68 not kept), in "), "{said}");
    }
}
