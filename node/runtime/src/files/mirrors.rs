//! Mirrors: one's own folders towards others, and others' folders here.

use super::{desk::Desk, engines::Engines, refusals::refused, resolve::pick, shown::recipient};
use crate::port::{NodeHandle, RecipientRow, Refused, SyncRequest, SyncView};
use hive_protocol::ids::{NodeId, SyncId};
use hive_sync::{InState, MirrorView, NewMirror, OutState, ReplicaView};
use std::{collections::BTreeSet, path::Path, time::Duration};
use tokio::sync::broadcast::error::RecvError;

/// One mirror, out or in.
enum Found {
    Out(SyncId),
    In(NodeId, SyncId),
}

impl Desk {
    pub(super) async fn sync_start(&self, ask: SyncRequest) -> Result<SyncView, Refused> {
        let engines = self.engines().await?;
        let to = self.chosen(&ask.to, engines.me).await?;
        let known = engines.outgoing.of_dir(&ask.dir).into_iter().next();
        let id = match known {
            Some(mirror) => self.again(&engines, &mirror, &ask, &to).await?,
            None => engines
                .outgoing
                .add(NewMirror {
                    dir: ask.dir,
                    to: to.into_iter().collect(),
                    watch: ask.watch,
                    versions: ask.versions,
                    allow_empty: false,
                    skip_unsafe: ask.skip_unsafe,
                })
                .await
                .map_err(|e| refused(e.code(), &e))?,
        };
        let mirror = engines.outgoing.view(&id);
        let mirror = mirror.ok_or_else(|| NodeHandle::not_found("sync", &id.to_string()))?;
        let view = self.out_view(&engines, &mirror);
        self.say(
            "sync.started",
            view.sync.clone(),
            format!("{} to {} nodes", view.dir, view.nodes.len()),
        );
        Ok(view)
    }

    /// A folder that is mirrored already is looked at anew, towards those named now and as is asked now.
    async fn again(
        &self,
        engines: &Engines,
        mirror: &MirrorView,
        ask: &SyncRequest,
        to: &BTreeSet<NodeId>,
    ) -> Result<SyncId, Refused> {
        if (mirror.watch, mirror.versions) != (ask.watch, ask.versions) {
            engines
                .outgoing
                .set_watch(&mirror.id, ask.watch, ask.versions)
                .await
                .map_err(|e| refused(e.code(), &e))?;
        }
        if mirror.to.iter().copied().collect::<BTreeSet<_>>() != *to {
            engines
                .outgoing
                .set_recipients(&mirror.id, to.iter().copied().collect())
                .await
                .map_err(|e| refused(e.code(), &e))?;
        }
        engines
            .outgoing
            .rescan(&mirror.id, ask.allow_empty)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        Ok(mirror.id)
    }

    fn out_view(&self, engines: &Engines, m: &MirrorView) -> SyncView {
        let people = &self.0.people;
        let sent = m.notice.and_then(|id| engines.push.sent(id));
        let nodes: Vec<RecipientRow> = match &sent {
            Some(sent) => sent.to.iter().map(|to| recipient(to, m.size, people)).collect(),
            None => m.to.iter().map(|node| self.untold(*node, m.size)).collect(),
        };
        let all = nodes.iter().all(|r| r.state == "done");
        let state = match m.state {
            OutState::Scanning => "scanning",
            OutState::Blocked => "blocked",
            OutState::Sent | OutState::Polling if all => "idle",
            OutState::Sent | OutState::Polling => "sending",
        };
        SyncView {
            sync: m.id.to_string(),
            direction: "out".to_owned(),
            dir: m.dir.to_string_lossy().into_owned(),
            nodes,
            watch: m.watch,
            versions: m.versions,
            seq: m.seq,
            hash: m.root.map(|h| h.to_string()),
            files: m.files,
            size: m.size,
            state: state.to_owned(),
            detail: m.detail.clone(),
            changed: m.changed.0,
            conflicts: 0,
        }
    }

    fn untold(&self, node: NodeId, size: u64) -> RecipientRow {
        RecipientRow {
            node: node.to_string(),
            name: self.0.people.label(&node),
            state: "queued".to_owned(),
            detail: String::new(),
            done: 0,
            total: size,
        }
    }

    fn in_view(&self, r: &ReplicaView) -> SyncView {
        let (state, at) = match r.state {
            InState::Waiting => ("waiting", "waiting"),
            InState::Scanning => ("scanning", "pulling"),
            InState::Fetching => ("fetching", "pulling"),
            InState::Placing => ("placing", "pulling"),
            InState::Whole => ("idle", "done"),
            InState::Partial => ("partial", "waiting"),
            InState::Blocked => ("blocked", "failed"),
        };
        SyncView {
            sync: r.sync.to_string(),
            direction: "in".to_owned(),
            dir: r.dir.to_string_lossy().into_owned(),
            nodes: vec![RecipientRow {
                node: r.from.to_string(),
                name: self.0.people.label(&r.from),
                state: at.to_owned(),
                detail: r.detail.clone(),
                done: r.done,
                total: r.total,
            }],
            watch: true,
            versions: 0,
            seq: r.seq,
            hash: Some(r.root.to_string()),
            files: 0,
            size: r.total,
            state: state.to_owned(),
            detail: r.detail.clone(),
            changed: r.changed.0,
            conflicts: r.conflicts.len() as u64,
        }
    }

    fn all_syncs(&self, engines: &Engines) -> Vec<SyncView> {
        let mut out: Vec<SyncView> = engines
            .outgoing
            .list()
            .iter()
            .map(|m| self.out_view(engines, m))
            .collect();
        out.extend(engines.incoming.list().iter().map(|r| self.in_view(r)));
        out.sort_by_key(|v| std::cmp::Reverse(v.changed));
        out
    }

    pub(super) async fn syncs(&self) -> Result<Vec<SyncView>, Refused> {
        let engines = self.engines().await?;
        Ok(self.all_syncs(&engines))
    }

    fn find_sync(&self, engines: &Engines, text: &str) -> Result<Found, Refused> {
        let all = self.all_syncs(engines);
        let at = all.iter().find(|v| Path::new(&v.dir) == Path::new(text));
        let view = match at {
            Some(view) => view,
            None => pick("sync", &all, text, |v| v.sync.clone())?,
        };
        let gone = || NodeHandle::not_found("sync", text);
        let id: SyncId = view.sync.parse().map_err(|_| gone())?;
        if view.direction == "out" {
            return Ok(Found::Out(id));
        }
        let from = view.nodes.first().ok_or_else(gone)?;
        Ok(Found::In(from.node.parse().map_err(|_| gone())?, id))
    }

    fn look(&self, engines: &Engines, found: &Found) -> Option<SyncView> {
        match found {
            Found::Out(id) => engines.outgoing.view(id).map(|m| self.out_view(engines, &m)),
            Found::In(from, id) => {
                let all = engines.incoming.list();
                let one = all.iter().find(|r| r.from == *from && r.sync == *id);
                one.map(|r| self.in_view(r))
            }
        }
    }

    pub(super) async fn sync(&self, text: &str, wait_ms: u64) -> Result<SyncView, Refused> {
        let engines = self.engines().await?;
        let found = self.find_sync(&engines, text)?;
        let mut news = engines.push.events();
        let mut out = engines.outgoing.changes();
        let mut inn = engines.incoming.changes();
        let settled = async {
            while self
                .look(&engines, &found)
                .is_some_and(|v| !matches!(v.state.as_str(), "idle" | "blocked"))
            {
                let over = tokio::select! {
                    heard = news.recv() => matches!(heard, Err(RecvError::Closed)),
                    changed = out.changed() => changed.is_err(),
                    changed = inn.changed() => changed.is_err(),
                };
                if over {
                    return;
                }
            }
        };
        // Whether it is settled or the time has passed: both are answered by where it stands.
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), settled).await;
        self.look(&engines, &found)
            .ok_or_else(|| NodeHandle::not_found("sync", text))
    }

    pub(super) async fn sync_remove(&self, text: &str) -> Result<(), Refused> {
        let engines = self.engines().await?;
        match self.find_sync(&engines, text)? {
            Found::Out(id) => {
                let notice = engines.outgoing.view(&id).and_then(|m| m.notice);
                engines
                    .outgoing
                    .remove(&id)
                    .await
                    .map_err(|e| refused(e.code(), &e))?;
                if let Some(notice) = notice.filter(|n| engines.push.sent(*n).is_some_and(|s| !s.ended)) {
                    engines
                        .push
                        .cancel(notice)
                        .await
                        .map_err(|e| refused(e.code(), &e))?;
                }
                self.say("sync.removed", id.to_string(), "mirrored no longer".to_owned());
            }
            Found::In(from, id) => {
                engines
                    .incoming
                    .remove(&from, &id)
                    .await
                    .map_err(|e| refused(e.code(), &e))?;
                self.say("sync.removed", id.to_string(), "followed no longer".to_owned());
            }
        }
        Ok(())
    }
}
