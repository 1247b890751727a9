//! Faults planted in what the authority has and in what the naive books hear of it.

use super::{CallFor, World};
use crate::plant::Plant;
use hive_protocol::{
    codec::{self, CodecError},
    command::CommandBody,
    ids::{CommandId, HoldId, LeaseId},
    money::MicroCpt,
};
use hive_state::{Event, State};

/// What the codec calls it.
const WHAT: &str = "planted state";
/// Largest state that is tampered with.
const MAX_STATE: usize = 64 << 20;
/// Holds a runaway shell asks for beside each that its core wants.
const RUNAWAY: usize = 50;

impl World {
    /// How often the naive books hear of an event: once, unless they are tampered with.
    pub(super) fn hearings(&mut self, event: &Event) -> u32 {
        match (self.plant, event) {
            (Some(Plant::DroppedEvent), Event::Captured { .. } | Event::Released { .. })
                if self.rng.once_in(3) =>
            {
                0
            }
            (Some(Plant::DoubledEvent), Event::Captured { .. }) if self.rng.once_in(3) => 2,
            _ => 1,
        }
    }

    /// Changes the authority's state behind its back, after an event.
    pub(super) fn tamper(&mut self, event: &Event) {
        let state = &self.authority.state;
        match (self.plant, event) {
            (Some(Plant::MintedMoney), Event::Captured { payee, .. }) => {
                let Ok(account) = state.account_view(payee) else {
                    return;
                };
                let (payee, held, one) = (*payee, account.held, MicroCpt(1));
                let more = account.available.saturating_add(one);
                // The naive books believe it, so that nothing but the sum can tell.
                self.oracle.books.available.insert(payee, more);
                self.replace_in_state(
                    codec::encode(WHAT, &(payee, account.available, held), MAX_STATE),
                    codec::encode(WHAT, &(payee, more, held), MAX_STATE),
                );
            }
            (Some(Plant::LateEnd), Event::Held { hold, .. }) => {
                let Ok(view) = state.hold_view(hold) else {
                    return;
                };
                let (hold, expires) = (*hold, view.expires);
                let late = expires + hive_protocol::time::Millis(1);
                // As the ledger lists what is due: the moment, that it is a hold, which.
                self.replace_in_state(
                    codec::encode(WHAT, &(expires, 0u32, hold), MAX_STATE),
                    codec::encode(WHAT, &(late, 0u32, hold), MAX_STATE),
                );
            }
            _ => {}
        }
    }

    fn replace_in_state(&mut self, old: Result<Vec<u8>, CodecError>, new: Result<Vec<u8>, CodecError>) {
        let state = codec::encode(WHAT, &self.authority.state, MAX_STATE);
        let (Ok(state), Ok(old), Ok(new)) = (state, old, new) else {
            return;
        };
        let Some(at) = state.windows(old.len()).position(|w| w == old) else {
            return;
        };
        let tampered = [&state[..at], &new, &state[at + old.len()..]].concat();
        if let Ok(state) = codec::decode::<State>(WHAT, &tampered, MAX_STATE) {
            self.authority.state = state;
        }
    }

    /// A shell that asks for money again and again.
    pub(super) fn run_away(&mut self, n: usize, wanted: &CommandBody) {
        let CommandBody::Hold { payee, expires, .. } = wanted else {
            return;
        };
        if self.plant != Some(Plant::RunawayHolds) {
            return;
        }
        for _ in 0..RUNAWAY {
            let body = CommandBody::Hold {
                hold: HoldId(self.rng.id()),
                lease: LeaseId(self.rng.id()),
                payee: *payee,
                amount: MicroCpt(1),
                expires: *expires,
            };
            let id = CommandId(self.rng.id());
            self.command(n, CallFor::Renew, id, body);
        }
    }
}
