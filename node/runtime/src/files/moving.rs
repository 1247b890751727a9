//! Bytes on their way here: pulls, their progress, verified ranges.

use super::{
    desk::Desk, engines::Engines, keep::priority, refusals::refused, resolve::pick, shown::transfer_view,
};
use crate::port::{FileBytes, Kind, NodeHandle, PullRequest, Refused, TransferDo, TransferView};
use hive_files::{Existing, Hint, Like, RangeRequest, Stage, Target, Transfer};
use hive_protocol::{
    file::MAX_CONTENT,
    ids::{NodeId, TransferId},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc;

/// Verified pieces on their way to the reader.
const PIECES: usize = 8;

impl Desk {
    pub(super) async fn pull(&self, request: PullRequest) -> Result<TransferView, Refused> {
        let engines = self.engines().await?;
        let meant = self.meant(&request.what)?;
        let target = request.dest.map_or(Target::Store, Target::Path);
        let folder = meant.folder.unwrap_or(request.folder);
        let mut pull = hive_files::PullRequest::new(meant.hash, folder, target);
        pull.name = meant.name;
        pull.size_hint = meant.size;
        // A ticket's size is a promise: more is not taken for it.
        pull.max_bytes = meant.size.unwrap_or(MAX_CONTENT);
        pull.hints = meant.hints;
        for node in &request.from {
            let node = self.person(node).await?;
            pull.hints.extend(self.hints([node], true));
        }
        pull.hints.truncate(hive_files::MAX_HINTS);
        pull.priority = priority(request.priority.as_deref())?;
        pull.like = request.like.map(Like::Path);
        if request.overwrite {
            pull.existing = Existing::Replace;
        }
        let transfer = engines
            .files
            .pull(pull)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        let view = self.shown(&transfer);
        self.say(
            "transfer.started",
            view.transfer.clone(),
            format!("pulling {}", view.name),
        );
        self.tell_end(transfer);
        Ok(view)
    }

    /// Says as an event how a transfer ended.
    fn tell_end(&self, transfer: Transfer) {
        let desk = self.clone();
        tokio::spawn(async move {
            let outcome = transfer.done().await;
            let view = desk.shown(&transfer);
            let text = match outcome {
                Ok(pulled) => format!(
                    "{} is here: {} bytes, {} fetched",
                    view.name, pulled.bytes, pulled.fetched
                ),
                Err(e) => format!("{}: {e}", view.name),
            };
            desk.say("transfer.ended", view.transfer, text);
        });
    }

    fn shown(&self, transfer: &Transfer) -> TransferView {
        transfer_view(&transfer.view(), &self.0.people)
    }

    /// Those that run first, then the latest ended ones.
    pub(super) async fn transfers(&self) -> Result<Vec<TransferView>, Refused> {
        let engines = self.engines().await?;
        let mut views = engines.files.transfers();
        views.sort_by_key(|v| (v.stage.ended(), std::cmp::Reverse(v.started)));
        let mut views: Vec<TransferView> = views.iter().map(|v| transfer_view(v, &self.0.people)).collect();
        self.name_relays(&engines, &mut views).await;
        Ok(views)
    }

    /// Says through which relay relayed bytes come.
    async fn name_relays(&self, engines: &Engines, views: &mut [TransferView]) {
        let relayed = |v: &&mut TransferView| v.peers.iter().any(|p| p.path == "relayed");
        let mut views: Vec<_> = views.iter_mut().filter(relayed).collect();
        if views.is_empty() {
            return;
        }
        let peers = engines.net.peers().await;
        let relays = peers.iter().filter_map(|p| Some((p.node.to_string(), p.relay?)));
        let relays: BTreeMap<String, NodeId> = relays.collect();
        for peer in views.iter_mut().flat_map(|v| v.peers.iter_mut()) {
            if peer.path == "relayed" {
                peer.relay = relays.get(&peer.node).map(|r| self.0.people.label(r));
            }
        }
    }

    async fn find_transfer(&self, text: &str) -> Result<Transfer, Refused> {
        let engines = self.engines().await?;
        let id = match text.parse::<TransferId>() {
            Ok(id) => id,
            Err(_) => {
                let mut views = engines.files.transfers();
                views.sort_by_key(|v| std::cmp::Reverse(v.started));
                pick("transfer", &views, text, |v| v.id.to_string())?.id
            }
        };
        engines
            .files
            .transfer(id)
            .ok_or_else(|| NodeHandle::not_found("transfer", text))
    }

    pub(super) async fn transfer(&self, text: &str, wait_ms: u64) -> Result<TransferView, Refused> {
        let transfer = self.find_transfer(text).await?;
        let mut seen = transfer.watch();
        let ended = async {
            while !seen.borrow_and_update().stage.ended() {
                if seen.changed().await.is_err() {
                    return;
                }
            }
        };
        // Whether it has ended or the time has passed: both are answered by where it stands.
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), ended).await;
        let mut view = self.shown(&transfer);
        let engines = self.engines().await?;
        self.name_relays(&engines, std::slice::from_mut(&mut view)).await;
        Ok(view)
    }

    pub(super) async fn transfer_do(
        &self,
        text: &str,
        what: TransferDo,
    ) -> Result<Vec<TransferView>, Refused> {
        let chosen: Vec<Transfer> = if text == "all" {
            let engines = self.engines().await?;
            let running = engines.files.transfers().into_iter().filter(|v| !v.stage.ended());
            running.filter_map(|v| engines.files.transfer(v.id)).collect()
        } else {
            let one = self.find_transfer(text).await?;
            let stage = one.view().stage;
            // What has failed can be tried again: there may be room now, or somebody who has it.
            let again = stage == Stage::Failed && matches!(what, TransferDo::Resume);
            if stage.ended() && !again {
                return Err(Refused::new(
                    Kind::Conflict,
                    "transfer.ended",
                    format!("the transfer {} has ended already", one.id()),
                )
                .hint("hivenode file status"));
            }
            vec![one]
        };
        let engines = self.engines().await?;
        let mut views = Vec::with_capacity(chosen.len());
        for transfer in chosen {
            let id = transfer.id();
            let now = match what {
                TransferDo::Pause => engines.files.pause(id).await.map(|()| transfer),
                TransferDo::Resume => {
                    let failed = transfer.view().stage == Stage::Failed;
                    let going = engines.files.resume(id).await;
                    if let (true, Ok(going)) = (failed, &going) {
                        self.tell_end(going.clone());
                    }
                    going
                }
                TransferDo::Cancel => {
                    // What is here serves a later try; of nothing nothing is kept.
                    transfer.cancel(transfer.view().done > 0);
                    Ok(transfer)
                }
            };
            views.push(self.shown(&now.map_err(|e| refused(e.code(), &e))?));
        }
        Ok(views)
    }

    /// Verified bytes of a range, as they come.
    pub(super) async fn read(&self, what: &str, from: u64, to: Option<u64>) -> Result<FileBytes, Refused> {
        let engines = self.engines().await?;
        let meant = self.meant(what)?;
        if meant.folder == Some(true) {
            return Err(Refused::new(
                Kind::Invalid,
                "file.is_folder",
                format!("{} is a folder; its files have ids of their own", meant.name),
            )
            .hint(format!("hivenode file show {}", meant.hash)));
        }
        let request = RangeRequest {
            hash: meant.hash,
            via: None,
            hints: meant.hints,
            range: from..to.unwrap_or(u64::MAX),
            lookup: true,
        };
        let mut reader = engines
            .files
            .read_range(request)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        let size = reader.size();
        let range = reader.range();
        let (sender, pieces) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            while let Some(piece) = reader.next().await {
                let piece = piece.map_err(|e| refused(e.code(), &e));
                let over = piece.is_err();
                // A reader that has gone ends the fetching.
                if sender.send(piece).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(FileBytes {
            hash: meant.hash.to_string(),
            size,
            from: range.start,
            len: range.end.saturating_sub(range.start),
            pieces,
        })
    }

    /// Hints for these nodes with what is known of where they are; `whole`: they have all of it.
    pub(super) fn hints(&self, nodes: impl IntoIterator<Item = NodeId>, whole: bool) -> Vec<Hint> {
        let hint = |node: NodeId| Hint {
            node,
            addrs: self.0.people.addrs(&node),
            whole,
        };
        nodes.into_iter().take(hive_files::MAX_HINTS).map(hint).collect()
    }
}
