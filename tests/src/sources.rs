//! Source files as text: where they lie, which lines are tests, which rules of form they break.
//!
//! Owns the rules of form. Must not know what the code does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Most lines of a source file. Above it, a file has more than one concept.
pub const MAX_LINES: usize = 450;
/// Most lines of a test file.
pub const MAX_TEST_LINES: usize = 700;
/// Names that say nothing of what a module owns.
pub const NAMELESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];
/// What no file may hold: unfinished or debugging code, and queues without a bound.
pub const NEVER: &[&str] = &[
    "todo!(",
    "unimplemented!(",
    "dbg!(",
    "unbounded_channel",
    "mpsc::unbounded",
    "UnboundedSender",
];
/// Where a machine's own folders would show.
pub const MACHINE_PATHS: &[&str] = &["/root/", "/home/", "/work/"];
/// Text that looks like a machine's path and is none.
pub const NO_MACHINE_PATHS: &[&str] = &["/hive/work/", "/home/me/"];

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    // Asked for at run time: a shared target folder may hold a test program built from another checkout.
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A source file: its name below the workspace and its text.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path below the workspace's folder, with `/`.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// Whether the whole file is test code: an integration test, a bench, or a `tests` module of its own.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.name
            .split('/')
            .any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
            && !self.name.starts_with("tests/src/")
    }

    /// Numbered lines outside `#[cfg(test)]` modules.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.split()
            .into_iter()
            .filter(|(_, test, _)| !test)
            .map(|(n, _, line)| (n, line))
    }

    /// Numbered lines of test code.
    pub fn test_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let all = self.is_test();
        self.split()
            .into_iter()
            .filter(move |(_, test, _)| all || *test)
            .map(|(n, _, line)| (n, line))
    }

    /// Every line with its number and whether it stands in a `#[cfg(test)]` module. Relies on rustfmt: a module
    /// ends at the first line that is a closing brace at the indentation of its attribute.
    fn split(&self) -> Vec<(usize, bool, &str)> {
        let mut out = Vec::new();
        let mut until: Option<String> = None;
        for (at, line) in self.text.lines().enumerate() {
            if until.is_none() && line.trim_start().starts_with("#[cfg(test)]") {
                let indent = line.len() - line.trim_start().len();
                until = Some(format!("{}}}", " ".repeat(indent)));
            }
            out.push((at + 1, until.is_some(), line));
            if let Some(end) = &until {
                let indent = line.len() - line.trim_start().len();
                let single = line.ends_with(';') && indent + 1 == end.len();
                let declares = ["mod ", "pub mod ", "pub(crate) mod ", "use ", "pub use "]
                    .iter()
                    .any(|d| line.trim_start().starts_with(d));
                if line == end || (single && declares) {
                    until = None;
                }
            }
        }
        out
    }

    /// Every rule of form this Rust file breaks, one line each.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.text.starts_with("//!") {
            found.push(format!("{}: does not begin with a `//!` head", self.name));
        }
        let (lines, limit) = (
            self.text.lines().count(),
            if self.is_test() { MAX_TEST_LINES } else { MAX_LINES },
        );
        if lines > limit {
            found.push(format!(
                "{}: {lines} lines, at most {limit}: split it by concept",
                self.name
            ));
        }
        let parts = self.name.trim_end_matches(".rs").split('/');
        for part in parts.filter(|p| NAMELESS.contains(p)) {
            found.push(format!(
                "{}: `{part}` names no owner: find the noun it serves",
                self.name
            ));
        }
        // The lists above are the one place where these words may stand.
        if self.name != "tests/src/sources.rs" && self.name != "tests/tests/tidy.rs" {
            for (at, line) in self.text.lines().enumerate() {
                for word in NEVER.iter().filter(|w| line.contains(**w)) {
                    found.push(format!("{}:{}: holds `{word}`", self.name, at + 1));
                }
            }
        }
        found.extend(self.ignored_without_need());
        found
    }

    /// `#[ignore]` must say what it needs and how to run it, or which test starts it.
    fn ignored_without_need(&self) -> Vec<String> {
        let says_why = |line: &str| {
            (line.starts_with("#[ignore = \"needs ") && line.contains(": cargo "))
                || line.starts_with("#[ignore = \"started by ")
        };
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at, line.trim()))
            .filter(|(_, line)| line.starts_with("#[ignore") && !says_why(line))
            .map(|(at, _)| {
                format!(
                    "{}:{}: write #[ignore = \"needs …: cargo test …\"]",
                    self.name,
                    at + 1
                )
            })
            .collect()
    }

    /// Lines of test code that wait by the clock. A line, or the one above it, may say `// paced: why`.
    #[must_use]
    pub fn sleeps_in_tests(&self) -> Vec<String> {
        let lines: Vec<&str> = self.text.lines().collect();
        let excused = |number: usize| {
            [number.checked_sub(1), number.checked_sub(2)]
                .into_iter()
                .flatten()
                .any(|at| lines.get(at).is_some_and(|l| l.contains("// paced: ")))
        };
        self.test_lines()
            .filter(|(_, line)| {
                let code = line.split("//").next().unwrap_or_default();
                ["thread::sleep(", "time::sleep(", "sleep(Duration", "sleep_ms("]
                    .iter()
                    .any(|s| code.contains(s))
            })
            .filter(|(number, _)| !excused(*number))
            .map(|(number, line)| format!("{}:{number}: {}", self.name, line.trim()))
            .collect()
    }
}

/// Machine paths in a text file, one line each.
#[must_use]
pub fn machine_paths(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let plain = NO_MACHINE_PATHS
            .iter()
            .fold(line.to_owned(), |l, ok| l.replace(ok, ""));
        for path in MACHINE_PATHS.iter().filter(|p| plain.contains(**p)) {
            found.push(format!("{}:{}: names {path}", source.name, at + 1));
        }
    }
    found
}

/// All Rust files of the workspace, sorted by name.
#[must_use]
pub fn rust_files() -> Vec<Source> {
    rust_files_in(&root())
}

/// All Rust files below a folder, sorted by name; build folders and hidden ones are left out.
#[must_use]
pub fn rust_files_in(folder: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.retain(|path| path.extension().is_some_and(|e| e == "rs"));
    found.sort();
    found.iter().filter_map(|path| read(path)).collect()
}

/// All text files that belong to the repository: what git tracks, or everything where there is no git.
#[must_use]
pub fn text_files() -> Vec<Source> {
    let listed = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z"])
        .output();
    let mut paths: Vec<PathBuf> = match listed {
        Ok(out) if out.status.success() && !out.stdout.is_empty() => String::from_utf8_lossy(&out.stdout)
            .split('\0')
            .filter(|p| !p.is_empty())
            .map(|p| root().join(p))
            .collect(),
        _ => {
            let mut all = Vec::new();
            walk(&root(), &mut all);
            all
        }
    };
    paths.sort();
    paths.iter().filter_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Option<Source> {
    let text = fs::read_to_string(path).ok()?;
    let name = path
        .strip_prefix(root())
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/");
    Some(Source { name, text })
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.to_string_lossy().starts_with('.');
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !hidden && name != "target" => walk(&path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}
