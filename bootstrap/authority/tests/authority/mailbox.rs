//! The mailbox: members only, signed only, within bounds; what it says it keeps survives a kill.

use crate::{
    disk::Rng,
    rig::{Member, Mesh, START, id16, runtime},
};
use hive_authority::{Authority, Mailbox, MailboxHandle};
use hive_protocol::{
    ids::{NodeId, NoticeId},
    keys::Signed,
    notice::{Notice, NoticeBody, NoticeMsg, Priority},
    time::Millis,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const FOLDER: &str = "HIVE_MAILBOX_KILL_FOLDER";
const FIRST: &str = "HIVE_MAILBOX_KILL_FIRST";
const KILLS: u64 = 12;

fn notice(mesh: &Mesh, from: &Member, to: &[NodeId], n: u64) -> Notice {
    let mut to = to.to_vec();
    to.sort();
    Notice {
        id: NoticeId(id16(8, n)),
        network: mesh.network(),
        from: from.node(),
        to,
        body: NoticeBody::Text(format!("notice {n}")),
        priority: Priority::Normal,
        created: START,
        expires: START + Millis::hours(24),
    }
}

fn deposit(from: &Member, notice: &Notice) -> NoticeMsg {
    NoticeMsg::Deposit {
        notice: Signed::sign(&from.node_key, notice).unwrap(),
        recipients: notice.to.clone(),
    }
}

/// For how many it is kept, and the code of the refusal.
async fn ask(mailbox: &MailboxHandle, from: NodeId, msg: NoticeMsg) -> (usize, Option<String>) {
    match mailbox.ask(from, msg).await.reply {
        Some(NoticeMsg::Deposited { kept, refused, .. }) => (kept.len(), refused.map(|r| r.code)),
        other => panic!("{other:?}"),
    }
}

/// All mail of a node, taken as it comes.
async fn collect(mailbox: &MailboxHandle, node: NodeId) -> Vec<NoticeId> {
    let mut all = Vec::new();
    let mut msg = NoticeMsg::Collect;
    loop {
        let Some(NoticeMsg::Mail(page)) = mailbox.ask(node, msg).await.reply else {
            panic!("no page");
        };
        if page.is_empty() {
            return all;
        }
        let ids: Vec<NoticeId> = page.iter().map(|s| s.verify().unwrap().id).collect();
        all.extend(&ids);
        msg = NoticeMsg::Taken(ids);
    }
}

fn open(mesh: &Mesh, authority: &Authority, dir: &Path) -> Mailbox {
    Mailbox::open(&dir.join("mailbox"), authority.handle(), mesh.clock())
        .unwrap()
        .0
}

#[test]
fn it_keeps_for_members_what_its_sender_has_signed() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    let authority = mesh.create(&dir.path().join("ledger")).unwrap();
    runtime().block_on(async {
        let handle = authority.handle();
        let a = mesh.admit(&handle, 1, 0).await;
        let b = mesh.admit(&handle, 2, 0).await;
        let stranger = Member::new(9);
        let mailbox = open(&mesh, &authority, dir.path());
        let post = mailbox.handle();

        let both = notice(&mesh, &a, &[b.node(), stranger.node()], 1);
        let (kept, code) = ask(&post, a.node(), deposit(&a, &both)).await;
        assert_eq!((kept, code.as_deref()), (1, Some("mailbox.recipient")));
        // Brought by another, signed by another, of another mesh, out of time.
        let good = notice(&mesh, &a, &[b.node()], 2);
        let (kept, code) = ask(&post, b.node(), deposit(&a, &good)).await;
        assert_eq!((kept, code.as_deref()), (0, Some("mailbox.invalid")));
        let (kept, code) = ask(&post, a.node(), deposit(&b, &good)).await;
        assert_eq!((kept, code.as_deref()), (0, Some("mailbox.invalid")));
        let mut other = good.clone();
        other.network = hive_protocol::ids::NetworkId([1; 32]);
        let (_, code) = ask(&post, a.node(), deposit(&a, &other)).await;
        assert_eq!(code.as_deref(), Some("mailbox.invalid"));
        let mut late = good.clone();
        late.created = START - Millis::hours(2);
        late.expires = START - Millis::hours(1);
        let (_, code) = ask(&post, a.node(), deposit(&a, &late)).await;
        assert_eq!(code.as_deref(), Some("mailbox.time"));

        let answered = post.ask(a.node(), deposit(&a, &good)).await;
        assert_eq!(answered.news, [b.node()]);
        assert_eq!(ask(&post, a.node(), deposit(&a, &good)).await, (1, None));
        assert_eq!(collect(&post, a.node()).await, []);
        // Not taken: it comes again, also after a new start.
        let Some(NoticeMsg::Mail(page)) = post.ask(b.node(), NoticeMsg::Collect).await.reply else {
            panic!();
        };
        assert_eq!(page.len(), 2);
        drop(mailbox);
        let mailbox = open(&mesh, &authority, dir.path());
        let post = mailbox.handle();
        let mail: BTreeSet<NoticeId> = collect(&post, b.node()).await.into_iter().collect();
        assert_eq!(mail, BTreeSet::from([both.id, good.id]));
        assert_eq!(collect(&post, b.node()).await, []);

        let third = notice(&mesh, &a, &[b.node()], 3);
        assert_eq!(ask(&post, a.node(), deposit(&a, &third)).await, (1, None));
        // Nobody else takes it back.
        let withdraw = NoticeMsg::Withdraw {
            id: third.id,
            recipients: Vec::new(),
        };
        post.ask(b.node(), withdraw.clone()).await;
        mesh.pass(Millis::secs(1));
        let reply = post.ask(a.node(), withdraw).await.reply;
        assert_eq!(reply, Some(NoticeMsg::Noted(vec![third.id])));
        assert_eq!(collect(&post, b.node()).await, []);
    });
}

/// Every bound of one sender and one recipient, and that a full box hinders nobody else.
#[test]
fn a_sender_cannot_fill_anothers_box_and_all_comes_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    let authority = mesh.create(&dir.path().join("ledger")).unwrap();
    runtime().block_on(async {
        let handle = authority.handle();
        let (a, b) = (mesh.admit(&handle, 1, 0).await, mesh.admit(&handle, 2, 0).await);
        let c = mesh.admit(&handle, 3, 0).await;
        let mailbox = open(&mesh, &authority, dir.path());
        let post = mailbox.handle();
        for n in 0..512 {
            let notice = notice(&mesh, &a, &[b.node()], n);
            assert_eq!(ask(&post, a.node(), deposit(&a, &notice)).await, (1, None), "{n}");
        }
        let (kept, code) = ask(&post, a.node(), deposit(&a, &notice(&mesh, &a, &[b.node()], 600))).await;
        assert_eq!((kept, code.as_deref()), (0, Some("mailbox.full")));
        let ours = notice(&mesh, &c, &[b.node()], 601);
        assert_eq!(ask(&post, c.node(), deposit(&c, &ours)).await, (1, None));
        let to_c = notice(&mesh, &a, &[c.node()], 602);
        assert_eq!(ask(&post, a.node(), deposit(&a, &to_c)).await, (1, None));
        let mail = collect(&post, b.node()).await;
        assert_eq!(mail.len(), 513);
        assert_eq!(mail.last(), Some(&ours.id));
        let again = notice(&mesh, &a, &[b.node()], 603);
        assert_eq!(ask(&post, a.node(), deposit(&a, &again)).await, (1, None));
    });
}

#[test]
fn rubbish_in_its_folder_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    let authority = mesh.create(&dir.path().join("ledger")).unwrap();
    let folder = dir.path().join("mailbox");
    drop(open(&mesh, &authority, dir.path()));
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, b"rubbish").unwrap();
        }
    }
    let (mailbox, report) = Mailbox::open(&folder, authority.handle(), mesh.clock()).unwrap();
    assert_eq!(report.notices, 0);
    runtime().block_on(async {
        let handle = authority.handle();
        let (a, b) = (mesh.admit(&handle, 1, 0).await, mesh.admit(&handle, 2, 0).await);
        let good = notice(&mesh, &a, &[b.node()], 2);
        assert_eq!(
            ask(&mailbox.handle(), a.node(), deposit(&a, &good)).await,
            (1, None)
        );
    });
}

/// The child: keeps one notice after the other and says which. In a normal run there is nothing for it to do.
#[test]
fn child() {
    let (Ok(folder), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST)) else {
        return;
    };
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let path = PathBuf::from(folder);
        let ledger = path.join("ledger");
        let authority = mesh.open(&ledger).or_else(|_| mesh.create(&ledger)).unwrap();
        let handle = authority.handle();
        let (a, b) = (mesh.admit(&handle, 1, 0).await, mesh.admit(&handle, 2, 0).await);
        let mailbox = open(&mesh, &authority, &path);
        let post = mailbox.handle();
        for n in first.parse::<u64>().unwrap().. {
            let notice = notice(&mesh, &a, &[b.node()], n);
            assert_eq!(ask(&post, a.node(), deposit(&a, &notice)).await, (1, None));
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {n}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[test]
fn no_kill_loses_what_was_said_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    let mut rng = Rng(u64::from(std::process::id()));
    let (mut next, mut total) = (0_u64, 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "mailbox::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, dir.path())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acked = BTreeSet::new();
        let count = 1 + rng.below(30);
        while acked.len() < count {
            let line = lines.next().expect("the child died by itself").unwrap();
            if let Some(n) = line.rsplit_once("ack ").and_then(|(_, n)| n.parse::<u64>().ok()) {
                acked.insert(n);
            }
        }
        // paced: the kill comes somewhere within the next one.
        std::thread::sleep(Duration::from_micros(rng.next() % 3000));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.rsplit_once("ack ").and_then(|(_, n)| n.parse::<u64>().ok()) {
                acked.insert(n);
            }
        }
        let authority = mesh.open(&dir.path().join("ledger")).unwrap();
        let mailbox = open(&mesh, &authority, dir.path());
        let mut counts: BTreeMap<NoticeId, u32> = BTreeMap::new();
        for id in runtime().block_on(collect(&mailbox.handle(), Member::new(2).node())) {
            *counts.entry(id).or_default() += 1;
        }
        for n in &acked {
            let got = counts.get(&NoticeId(id16(8, *n)));
            assert_eq!(got, Some(&1), "round {round}: notice {n}");
        }
        assert!(counts.len() <= acked.len() + 1, "round {round}");
        total += acked.len();
        next = acked.last().unwrap() + 2;
    }
    println!("{KILLS} kills, {total} notices said to be kept, 0 lost, 0 doubled");
}
