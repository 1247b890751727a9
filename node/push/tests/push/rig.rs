//! Nodes with a network, a journal in a folder, and a puller that only notes what it is asked for.

use hive_authority::{Authority, Clock, Mailbox, MailboxHandle};
use hive_net::{Config, Gate, Limits, ListenAddrs, NetEvent, NetHandle, spawn};
use hive_protocol::{
    genesis::{DEFAULT_SCORE, Genesis},
    ids::{AccountId, NetworkId, NodeId, NoticeId},
    keys::{SecretKey, Signed},
    member::{Hello, Verdict},
    money::MicroCpt,
    notice::{NoticeBody, NoticeMsg, Priority},
    time::Timestamp,
};
use hive_push::{Answered, Answering, Deps, News, Order, Outgoing, Policy, PostOffice, Puller, Push, TREES};
use hive_store::SledJournal;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// Nothing here takes longer unless it is broken.
const DEADLINE: Duration = Duration::from_secs(40);

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn id(seed: u8) -> NodeId {
    NodeId(secret(seed).public())
}

pub fn clock() -> Clock {
    Arc::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(u64::try_from(now.as_millis()).unwrap())
    })
}

/// The tests' mesh.
fn genesis() -> Vec<u8> {
    let genesis = Genesis {
        name: "test".into(),
        nonce: [1; 16],
        created: Timestamp(1),
        // All of them, so that its registry knows them without their joining; only node 1 is asked for mail.
        authorities: (1..=5).map(id).collect(),
        founder: AccountId(secret(200).public()),
        minted: MicroCpt(1000),
        default_score: DEFAULT_SCORE,
    };
    genesis.encode().unwrap()
}

pub fn network() -> NetworkId {
    Genesis::network_of(&genesis())
}

struct Open;

impl Gate for Open {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: network(),
            credential: None,
            listen,
            version: "test".into(),
            now: Timestamp(1),
        }
    }
    fn judge(&self, _: NodeId, _: &Hello) -> Verdict {
        Verdict::Welcome
    }
}

/// Has everything; says how often each notice was begun, and where.
#[derive(Default)]
pub struct Pulls {
    pub begun: Mutex<BTreeMap<NoticeId, Vec<String>>>,
    pub broken: AtomicBool,
}

impl Puller for Pulls {
    fn place(&self, order: &Order) -> Result<String, String> {
        Ok(format!("{}/{}", order.into, order.name))
    }
    fn begin(&self, order: Order, news: News) {
        let mut begun = self.begun.lock().unwrap();
        begun
            .entry(order.id)
            .or_default()
            .push(order.dest.unwrap_or_default());
        if self.broken.load(Ordering::SeqCst) {
            news.failed("nobody has it", true);
        } else {
            news.progress(order.size / 2, order.size);
            news.done();
        }
    }
    fn cancel(&self, _: &Order) {}
    fn free(&self, _: &str) -> Option<u64> {
        Some(1 << 50)
    }
}

struct Post(MailboxHandle);

impl PostOffice for Post {
    fn ask(&self, from: NodeId, msg: NoticeMsg) -> Answering {
        let handle = self.0.clone();
        Box::pin(async move {
            let answered = handle.ask(from, msg).await;
            Answered {
                reply: answered.reply,
                news: answered.news,
            }
        })
    }
}

pub struct Node {
    pub push: Push,
    pub net: NetHandle,
    pub pulls: Arc<Pulls>,
    pub offices: Option<(Authority, Mailbox)>,
    events: tokio::task::JoinHandle<()>,
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.net.me()
    }

    pub async fn start(seed: u8, dir: &Path, policy: Policy) -> Self {
        let config = Config {
            secret: secret(seed),
            network: network(),
            listen: ListenAddrs::Loopback(0),
            bulk: Default::default(),
            transports: hive_net::Transports::default(),
            ipv6: true,
            upnp: false,
            direct: true,
            kad_server: true,
            limits: Limits::default(),
            version: "test".into(),
            gate: Arc::new(Open),
        };
        let (net, mut events) = spawn(config).await.unwrap();
        let offices = (seed == 1).then(|| authority(dir));
        let post = offices.as_ref().map(|(_, mailbox)| {
            let post: Arc<dyn PostOffice> = Arc::new(Post(mailbox.handle()));
            post
        });
        let (journal, alarm) = SledJournal::open(&dir.join("notices"), TREES).unwrap();
        assert_eq!(alarm, None);
        let pulls = Arc::new(Pulls::default());
        let key = secret(seed);
        let deps = Deps {
            net: net.clone(),
            network: network(),
            me: net.me(),
            journal: Arc::new(journal),
            clock: clock(),
            utc_offset_min: 0,
            sign: Arc::new(move |n| Signed::sign(&key, n)),
            tier: Arc::new(|_| None),
            puller: Arc::clone(&pulls) as Arc<dyn Puller>,
            mirror: None,
            post,
        };
        let (push, started) = Push::start(deps, policy).await.unwrap();
        assert_eq!(started.damaged, 0);
        push.set_authorities(vec![id(1)]);
        let told = push.clone();
        let events = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    NetEvent::Connected { node, .. } => told.peer_up(node),
                    NetEvent::Disconnected { node, .. } => told.peer_down(node),
                    _ => {}
                }
            }
        });
        Self {
            push,
            net,
            pulls,
            offices,
            events,
        }
    }

    pub async fn meet(&self, other: &Self) {
        self.net.dial(other.id(), other.net.listen_addrs()).await.unwrap();
    }

    /// Ends as at a kill: nothing is said to anybody but that the connections are closed.
    pub async fn stop(self) {
        self.push.close().await;
        self.net.shutdown().await;
        self.events.abort();
        drop(self.offices);
    }

    pub async fn send(&self, body: NoticeBody, to: &[u8]) -> NoticeId {
        let outgoing = Outgoing {
            body,
            to: to.iter().map(|n| id(*n)).collect(),
            priority: Priority::Normal,
            life: None,
        };
        self.push.send(outgoing).await.unwrap()
    }

    /// How often a notice is in the inbox.
    pub fn has(&self, id: NoticeId) -> usize {
        self.push.inbox().iter().filter(|v| v.id == id).count()
    }
}

fn authority(dir: &Path) -> (Authority, Mailbox) {
    let ledger = dir.join("ledger");
    let authority = Authority::open(&ledger, network(), secret(1), clock())
        .or_else(|_| Authority::create(&ledger, &genesis(), secret(1), clock()))
        .unwrap();
    let (mailbox, _) = Mailbox::open(&dir.join("mailbox"), authority.handle(), clock()).unwrap();
    (authority, mailbox)
}

/// Asks again until it is so; fails at the deadline.
pub async fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !ask() {
        assert!(Instant::now() < end, "not within the deadline: {what}");
        // paced: looks again until the deadline.
        tokio::time::sleep(Duration::from_millis(20)).await; // paced: asks again until the deadline
    }
}
