//! Wire protocol `/hive/notice/1`: short signed messages between nodes, and the authorities' mailbox for the absent.
//!
//! Participants: a sender; its recipients; authorities that keep notices for recipients who are away. A notice is
//! signed once by its sender's node key and travels unchanged: over a stream from the sender, or out of a mailbox
//! when the sender has left. Either side opens one stream and writes [`NoticeMsg`] frames; answers come on the same
//! stream, matched by the notice's id. A notice moves no content: the recipient decides whether and when to pull
//! ([`crate::file`]).
//! Goals: every notice reaches every recipient at least once until it expires; the recipient takes it once.
//! Non-goals: order between notices (a mirror's carry a number of their own); secrecy from the authorities.

use crate::{
    codec::Message,
    command::Refusal,
    ids::{BlobHash, NetworkId, NodeId, NoticeId, SyncId},
    keys::{Document, Signed},
    share::plain_name,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/notice/1";
/// Recipients of one notice.
pub const MAX_RECIPIENTS: usize = 256;
/// Bytes of a text or of an event's data.
pub const MAX_TEXT: usize = 4096;
/// Bytes of a name.
pub const MAX_NOTICE_NAME: usize = 255;
/// The longest a notice may live, from its making.
pub const MAX_NOTICE_LIFE: Millis = Millis::secs(90 * 24 * 3600);
/// Notices of one page of mail.
pub const MAX_MAIL: usize = 16;
/// Notices a stream may have unanswered.
pub const MAX_NOTICES_IN_FLIGHT: usize = 64;

/// What a sender has to say to some nodes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Notice {
    /// Made by the sender; a repeat is told by it.
    pub id: NoticeId,
    /// The mesh.
    pub network: NetworkId,
    /// Who says it; must be the signer.
    pub from: NodeId,
    /// To whom, in key order, at most [`MAX_RECIPIENTS`]; those to whom a file is sent also serve it to each other.
    pub to: Vec<NodeId>,
    /// What.
    pub body: NoticeBody,
    /// How urgent its content is.
    pub priority: Priority,
    /// When it was made.
    pub created: Timestamp,
    /// Not delivered from then on; at most [`MAX_NOTICE_LIFE`] after `created`.
    pub expires: Timestamp,
}

impl Document for Notice {
    const DOMAIN: &'static str = "notice 1";
    const MAX: usize = 1024 + MAX_RECIPIENTS * 32 + 2 * MAX_TEXT;
}

impl Notice {
    /// What is wrong with its form, if anything: bounds, order of recipients, life, names. Says nothing of who signed
    /// it, for which mesh it is, or the time.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if self.to.is_empty() || self.to.len() > MAX_RECIPIENTS {
            return Some("the number of recipients");
        }
        if !self.to.is_sorted_by(|a, b| a < b) || self.to.binary_search(&self.from).is_ok() {
            return Some("the list of recipients");
        }
        if self.expires <= self.created || self.expires.since(self.created) > MAX_NOTICE_LIFE {
            return Some("its life");
        }
        match &self.body {
            NoticeBody::Text(text) if text.len() > MAX_TEXT => Some("a text too long"),
            NoticeBody::Event { kind, data } if kind.len() > MAX_NOTICE_NAME || data.len() > MAX_TEXT => {
                Some("an event too large")
            }
            NoticeBody::File(file) if !plain_name(&file.name) => Some("a name that is no plain file name"),
            _ => None,
        }
    }
}

/// What a notice says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum NoticeBody {
    /// A line for people, at most [`MAX_TEXT`] bytes.
    Text(String),
    /// Something has happened, for programs.
    Event {
        /// What kind, at most [`MAX_NOTICE_NAME`] bytes.
        kind: String,
        /// Its data, at most [`MAX_TEXT`] bytes.
        data: String,
    },
    /// Content to pull.
    File(FileNotice),
}

/// Content to pull.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct FileNotice {
    /// A file's content, or a folder's manifest.
    pub root: BlobHash,
    /// Whether it is a folder's manifest.
    pub folder: bool,
    /// Bytes of all files.
    pub size: u64,
    /// Number of files.
    pub files: u64,
    /// One plain name: what it is called at the receiver.
    pub name: String,
    /// Set when it is a state of a mirrored folder rather than a push.
    pub sync: Option<SyncState>,
}

/// A state of a mirrored folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SyncState {
    /// Which mirror; made by its sender once.
    pub sync: SyncId,
    /// Counts up with each state; a lower one than known is out of date.
    pub seq: u64,
    /// The state before, which most receivers have.
    pub previous: Option<BlobHash>,
    /// Old versions of changed and deleted files to keep at the receiver; 0 for none.
    pub versions: u32,
}

/// How urgent: smaller goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug, Default)]
pub enum Priority {
    /// Somebody waits for it.
    Interactive,
    /// As usual.
    #[default]
    Normal,
    /// When nothing else is to be done.
    Bulk,
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum NoticeMsg {
    /// Sender to recipient: take this.
    Deliver(Signed<Notice>),
    /// Recipient to sender: where it stands; the first is the receipt.
    State {
        /// Which notice.
        id: NoticeId,
        /// Where it stands.
        state: DeliveryState,
    },
    /// Sender to authority: keep this for those of its recipients who are away.
    Deposit {
        /// The notice.
        notice: Signed<Notice>,
        /// Which of its recipients.
        recipients: Vec<NodeId>,
    },
    /// Authority to sender: for whom it is kept, and why not for the others asked for.
    Deposited {
        /// Which notice.
        id: NoticeId,
        /// Those it is kept for.
        kept: Vec<NodeId>,
        /// `None` when it is kept for all asked for.
        refused: Option<Refusal>,
    },
    /// Recipient to authority: what is there for me.
    Collect,
    /// Authority to recipient: at most [`MAX_MAIL`], oldest first; empty when there is no more. Also unasked, when
    /// something has come for a recipient who is there.
    Mail(Vec<Signed<Notice>>),
    /// Recipient to authority: I have these; answered by the next [`NoticeMsg::Mail`]. Those of the last page that
    /// are not named are kept, and come again with the next [`NoticeMsg::Collect`].
    Taken(Vec<NoticeId>),
    /// Sender to authority: keep it no longer for these (delivered otherwise, or taken back). Sender to recipient: it
    /// is taken back; do not begin with it.
    Withdraw {
        /// Which notice.
        id: NoticeId,
        /// Which of its recipients; empty for all.
        recipients: Vec<NodeId>,
    },
    /// The final [`NoticeMsg::State`]s (to a recipient), or [`NoticeMsg::Withdraw`]s (to a sender), of these have come
    /// and need not be said again.
    Noted(Vec<NoticeId>),
}

impl Message for NoticeMsg {
    const NAME: &'static str = "notice message";
    const PROTO: u16 = 17;
    const VERSION: u16 = 1;
    const MAX: usize = 512 << 10;
}

/// Where a notice stands at a recipient.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum DeliveryState {
    /// Kept; it will be dealt with.
    Received,
    /// It will be pulled later, and why not now (hours, space, paused).
    Waiting(String),
    /// Being pulled.
    Pulling {
        /// Verified bytes.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// In place.
    Done,
    /// The recipient does not want it, and why.
    Declined(String),
    /// It could not be had, and why; not tried again.
    Failed(String),
}
