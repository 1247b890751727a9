//! hive-state: the replicated state machine of the authorities.
//!
//! Owns what all authorities must agree on: ledger, trust, membership, delegations, invitations and the memory of
//! commands already answered, and the rules of every command. The same entries in the same order give the same
//! [`State::root`] everywhere. Also holds, apart from the replicated state, who is alive ([`liveness`]).
//! Must not know files, sockets, clocks, randomness or secret keys: time comes from the log's records, ids from
//! clients; what has to be signed (credentials, hold grants) is returned as data for the shell to sign.
//!
//! How the shell uses it, for each command received:
//! 1. [`verify::verify`] checks signatures and sizes without touching the state (the expensive part; any thread);
//! 2. [`State::apply`] decides at [`State::next_index`] and the clock's time;
//! 3. when it is accepted and not [`Accepted::repeated`], append a record of that index with [`Applied::time`],
//!    sync, then answer. A refused or repeated command changes nothing but the state's time and need not be logged;
//!    a repeated one may be answered once the record at [`Accepted::index`] is durable.
//!
//! On restart the shell feeds every record's payload to [`State::replay`].

pub mod answered;
pub mod entry;
pub mod event;
pub mod invites;
pub mod liveness;
pub mod registry;
pub mod snapshot;
pub mod state;
pub mod verify;

mod joining;
mod payments;
mod views;

pub use entry::{Entry, Prepared};
pub use event::{Accepted, Applied, Event};
pub use liveness::Liveness;
pub use state::{GenesisError, State};
pub use verify::{Verified, verify};
