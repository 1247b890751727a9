//! What the handle asks of the loop.

use crate::error::PushError;
use hive_protocol::{
    ids::{NodeId, NoticeId},
    keys::Signed,
    notice::Notice,
};
use hive_transfer::notices::policy::Policy;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Calls that may wait for the loop; callers wait when it is full.
pub(crate) const CALLS: usize = 256;

pub(crate) type Reply = oneshot::Sender<Result<(), PushError>>;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Call {
    Send(Box<(Notice, Signed<Notice>)>),
    Cancel(NoticeId),
    Forget(NoticeId),
    Accept(NoticeId, Option<String>),
    Decline(NoticeId, String),
    Remove(NoticeId),
    Close,
}

/// What only the latest matters of: left here by calls that neither wait nor fail. One entry per node at most.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub peers: BTreeMap<NodeId, bool>,
    pub authorities: Option<Vec<NodeId>>,
    pub policy: Option<Policy>,
}
