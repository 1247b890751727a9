//! netsim: the real cores of N nodes and an authority in virtual time, everything decided by one seed.
//!
//! A seed is a storm (at least 5 nodes, 200 tasks and 10 virtual minutes under all faults) and a calm in which
//! everything must come to its end. The same seed does the same things in the same order, which the trace hash
//! proves. Must not know clocks, threads, files or entropy; the binary may.

pub mod fault;
pub mod invariants;
pub mod oracle;
pub mod plan;
pub mod plant;
pub mod random;
pub mod run;
pub mod trace;
pub mod world;
