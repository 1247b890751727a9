//! `up`, `down`, `status`: the daemon of this node.

mod down;
mod status;
mod up;

pub use down::down;
pub use status::{resources, rtt, short, status};
pub use up::{foreground, start, up};
