//! One node: its cores, its disk, its clock. A kill throws the cores away and keeps the disk.

use hive_mailbox::{Key, Mailbox, Row};
use hive_protocol::{
    ids::{NetworkId, NodeId},
    keys::{SecretKey, Signed},
    notice::Notice,
    time::Timestamp,
};
use hive_transfer::notices::{
    Table, Write,
    inbox::{self, Inbox},
    outbox::{self, Outbox},
    policy::Policy,
};
use std::collections::BTreeMap;

pub const NET: NetworkId = NetworkId([9; 32]);
/// The world's time 0 on everybody's clock.
pub const EPOCH: u64 = 1_700_000_000_000;

pub fn key(n: usize) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(n).unwrap() + 1; 32])
}

pub fn node(n: usize) -> NodeId {
    NodeId(key(n).public())
}

/// The authority's part.
#[derive(Default)]
pub struct Post {
    pub core: Mailbox,
    pub notices: BTreeMap<Key, Signed<Notice>>,
    pub places: BTreeMap<(NodeId, u64), Key>,
}

impl Post {
    pub fn reopen(&mut self, now: Timestamp) {
        self.core = Mailbox::new();
        for signed in self.notices.values() {
            self.core
                .restore_notice(&signed.peek().unwrap(), signed.bytes().len());
        }
        for ((node, order), key) in &self.places {
            self.core.restore_place(*node, *order, *key).unwrap();
        }
        self.core.restored(now);
    }

    pub fn write(&mut self, row: Row) {
        match row {
            Row::Place { node, order, key } => {
                assert!(self.places.insert((node, order), key).is_none());
            }
            Row::Free { node, order } => {
                assert!(self.places.remove(&(node, order)).is_some());
            }
            Row::Gone(key) => {
                self.notices.remove(&key);
            }
        }
    }
}

pub struct Host {
    pub id: NodeId,
    pub key: SecretKey,
    pub up: bool,
    /// Counts the lives of the process: what was on its way to an earlier one is lost.
    pub life: u32,
    /// What its clock shows too much.
    pub skew: i64,
    pub outbox: Outbox,
    pub inbox: Inbox,
    pub policy: Policy,
    pub disk: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pub post: Option<Post>,
    /// The world's time of the next tick that is on its way.
    pub tick_at: u64,
}

impl Host {
    pub fn new(n: usize, authority: bool) -> Self {
        let id = node(n);
        let policy = Policy {
            min_free: 0,
            ..Policy::default()
        };
        Self {
            id,
            key: key(n),
            up: false,
            life: 0,
            skew: 0,
            outbox: Outbox::new(outbox::Config::new(id), 0),
            inbox: Inbox::new(inbox::Config::new(id), policy.clone(), 0),
            policy,
            disk: BTreeMap::new(),
            post: authority.then(Post::default),
            tick_at: u64::MAX,
        }
    }

    pub fn now(&self, world: u64) -> Timestamp {
        Timestamp((EPOCH + world).saturating_add_signed(self.skew))
    }

    /// A new process on the old disk.
    pub fn boot(&mut self, world: u64, seed: u64) {
        let now = self.now(world);
        self.life += 1;
        self.up = true;
        self.outbox = Outbox::new(outbox::Config::new(self.id), seed);
        self.inbox = Inbox::new(inbox::Config::new(self.id), self.policy.clone(), seed ^ 1);
        for table in Table::ALL {
            for ((t, key), value) in &self.disk {
                if *t == table {
                    self.outbox.restore(table, key, value).unwrap();
                    self.inbox.restore(table, key, value).unwrap();
                }
            }
        }
        self.outbox.restored(now);
        self.inbox.restored(now);
        if let Some(post) = &mut self.post {
            post.reopen(now);
        }
    }

    /// Whether the disk had no such record before.
    pub fn write(&mut self, write: Write) -> bool {
        match write.value {
            Some(value) => self.disk.insert((write.table, write.key), value).is_none(),
            None => {
                self.disk.remove(&(write.table, write.key));
                false
            }
        }
    }

    pub fn check(&self) {
        self.outbox.check_invariants().unwrap();
        self.inbox.check_invariants().unwrap();
        if let Some(post) = &self.post {
            post.core.check_invariants().unwrap();
        }
    }
}
