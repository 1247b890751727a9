//! The outbox for people to look at.

use super::{Outbox, Standing, row::Sent};
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::{NoticeBody, Priority},
    time::Timestamp,
};

/// A notice sent from here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutView {
    /// Its id.
    pub id: NoticeId,
    /// What it says.
    pub body: NoticeBody,
    /// How urgent.
    pub priority: Priority,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is delivered.
    pub expires: Timestamp,
    /// Whether nothing will change any more.
    pub ended: bool,
    /// Whether it was taken back.
    pub cancelled: bool,
    /// Its recipients.
    pub to: Vec<ToView>,
}

/// A recipient of a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToView {
    /// Who.
    pub node: NodeId,
    /// Where it stands.
    pub standing: Standing,
    /// Whether it has just been said and not been answered.
    pub sending: bool,
    /// Whether an authority may keep it.
    pub deposited: bool,
    /// When it last changed.
    pub changed: Timestamp,
    /// Times it was said.
    pub tries: u32,
}

impl Outbox {
    /// All notices, the newest first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<OutView> {
        let mut all: Vec<&Sent> = self.sent.values().collect();
        all.sort_unstable_by_key(|s| std::cmp::Reverse(s.order));
        all.into_iter().map(|s| self.view_of(now, s)).collect()
    }

    /// One notice.
    #[must_use]
    pub fn show(&self, now: Timestamp, id: NoticeId) -> Option<OutView> {
        self.sent.get(&id).map(|s| self.view_of(now, s))
    }

    fn view_of(&self, now: Timestamp, sent: &Sent) -> OutView {
        let to = sent.to.iter().map(|(node, d)| ToView {
            node: *node,
            standing: match &d.standing {
                Standing::Queued | Standing::Kept if sent.cancelled => Standing::Cancelled,
                Standing::Queued | Standing::Kept if !sent.live(now) => Standing::Expired,
                other => other.clone(),
            },
            sending: self
                .peers
                .get(node)
                .is_some_and(|p| p.flying.keys().any(|(id, _)| *id == sent.notice.id)),
            deposited: !d.kept_at.is_empty(),
            changed: d.changed,
            tries: d.tries,
        });
        OutView {
            id: sent.notice.id,
            body: sent.notice.body.clone(),
            priority: sent.notice.priority,
            created: sent.notice.created,
            expires: sent.notice.expires,
            ended: sent.ended(),
            cancelled: sent.cancelled,
            to: to.collect(),
        }
    }
}
