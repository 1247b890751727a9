//! The cases issue 2 names, each played through in virtual time with every effect looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod flow;
