//! Notices: sending them, where they stand, and what others have sent.

use super::{
    desk::Desk,
    engines::Engines,
    keep::{Taking, priority},
    refusals::refused,
    resolve::pick,
    shown::{inbox_row, notice_view},
};
use crate::port::{InboxRow, Kind, NodeHandle, NoticeView, PushRequest, Refused};
use hive_files::Audience;
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::{FileNotice, MAX_NOTICE_NAME, MAX_RECIPIENTS, MAX_TEXT, NoticeBody},
    share::plain_name,
    time::Millis,
};
use hive_push::{OutView, Outgoing};
use hive_store::files::Root;
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tokio::sync::broadcast::error::RecvError;

/// Why content is kept: it was sent to somebody.
pub(super) const PUSHED: &str = "pushed";
/// How long a push is offered when nothing is said.
const LIFE: Millis = Millis::secs(7 * 24 * 3600);

fn request(text: impl Into<String>) -> Refused {
    Refused::new(Kind::Invalid, "push.request", text)
}

/// Texts and events have bounds of the wire.
fn bounded(what: &str, text: &str, most: usize) -> Result<(), Refused> {
    if text.len() <= most {
        return Ok(());
    }
    Err(request(format!(
        "the {what} has {} bytes; at most {most} travel",
        text.len()
    )))
}

impl Desk {
    pub(super) async fn push(&self, ask: PushRequest) -> Result<NoticeView, Refused> {
        let engines = self.engines().await?;
        let to = self.chosen(&ask.to, engines.me).await?;
        if to.len() > MAX_RECIPIENTS {
            return Err(request(format!(
                "{} receivers are selected; one push goes to at most {MAX_RECIPIENTS}",
                to.len()
            )));
        }
        let priority = priority(ask.priority.as_deref())?;
        let life = ask.ttl_ms.map_or(LIFE, Millis);
        let body = self.body(&engines, &ask, &to, life).await?;
        let outgoing = Outgoing {
            body,
            to: to.into_iter().collect(),
            priority,
            life: Some(life),
        };
        let id = engines
            .push
            .send(outgoing)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        let sent = engines
            .push
            .sent(id)
            .ok_or_else(|| NodeHandle::not_found("notice", "last"))?;
        let view = notice_view(&sent, &self.0.people);
        self.say(
            "push.sent",
            view.notice.clone(),
            format!("{} to {} nodes", view.name, view.recipients.len()),
        );
        Ok(view)
    }

    async fn body(
        &self,
        engines: &Engines,
        ask: &PushRequest,
        to: &BTreeSet<NodeId>,
        life: Millis,
    ) -> Result<NoticeBody, Refused> {
        let root = match (&ask.path, &ask.what, &ask.text, &ask.event) {
            (None, None, Some(text), None) => {
                bounded("text", text, MAX_TEXT)?;
                return Ok(NoticeBody::Text(text.clone()));
            }
            (None, None, None, Some((kind, data))) => {
                bounded("event's kind", kind, MAX_NOTICE_NAME)?;
                bounded("event's data", data, MAX_TEXT)?;
                return Ok(NoticeBody::Event {
                    kind: kind.clone(),
                    data: data.clone(),
                });
            }
            (Some(path), None, None, None) => self.pushed_path(path.clone(), ask, life).await?,
            (None, Some(what), None, None) => self.pushed_content(what, life).await?,
            _ => {
                return Err(request(
                    "exactly one of `path`, `what`, `text` and `event` says what to send",
                ));
            }
        };
        let name = ask.name.clone().unwrap_or_else(|| root.name.clone());
        if !plain_name(&name) {
            return Err(request(
                "a name is one plain file name, without `/` and control characters; say one with --name",
            ));
        }
        // Whoever is told must be let in when it comes.
        engines
            .files
            .share(root.hash, Audience::Nodes(to.clone()))
            .await
            .map_err(|e| refused(e.code(), &e))?;
        Ok(NoticeBody::File(FileNotice {
            root: root.hash,
            folder: root.folder,
            size: root.size,
            files: root.files,
            name,
            sync: None,
        }))
    }

    async fn pushed_path(&self, path: PathBuf, ask: &PushRequest, life: Millis) -> Result<Root, Refused> {
        let added = self
            .take_in(Taking {
                path,
                copy: ask.copy,
                skip_unsafe: ask.skip_unsafe,
                tag: PUSHED,
                until: Some(self.0.clock.now() + life),
            })
            .await?;
        Ok(added.root)
    }

    async fn pushed_content(&self, what: &str, life: Millis) -> Result<Root, Refused> {
        let root = self.kept(what)?.root;
        let (hash, until) = (root.hash, self.0.clock.now() + life);
        self.disk(move |store| store.keep(&hash, PUSHED, Some(until)))
            .await?;
        Ok(root)
    }

    pub(super) async fn notices(&self) -> Result<Vec<NoticeView>, Refused> {
        let engines = self.engines().await?;
        let all = engines.push.outbox();
        // The states of a mirror are shown with the mirror.
        let own = all.iter().filter(|v| !is_state(&v.body));
        Ok(own.map(|v| notice_view(v, &self.0.people)).collect())
    }

    fn find_notice(&self, engines: &Engines, text: &str) -> Result<OutView, Refused> {
        let id = match text.parse::<NoticeId>() {
            Ok(id) => id,
            Err(_) => {
                let all: Vec<OutView> = engines.push.outbox();
                let own: Vec<OutView> = all.into_iter().filter(|v| !is_state(&v.body)).collect();
                pick("notice", &own, text, |v| v.id.to_string())?.id
            }
        };
        engines
            .push
            .sent(id)
            .ok_or_else(|| NodeHandle::not_found("notice", text))
    }

    pub(super) async fn notice(&self, text: &str, wait_ms: u64) -> Result<NoticeView, Refused> {
        let engines = self.engines().await?;
        let mut news = engines.push.events();
        let id = self.find_notice(&engines, text)?.id;
        let ended = async {
            while engines.push.sent(id).is_some_and(|v| !v.ended) {
                match news.recv().await {
                    // One who lagged looks again.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        // Whether it has ended or the time has passed: both are answered by where it stands.
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), ended).await;
        let sent = engines.push.sent(id);
        let sent = sent.ok_or_else(|| NodeHandle::not_found("notice", text))?;
        Ok(notice_view(&sent, &self.0.people))
    }

    pub(super) async fn notice_cancel(&self, text: &str) -> Result<NoticeView, Refused> {
        let engines = self.engines().await?;
        let id = self.find_notice(&engines, text)?.id;
        engines.push.cancel(id).await.map_err(|e| refused(e.code(), &e))?;
        self.notice(&id.to_string(), 0).await
    }

    pub(super) async fn inbox(&self) -> Result<Vec<InboxRow>, Refused> {
        let engines = self.engines().await?;
        let all = engines.push.inbox();
        Ok(all.iter().map(|v| inbox_row(v, &self.0.people)).collect())
    }

    fn find_item(&self, engines: &Engines, text: &str) -> Result<NoticeId, Refused> {
        if let Ok(id) = text.parse::<NoticeId>() {
            return Ok(id);
        }
        let all = engines.push.inbox();
        Ok(pick("inbox", &all, text, |v| v.id.to_string())?.id)
    }

    fn item(&self, engines: &Engines, id: NoticeId) -> Result<InboxRow, Refused> {
        let found = engines.push.received(id);
        let found = found.ok_or_else(|| NodeHandle::not_found("inbox", &id.to_string()))?;
        Ok(inbox_row(&found, &self.0.people))
    }

    pub(super) async fn inbox_item(&self, text: &str) -> Result<InboxRow, Refused> {
        let engines = self.engines().await?;
        self.item(&engines, self.find_item(&engines, text)?)
    }

    pub(super) async fn inbox_accept(&self, text: &str, dest: Option<PathBuf>) -> Result<InboxRow, Refused> {
        let engines = self.engines().await?;
        let id = self.find_item(&engines, text)?;
        self.item(&engines, id)?;
        let dest = dest
            .map(|path| {
                let text = path.to_str().map(str::to_owned);
                text.ok_or_else(|| request("`dest` must be a path in UTF-8"))
            })
            .transpose()?;
        engines
            .push
            .accept(id, dest)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        self.item(&engines, id)
    }

    pub(super) async fn inbox_decline(&self, text: &str, reason: String) -> Result<InboxRow, Refused> {
        let engines = self.engines().await?;
        let id = self.find_item(&engines, text)?;
        self.item(&engines, id)?;
        bounded("reason", &reason, MAX_NOTICE_NAME)?;
        let reason = if reason.is_empty() {
            "declined by its user".to_owned()
        } else {
            reason
        };
        engines
            .push
            .decline(id, reason)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        self.item(&engines, id)
    }
}

fn is_state(body: &NoticeBody) -> bool {
    matches!(body, NoticeBody::File(file) if file.sync.is_some())
}
