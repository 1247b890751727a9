//! Serving `/hive/file/1`: what this node has, to those who may have it.

mod fetchers;
mod prepare;
mod session;

pub use fetchers::Fetchers;
pub use session::{Serving, accept};
