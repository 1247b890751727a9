//! Pausing, cancelling, going on, sharing one transfer, reading parts, older versions.

use crate::{
    node::{noise, now, soon, start, until_still},
    pulls::share,
};
use hive_files::{
    Audience, Direction, Existing, Hint, LimitsConfig, PullRequest, RangeRequest, Schedule, Stage, Target,
    Wanted,
};
use hive_protocol::{file::Via, ids::BlobHash};
use hive_store::files::AddOptions;
use std::{path::PathBuf, sync::atomic::AtomicBool};
use tokio::io::AsyncReadExt;

fn request(root: BlobHash, to: PathBuf, hints: Vec<Hint>) -> PullRequest {
    let mut request = PullRequest::new(root, false, Target::Path(to));
    request.hints = hints;
    request.lookup = false;
    request
}

fn limit(rate: u64) -> LimitsConfig {
    LimitsConfig {
        node: Schedule::always(Some(rate)),
        ..LimitsConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_can_be_paused_cancelled_and_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(180, &dir.path().join("a")).await,
        start(181, &dir.path().join("b")).await,
    );
    let from = a.path("file");
    std::fs::write(&from, noise(1, 24 << 20)).unwrap();
    let root = share(&a, &from).await;
    // So slow that it is far from done when it is paused, also where that takes a while.
    a.files.limits().set(Direction::Out, limit(2_000_000));
    let wanted = || request(root, b.path("got"), vec![a.hint()]);
    let transfer = b.files.pull(wanted()).await.unwrap();
    let again = b.files.pull(wanted()).await.unwrap();
    assert_eq!(
        transfer.id(),
        again.id(),
        "one transfer for one content to one place"
    );
    let mut seen = transfer.watch();
    drop(soon("a part", seen.wait_for(|v| v.done > 4 << 20)).await.unwrap());
    b.files.pause(transfer.id()).await.unwrap();
    assert_eq!(transfer.view().stage, Stage::Paused);
    // What is on its way comes in, and then nothing more.
    let before = until_still(&transfer).await;
    assert!(before < 24 << 20, "it went on to its end");
    assert_eq!(transfer.view().stage, Stage::Paused);
    b.files.resume(transfer.id()).await.unwrap();
    drop(soon("more", seen.wait_for(|v| v.fetched > before)).await.unwrap());
    transfer.cancel(true);
    assert_eq!(
        soon("the end", transfer.done()).await.unwrap_err().code(),
        "file.cancelled"
    );
    a.files.limits().set(Direction::Out, LimitsConfig::default());
    let next = b.files.pull(wanted()).await.unwrap();
    assert_ne!(next.id(), transfer.id());
    let pulled = soon("the rest", next.done()).await.unwrap();
    println!("{pulled:?} after {before}");
    assert!(pulled.reused >= 4 << 20 && pulled.reused + pulled.fetched >= 24 << 20);
    assert_eq!(
        std::fs::read(b.path("got")).unwrap(),
        std::fs::read(&from).unwrap()
    );
    // What stands there already is success at once.
    let third = soon("the third", b.files.pull(wanted()).await.unwrap().done())
        .await
        .unwrap();
    assert_eq!((third.fetched, third.bytes), (0, 24 << 20));
    std::fs::write(b.path("got"), b"other").unwrap();
    let e = soon("the refusal", b.files.pull(wanted()).await.unwrap().done())
        .await
        .unwrap_err();
    assert_eq!(e.code(), "file.exists");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_not_allowed_and_not_there_are_told_apart_where_they_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(182, &dir.path().join("a")).await,
        start(183, &dir.path().join("b")).await,
    );
    let from = a.path("file");
    std::fs::write(&from, noise(1, 5 << 20)).unwrap();
    let root = share(&a, &from).await;
    let mut small = request(root, b.path("got"), vec![a.hint()]);
    small.max_bytes = 1 << 20;
    let transfer = b.files.pull(small).await.unwrap();
    assert_eq!(
        soon("the refusal", transfer.done()).await.unwrap_err().code(),
        "file.too_large"
    );
    a.files.unshare(&root).await.unwrap();
    let others = Audience::Nodes([a.id()].into());
    a.files.share(root, others).await.unwrap();
    let range = |range| RangeRequest {
        hash: root,
        via: None,
        hints: vec![a.hint()],
        range,
        lookup: false,
    };
    let e = soon("nobody", b.files.read_range(range(0..10)))
        .await
        .unwrap_err();
    assert_eq!(e.code(), "file.no_provider");
    let via = Some(Via::Root(BlobHash([9; 32])));
    let other = RangeRequest { via, ..range(0..10) };
    assert_eq!(
        soon("nobody", b.files.read_range(other))
            .await
            .unwrap_err()
            .code(),
        "file.no_provider"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_read_without_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(184, &dir.path().join("a")).await,
        start(185, &dir.path().join("b")).await,
    );
    let from = a.path("file");
    let bytes = noise(1, (20 << 20) + 5);
    std::fs::write(&from, &bytes).unwrap();
    let root = share(&a, &from).await;
    let before = a.files.sent();
    for range in [
        0..1,
        (5 << 20) - 3..(5 << 20) + 200_000,
        (20 << 20)..u64::MAX,
        7..7,
    ] {
        let request = RangeRequest {
            hash: root,
            via: None,
            hints: vec![a.hint()],
            range: range.clone(),
            lookup: false,
        };
        let mut reader = soon("the size", b.files.read_range(request)).await.unwrap();
        assert_eq!(reader.size(), bytes.len() as u64);
        let cut = reader.range();
        let mut got = Vec::new();
        while let Some(step) = soon("a step", reader.next()).await {
            got.extend(step.unwrap());
        }
        assert_eq!(got, &bytes[cut.start as usize..cut.end as usize], "{range:?}");
    }
    let sent = a.files.sent() - before;
    assert!(sent < 2 << 20, "{sent} bytes for some hundred thousand");
    let beyond = RangeRequest {
        hash: root,
        via: None,
        hints: vec![a.hint()],
        range: (30 << 20)..(31 << 20),
        lookup: false,
    };
    assert_eq!(b.files.read_range(beyond).await.unwrap_err().code(), "file.range");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_the_first_bytes_before_the_last_have_come() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(186, &dir.path().join("a")).await,
        start(187, &dir.path().join("b")).await,
    );
    let from = a.path("file");
    let bytes = noise(1, 24 << 20);
    std::fs::write(&from, &bytes).unwrap();
    let root = share(&a, &from).await;
    a.files.limits().set(Direction::Out, limit(2_000_000));
    let mut wanted = request(root, b.path("x"), vec![a.hint()]);
    wanted.target = Target::Store;
    let (transfer, mut growing) = soon("the opening", b.files.open_growing(wanted)).await.unwrap();
    let mut got = vec![0; 1 << 20];
    soon("the first", growing.read_exact(&mut got)).await.unwrap();
    assert!(transfer.view().done < 16 << 20, "{:?}", transfer.view());
    a.files.limits().set(Direction::Out, LimitsConfig::default());
    soon("the rest", growing.read_to_end(&mut got)).await.unwrap();
    assert!(got == bytes);
    soon("the end", transfer.done()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_spares_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(188, &dir.path().join("a")).await,
        start(189, &dir.path().join("b")).await,
    );
    let old = noise(1, 32 << 20);
    let mut in_place = old.clone();
    for n in 0..16 {
        let at = n * (2 << 20) + 77_777;
        in_place[at..at + 100_000].copy_from_slice(&noise(100 + n as u64, 100_000));
    }
    let mut front = noise(7, 1_600_000);
    front.extend_from_slice(&old);
    for (n, new, most) in [(0, in_place, 10), (1, front, 12)] {
        let from = a.path(&format!("file{n}"));
        std::fs::write(&from, &new).unwrap();
        let root = share(&a, &from).await;
        let to = b.path(&format!("got{n}"));
        std::fs::write(&to, &old).unwrap();
        let mut wanted = request(root, to.clone(), vec![a.hint()]);
        wanted.existing = Existing::Replace;
        let before = a.files.sent();
        let pulled = soon("the pull", b.files.pull(wanted).await.unwrap().done())
            .await
            .unwrap();
        assert!(std::fs::read(&to).unwrap() == new);
        let sent = a.files.sent() - before;
        let percent = sent * 100 / new.len() as u64;
        println!("case {n}: {sent} bytes sent, {percent} %, {pulled:?}");
        assert!(percent <= most, "{percent} %");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_puts_each_file_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(190, &dir.path().join("a")).await,
        start(191, &dir.path().join("b")).await,
    );
    let from = a.path("folder");
    std::fs::create_dir_all(&from).unwrap();
    std::fs::write(from.join("small"), noise(1, 777)).unwrap();
    std::fs::write(from.join("empty"), b"").unwrap();
    std::fs::write(from.join("large"), noise(2, 5_000_000)).unwrap();
    let root = share(&a, &from).await;
    let hash = |name: &str| {
        let path = from.join(name);
        a.files
            .store()
            .add_path(&path, &AddOptions::default(), &AtomicBool::new(false))
            .unwrap()
            .root
    };
    let list = ["small", "empty", "large"].map(|name| Wanted {
        hash: hash(name).hash,
        size: hash(name).size,
        path: b.path(&format!("here-{name}")),
        mode: 0o600,
        mtime_ns: 1_000_000_000,
        like: None,
    });
    let mut wanted = PullRequest::new(root, true, Target::Path(b.path("unused")));
    wanted.hints = vec![a.hint()];
    wanted.lookup = false;
    let transfer = b.files.pull_list(wanted, list.to_vec()).await.unwrap();
    let pulled = soon("the list", transfer.done()).await.unwrap();
    assert_eq!((pulled.files, pulled.bytes), (3, 5_000_777));
    for name in ["small", "empty", "large"] {
        let path = b.path(&format!("here-{name}"));
        assert!(std::fs::read(&path).unwrap() == std::fs::read(from.join(name)).unwrap());
        let meta = path.metadata().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::os::unix::fs::MetadataExt::mtime(&meta), 1);
    }
    assert!(now().0 > 0);
}
