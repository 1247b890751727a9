//! A small mesh to test with: keys from numbers, a founder who invites, members who pay.

use hive_authority::{Authority, AuthorityHandle, Clock, OpenError, log::Storage};
use hive_protocol::{
    authority::{Answer, Ask, Done, Request},
    command::{Command, CommandBody, Refusal},
    credential::Delegation,
    genesis::{DEFAULT_SCORE, Genesis},
    ids::{AccountId, CommandId, InviteId, NetworkId, NodeId},
    join::{JoinReply, JoinRequest},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    resources::{Capabilities, Role},
    ticket::Ticket,
    time::{Millis, Timestamp},
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub type SignedCommand = Signed<Command>;
/// What the founder receives, in µCPT.
pub const MINTED: u64 = 1_000_000_000_000;
pub const START: Timestamp = Timestamp(1_795_234_383_000);

/// How many times the usual number of cases is run: 1, or what `HIVE_CAMPAIGN` says.
pub fn campaign() -> u64 {
    std::env::var("HIVE_CAMPAIGN").map_or(1, |n| n.parse().unwrap())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub fn key(n: u64) -> SecretKey {
    SecretKey::from_seed(blake3::hash(&n.to_le_bytes()).as_bytes())
}

pub fn id16(kind: u8, n: u64) -> [u8; 16] {
    let mut id = [kind; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    id
}

/// An account with its one node.
pub struct Member {
    pub owner: SecretKey,
    pub node_key: SecretKey,
}

impl Member {
    pub fn new(n: u64) -> Self {
        Self {
            owner: key(1000 + n),
            node_key: key(2000 + n),
        }
    }
    pub fn account(&self) -> AccountId {
        AccountId(self.owner.public())
    }
    pub fn node(&self) -> NodeId {
        NodeId(self.node_key.public())
    }
}

pub struct Mesh {
    pub genesis: Vec<u8>,
    founder: SecretKey,
    node_key: SecretKey,
    now: Arc<AtomicU64>,
}

impl Mesh {
    pub fn new(seed: u64) -> Self {
        let (founder, node_key) = (key(seed * 10_000 + 1), key(seed * 10_000 + 2));
        let genesis = Genesis {
            name: "test".into(),
            nonce: id16(1, seed),
            created: START,
            authorities: vec![NodeId(node_key.public())],
            founder: AccountId(founder.public()),
            minted: MicroCpt(MINTED),
            default_score: DEFAULT_SCORE,
        };
        Self {
            genesis: genesis.encode().unwrap(),
            founder,
            node_key,
            now: Arc::new(AtomicU64::new(START.0)),
        }
    }

    pub fn network(&self) -> NetworkId {
        Genesis::network_of(&self.genesis)
    }
    pub fn founder(&self) -> AccountId {
        AccountId(self.founder.public())
    }
    pub fn node(&self) -> NodeId {
        NodeId(self.node_key.public())
    }
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }
    pub fn set_clock(&self, t: Timestamp) {
        self.now.store(t.0, Ordering::SeqCst);
    }
    pub fn pass(&self, span: Millis) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
    }
    pub fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
    }

    pub fn create_in(&self, storage: Box<dyn Storage>) -> Result<Authority, OpenError> {
        Authority::create_in(storage, &self.genesis, self.node_key.clone(), self.clock())
    }
    pub fn open_in(&self, storage: Box<dyn Storage>) -> Result<Authority, OpenError> {
        Authority::open_in(storage, self.network(), self.node_key.clone(), self.clock())
    }
    pub fn create(&self, path: &Path) -> Result<Authority, OpenError> {
        Authority::create(path, &self.genesis, self.node_key.clone(), self.clock())
    }
    pub fn open(&self, path: &Path) -> Result<Authority, OpenError> {
        Authority::open(path, self.network(), self.node_key.clone(), self.clock())
    }

    /// A command of this account, good for an hour from the mesh's clock.
    pub fn command(
        &self,
        by: &SecretKey,
        account: AccountId,
        id: CommandId,
        body: CommandBody,
    ) -> SignedCommand {
        let command = Command {
            network: self.network(),
            account,
            id,
            not_after: self.now() + Millis::hours(1),
            body,
        };
        Signed::sign(by, &command).unwrap()
    }

    /// The founder's command.
    pub fn founders(&self, id: CommandId, body: CommandBody) -> SignedCommand {
        self.command(&self.founder, self.founder(), id, body)
    }

    pub fn transfer(&self, n: u64, to: AccountId, amount: u64) -> SignedCommand {
        let body = CommandBody::Transfer {
            to,
            amount: MicroCpt(amount),
            memo: format!("transfer {n}"),
        };
        self.founders(CommandId(id16(3, n)), body)
    }

    pub fn invite(&self, n: u64, grant: u64, uses: u32, life: Millis) -> SignedCommand {
        let body = CommandBody::Invite {
            invite: InviteId(id16(4, n)),
            secret_hash: Ticket::secret_hash(&id16(5, n)),
            role: Role::Worker,
            score: DEFAULT_SCORE,
            grant: MicroCpt(grant),
            uses,
            expires: self.now() + life,
        };
        self.founders(CommandId(id16(6, n)), body)
    }

    /// The request of this member to redeem invitation `n`.
    pub fn redeem(&self, member: &Member, n: u64) -> JoinRequest {
        let delegation = Delegation {
            network: self.network(),
            account: member.account(),
            node: member.node(),
            expires: self.now() + Millis::hours(24 * 365),
        };
        let body = CommandBody::Join {
            invite: InviteId(id16(4, n)),
            secret: id16(5, n),
            delegation: Signed::sign(&member.owner, &delegation).unwrap(),
            name: "worker".into(),
            capabilities: Capabilities::default(),
        };
        JoinRequest {
            command: self.command(&member.owner, member.account(), CommandId(id16(7, n)), body),
            now: self.now(),
        }
    }

    /// Invites and lets in member `n`.
    pub async fn admit(&self, handle: &AuthorityHandle, n: u64, grant: u64) -> Member {
        let member = Member::new(n);
        self.submit(handle, self.invite(n, grant, 1, Millis::hours(1)))
            .await
            .unwrap();
        match handle.join(member.node(), self.redeem(&member, n)).await {
            JoinReply::Welcome { .. } => member,
            JoinReply::Refused(r) => panic!("{r:?}"),
        }
    }

    pub async fn submit(&self, handle: &AuthorityHandle, command: SignedCommand) -> Result<Done, Refusal> {
        submit(handle, self.node(), command).await
    }

    /// The free balance of member `n` is this, and all money adds up.
    pub async fn check_balance(&self, handle: &AuthorityHandle, n: u64, expected: u64) {
        let account = Member::new(n).account();
        let (view, totals, sound) = handle
            .view(move |s, _, _| (s.account_view(&account), s.totals(), s.check_invariants()))
            .await
            .unwrap();
        assert_eq!(view.unwrap().available, MicroCpt(expected));
        assert_eq!(totals.available.0 + totals.held.0, MINTED);
        sound.unwrap();
    }
}

pub async fn submit(handle: &AuthorityHandle, node: NodeId, command: SignedCommand) -> Result<Done, Refusal> {
    let request = Request {
        number: 7,
        body: Ask::Submit(command),
    };
    let response = handle.ask(node, request).await;
    assert_eq!(response.number, 7);
    match response.body {
        Answer::Done(done) => Ok(done),
        Answer::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}
