//! Bulk streams: the cheapest way for many bytes between two members.
//!
//! A bulk stream is a TCP connection of its own with TLS 1.3, negotiated over the mesh (`/hive/bulk/1`) and
//! proven by the same node keys, or, where that cannot be had, an ordinary mesh stream of the same protocol. Its
//! user does not have to care which. Why there are two ways, and what each costs, is in docs/adr/0013.
//!
//! Owns the choice of the way, the listeners, tokens and the end of streams whose peer is no member any more. Must
//! not know what is said on the streams.

mod inbound;
mod links;
mod stream;

pub use inbound::BulkInbound;
pub(crate) use links::Links;
pub use stream::{BulkPath, BulkReader, BulkStream, BulkWriter};

/// Bulk streams open at a time in all. Each direct one costs two sockets' buffers and about half a megabyte of
/// ours while it is busy.
pub(crate) const MAX_STREAMS: usize = 1024;
