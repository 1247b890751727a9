//! Commands about this program and this machine.

mod about;
mod doctor;

pub use about::{completion, help, paths, version};
pub use doctor::doctor;
