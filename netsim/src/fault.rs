//! What can go wrong in a storm, and how often it really did: a fault that a seed only might have shows nothing.

use std::collections::BTreeMap;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A gossip message, a call or an answer got lost.
    Lost,
    /// One of them came twice.
    Doubled,
    /// One of them, or a message on a work stream, was held up.
    Delayed,
    /// A work stream broke.
    Broken,
    /// A message on a work stream was lost with it.
    CutOff,
    /// A message on a work stream came again when the stream was resumed.
    Resent,
    /// The mesh fell in two.
    Partitioned,
    /// A worker crashed.
    WorkerCrashed,
    /// It started again, the storm still going on.
    WorkerRestarted,
    /// A submitter crashed.
    SubmitterCrashed,
    /// It started again, the storm still going on.
    SubmitterRestarted,
    /// The authority crashed.
    AuthorityCrashed,
    /// It started again, the storm still going on.
    AuthorityRestarted,
    /// An executor was killed.
    ExecutorDied,
    /// A worker lied, in whatever way.
    Lied,
    /// A receipt claimed more than was reported.
    InflatedReceipt,
    /// More fuel was reported than was burnt.
    InflatedFuel,
    /// A result was made up.
    InventedResult,
    /// A rogue said something out of turn.
    OutOfTurn,
    /// A submitter did not countersign, or did not capture.
    Unpaid,
}

impl Fault {
    /// All there are.
    pub const ALL: [Self; 20] = [
        Self::Lost,
        Self::Doubled,
        Self::Delayed,
        Self::Broken,
        Self::CutOff,
        Self::Resent,
        Self::Partitioned,
        Self::WorkerCrashed,
        Self::WorkerRestarted,
        Self::SubmitterCrashed,
        Self::SubmitterRestarted,
        Self::AuthorityCrashed,
        Self::AuthorityRestarted,
        Self::ExecutorDied,
        Self::Lied,
        Self::InflatedReceipt,
        Self::InflatedFuel,
        Self::InventedResult,
        Self::OutOfTurn,
        Self::Unpaid,
    ];

    /// Its name in the summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Delayed => "delayed",
            Self::Broken => "streams_broken",
            Self::CutOff => "cut_off",
            Self::Resent => "resent",
            Self::Partitioned => "partitions",
            Self::WorkerCrashed => "worker_crashes",
            Self::WorkerRestarted => "worker_restarts",
            Self::SubmitterCrashed => "submitter_crashes",
            Self::SubmitterRestarted => "submitter_restarts",
            Self::AuthorityCrashed => "authority_crashes",
            Self::AuthorityRestarted => "authority_restarts",
            Self::ExecutorDied => "executors_killed",
            Self::Lied => "lies",
            Self::InflatedReceipt => "inflated_receipts",
            Self::InflatedFuel => "inflated_fuel",
            Self::InventedResult => "invented_results",
            Self::OutOfTurn => "out_of_turn",
            Self::Unpaid => "unpaid_leases",
        }
    }

    /// Whether every seed must have it. The others depend on who is there (a seed has one kind of liar for sure, not
    /// all of them) and on what was on its way when a stream broke, or ran when an executor was to be killed.
    #[must_use]
    pub const fn is_sure(self) -> bool {
        !matches!(
            self,
            Self::CutOff
                | Self::Resent
                | Self::ExecutorDied
                | Self::InflatedReceipt
                | Self::InflatedFuel
                | Self::InventedResult
                | Self::OutOfTurn
                | Self::Unpaid
        )
    }

    /// Whether it is a worker's lie.
    #[must_use]
    pub const fn is_lie(self) -> bool {
        matches!(
            self,
            Self::InflatedReceipt | Self::InflatedFuel | Self::InventedResult | Self::OutOfTurn
        )
    }
}

/// How often each fault happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Default for Faults {
    fn default() -> Self {
        Self(Fault::ALL.into_iter().map(|f| (f, 0)).collect())
    }
}

impl Faults {
    /// It happened.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
        if fault.is_lie() {
            *self.0.entry(Fault::Lied).or_default() += 1;
        }
    }

    /// How often.
    #[must_use]
    pub fn get(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// All of them, also those that did not happen.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        self.0.iter().map(|(f, n)| (*f, *n))
    }

    /// What every seed must have and this one had not.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = self.iter().filter(|(f, n)| f.is_sure() && *n == 0);
        missing.map(|(f, _)| f.name()).collect()
    }
}
