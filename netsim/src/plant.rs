//! Faults planted on purpose in the simulator's own shell, to see that an invariant catches each of them.
//! A simulator that has never caught anything proves nothing.

/// One planted fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// The submitter's shell loses some records of ended tasks.
    DropJournalTask,
    /// After a restart the submitter's core is not told of one task that had ended.
    ForgetEndedTask,
    /// The submitter's shell does not write down what is spent.
    DropJournalJob,
    /// The authority answers before its log is on disk.
    AckBeforeSync,
    /// The authority applies some commands without logging them.
    SkipLog,
    /// The authority's clock stands still.
    StoppedClock,
    /// Worker cores are told of three times the resources there are.
    InflatedTerms,
    /// Executors run more tasks at once than they were told.
    OverfullExecutor,
    /// Honest workers report twice the fuel that was burnt.
    Overcharge,
    /// Workers inflate receipts and submitters sign anything, cores unasked.
    BlindCountersign,
    /// Captures are never answered.
    UnansweredCapture,
    /// Cores are started again with the ids of their former life.
    RepeatedSeed,
    /// The shell drops some results before the worker's core hears of them.
    LostResult,
    /// The naive books do not hear of a hold that is captured or released.
    DroppedEvent,
    /// They hear of a capture twice.
    DoubledEvent,
    /// The authority's ledger gives an account what nobody has paid, and the naive books believe it.
    MintedMoney,
    /// The authority's ledger notes the end of a hold for later than it is.
    LateEnd,
    /// A submitter's shell asks for many more holds than its core wants.
    RunawayHolds,
    /// A core's assertion fails.
    FailedAssertion,
    /// Timers are called a millisecond before they are due.
    EarlyTick,
}

impl Plant {
    /// All there are.
    pub const ALL: [Self; 20] = [
        Self::DropJournalTask,
        Self::ForgetEndedTask,
        Self::DropJournalJob,
        Self::AckBeforeSync,
        Self::SkipLog,
        Self::StoppedClock,
        Self::InflatedTerms,
        Self::OverfullExecutor,
        Self::Overcharge,
        Self::BlindCountersign,
        Self::UnansweredCapture,
        Self::RepeatedSeed,
        Self::LostResult,
        Self::DroppedEvent,
        Self::DoubledEvent,
        Self::MintedMoney,
        Self::LateEnd,
        Self::RunawayHolds,
        Self::FailedAssertion,
        Self::EarlyTick,
    ];

    /// The invariants that are there for it. The first is the one it was planted for; what it breaks may show in
    /// another one before.
    #[must_use]
    pub const fn caught_by(self) -> &'static [&'static str] {
        match self {
            Self::DropJournalTask => &["task_lost"],
            Self::LostResult => &["settled", "task_lost"],
            Self::ForgetEndedTask => &["ends_once", "task_lost"],
            Self::DropJournalJob | Self::Overcharge | Self::BlindCountersign => &["paid_for_work"],
            Self::AckBeforeSync => &["acknowledged"],
            Self::SkipLog => &["log_replay", "acknowledged"],
            Self::StoppedClock => &["hold_expiry"],
            Self::InflatedTerms | Self::OverfullExecutor => &["oversubscribed"],
            Self::UnansweredCapture => &["settled"],
            Self::RepeatedSeed => &["fresh_ids"],
            Self::DroppedEvent | Self::MintedMoney => &["balances"],
            Self::DoubledEvent => &["paid_twice"],
            Self::LateEnd => &["state"],
            Self::RunawayHolds => &["thrift"],
            Self::FailedAssertion => &["cores"],
            Self::EarlyTick => &["progress"],
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropJournalTask => "drop-journal-task",
            Self::ForgetEndedTask => "forget-ended-task",
            Self::DropJournalJob => "drop-journal-job",
            Self::AckBeforeSync => "ack-before-sync",
            Self::SkipLog => "skip-log",
            Self::StoppedClock => "stopped-clock",
            Self::InflatedTerms => "inflated-terms",
            Self::OverfullExecutor => "overfull-executor",
            Self::Overcharge => "overcharge",
            Self::BlindCountersign => "blind-countersign",
            Self::UnansweredCapture => "unanswered-capture",
            Self::RepeatedSeed => "repeated-seed",
            Self::LostResult => "lost-result",
            Self::DroppedEvent => "dropped-event",
            Self::DoubledEvent => "doubled-event",
            Self::MintedMoney => "minted-money",
            Self::LateEnd => "late-end",
            Self::RunawayHolds => "runaway-holds",
            Self::FailedAssertion => "failed-assertion",
            Self::EarlyTick => "early-tick",
        }
    }
}

impl std::str::FromStr for Plant {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.name() == s).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|p| p.name()).collect();
            format!("no such plant; there are {}", names.join(", "))
        })
    }
}
