//! Settings that hold at once: the file is looked at while the daemon runs, and when somebody asks for it.

use crate::{config::Settings, paths::Paths};
use hive_runtime::port::NodeHandle;
use std::{os::unix::fs::MetadataExt, path::Path, time::Duration};
use tokio::time::MissedTickBehavior;

/// How often it is looked whether the file has changed: soon enough for a person, nothing for a machine.
const LOOK: Duration = Duration::from_secs(1);

/// What is followed: the file, and the flags that win over it.
#[derive(Debug)]
pub struct Followed {
    /// Where the settings are.
    pub paths: Paths,
    /// Flags of this start.
    pub flags: Vec<(&'static str, String)>,
}

/// When a file was last written, and which file it was; `None` for one that is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.size()))
}

/// Tells the node of changed settings of files and pushes until it ends. A file that cannot be read changes nothing.
pub async fn follow(followed: Followed, node: NodeHandle) {
    let Followed { paths, flags } = followed;
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The file may have been changed since it was read for the start: the first look counts as a change.
    let mut known = None;
    // Kept over the looks: a word that came between two of them is not lost.
    let mut wanted = Box::pin(node.settings_wanted());
    loop {
        let asked = tokio::select! {
            _ = every.tick() => false,
            asked = &mut wanted => {
                if asked.is_err() {
                    // It stops.
                    return;
                }
                true
            }
        };
        let now = stamp(&paths.config);
        if asked || known != Some(now) {
            known = Some(now);
            let read = Settings::load(&paths, &flags).and_then(|s| s.node_config(&paths));
            let files = match read {
                Ok(config) => Some(config.files),
                Err(e) => {
                    tracing::warn!(target: "hive::daemon", code = %e.code, "the changed settings are not taken: {}", e.message);
                    None
                }
            };
            if node.file_settings(files).await.is_err() {
                return;
            }
        }
        if asked {
            wanted.set(node.settings_wanted());
        }
    }
}
