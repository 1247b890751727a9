//! Which names the file system of a folder holds: found out by trying.

use crate::{
    ground::Ground,
    ignore::{STAGING, VERSIONS},
};
use hive_transfer::mirror::{Names, WindowsNames};
use std::borrow::Cow;

/// The rules of one file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probed {
    folds_case: bool,
    windows: bool,
}

impl Probed {
    /// Tries a few names in the staging folder.
    pub(crate) fn of(ground: &Ground) -> Self {
        let path = |name: &str| format!("{STAGING}/{name}");
        let (lower, odd) = (path("probe-a"), path("probe:?"));
        for leftover in [&lower, &odd] {
            let _ = ground.remove(leftover);
        }
        let folds_case =
            ground.create(&lower, 0o600).is_ok() && matches!(ground.stamp(&path("PROBE-A")), Ok(Some(_)));
        let _ = ground.remove(&lower);
        let windows = matches!(
            ground.create(&odd, 0o600),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::ILSEQ)
        );
        let _ = ground.remove(&odd);
        Self { folds_case, windows }
    }
}

impl Names for Probed {
    fn refuses(&self, name: &str) -> Option<&'static str> {
        if name == STAGING || name == VERSIONS {
            return Some("a name that mirrors use themselves");
        }
        self.windows.then(|| WindowsNames.refuses(name)).flatten()
    }
    fn key<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match self.folds_case {
            true => WindowsNames.key(path),
            false => Cow::Borrowed(path),
        }
    }
    fn folds(&self) -> bool {
        self.folds_case
    }
}
