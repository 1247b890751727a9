//! The authority under power loss, damage, disk errors, kills and load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod disk;
mod errors;
mod history;
mod kill;
mod load;
mod mailbox;
mod membership;
mod payments;
mod power;
mod rig;
