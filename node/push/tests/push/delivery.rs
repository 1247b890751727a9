//! What arrives where, and when.

use crate::rig::{Node, clock, id, network, secret, until};
use hive_net::FrameSender;
use hive_protocol::{
    ids::{BlobHash, NoticeId},
    keys::Signed,
    notice::{self, DeliveryState, FileNotice, MAX_TEXT, Notice, NoticeBody, NoticeMsg, Priority},
    time::Millis,
};
use hive_push::{InState, Outgoing, Policy, PushEvent, Standing};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

fn text(n: usize) -> NoticeBody {
    NoticeBody::Text(format!("text {n}"))
}

fn file() -> NoticeBody {
    NoticeBody::File(FileNotice {
        root: BlobHash([4; 32]),
        folder: false,
        size: 1000,
        files: 1,
        name: "model.bin".into(),
        sync: None,
    })
}

fn policy() -> Policy {
    Policy {
        folder: "/inbox".into(),
        min_free: 0,
        ..Policy::default()
    }
}

/// Where a notice stands with a recipient, as its sender knows.
fn standing(node: &Node, id_: NoticeId, at: u8) -> Standing {
    let view = node.push.sent(id_).unwrap();
    let to = view.to.iter().find(|t| t.node == id(at)).unwrap();
    to.standing.clone()
}

fn done() -> Standing {
    Standing::At(DeliveryState::Done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_are_there_have_it_at_once() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let a = Node::start(2, dirs[0].path(), policy()).await;
    let b = Node::start(3, dirs[1].path(), policy()).await;
    let ask = Policy {
        ask: true,
        ..policy()
    };
    let c = Node::start(4, dirs[2].path(), ask).await;
    let mut events = b.push.events();
    a.meet(&b).await;
    a.meet(&c).await;
    let hello = a.send(text(1), &[3, 4, 2, 3]).await;
    let pushed = a.send(file(), &[3, 4]).await;
    until("both have both", || {
        [&b, &c].iter().all(|n| n.has(hello) == 1 && n.has(pushed) == 1)
    })
    .await;
    until("states are back", || {
        standing(&a, hello, 3) == done()
            && standing(&a, hello, 4) == done()
            && standing(&a, pushed, 3) == done()
    })
    .await;
    assert_eq!(b.pulls.begun.lock().unwrap()[&pushed], ["/inbox/model.bin"]);
    assert!(matches!(events.recv().await.unwrap(), PushEvent::Arrived(_)));
    // The other one has been asked, and says so.
    until("c waits", || {
        matches!(standing(&a, pushed, 4), Standing::At(DeliveryState::Waiting(_)))
    })
    .await;
    assert!(c.pulls.begun.lock().unwrap().is_empty());
    assert_eq!(c.push.received(pushed).unwrap().state, InState::Asking);
    c.push.accept(pushed, Some("/else".into())).await.unwrap();
    until("c has it", || standing(&a, pushed, 4) == done()).await;
    assert!(a.push.sent(pushed).unwrap().ended);
    let again = c.push.accept(pushed, None).await.unwrap_err();
    assert_eq!(again.code(), "notice.state");
    let nobody = a.push.cancel(NoticeId([1; 16])).await.unwrap_err();
    assert_eq!(nobody.code(), "notice.unknown");
    let long = Outgoing {
        body: NoticeBody::Text("x".repeat(MAX_TEXT + 1)),
        to: vec![b.id()],
        priority: Priority::Normal,
        life: None,
    };
    assert_eq!(a.push.send(long).await.unwrap_err().code(), "notice.invalid");
    assert_eq!(b.push.metrics().refused, 0);
}

/// The recipient is away and the sender leaves: the authority has it. Then everybody hears of everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_recipient_has_it_from_the_mailbox_when_the_sender_is_gone() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let office = Node::start(1, dirs[0].path(), policy()).await;
    let a = Node::start(2, dirs[1].path(), policy()).await;
    a.meet(&office).await;
    let pushed = a.send(file(), &[1, 3]).await;
    until("it is kept", || standing(&a, pushed, 3) == Standing::Kept).await;
    until("the authority itself has it", || {
        standing(&a, pushed, 1) == done()
    })
    .await;
    a.stop().await;

    let b = Node::start(3, dirs[2].path(), policy()).await;
    b.meet(&office).await;
    until("b has it", || b.has(pushed) == 1).await;
    until("b has pulled it", || {
        b.push.received(pushed).unwrap().state == InState::Done
    })
    .await;
    assert_eq!(b.pulls.begun.lock().unwrap()[&pushed].len(), 1);
    // The sender returns: it hears, and the notice is not taken a second time.
    let a = Node::start(2, dirs[1].path(), policy()).await;
    assert_eq!(standing(&a, pushed, 3), Standing::Kept);
    a.meet(&b).await;
    until("a knows", || standing(&a, pushed, 3) == done()).await;
    assert_eq!(b.has(pushed), 1);
    assert_eq!(b.pulls.begun.lock().unwrap()[&pushed].len(), 1);
}

/// Sender and recipient do not know each other's addresses; the authority tells the recipient unasked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_who_is_there_is_told_of_new_mail() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let office = Node::start(1, dirs[0].path(), policy()).await;
    let a = Node::start(2, dirs[1].path(), policy()).await;
    let b = Node::start(3, dirs[2].path(), policy()).await;
    b.meet(&office).await;
    a.meet(&office).await;
    let hello = a.send(text(1), &[3]).await;
    until("it came", || b.has(hello) == 1).await;
    // Taken back before anybody has it: nobody gets it.
    let gone = a.send(text(2), &[4]).await;
    until("it is kept", || standing(&a, gone, 4) == Standing::Kept).await;
    a.push.cancel(gone).await.unwrap();
    until("it is out of the mailbox", || {
        a.push.sent(gone).unwrap().to.iter().all(|t| !t.deposited)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let c = Node::start(4, dir.path(), policy()).await;
    c.meet(&office).await;
    let after = a.send(text(3), &[4]).await;
    until("the next one came", || c.has(after) == 1).await;
    assert_eq!(c.has(gone), 0);
}

/// Forged, for others, of another mesh, expired, brought by another, and far too much of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::vec_init_then_push)] // one line of the list says what is wrong with one notice
async fn a_hostile_peer_gets_nothing_in_and_nobody_out() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let b = Node::start(3, dirs[0].path(), policy()).await;
    let evil = Node::start(2, dirs[1].path(), policy()).await;
    let good = Node::start(4, dirs[2].path(), policy()).await;
    evil.meet(&b).await;
    good.meet(&b).await;
    let stream = evil.net.open(b.id(), notice::PROTOCOL).await.unwrap();
    let (_reader, writer) = stream.split();
    let (sender, _task) = FrameSender::<NoticeMsg>::spawn(writer);
    let now = clock()();
    let base = Notice {
        id: NoticeId([1; 16]),
        network: network(),
        from: id(2),
        to: vec![id(3)],
        body: text(1),
        priority: Priority::Normal,
        created: now,
        expires: now + Millis::hours(1),
    };
    let mut bad: Vec<(u8, Notice)> = Vec::new();
    bad.push((4, base.clone()));
    bad.push((
        2,
        Notice {
            from: id(4),
            ..base.clone()
        },
    ));
    // Rightly signed, brought by another.
    bad.push((
        4,
        Notice {
            from: id(4),
            ..base.clone()
        },
    ));
    bad.push((
        2,
        Notice {
            to: vec![id(4)],
            ..base.clone()
        },
    ));
    bad.push((
        2,
        Notice {
            network: hive_protocol::ids::NetworkId([1; 32]),
            ..base.clone()
        },
    ));
    bad.push((
        2,
        Notice {
            created: now - Millis::hours(2),
            expires: now - Millis::hours(1),
            ..base.clone()
        },
    ));
    for (signer, notice) in &bad {
        let signed = Signed::sign(&secret(*signer), notice).unwrap();
        sender.send(&NoticeMsg::Deliver(signed)).await.unwrap();
    }
    let signed = Signed::sign(&secret(2), &base).unwrap();
    for _ in 0..2000 {
        sender.send(&NoticeMsg::Deliver(signed.clone())).await.unwrap();
        sender.send(&NoticeMsg::Mail(vec![signed.clone()])).await.unwrap();
        sender.send(&NoticeMsg::Noted(vec![base.id])).await.unwrap();
    }
    // Others are served all the while.
    let hello = good.send(text(7), &[3]).await;
    until("the good one came", || b.has(hello) == 1).await;
    until("the one sound notice came", || b.has(base.id) == 1).await;
    assert_eq!(b.push.inbox().len(), 2);
    until("all bad ones are counted", || {
        b.push.metrics().refused == bad.len() as u64
    })
    .await;
    assert_eq!(good.push.outbox().len(), 1);
}

const FOLDER: &str = "HIVE_PUSH_KILL_FOLDER";
const MODE: &str = "HIVE_PUSH_KILL_MODE";
const PARENT: &str = "HIVE_PUSH_KILL_PARENT";

/// The process that is killed: node 2 sends to node 3 and says what it has sent, or node 3 takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(folder), Ok(mode), Ok(parent)) =
        (std::env::var(FOLDER), std::env::var(MODE), std::env::var(PARENT))
    else {
        return;
    };
    let sends = mode == "send";
    let (me, other) = if sends { (2, 3) } else { (3, 2) };
    let node = Node::start(me, &PathBuf::from(folder), policy()).await;
    let addrs = parent.split(',').map(str::to_owned).collect();
    node.net.dial(id(other), addrs).await.unwrap();
    for n in 0.. {
        if sends {
            let id = node.send(text(n), &[3]).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "sent {id}").unwrap();
            out.flush().unwrap();
        } else {
            // paced: only the kill ends it.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn spawn_child(folder: &std::path::Path, mode: &str, parent: &Node) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "delivery::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(MODE, mode)
        .env(PARENT, parent.net.listen_addrs().join(","))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn ids(lines: impl Iterator<Item = String>) -> Vec<NoticeId> {
    lines
        .filter_map(|l| l.rsplit_once("sent ").and_then(|(_, id)| id.parse().ok()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sender_has_lost_and_doubled_nothing() {
    let (mine, its) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let parent = Node::start(3, mine.path(), policy()).await;
    let mut sent: BTreeSet<NoticeId> = BTreeSet::new();
    for round in 0..6_usize {
        let (mut child, out) = spawn_child(its.path(), "send", &parent);
        let reading = tokio::task::spawn_blocking(move || {
            let mut lines = out.lines().map_while(Result::ok);
            let some = ids(lines.by_ref().filter(|l| l.contains("sent ")).take(3 + 7 * round));
            child.kill().unwrap();
            child.wait().unwrap();
            (some, ids(lines))
        });
        let (some, rest) = reading.await.unwrap();
        sent.extend(some);
        sent.extend(rest);
    }
    // One life more, in which it need not send anything new.
    let (mut child, _out) = spawn_child(its.path(), "send", &parent);
    until("everything came", || sent.iter().all(|id| parent.has(*id) > 0)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(sent.len() > 50);
    assert!(sent.iter().all(|id| parent.has(*id) == 1));
    println!(
        "6 kills, {} notices said to be sent, 0 lost, 0 doubled",
        sent.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_recipient_has_lost_and_doubled_nothing() {
    let (mine, its) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let parent = Node::start(2, mine.path(), policy()).await;
    let mut sent = Vec::new();
    for round in 0..4_u64 {
        let (mut child, _out) = spawn_child(its.path(), "take", &parent);
        for n in 0..20 {
            sent.push(parent.send(text(n), &[3]).await);
        }
        let last = sent[sent.len() - 15];
        until("some are there", || standing(&parent, last, 3) == done()).await;
        // paced: the kill comes at another moment each time.
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (mut child, _out) = spawn_child(its.path(), "take", &parent);
    until("all are there", || {
        sent.iter().all(|id| standing(&parent, *id, 3) == done())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    let heir = Node::start(3, its.path(), policy()).await;
    assert!(sent.iter().all(|id| heir.has(*id) == 1));
    assert_eq!(heir.push.inbox().len(), sent.len());
    println!("4 kills, {} notices, 0 lost, 0 doubled", sent.len());
    assert!(!heir.pulls.broken.load(Ordering::SeqCst));
}
