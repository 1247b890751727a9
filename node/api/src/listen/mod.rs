//! The two places the API listens at.

pub(crate) mod tcp;
pub(crate) mod unix;
