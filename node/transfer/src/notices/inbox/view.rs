//! The inbox for people to look at.

use super::{
    Inbox,
    row::{Item, Key, Stage},
};
use hive_protocol::{
    ids::{NodeId, NoticeId, TransferId},
    notice::{DeliveryState, NoticeBody, Priority},
    time::Timestamp,
};

/// A notice in the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InView {
    /// Its id.
    pub id: NoticeId,
    /// Its sender.
    pub from: NodeId,
    /// What it says.
    pub body: NoticeBody,
    /// How urgent.
    pub priority: Priority,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it may be begun with.
    pub expires: Timestamp,
    /// When it came.
    pub arrived: Timestamp,
    /// Where it stands.
    pub state: InState,
    /// Where its content goes.
    pub dest: Option<String>,
    /// The transfer it becomes, if it is a file.
    pub transfer: TransferId,
}

/// Where a notice stands here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InState {
    /// Somebody has to accept it.
    Asking,
    /// It will be pulled; why not now (empty: at once).
    Waiting(String),
    /// Being pulled.
    Pulling {
        /// Verified bytes.
        done: u64,
        /// Of so many.
        total: u64,
        /// Why it does not move.
        why: Option<String>,
    },
    /// In place; a text or an event: here.
    Done,
    /// Not wanted, and why.
    Declined(String),
    /// It could not be had, and why.
    Failed(String),
}

impl Inbox {
    /// All notices in the list, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<InView> {
        let mut all: Vec<&Item> = self.items.values().collect();
        all.sort_unstable_by_key(|i| std::cmp::Reverse(i.order));
        all.into_iter().map(view_of).collect()
    }

    /// One notice.
    #[must_use]
    pub fn show(&self, key: Key) -> Option<InView> {
        self.items.get(&key).map(view_of)
    }

    /// Traces of notices taken.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen.len()
    }
}

fn view_of(item: &Item) -> InView {
    let notice = &item.notice;
    InView {
        id: notice.id,
        from: notice.from,
        body: notice.body.clone(),
        priority: notice.priority,
        created: notice.created,
        expires: notice.expires,
        arrived: item.arrived,
        state: match &item.stage {
            Stage::Asking => InState::Asking,
            Stage::Waiting(why) => InState::Waiting(why.clone()),
            Stage::Placing => InState::Waiting(String::new()),
            Stage::Moving { done, total, why } => InState::Pulling {
                done: *done,
                total: *total,
                why: why.clone(),
            },
            Stage::Ended(DeliveryState::Declined(why)) => InState::Declined(why.clone()),
            Stage::Ended(DeliveryState::Failed(why)) => InState::Failed(why.clone()),
            Stage::Ended(_) => InState::Done,
        },
        dest: item.dest.clone(),
        transfer: item.transfer(),
    }
}
