//! A joined daemon's parts, and how they are put together.

use super::{Daemon, nodes::Directory};
use crate::{
    authority_link::AuthorityLink,
    authority_serve,
    blobs::{self, Fetcher, Grants},
    exec::{ExecPlaces, ExecShell},
    files::{Entering, LeaseStreams},
    heartbeat,
    home::Membership,
    inbox::Inbox,
    membership::Standing,
    reach::{self, Reach},
    work_streams::WorkStreams,
};
use hive_authority::Authority;
use hive_net::{NetEvents, NetHandle, ProtocolPolicy, Topic};
use hive_protocol::{
    blob,
    money::Price,
    resources::{Resources, Role},
    time::Timestamp,
    work,
};
use hive_scheduler::{
    Seed,
    submitter::{self, Submitter},
    worker::{self, Terms, Worker},
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::{sync::watch, task::JoinHandle};

/// Work streams one peer may open to us: one, and a second while the first is dying.
const WORK_STREAMS_PER_PEER: usize = 4;
/// Blob streams one peer may open to us.
const BLOB_STREAMS_PER_PEER: usize = 16;

/// Which core a message to ourselves is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The worker core.
    Worker,
    /// The submitter core.
    Submitter,
}

/// What tells the other nodes how we are: read by the heartbeat task, written by the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vital {
    /// Free of what is offered.
    pub free: Resources,
    /// Tasks running.
    pub running: u32,
    /// Whether this node is leaving.
    pub leaving: bool,
}

/// Everything a member has that a newcomer has not.
pub struct Mesh {
    pub membership: Membership,
    pub standing: Standing,
    pub net: NetHandle,
    pub authority: AuthorityLink,
    /// Whether an authority has heard of this node since it started, and said who else is there.
    pub introduced: watch::Receiver<bool>,
    pub local_authority: Option<Authority>,
    pub submitter: Submitter,
    pub worker: Option<Worker>,
    pub work: WorkStreams,
    pub exec: ExecShell,
    pub fetcher: Fetcher,
    pub grants: Grants,
    pub directory: Directory,
    /// How this node is reached.
    pub reach: Reach,
    pub vital: watch::Sender<Vital>,
    pub loopback: VecDeque<(Side, work::WorkMsg)>,
    pub sent: Arc<AtomicU64>,
    pub received: Arc<AtomicU64>,
    pub authority_up: bool,
    /// When that last changed.
    pub authority_since: Timestamp,
    pub earned: u64,
    pub tasks: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Puts the parts of a member together. The network runs already.
    pub(super) fn enter(
        &mut self,
        membership: Membership,
        standing: Standing,
        net: NetHandle,
        local_authority: Option<Authority>,
    ) -> Result<(), crate::StartError> {
        let policy = |per_peer| ProtocolPolicy {
            max_inbound_per_peer: per_peer,
            ..ProtocolPolicy::default()
        };
        let serving = net.serve(work::PROTOCOL, policy(WORK_STREAMS_PER_PEER))?;
        let blobs_in = net.serve(blob::PROTOCOL, policy(BLOB_STREAMS_PER_PEER))?;
        let grants = Grants::default();
        let (sent, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut tasks = Vec::new();
        tasks.push(tokio::spawn(blobs::serve(
            blobs_in,
            self.store.clone(),
            grants.clone(),
            Arc::clone(&sent),
        )));
        if let Some(authority) = &local_authority {
            tasks.extend(authority_serve::serve(&net, authority.handle())?);
        }
        let authority = match &local_authority {
            Some(authority) => AuthorityLink::here(standing.node(), authority.handle()),
            None => AuthorityLink::away(net.clone(), standing.clone()),
        };
        let fetcher = Fetcher::new(net.clone(), self.store.clone(), Arc::clone(&received));
        let places = ExecPlaces {
            registry: self.registry.clone(),
            store: self.store.clone(),
            grants: grants.clone(),
            tasks: self.dir.tasks(),
        };
        let mut exec = ExecShell::new(places, fetcher.clone(), self.post.clone());
        exec.set_streams(Arc::new(LeaseStreams(self.desk.clone())));
        let work = WorkStreams::new(net.clone(), serving, self.post.clone());
        let is_worker = membership.role == Role::Worker;
        let (network, node, account) = (standing.network(), standing.node(), standing.account());
        let worker = if is_worker {
            let cores = self.capabilities.total.cpu_milli.div_ceil(1000).max(1);
            let terms = Terms {
                capabilities: self.capabilities.clone(),
                price: Price {
                    per_gfuel: self.config.price,
                },
                // A core may be shared by tasks that ask for less than one; never by more than four.
                max_slots: cores.saturating_mul(4).min(work::MAX_SLOTS),
            };
            Some(Worker::new(
                worker::Config::new(network, node, account, terms),
                Seed(crate::random()?),
            ))
        } else {
            None
        };
        let submitter = Submitter::new(
            submitter::Config::new(network, node, account),
            Seed(crate::random()?),
        );
        let free = if is_worker {
            self.capabilities.total.clone()
        } else {
            Resources::default()
        };
        let reach = self.reach(&membership, &standing, &net, local_authority.is_some())?;
        tasks.push(reach.serve_info()?);
        tasks.push(tokio::spawn(reach.clone().run()));
        tasks.push(tokio::spawn(reach.clone().keep_days()));
        let (vital, vital_seen) = watch::channel(Vital {
            free,
            running: 0,
            leaving: false,
        });
        let (introducing, introduced) = watch::channel(false);
        tasks.push(tokio::spawn(heartbeat::run(heartbeat::Beat {
            net: net.clone(),
            standing: standing.clone(),
            authority: authority.clone(),
            capabilities: if is_worker {
                self.capabilities.clone()
            } else {
                crate::measure::idle(&self.capabilities)
            },
            price: Price {
                per_gfuel: self.config.price,
            },
            role: membership.role,
            vital: vital_seen,
            told: reach.told(),
            post: self.post.clone(),
            introduced: introducing,
            said: Timestamp(0),
        })));
        if let Some(mut up) = authority.up() {
            let post = self.post.clone();
            tasks.push(tokio::spawn(async move {
                while up.changed().await.is_ok() {
                    let now = *up.borrow_and_update();
                    if post.send(Inbox::AuthorityUp(now)).await.is_err() {
                        return;
                    }
                }
            }));
        }
        let here = local_authority.is_some();
        self.desk.enter(Entering {
            net: net.clone(),
            standing: standing.clone(),
            key: self.identity.node.clone(),
            grants: grants.clone(),
            authority: local_authority.as_ref().map(Authority::handle),
        });
        self.mesh = Some(Box::new(Mesh {
            membership,
            standing,
            net: net.clone(),
            authority,
            introduced,
            local_authority,
            submitter,
            worker,
            work,
            exec,
            fetcher,
            grants,
            directory: Directory::default(),
            reach,
            vital,
            loopback: VecDeque::new(),
            sent,
            received,
            authority_up: here,
            authority_since: self.clock.now(),
            earned: 0,
            tasks,
        }));
        self.authority_up(here);
        self.own_credential();
        self.self_connected();
        let subscribing = net.clone();
        tokio::spawn(async move {
            for topic in Topic::ALL {
                if let Err(e) = subscribing.subscribe(topic).await {
                    tracing::warn!(target: "hive_runtime", code = e.code(), "cannot subscribe: {e}");
                }
            }
        });
        self.restore_jobs();
        self.restore_receipts();
        // What the network said while the parts were not there.
        for event in std::mem::take(&mut self.early) {
            self.net_event(event);
        }
        Ok(())
    }

    fn reach(
        &self,
        membership: &Membership,
        standing: &Standing,
        net: &NetHandle,
        authority: bool,
    ) -> Result<Reach, crate::StartError> {
        Ok(Reach::new(reach::Parts {
            net: net.clone(),
            standing: standing.clone(),
            clock: self.clock,
            config: self.config.net.clone(),
            role: membership.role,
            authority,
            days: reach::Days::new(self.journal.shared()),
            seed: hive_reach::Seed(crate::random()?),
        }))
    }

    /// Passes the network's events to the loop.
    pub(super) fn pump_net(&self, mut events: NetEvents) {
        let post = self.post.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if post.send(Inbox::Net(event)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn authority_told(&mut self, up: bool) {
        let now = self.clock.now();
        if let Some(mesh) = self.mesh.as_mut() {
            mesh.authority_up = up;
            mesh.authority_since = now;
            let (s, w) = if up {
                (submitter::Input::AuthorityUp, worker::Input::AuthorityUp)
            } else {
                (submitter::Input::AuthorityDown, worker::Input::AuthorityDown)
            };
            mesh.submitter.handle(now, s);
            if let Some(worker) = mesh.worker.as_mut() {
                worker.handle(now, w);
            }
        }
    }

    /// An authority answers, or none does.
    pub(super) fn authority_up(&mut self, up: bool) {
        self.authority_told(up);
        self.metrics.authority_up.set(i64::from(up));
        let text = if up {
            "an authority answers"
        } else {
            "no authority answers; held leases run on, new ones wait"
        };
        self.events
            .say(if up { "authority.up" } else { "authority.down" }, "", text);
    }

    /// Tells both cores which credential this node has.
    pub(super) fn own_credential(&mut self) {
        let now = self.clock.now();
        let Some(mesh) = self.mesh.as_mut() else { return };
        let Some((_, credential)) = mesh.standing.credential() else {
            return;
        };
        mesh.submitter
            .handle(now, submitter::Input::OwnCredential(Box::new(credential.clone())));
        if let Some(worker) = mesh.worker.as_mut() {
            worker.handle(now, worker::Input::OwnCredential(Box::new(credential)));
        }
    }
}
