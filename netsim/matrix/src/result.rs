//! What came out: trials, rows of trials, and what they add up to.

use crate::choice::Combination;
use hive_natlab::Way;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Runs of a pair that theory allows to be direct that must be: in percent.
pub const MUST_DIRECT: usize = 95;

/// A word of the laboratory.
pub type Word = Cow<'static, str>;

/// One run of one combination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// `direct`, `relay`, or `none` when nothing arrived.
    pub way: Word,
    /// From the join of the node that was asked until others could reach it, in milliseconds.
    pub ready_ms: Option<u64>,
    /// From a user's request until the first verified byte of the other's file, in milliseconds.
    pub first_ms: Option<u64>,
    /// From the first attempt of the two nodes to reach one another until their first direct connection, in
    /// milliseconds.
    pub direct_ms: Option<u64>,
    /// What the first byte came over: `direct` or `relay`.
    pub first_way: Option<String>,
    /// The direct connection's transport.
    pub transport: Option<String>,
    /// What went wrong, in the program or in the laboratory.
    pub trouble: Option<String>,
}

impl Trial {
    /// A trial that did not come to its end.
    #[must_use]
    pub const fn failed(trouble: String) -> Self {
        Self {
            way: Cow::Borrowed("none"),
            ready_ms: None,
            first_ms: None,
            direct_ms: None,
            first_way: None,
            transport: None,
            trouble: Some(trouble),
        }
    }
}

/// All runs of one combination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The networks' name.
    pub case: String,
    /// The kinds on both sides, if that is what the networks are.
    pub kinds: Option<(String, String)>,
    /// `quic`, `tcp` or `both`.
    pub transports: Word,
    /// What theory allows: `direct` or `relay`.
    pub expected: Word,
    /// The runs.
    pub trials: Vec<Trial>,
}

impl Row {
    /// A row without runs yet.
    #[must_use]
    pub fn of(combination: &Combination) -> Self {
        let kinds = combination.case.kinds;
        Self {
            case: combination.case.name.clone(),
            kinds: kinds.map(|(a, b)| (a.to_string(), b.to_string())),
            transports: combination.transports.name().into(),
            expected: combination.expected.name().into(),
            trials: Vec::new(),
        }
    }

    /// How many runs had this way.
    #[must_use]
    pub fn count(&self, way: &str) -> usize {
        self.trials.iter().filter(|t| t.way == way).count()
    }

    /// Whether every run connected.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.count("none") == 0
    }

    /// Whether enough runs were direct, where theory allows it.
    #[must_use]
    pub fn direct_enough(&self) -> bool {
        self.expected != Way::Direct.name() || self.count("direct") * 100 >= self.trials.len() * MUST_DIRECT
    }

    /// Whether it was as it must be.
    #[must_use]
    pub fn good(&self) -> bool {
        self.connected() && self.direct_enough()
    }

    /// Whether it was well at last: it connected in the end, never failed twice in a row, and was direct at least once
    /// where theory allows it. For machines that are too busy to be judged by every single run.
    #[must_use]
    pub fn recovered(&self) -> bool {
        let failed = |t: &Trial| t.way == "none";
        let twice = self.trials.windows(2).any(|w| w.iter().all(failed));
        let direct = self.expected != Way::Direct.name() || self.count("direct") > 0;
        let last = self.trials.last().is_some_and(|t| !failed(t));
        last && !twice && direct
    }

    /// A percentile of a time over its runs.
    #[must_use]
    pub fn percentile(&self, of: fn(&Trial) -> Option<u64>, percent: usize) -> Option<u64> {
        percentile(self.trials.iter().filter_map(of).collect(), percent)
    }
}

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Matrix {
    /// Which program: as it calls itself.
    pub program: String,
    /// Runs of each combination.
    pub runs: usize,
    /// The combinations.
    pub rows: Vec<Row>,
}

impl Matrix {
    /// All runs.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.rows.iter().flat_map(|r| &r.trials)
    }

    /// A percentile of a time over all runs.
    #[must_use]
    pub fn percentile(&self, of: fn(&Trial) -> Option<u64>, percent: usize) -> Option<u64> {
        percentile(self.trials().filter_map(of).collect(), percent)
    }

    /// Whether every row was as it must be.
    #[must_use]
    pub fn good(&self) -> bool {
        self.rows.iter().all(Row::good)
    }

    /// Whether every row was well at last.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.rows.iter().all(Row::recovered)
    }

    /// Takes in the runs of another matrix of the same program.
    pub fn add(&mut self, other: Self) {
        for row in other.rows {
            let same = |r: &&mut Row| r.case == row.case && r.transports == row.transports;
            match self.rows.iter_mut().find(same) {
                Some(here) => here.trials.extend(row.trials),
                None => self.rows.push(row),
            }
        }
        self.runs = self.rows.iter().map(|r| r.trials.len()).max().unwrap_or(0);
    }
}

/// Time to the first byte, where it came through a relay.
#[must_use]
pub fn relayed_first(trial: &Trial) -> Option<u64> {
    trial
        .first_ms
        .filter(|_| trial.first_way.as_deref() == Some("relay"))
}

/// The value below which this share of the values lies, the nearest-rank way.
fn percentile(mut values: Vec<u64>, percent: usize) -> Option<u64> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn trial(way: &'static str, first: u64, direct: Option<u64>) -> Trial {
        Trial {
            way: way.into(),
            ready_ms: Some(100),
            first_ms: Some(first),
            direct_ms: direct,
            first_way: Some("relay".into()),
            transport: direct.map(|_| "quic".into()),
            trouble: None,
        }
    }

    pub(crate) fn row(expected: &'static str, trials: Vec<Trial>) -> Row {
        Row {
            case: "full-cone × symmetric".into(),
            kinds: Some(("full-cone".into(), "symmetric".into())),
            transports: "quic".into(),
            expected: expected.into(),
            trials,
        }
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        assert_eq!(percentile(vec![], 95), None);
        assert_eq!(percentile(vec![7], 95), Some(7));
        assert_eq!(percentile((1..=100).collect(), 95), Some(95));
        assert_eq!(percentile((1..=20).rev().collect(), 95), Some(19));
        assert_eq!(percentile((1..=20).collect(), 50), Some(10));
    }

    #[test]
    fn a_row_recovers_when_it_connects_at_last_and_never_failed_twice_in_a_row() {
        let direct = || trial("direct", 300, Some(900));
        let relay = || trial("relay", 300, None);
        let lost = || Trial::failed("x".into());
        for (trials, well) in [
            (vec![lost(), direct()], true),
            (vec![lost(), relay()], false),
            (vec![lost(), relay(), lost(), direct()], true),
            (vec![direct(), lost()], false),
            (vec![lost(), lost(), direct()], false),
        ] {
            let ways: Vec<_> = trials.iter().map(|t| t.way.clone()).collect();
            assert_eq!(row("direct", trials).recovered(), well, "{ways:?}");
        }
        assert!(row("relay", vec![lost(), relay()]).recovered());
    }

    #[test]
    fn runs_add_up_also_after_being_written_down() {
        let matrix = |trials| Matrix {
            program: "x".into(),
            runs: 1,
            rows: vec![row("direct", trials)],
        };
        let mut sum = matrix(vec![trial("direct", 1, Some(2))]);
        let text = serde_json::to_string(&matrix(vec![Trial::failed("x".into())])).unwrap();
        sum.add(serde_json::from_str(&text).unwrap());
        let mut other = matrix(vec![trial("relay", 1, None)]);
        other.rows[0].transports = "tcp".into();
        sum.add(other);
        assert_eq!((sum.runs, sum.rows.len()), (2, 2));
        assert_eq!((sum.rows[0].count("direct"), sum.rows[0].count("none")), (1, 1));
    }

    #[test]
    fn a_row_is_good_when_it_connects_and_is_direct_where_it_can_be() {
        let direct = || trial("direct", 300, Some(900));
        let relay = || trial("relay", 300, None);
        assert!(row("direct", vec![direct(); 20]).good());
        let mut nearly = vec![direct(); 19];
        nearly.push(relay());
        assert!(row("direct", nearly.clone()).good());
        nearly.push(relay());
        assert!(!row("direct", nearly).good());
        assert!(row("relay", vec![relay(), direct()]).good());
        assert!(!row("relay", vec![relay(), Trial::failed("x".into())]).good());
    }
}
