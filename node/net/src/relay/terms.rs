//! The words the relay's book answers with.

use std::time::Duration;

/// Why a relay does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The relay is being shut down.
    Draining,
    /// All reservations are taken, or all of this address block.
    Reservations,
    /// All circuits are taken, or all of the opener, of an address block, or those they may have to this destination.
    Circuits,
    /// The day's bytes are used up.
    Day,
    /// The destination has no reservation here.
    NoReservation,
    /// To oneself, or from behind another relay.
    Denied,
    /// Too often, or too much at a time.
    Rate,
}

/// Why a relay ends a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    #[error("the circuit's bytes are used up")]
    Bytes,
    #[error("the day's bytes are used up")]
    Day,
    #[error("the circuit's time is over")]
    Time,
    #[error("an end takes no bytes")]
    Stalled,
    #[error("nothing was said for too long")]
    Idle,
    #[error("the relay is shut down")]
    Drained,
    #[error("the circuit has ended")]
    Gone,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From who opened the circuit.
    Forth,
    /// Towards who opened it.
    Back,
}

/// What becomes of bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// So many of them go on, after this time; they are counted. The rest is over a limit.
    On {
        /// At most what was asked for.
        bytes: u64,
        /// Zero without a rate, or below it.
        after: Duration,
    },
    /// None of them: the circuit ends.
    Over(Cut),
}

/// Names a circuit of this relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CircuitId(pub(super) u64);
