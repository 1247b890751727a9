//! The engines of a member: moving, notices, mirrors; started when a mesh is entered, closed before the network.

use super::{
    address::best,
    desk::{Desk, Standing},
    mirror_bind::{MirrorFetcher, MirrorPuller, StateSender},
    post::Post,
    puller::FilePuller,
    refusals::refused,
    settings::limits,
};
use crate::{blobs::Grants, membership, port::Refused};
use hive_authority::AuthorityHandle;
use hive_files::{Config, Deps, Direction, Evidence, EvidenceKind, Files, LeaseGate};
use hive_net::NetHandle;
use hive_protocol::{
    ids::{AccountId, BlobHash, LeaseId, NetworkId, NodeId},
    keys::{SecretKey, Signed},
    notice::Notice,
    time::Timestamp,
};
use hive_push::{Puller, Push};
use hive_store::{Journal, SledJournal};
use hive_sync::{InDeps, Incoming, OutDeps, Outgoing, StoreLibrary};
use std::sync::{Arc, OnceLock, PoisonError};
use tokio::sync::broadcast::error::RecvError;

/// A member's engines.
pub struct Engines {
    pub(super) files: Files,
    pub(super) push: Push,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    pub(super) net: NetHandle,
    pub(super) me: NodeId,
    pub(super) account: AccountId,
    pub(super) network: NetworkId,
}

/// What a node brings when it enters a mesh.
pub struct Entering {
    /// The network.
    pub net: NetHandle,
    /// Who we are in which mesh.
    pub standing: membership::Standing,
    /// The node's key, for signing notices.
    pub key: SecretKey,
    /// Who may fetch what under a lease.
    pub grants: Grants,
    /// The authority in this process, if it holds one.
    pub authority: Option<AuthorityHandle>,
}

impl LeaseGate for Grants {
    fn may(&self, node: NodeId, lease: LeaseId, blob: &BlobHash) -> bool {
        Self::may(self, node, Some(lease), blob)
    }
}

impl Engines {
    /// Where this node is reached best, for a ticket that anybody may use: from everywhere (an address of its own, or
    /// through a relay) rather than from its own network only, and that rather than from this machine only.
    pub(super) fn address(&self) -> String {
        best(&self.net.told_addrs())
    }
}

fn failed(code: &str, text: impl std::fmt::Display) -> Refused {
    refused(code, text)
}

fn seed() -> Result<u64, Refused> {
    Ok(u64::from_le_bytes(crate::random().map_err(Refused::from)?))
}

impl Desk {
    /// Starts the engines of a member, in a task of its own: calls wait for it, the loop does not.
    pub fn enter(&self, entering: Entering) {
        self.0.standing.send_replace(Standing::Starting);
        let desk = self.clone();
        tokio::spawn(async move {
            let now = match desk.start(entering).await {
                Ok(engines) => Standing::Up(Arc::new(engines)),
                Err(refused) => {
                    tracing::error!(target: "hive_runtime::files", code = refused.code, "{refused}");
                    desk.say("file.unavailable", String::new(), refused.to_string());
                    Standing::Failed(refused)
                }
            };
            desk.0.standing.send_if_modified(|standing| {
                // The daemon may have begun to stop meanwhile.
                let still = matches!(standing, Standing::Starting);
                if still {
                    *standing = now;
                }
                still
            });
            if let Some(engines) = desk.engines_now() {
                desk.welcome(&engines);
            }
        });
    }

    async fn start(&self, entering: Entering) -> Result<Engines, Refused> {
        let Entering {
            net,
            standing,
            key,
            grants,
            authority,
        } = entering;
        let clock = self.0.clock;
        let now: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(move || clock.now());
        let watcher = self.clone();
        let deps = Deps {
            net: net.clone(),
            store: self.0.store.clone(),
            journal: self.journal("transfers", hive_files::TREES).await?,
            clock: Arc::clone(&now),
            leases: Arc::new(grants),
            on_evidence: Arc::new(move |evidence| watcher.evidence(&evidence)),
            seed: seed()?,
        };
        let config = Config {
            limits_in: limits(&self.config(), Direction::In),
            limits_out: limits(&self.config(), Direction::Out),
        };
        let files = Files::new(deps, config).map_err(|e| failed(e.code(), &e))?;
        let resumed = files.restore().await.map_err(|e| failed(e.code(), &e))?;
        if resumed > 0 {
            tracing::info!(target: "hive_runtime::files", resumed, "transfers go on");
        }
        let puller: Arc<dyn Puller> = Arc::new(FilePuller {
            files: files.clone(),
            desk: self.clone(),
        });
        let post = match authority {
            Some(authority) => Some(self.mailbox(authority, Arc::clone(&now)).await?),
            None => None,
        };
        let slot = Arc::new(OnceLock::new());
        let mirror: Arc<dyn Puller> = Arc::new(MirrorPuller {
            incoming: Arc::clone(&slot),
            desk: self.clone(),
        });
        let me = standing.node();
        let people = self.0.people.clone();
        let deps = hive_push::Deps {
            net: net.clone(),
            network: standing.network(),
            me,
            journal: self.journal("notices", hive_push::TREES).await?,
            clock: Arc::clone(&now),
            sign: Arc::new(move |notice: &Notice| Signed::sign(&key, notice)),
            tier: Arc::new(move |node: &NodeId| people.tier(node)),
            puller,
            mirror: Some(mirror),
            post,
            utc_offset_min: self.config().utc_offset_min,
        };
        let policy = self.policy(standing.account());
        let (push, _started) = Push::start(deps, policy)
            .await
            .map_err(|e| failed(e.code(), &e))?;
        push.set_authorities(standing.authorities());
        let syncs = self.journal("syncs", hive_sync::TREES).await?;
        let incoming = Incoming::start(InDeps {
            journal: Arc::clone(&syncs),
            fetcher: Arc::new(MirrorFetcher {
                files: files.clone(),
                desk: self.clone(),
            }),
            clock: Arc::clone(&now),
            me,
        })
        .await
        .map_err(|e| failed(e.code(), &e))?;
        // Set once: nobody else has the slot's other end.
        let _ = slot.set(incoming.clone());
        let outgoing = Outgoing::start(OutDeps {
            journal: syncs,
            library: Arc::new(StoreLibrary::new(self.0.store.clone())),
            sender: Arc::new(StateSender {
                files: files.clone(),
                push: push.clone(),
            }),
            clock: now,
        })
        .await
        .map_err(|e| failed(e.code(), &e))?;
        Ok(Engines {
            files,
            push,
            outgoing,
            incoming,
            net,
            me,
            account: standing.account(),
            network: standing.network(),
        })
    }

    /// A journal of its own below the data folder.
    async fn journal(
        &self,
        name: &'static str,
        trees: &'static [&'static str],
    ) -> Result<Arc<dyn Journal>, Refused> {
        let path = self.0.root.join(name);
        let opened = tokio::task::spawn_blocking(move || SledJournal::open(&path, trees));
        let (journal, alarm) = opened
            .await
            .map_err(|_| Refused::stopping())?
            .map_err(|e| failed(e.code(), &e))?;
        if let Some(alarm) = alarm {
            tracing::warn!(target: "hive_runtime::files", code = alarm.code(), "the journal of {name} was damaged");
        }
        Ok(Arc::new(journal))
    }

    async fn mailbox(
        &self,
        authority: AuthorityHandle,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Arc<dyn hive_push::PostOffice>, Refused> {
        let folder = self.0.root.join("mailbox");
        let opened =
            tokio::task::spawn_blocking(move || hive_authority::Mailbox::open(&folder, authority, clock));
        let (mailbox, report) = opened
            .await
            .map_err(|_| Refused::stopping())?
            .map_err(|e| failed(e.code(), &e))?;
        tracing::info!(target: "hive_runtime::files", ?report, "mailbox open");
        Ok(Arc::new(Post(mailbox)))
    }

    /// What happened while the engines were started is told to them, and their news to the daemon's watchers.
    fn welcome(&self, engines: &Arc<Engines>) {
        {
            let connected = self.0.connected.lock().unwrap_or_else(PoisonError::into_inner);
            connected.iter().for_each(|node| engines.push.peer_up(*node));
        }
        // They may have been changed while the engines were started.
        self.apply(engines);
        let (desk, mut news) = (self.clone(), engines.push.events());
        tokio::spawn(async move {
            loop {
                match news.recv().await {
                    Ok(event) => desk.notice_event(event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn notice_event(&self, event: hive_push::PushEvent) {
        use hive_push::PushEvent;
        match event {
            PushEvent::Arrived(view) => {
                let row = super::shown::inbox_row(&view, &self.0.people);
                let text = format!(
                    "{} from {}: {}",
                    row.kind,
                    self.0.people.label(&view.from),
                    row.name
                );
                self.say("inbox.arrived", row.notice, text);
            }
            PushEvent::InChanged(view) => {
                let row = super::shown::inbox_row(&view, &self.0.people);
                // Progress is not news.
                if row.state != "pulling" {
                    self.say(
                        "inbox.changed",
                        row.notice,
                        format!("{}: {}", row.name, row.state),
                    );
                }
            }
            PushEvent::OutChanged { id, node, .. } => {
                let Some(engines) = self.engines_now() else { return };
                let Some(sent) = engines.push.sent(id) else { return };
                let Some(to) = sent.to.iter().find(|t| t.node == node) else {
                    return;
                };
                let row = super::shown::recipient(to, 0, &self.0.people);
                if row.state != "pulling" {
                    let text = format!("{}: {}", self.0.people.label(&node), row.state);
                    self.say("push.changed", id.to_string(), text);
                }
            }
        }
    }

    fn evidence(&self, evidence: &Evidence) {
        let what = match evidence.kind {
            EvidenceKind::WrongBytes => "sent wrong bytes",
        };
        let text = format!(
            "{} {what} for {}",
            self.0.people.label(&evidence.node),
            evidence.hash.short()
        );
        tracing::warn!(target: "hive_runtime::files", node = ?evidence.node, hash = ?evidence.hash, "{text}");
        self.say("peer.bad_provider", evidence.node.to_string(), text);
    }

    /// Closes the engines: transfers stay resumable. The network is still there.
    pub async fn close(&self) {
        let before = self.0.standing.send_replace(Standing::Stopping);
        if let Standing::Up(engines) = before {
            engines.outgoing.close().await;
            engines.incoming.close().await;
            engines.push.close().await;
            engines.files.close().await;
        }
    }
}
