//! What brings here what others push: the push engine orders, the file engine moves.

use super::{desk::Desk, people::People};
use hive_files::{Audience, Existing, Files, PullRequest, Target};
use hive_protocol::ids::NodeId;
use hive_push::{News, Order, Puller};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often, and in which steps, the sender's name is waited for: ten seconds, more than the registry takes.
const NAME_LOOKS: u32 = 100;
const NAME_LOOK: Duration = Duration::from_millis(100);
/// Names tried before it is said that there is no free one.
const MAX_NAMES: u32 = 1000;

/// Pulls into a folder for each sender.
pub(super) struct FilePuller {
    pub(super) files: Files,
    pub(super) desk: Desk,
}

/// A name that is one plain name on every file system, made from what a stranger calls itself.
fn folder_name(people: &People, node: &NodeId) -> String {
    let name: String = people
        .name(node)
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(64)
        .collect();
    if name.is_empty() || name.starts_with('.') {
        node.short()
    } else {
        name
    }
}

/// `name`, `name (2)`, `name (3)`, … with the extension kept: the first that is free.
fn free_name(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    for n in 1..=MAX_NAMES {
        let tried = if n == 1 {
            folder.join(name)
        } else {
            folder.join(format!("{stem} ({n}){extension}"))
        };
        match fs::symlink_metadata(&tried) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(tried),
            Err(e) => return Err(format!("cannot look at {}: {e}", tried.display())),
        }
    }
    Err(format!(
        "{} things called `{name}` are in {} already",
        MAX_NAMES,
        folder.display()
    ))
}

/// Bytes free where this folder is, or will be.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Just after a start the registry may not have come yet, and the sender's folder is called after its name.
fn wait_for_name(people: &People, node: &NodeId) {
    for _ in 0..NAME_LOOKS {
        if !people.name(node).is_empty() {
            return;
        }
        std::thread::sleep(NAME_LOOK);
    }
}

/// A free path for what was sent: in the folder named by the user, or in the sender's own folder.
pub(super) fn place_below(people: &People, order: &Order) -> Result<String, String> {
    let folder = match &order.dest {
        Some(named) => PathBuf::from(named),
        None => {
            wait_for_name(people, &order.from);
            Path::new(&order.into).join(folder_name(people, &order.from))
        }
    };
    let path = free_name(&folder, &order.name)?;
    path.into_os_string()
        .into_string()
        .map_err(|_| "the folder's path is not UTF-8".to_owned())
}

impl Puller for FilePuller {
    fn place(&self, order: &Order) -> Result<String, String> {
        place_below(&self.desk.0.people, order)
    }

    fn begin(&self, order: Order, news: News) {
        let (files, desk) = (self.files.clone(), self.desk.clone());
        tokio::spawn(async move { bring(files, desk, order, news).await });
    }

    fn cancel(&self, order: &Order) {
        if let Some(transfer) = self.files.transfer(order.transfer) {
            transfer.cancel(false);
        }
    }

    fn free(&self, folder: &str) -> Option<u64> {
        free_bytes(Path::new(folder))
    }
}

/// Makes the folder a destination lies in.
pub(super) fn make_parent(dest: &Path) -> Result<(), String> {
    let Some(folder) = dest.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))
}

async fn bring(files: Files, desk: Desk, order: Order, news: News) {
    let Some(dest) = order.dest.clone() else {
        news.failed("no destination was chosen".to_owned(), false);
        return;
    };
    if let Err(why) = make_parent(Path::new(&dest)) {
        news.failed(why, false);
        return;
    }
    let transfer = match files.transfer(order.transfer) {
        // It was begun in an earlier life and goes on.
        Some(running) if !running.view().stage.ended() => running,
        _ => {
            let mut pull = PullRequest::new(order.root, order.folder, Target::Path(PathBuf::from(&dest)));
            pull.name.clone_from(&order.name);
            pull.size_hint = Some(order.size);
            // What the notice names is a promise: more is not taken for it.
            pull.max_bytes = order.size;
            pull.existing = Existing::Refuse;
            pull.hints = desk.hints([order.from], true);
            let others = order.hints.iter().copied().filter(|n| *n != order.from);
            pull.hints.extend(desk.hints(others, false));
            pull.priority = order.priority;
            // Those it was sent to serve each other, also when its sender has left.
            pull.audience = Audience::Nodes(order.hints.iter().copied().collect());
            pull.durable = false;
            pull.id = Some(order.transfer);
            match files.pull(pull).await {
                Ok(transfer) => transfer,
                Err(e) => {
                    news.failed(e.to_string(), worth_again(e.code()));
                    return;
                }
            }
        }
    };
    let mut seen = transfer.watch();
    let mut told = (0, 0);
    loop {
        let (ended, done, total, stalled) = {
            let view = seen.borrow_and_update();
            let why = view.stalled.as_ref().map(|s| s.why.clone());
            (view.stage.ended(), view.done, view.total.max(order.size), why)
        };
        if ended {
            break;
        }
        if let Some(why) = stalled {
            news.waiting(why);
        } else if told != (done, total) {
            told = (done, total);
            news.progress(done, total);
        }
        if seen.changed().await.is_err() {
            break;
        }
        // The engine says up to ten times a second; a sender needs it less often.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match transfer.done().await {
        Ok(_) => news.done(),
        Err(e) if e.code() == "file.stopped" => {} // The next start begins it again.
        Err(e) => news.failed(e.to_string(), worth_again(e.code())),
    }
}

/// Whether a later try may go better.
fn worth_again(code: &str) -> bool {
    code.starts_with("net.")
        || matches!(
            code,
            "file.no_provider" | "file.stopped" | "file.busy" | "store.disk_full" | "file.too_many_transfers"
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_in_use_gets_a_number_before_its_extension() {
        let dir = tempfile::tempdir().unwrap();
        let next = |name: &str| {
            let path = free_name(dir.path(), name).unwrap();
            fs::write(&path, b"").unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(next("a.tar"), "a.tar");
        assert_eq!(next("a.tar"), "a (2).tar");
        assert_eq!(next("a.tar"), "a (3).tar");
        assert_eq!(next(".rc"), ".rc");
        assert_eq!(next(".rc"), ".rc (2)");
    }

    #[test]
    fn free_space_is_that_of_the_nearest_folder_there_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            free_bytes(dir.path()).is_some(),
            free_bytes(&dir.path().join("not/yet")).is_some()
        );
    }
}
