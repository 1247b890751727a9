//! hive-sync: one-way mirrors of folders: watching one's own, becoming like another's.
//!
//! Joins the decisions of `hive_transfer::mirror` with the disk. Moves no content itself: it hands folders to a
//! [`Library`] that can give them to others, states to a [`Sender`], and gets contents by a [`Fetcher`].

mod error;
mod ground;
mod ignore;
mod incoming;
mod outgoing;
mod rows;

pub use error::SyncError;
pub use ignore::{IGNORE_FILE, STAGING, VERSIONS};
pub use incoming::{
    FetchFault, FetchFile, Fetcher, InDeps, InState, Incoming, MAX_NAMED, News, Offer, Origin, ReplicaView,
};
pub use outgoing::{
    Added, Found, Library, MirrorView, NewMirror, NewState, OutDeps, OutState, Outgoing, Sender, StoreLibrary,
};
pub use rows::TREES;
