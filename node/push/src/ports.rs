//! What the daemon gives: clock, keys, journal, somebody who pulls, and on authorities the mailbox.

use crate::news::News;
use hive_net::NetHandle;
use hive_protocol::{
    codec::CodecError,
    credential::Tier,
    ids::{NetworkId, NodeId},
    keys::Signed,
    notice::{Notice, NoticeMsg},
    time::Timestamp,
};
use hive_store::Journal;
use hive_transfer::notices::inbox::Order;
use std::{future::Future, pin::Pin, sync::Arc};

/// Reads the wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Signs as this node.
pub type Sign = Arc<dyn Fn(&Notice) -> Result<Signed<Notice>, CodecError> + Send + Sync>;
/// The tier of a node's account, as far as its credential is known here.
pub type TierOf = Arc<dyn Fn(&NodeId) -> Option<Tier> + Send + Sync>;

/// Everything [`crate::Push`] needs.
#[derive(Clone)]
pub struct Deps {
    /// The network; `/hive/notice/1` is served on it.
    pub net: NetHandle,
    /// The mesh.
    pub network: NetworkId,
    /// This node.
    pub me: NodeId,
    /// A journal with the trees [`crate::TREES`], used by nothing else.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Clock,
    /// Minutes that the local time is ahead of UTC: for the policy's hours.
    pub utc_offset_min: i32,
    /// Signs as `me`.
    pub sign: Sign,
    /// Tiers of senders.
    pub tier: TierOf,
    /// Pulls files and folders.
    pub puller: Arc<dyn Puller>,
    /// Applies states of mirrors; without it they fail.
    pub mirror: Option<Arc<dyn Puller>>,
    /// The mailbox, on an authority.
    pub post: Option<Arc<dyn PostOffice>>,
}

/// Gets the content of a notice to where it belongs.
pub trait Puller: Send + Sync + 'static {
    /// A free place for what this order brings: below its folder `into` under its name or one like it, or what somebody
    /// has asked for (`dest`). Kept in the journal before [`Puller::begin`]. May block; must not create anything.
    ///
    /// # Errors
    /// Why there is none; it is asked again later.
    fn place(&self, order: &Order) -> Result<String, String>;

    /// Begins, or goes on. Must not block. Comes again for the same order after a restart or a failure: what was begun
    /// goes on; when the content is in its place already, `news.done()` at once.
    fn begin(&self, order: Order, news: News);

    /// Gives an order up; its news no longer matters.
    fn cancel(&self, order: &Order);

    /// Bytes free for files below this folder; `None` when that cannot be told. May block.
    fn free(&self, folder: &str) -> Option<u64>;
}

/// What a mailbox answers.
#[derive(Debug, Default)]
pub struct Answered {
    /// To whoever asked.
    pub reply: Option<NoticeMsg>,
    /// Recipients for whom something has come.
    pub news: Vec<NodeId>,
}

/// An answer under way.
pub type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// An authority's mailbox.
pub trait PostOffice: Send + Sync + 'static {
    /// Answers [`NoticeMsg::Deposit`], [`NoticeMsg::Collect`], [`NoticeMsg::Taken`] and [`NoticeMsg::Withdraw`] of a
    /// member; ends within some seconds.
    fn ask(&self, from: NodeId, msg: NoticeMsg) -> Answering;
}
