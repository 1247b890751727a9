//! One provider, one receiver.

use crate::node::{TestNode, noise, soon, start};
use hive_files::{Audience, PullRequest, Stage, Target};
use hive_protocol::ids::BlobHash;
use hive_store::files::AddOptions;
use std::{path::Path, sync::atomic::AtomicBool};

/// Takes a path in and shares it with all members.
pub async fn share(node: &TestNode, path: &Path) -> BlobHash {
    let options = AddOptions {
        tag: Some("test"),
        ..AddOptions::default()
    };
    let added = node
        .files
        .store()
        .add_path(path, &options, &AtomicBool::new(false))
        .unwrap();
    node.files
        .share(added.root.hash, Audience::Members)
        .await
        .unwrap();
    added.root.hash
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_every_interesting_size_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(10, &dir.path().join("a")).await,
        start(11, &dir.path().join("b")).await,
    );
    for (n, size) in [
        0,
        1,
        65_535,
        65_536,
        65_537,
        4 << 20,
        (4 << 20) + 1,
        (13 << 20) + 70_001,
    ]
    .into_iter()
    .enumerate()
    {
        let from = a.path(&format!("file{n}"));
        std::fs::write(&from, noise(n as u64, size)).unwrap();
        let root = share(&a, &from).await;
        let to = b.path(&format!("got{n}"));
        let mut request = PullRequest::new(root, false, Target::Path(to.clone()));
        request.hints = vec![a.hint()];
        let transfer = b.files.pull(request).await.unwrap();
        let done = soon("the pull", transfer.done()).await;
        let pulled = done.unwrap_or_else(|e| panic!("{size} bytes: {e}"));
        assert_eq!((pulled.bytes, pulled.fetched), (size as u64, size as u64));
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&from).unwrap());
        let view = transfer.view();
        assert_eq!(
            (view.stage, view.done, view.total),
            (Stage::Done, size as u64, size as u64)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_arrives_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(12, &dir.path().join("a")).await,
        start(13, &dir.path().join("b")).await,
    );
    let from = a.path("folder");
    std::fs::create_dir_all(from.join("deep/er")).unwrap();
    std::fs::create_dir_all(from.join("empty")).unwrap();
    for n in 0..300_u64 {
        std::fs::write(from.join(format!("deep/f{n}")), noise(n, (n * 331) as usize)).unwrap();
    }
    for n in 0..6_u64 {
        std::fs::write(
            from.join(format!("deep/er/big{n}")),
            noise(1000 + n, (3 << 20) + n as usize * 1_500_000),
        )
        .unwrap();
    }
    std::os::unix::fs::symlink("deep/f1", from.join("link")).unwrap();
    let root = share(&a, &from).await;
    let to = b.path("got");
    let mut request = PullRequest::new(root, true, Target::Path(to.clone()));
    request.hints = vec![a.hint()];
    let transfer = b.files.pull(request).await.unwrap();
    let pulled = soon("the pull", transfer.done()).await.unwrap();
    assert_eq!(pulled.files, 306);
    let same = std::process::Command::new("diff")
        .arg("-r")
        .arg("--no-dereference")
        .args([&from, &to])
        .status()
        .unwrap();
    assert!(same.success());
    assert!(to.join("empty").is_dir());
    let view = transfer.view();
    assert_eq!((view.stage, view.files_done, view.files), (Stage::Done, 306, 306));
}
