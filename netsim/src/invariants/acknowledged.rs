//! What was acknowledged is never forgotten: a hold that was granted, paid or given back stays so over every
//! crash of the authority.

use super::Violation;
use crate::world::World;
use hive_protocol::{authority::HoldState, command::CommandBody, ids::HoldId, money::MicroCpt};
use hive_state::{Applied, Entry};

/// What somebody was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ack {
    /// The money is set aside.
    Held(HoldId),
    /// It is paid.
    Captured(HoldId, MicroCpt),
    /// It went back.
    Released(HoldId),
}

impl Ack {
    /// The hold it is about.
    #[must_use]
    pub const fn hold(&self) -> HoldId {
        match self {
            Self::Held(hold) | Self::Captured(hold, _) | Self::Released(hold) => *hold,
        }
    }
}

/// What the answer to this entry promises.
#[must_use]
pub fn ack_of(entry: &Entry, applied: &Applied) -> Option<Ack> {
    let (Entry::Command(signed), Ok(accepted)) = (entry, &applied.outcome) else {
        return None;
    };
    match signed.peek().ok()?.body {
        CommandBody::Hold { hold, .. } => Some(Ack::Held(hold)),
        CommandBody::Capture { receipt } => {
            let hold = receipt.receipt.peek().ok()?.hold;
            Some(Ack::Captured(hold, accepted.paid))
        }
        CommandBody::Release { hold } => Some(Ack::Released(hold)),
        _ => None,
    }
}

/// # Errors
/// A promise that was forgotten.
pub fn check(world: &World) -> Result<(), Violation> {
    for ack in world.oracle.acks.values() {
        let state = world.authority.state.hold_view(&ack.hold()).map(|v| v.state);
        let kept = match (ack, &state) {
            (Ack::Held(_), Ok(_)) | (Ack::Released(_), Ok(HoldState::Released)) => true,
            (Ack::Captured(_, paid), Ok(HoldState::Captured(p))) => p == paid,
            _ => false,
        };
        if !kept {
            return Err(Violation::new(
                "acknowledged",
                format!("{ack:?} was promised, the authority has {state:?}"),
            ));
        }
    }
    Ok(())
}
