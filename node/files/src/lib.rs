//! hive-files: content between nodes: serving it, pulling it from many at once, putting it where it belongs.
//!
//! Joins the decisions of `hive_transfer` with the network and the store. Must not know jobs, leases or money.
