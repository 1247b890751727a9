//! What is not mirrored: the mirror's own leftovers, and what `.hiveignore` in the folder names.
//!
//! One pattern a line, as in the ignore files of version control: `#` begins a comment, `!` takes back, `/` at the
//! end means folders only, a `/` before it ties the pattern to the folder itself, otherwise it holds in every folder.
//! What lies in an ignored folder is not looked at, so it cannot be taken back.

use crate::error::SyncError;
use globset::{GlobBuilder, GlobMatcher};

/// Name of the file with the patterns.
pub const IGNORE_FILE: &str = ".hiveignore";
/// Folder at a receiver in which old versions are kept.
pub const VERSIONS: &str = ".hive-versions";
/// Folder at a receiver in which contents wait for their places.
pub const STAGING: &str = ".hive-sync.part";
/// The largest file of patterns that is read, in bytes.
pub(crate) const MAX_IGNORE: u64 = 256 << 10;
/// Patterns in it: each is tried on every path.
const MAX_PATTERNS: usize = 1000;

struct Pattern {
    matcher: GlobMatcher,
    folders_only: bool,
    takes_back: bool,
}

/// The patterns of one folder.
#[derive(Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

impl Ignore {
    pub(crate) fn parse(text: &str) -> Result<Self, SyncError> {
        let mut patterns = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let bad = |why: String| SyncError::BadIgnore { line: at + 1, why };
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if patterns.len() == MAX_PATTERNS {
                return Err(bad(format!("more than {MAX_PATTERNS} patterns")));
            }
            let (takes_back, rest) = line.strip_prefix('!').map_or((false, line), |r| (true, r));
            let rest = rest
                .strip_prefix('\\')
                .filter(|r| r.starts_with(['#', '!']))
                .unwrap_or(rest);
            let (folders_only, rest) = rest.strip_suffix('/').map_or((false, rest), |r| (true, r));
            let glob = match rest.strip_prefix('/') {
                Some(tied) => tied.to_owned(),
                None if rest.contains('/') => rest.to_owned(),
                None => format!("**/{rest}"),
            };
            if glob.is_empty() || glob == "**/" {
                return Err(bad("it is empty".to_owned()));
            }
            let built = GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build();
            patterns.push(Pattern {
                matcher: built.map_err(|e| bad(e.kind().to_string()))?.compile_matcher(),
                folders_only,
                takes_back,
            });
        }
        Ok(Self { patterns })
    }

    /// Whether a path below the folder is left out.
    pub(crate) fn leaves_out(&self, path: &str, folder: bool) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        if own(name) {
            return true;
        }
        let last = self
            .patterns
            .iter()
            .rev()
            .find(|p| (folder || !p.folders_only) && p.matcher.is_match(path));
        last.is_some_and(|p| !p.takes_back)
    }
}

/// Whether a name is one of a mirror's or a transfer's own: never sent on.
pub(crate) fn own(name: &str) -> bool {
    name == VERSIONS || name == STAGING || (name.starts_with('.') && name.ends_with(".part"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_mean_what_people_expect() {
        let text =
            "# comment\n*.tmp\n!keep.tmp\n/build\nnode_modules/\ndocs/*.pdf\n**/cache/**\n\\#odd\n[ab].txt\n";
        let i = Ignore::parse(text).unwrap();
        for path in [
            "a.tmp",
            "d/e/b.tmp",
            "build",
            "docs/x.pdf",
            "x/cache/y",
            "#odd",
            "a.txt",
            ".x.ab12.part",
            "sub/.hive-versions",
            ".hive-sync.part",
        ] {
            assert!(i.leaves_out(path, false), "{path}");
        }
        for path in [
            "keep.tmp",
            "d/build",
            "docs/d/x.pdf",
            "node_modules",
            "c.txt",
            "my.part",
        ] {
            assert!(!i.leaves_out(path, false), "{path}");
        }
        assert!(i.leaves_out("d/node_modules", true));
    }

    #[test]
    fn a_bad_pattern_is_named_by_its_line() {
        let error = Ignore::parse("ok\n\n[z-a]\n").err().unwrap();
        assert!(matches!(error, SyncError::BadIgnore { line: 3, .. }), "{error}");
        assert!(Ignore::parse("!\n").is_err() && Ignore::parse("/\n").is_err());
        assert!(Ignore::parse(&"x\n".repeat(2000)).is_err());
    }
}
