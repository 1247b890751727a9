//! hive-ledger: who owns which µCPT, and what is set aside.
//!
//! Owns balances, holds (money set aside for one lease), reserves (grants set aside for one invitation) and the
//! latest lines of every account's history. Nothing is minted after the first moment, and at every moment
//! free + held money of all accounts is exactly what was minted.
//! Must not know signatures, nodes, trust, tickets or clocks: who may ask is decided above, time is an argument.
//! Every operation either takes effect whole or returns an error and has changed nothing; none panics.

pub mod account;
pub mod error;
pub mod hold;
pub mod ledger;
pub mod reserve;

pub use account::{Account, Line, LineKind, Note};
pub use error::LedgerError;
pub use hold::{Hold, NewHold};
pub use ledger::{Ledger, Stamp};
pub use reserve::{Ended, Reserve};
