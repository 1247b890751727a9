//! Pulls between nodes that only have a relay between them.

use crate::{
    node::{TestNode, net_at, noise, own_port, soon, start_hidden, until_free, until_still},
    pulls::share,
};
use hive_files::{Hint, PullRequest, Stage, Target};
use hive_net::{ListenAddrs, NetEvents, NetHandle, Relay, RelayLimits};
use std::path::Path;

/// A relay, and two nodes that nobody can dial.
struct Field {
    relay: NetHandle,
    /// Where the relay listens.
    port: u16,
    service: Relay,
    a: TestNode,
    b: TestNode,
    _events: NetEvents,
}

impl Field {
    async fn new(seed: u8, dir: &Path, limits: RelayLimits) -> Self {
        let port = own_port();
        let (relay, events) = net_at(seed, ListenAddrs::Loopback(port)).await;
        let service = relay.serve_relay(limits).unwrap();
        let a = start_hidden(seed + 1, &dir.join("a")).await;
        let b = start_hidden(seed + 2, &dir.join("b")).await;
        for node in [&a, &b] {
            let dialing = node.net.dial(relay.me(), relay.listen_addrs());
            soon("the relay", dialing).await.unwrap();
        }
        Self {
            relay,
            port,
            service,
            a,
            b,
            _events: events,
        }
    }

    /// The one with the content, where it can be reached: at the relay alone.
    async fn hint(&self) -> Hint {
        let address = soon("a reservation", self.a.net.reserve(self.relay.me()))
            .await
            .unwrap();
        assert!(address.contains("/p2p-circuit"), "{address}");
        Hint {
            node: self.a.id(),
            addrs: vec![address],
            whole: true,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_and_a_folder_come_through_a_relay() {
    let dir = tempfile::tempdir().unwrap();
    let field = Field::new(210, dir.path(), RelayLimits::default()).await;
    let (a, b) = (&field.a, &field.b);
    let file = a.path("file");
    std::fs::write(&file, noise(1, (6 << 20) + 12_345)).unwrap();
    let folder = a.path("folder");
    std::fs::create_dir_all(&folder).unwrap();
    for n in 0..100_u64 {
        std::fs::write(folder.join(format!("f{n}")), noise(n, 4000)).unwrap();
    }
    std::fs::write(folder.join("large"), noise(7, 2 << 20)).unwrap();
    let hint = field.hint().await;
    for (from, is_folder) in [(&file, false), (&folder, true)] {
        let root = share(a, from).await;
        let to = b.path(if is_folder { "got-folder" } else { "got-file" });
        let before = field.service.counts().bytes;
        let mut request = PullRequest::new(root, is_folder, Target::Path(to.clone()));
        request.hints = vec![hint.clone()];
        request.lookup = false;
        let transfer = b.files.pull(request).await.unwrap();
        let done = soon("the pull", transfer.done()).await.unwrap();
        let same = std::process::Command::new("diff")
            .arg("-r")
            .args([from, &to])
            .status()
            .unwrap();
        assert!(same.success());
        let view = transfer.view();
        assert_eq!(view.stage, Stage::Done);
        // What came came this way, and says so.
        assert_eq!(view.peers.len(), 1, "{view:?}");
        assert_eq!((view.peers[0].node, view.peers[0].path), (a.id(), "relayed"));
        let relayed = field.service.counts().bytes - before;
        assert!(
            relayed >= done.bytes,
            "{relayed} bytes relayed for {}",
            done.bytes
        );
    }
    assert!(b.evidence.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_breaks_off_costs_nothing_that_was_verified() {
    let dir = tempfile::tempdir().unwrap();
    let field = Field::new(220, dir.path(), RelayLimits::default()).await;
    let (a, b) = (&field.a, &field.b);
    let size = 20 << 20;
    let file = a.path("file");
    std::fs::write(&file, noise(1, size)).unwrap();
    let root = share(a, &file).await;
    let hint = field.hint().await;
    // So slow that it is far from done when the relay dies, also where that takes a while.
    let rate = hive_files::LimitsConfig {
        node: hive_files::Schedule::always(Some(2_000_000)),
        ..hive_files::LimitsConfig::default()
    };
    a.files.limits().set(hive_files::Direction::Out, rate);
    let mut request = PullRequest::new(root, false, Target::Path(b.path("got")));
    request.hints = vec![hint];
    request.lookup = false;
    let transfer = b.files.pull(request).await.unwrap();
    let mut seen = transfer.watch();
    drop(soon("a part", seen.wait_for(|v| v.done > 5 << 20)).await.unwrap());
    // The relay dies with all circuits and comes back; the reservation is made again by itself.
    field.relay.shutdown().await;
    until_free(field.port).await;
    let had = until_still(&transfer).await;
    assert!(had < size as u64, "it was done before the relay died");
    let (again, _events) = net_at(220, ListenAddrs::Loopback(field.port)).await;
    let service = again.serve_relay(RelayLimits::default()).unwrap();
    a.files
        .limits()
        .set(hive_files::Direction::Out, hive_files::LimitsConfig::default());
    let done = soon("the rest", transfer.done()).await.unwrap();
    assert!(std::fs::read(b.path("got")).unwrap() == noise(1, size));
    // What was on its way came twice at most: two segments in flight.
    assert!(
        done.fetched <= size as u64 + (8 << 20),
        "{} fetched of {size}, {had} were here at the break",
        done.fetched
    );
    assert!(
        service.counts().bytes >= size as u64 - had,
        "the rest came this way"
    );
}
