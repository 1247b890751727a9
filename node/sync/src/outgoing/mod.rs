//! The sending side: folders whose states are announced as they change.

mod folder;
mod kit;
mod library;
mod listing;
mod mirror;
mod mirrors;
mod port;
mod watcher;

pub use library::StoreLibrary;
pub use mirrors::{OutDeps, Outgoing};
pub use port::{Added, Found, Library, MirrorView, NewMirror, NewState, OutState, Sender};
