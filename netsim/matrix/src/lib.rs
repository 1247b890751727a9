//! hive-natmatrix: the built program in the laboratory of real NATs, every pair of networks, held against theory.
//!
//! Owns what a trial is, how its daemons are driven (by the local API only, as any program would), and how results
//! are shown: table, JSON, picture. Must not know the program's insides, nor how a network is built (hive-natlab).

mod choice;
mod daemon;
mod error;
mod events;
mod http;
mod kept;
mod picture;
mod result;
mod run;
mod scene;
mod table;
mod trial;

pub use choice::{Choice, Combination};
pub use error::MatrixError;
pub use events::{EVENTS_HEAD, Event, EventRow, EventSettings, EventTrial, events, run_events};
pub use kept::Kept;
pub use picture::svg;
pub use result::{Matrix, Row, Trial};
pub use run::{Settings, run};
pub use table::{markdown, text};
