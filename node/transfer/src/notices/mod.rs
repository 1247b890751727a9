//! Notices: which are due where, which are taken, and what becomes of them.
//!
//! Owns the sender's [`outbox`] and the recipient's [`inbox`] with its [`policy`]; the authorities' mailbox is
//! `hive-mailbox`. Must not know streams, journals or disks: what is to be said, written or pulled are effects, and
//! everything written comes back through `restore`.

mod backoff;
pub mod check;
pub mod inbox;
pub mod outbox;
pub mod policy;
mod table;

pub use check::{Unfit, check};
pub use table::{RestoreError, Table, Write};

/// Bytes of a reason that a peer or a puller gives; the rest is cut off.
pub const MAX_REASON: usize = 200;

/// The first [`MAX_REASON`] bytes of a text.
#[must_use]
pub fn reason(text: &str) -> String {
    let mut cut = text.len().min(MAX_REASON);
    while !text.is_char_boundary(cut) {
        cut = cut.saturating_sub(1);
    }
    text.get(..cut).unwrap_or_default().to_owned()
}

/// A state as it is kept: its text within [`MAX_REASON`].
fn cut(state: hive_protocol::notice::DeliveryState) -> hive_protocol::notice::DeliveryState {
    use hive_protocol::notice::DeliveryState as S;
    match state {
        S::Waiting(why) => S::Waiting(reason(&why)),
        S::Declined(why) => S::Declined(reason(&why)),
        S::Failed(why) => S::Failed(reason(&why)),
        other => other,
    }
}

/// Whether nothing comes after this state.
#[must_use]
pub const fn is_final(state: &hive_protocol::notice::DeliveryState) -> bool {
    use hive_protocol::notice::DeliveryState as S;
    matches!(state, S::Done | S::Declined(_) | S::Failed(_))
}
