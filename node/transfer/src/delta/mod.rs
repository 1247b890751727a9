//! Which bytes of the new content an older version already has.
//!
//! Two ways: equal chaining values at the same place (in-place edits, appends: free, and certain), and equal
//! content-defined chunks at other places (insertions: a hint; what is copied is checked against the tree as if a
//! peer had sent it). Must not know where the older version is.

mod chunks;
mod trees;

pub use chunks::{Chunk, ChunkPlan, Copy, PlanError};
pub use trees::{same_groups, same_segments};
