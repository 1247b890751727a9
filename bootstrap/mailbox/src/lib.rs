//! hive-mailbox: notices that an authority keeps for members who are away.
//!
//! Pure: which notices are kept for whom, and for how long. Where they lie on the disk is the authority's matter.
