//! Providers that misbehave: the pull goes on with others, keeps nothing wrong, and says who it was.

use crate::{
    hostile::{self, ALL, Fault},
    node::{noise, soon, start},
    pulls::share,
};
use hive_files::{PullRequest, Stage, Target};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_honest_provider_every_fault_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let honest = start(20, &dir.path().join("honest")).await;
    let from = honest.path("file");
    std::fs::write(&from, noise(1, (9 << 20) + 12_345)).unwrap();
    let root = share(&honest, &from).await;
    for (n, fault) in (0_u8..).zip(ALL) {
        let bad = hostile::start(40 + n, &dir.path().join(format!("bad{n}")), &from, fault).await;
        assert!(bad.has(&root));
        let b = start(60 + n, &dir.path().join(format!("b{n}"))).await;
        let to = b.path("got");
        let mut request = PullRequest::new(root, false, Target::Path(to.clone()));
        // The bad one is asked first; it is alone at first, too.
        request.hints = vec![bad.hint()];
        request.lookup = false;
        let transfer = b.files.pull(request).await.unwrap();
        let blamed = matches!(fault, Fault::WrongBytes | Fault::WrongGroups | Fault::WrongTree);
        let met = || bad.was_asked() && (!blamed || !b.evidence.lock().unwrap().is_empty());
        let meeting = async {
            while !met() {
                tokio::time::sleep(Duration::from_millis(20)).await; // paced: looks again until the deadline
            }
        };
        soon(&format!("{fault:?} is met"), meeting).await;
        let waiting = tokio::time::timeout(Duration::from_millis(400), transfer.done()).await;
        assert!(
            waiting.is_err(),
            "{fault:?} alone must not end the pull: {waiting:?}"
        );
        assert!(!to.exists(), "{fault:?}");
        transfer.add_hints(vec![honest.hint()]);
        let done = soon(&format!("{fault:?}"), transfer.done()).await;
        done.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert!(
            std::fs::read(&to).unwrap() == std::fs::read(&from).unwrap(),
            "{fault:?}"
        );
        let evidence = b.evidence.lock().unwrap().clone();
        assert!(
            evidence.iter().all(|e| e.node == bad.net.me()),
            "{fault:?}: {evidence:?}"
        );
        assert_eq!(!evidence.is_empty(), blamed, "{fault:?}: {evidence:?}");
        b.files.close().await;
        b.net.shutdown().await;
        bad.net.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_small_files_are_asked_of_somebody_else() {
    let dir = tempfile::tempdir().unwrap();
    let honest = start(100, &dir.path().join("honest")).await;
    let from = honest.path("folder");
    std::fs::create_dir_all(&from).unwrap();
    for n in 0..200_u64 {
        std::fs::write(from.join(format!("f{n}")), noise(n, 3000)).unwrap();
    }
    let root = share(&honest, &from).await;
    for (n, fault) in [
        (0, Fault::WrongBytes),
        (1, Fault::Long),
        (2, Fault::Breaks),
        (3, Fault::Garbage),
    ] {
        let bad = hostile::start(110 + n, &dir.path().join(format!("bad{n}")), &from, fault).await;
        let b = start(120 + n, &dir.path().join(format!("b{n}"))).await;
        let to = b.path("got");
        let mut request = PullRequest::new(root, true, Target::Path(to.clone()));
        request.hints = vec![bad.hint(), honest.hint()];
        request.lookup = false;
        let transfer = b.files.pull(request).await.unwrap();
        soon(&format!("{fault:?}"), transfer.done()).await.unwrap();
        let same = std::process::Command::new("diff")
            .arg("-r")
            .args([&from, &to])
            .status()
            .unwrap();
        assert!(same.success(), "{fault:?}");
        let evidence = b.evidence.lock().unwrap().clone();
        assert!(
            evidence.iter().all(|e| e.node == bad.net.me()),
            "{fault:?}: {evidence:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changes_is_not_served_and_not_blamed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        start(130, &dir.path().join("a")).await,
        start(131, &dir.path().join("b")).await,
    );
    let from = a.path("file");
    std::fs::write(&from, noise(1, 6 << 20)).unwrap();
    let root = share(&a, &from).await;
    std::fs::write(&from, noise(2, 6 << 20)).unwrap();
    let mut request = PullRequest::new(root, false, Target::Path(b.path("got")));
    request.hints = vec![a.hint()];
    request.lookup = false;
    let transfer = b.files.pull(request).await.unwrap();
    let mut seen = transfer.watch();
    let stalled = seen.wait_for(|v| v.stalled.is_some());
    let view = soon("the stall", stalled).await.unwrap().clone();
    assert_eq!(view.stalled.unwrap().code, "file.no_provider");
    assert!(b.evidence.lock().unwrap().is_empty());
    transfer.cancel(false);
    assert_eq!(transfer.done().await.unwrap_err().code(), "file.cancelled");
    assert_eq!(transfer.view().stage, Stage::Cancelled);
    let left: Vec<_> = std::fs::read_dir(&b.dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["data"], "nothing is left of a transfer that nobody wants");
}
