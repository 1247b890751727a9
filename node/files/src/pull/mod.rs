//! Pulling: what a transfer does from its first question to its last rename.

mod answer;
mod batch;
mod begin;
mod board;
mod content;
mod delta;
mod folder;
mod job;
mod keep;
mod lane;
mod learn;
mod links;
mod list;
mod observe;
mod ranged;
mod report;
mod run;
mod single;
mod small;
mod take;

pub use begin::First;
pub use content::{Means, Wish};
pub use keep::blocking;
pub use links::Links;
pub use ranged::{RangePull, Ranged, Shared};
pub use run::{Engine, MAX_RUNNING, run};
