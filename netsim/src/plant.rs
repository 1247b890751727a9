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
}

impl Plant {
    /// All there are.
    pub const ALL: [Self; 13] = [
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
    ];

    /// The invariants that are there for it.
    #[must_use]
    pub const fn caught_by(self) -> &'static [&'static str] {
        match self {
            Self::DropJournalTask => &["task_lost"],
            Self::LostResult => &["task_lost", "settled"],
            Self::ForgetEndedTask => &["paid_twice", "task_lost"],
            Self::DropJournalJob | Self::Overcharge | Self::BlindCountersign => &["paid_for_work"],
            Self::AckBeforeSync => &["acknowledged"],
            Self::SkipLog => &["log_replay", "acknowledged"],
            Self::StoppedClock => &["hold_expiry"],
            Self::InflatedTerms | Self::OverfullExecutor => &["oversubscribed"],
            Self::UnansweredCapture => &["settled"],
            Self::RepeatedSeed => &["fresh_ids"],
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
