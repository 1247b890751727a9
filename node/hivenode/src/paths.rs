//! Where everything lies: XDG, or one folder with `--data`.

use crate::output::CliError;
use etcetera::{BaseStrategy, base_strategy::Xdg};
use hive_runtime::port::Kind;
use std::path::{Path, PathBuf};

/// Longest path of a unix socket in bytes (`sun_path` less its end).
const SOCKET_PATH_MOST: usize = 107;

/// All places of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Configuration file.
    pub config: PathBuf,
    /// Keys, ledger, journal, blobs.
    pub data: PathBuf,
    /// Compiled modules.
    pub cache: PathBuf,
    /// Log of a detached daemon.
    pub log: PathBuf,
    /// The API's socket.
    pub socket: PathBuf,
    /// What others push.
    pub inbox: PathBuf,
    /// The one folder given with `--data`, if any.
    pub root: Option<PathBuf>,
}

impl Paths {
    /// Finds them.
    ///
    /// # Errors
    /// `paths.no_home`, `paths.bad_data`, `paths.socket_too_long`.
    pub fn find(root: Option<&Path>) -> Result<Self, CliError> {
        let paths = match root {
            Some(root) => {
                let root = std::path::absolute(root).map_err(|e| {
                    CliError::usage("paths.bad_data", format!("{} is no folder: {e}", root.display()))
                })?;
                Self::below(&root)
            }
            None => {
                let xdg = Xdg::new().map_err(|e| {
                    CliError::new(
                        Kind::Internal,
                        "paths.no_home",
                        format!("cannot find your home folder: {e}"),
                    )
                    .hint("hivenode --data DIR …")
                })?;
                Self::xdg(&xdg)
            }
        };
        let length = paths.socket.as_os_str().len();
        if length > SOCKET_PATH_MOST {
            return Err(CliError::usage(
                "paths.socket_too_long",
                format!(
                    "the socket's path {} has {length} bytes; the system allows {SOCKET_PATH_MOST}",
                    paths.socket.display()
                ),
            )
            .hint("choose a shorter folder: hivenode --data DIR …"));
        }
        Ok(paths)
    }

    fn below(root: &Path) -> Self {
        Self {
            config: root.join("config.toml"),
            data: root.join("data"),
            cache: root.join("cache"),
            log: root.join("hivenode.log"),
            socket: root.join("api.sock"),
            inbox: root.join("inbox"),
            root: Some(root.to_owned()),
        }
    }

    fn xdg(xdg: &Xdg) -> Self {
        let data = xdg.data_dir().join("hivenode");
        let state = xdg
            .state_dir()
            .unwrap_or_else(|| xdg.data_dir().join("state"))
            .join("hivenode");
        // Without a runtime folder (no login session) the socket lies beside the keys, as private as they are.
        let socket = xdg.runtime_dir().filter(|dir| dir.is_dir()).map_or_else(
            || data.join("api.sock"),
            |run| run.join("hivenode").join("api.sock"),
        );
        Self {
            config: xdg.config_dir().join("hivenode").join("config.toml"),
            cache: xdg.cache_dir().join("hivenode"),
            log: state.join("log").join("hivenode.log"),
            inbox: xdg.home_dir().join("hivenode").join("inbox"),
            socket,
            data,
            root: None,
        }
    }

    /// Makes the folders, readable by their owner only.
    ///
    /// # Errors
    /// `paths.cannot_create`.
    pub fn create(&self) -> Result<(), CliError> {
        let parents = [&self.log, &self.socket].into_iter().filter_map(|p| p.parent());
        let folders = [self.data.as_path(), self.cache.as_path()];
        parents.chain(folders).try_for_each(private_folder)
    }
}

/// Makes a folder for its owner only; one that exists is left as it is.
///
/// # Errors
/// `paths.cannot_create`.
pub fn private_folder(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            CliError::internal(
                "paths.cannot_create",
                format!("cannot create the folder {}: {e}", path.display()),
            )
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_folder_holds_everything() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::find(Some(dir.path())).unwrap();
        for p in [
            &paths.config,
            &paths.data,
            &paths.cache,
            &paths.log,
            &paths.socket,
            &paths.inbox,
        ] {
            assert!(p.starts_with(dir.path()), "{}", p.display());
        }
        paths.create().unwrap();
        assert!(paths.data.is_dir());
    }

    #[test]
    fn a_socket_path_too_long_is_named() {
        let long = format!("/tmp/{}", "x".repeat(120));
        let error = Paths::find(Some(Path::new(&long))).unwrap_err();
        assert_eq!(error.code, "paths.socket_too_long");
        assert_eq!(error.exit.0, 2);
    }
}
