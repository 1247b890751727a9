//! hive-push: notices to other nodes, also to absent ones, and what this node does with those it gets.
//!
//! Joins the decisions of `hive_transfer::notices` with the network and the store. Moves no content itself.
