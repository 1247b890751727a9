//! Results as text for the screen and as Markdown for the documentation.

use crate::result::{Matrix, Row, Trial, relayed_first};
use std::fmt::Write as _;

fn ms(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v} ms"))
}

/// What came out of a row, in a few words.
fn outcome(row: &Row) -> String {
    let parts: Vec<String> = ["direct", "relay", "none"]
        .into_iter()
        .map(|way| (way, row.count(way)))
        .filter(|(_, n)| *n > 0)
        .map(|(way, n)| {
            let way = if way == "none" { "FAILED" } else { way };
            format!("{way} {n}/{}", row.trials.len())
        })
        .collect();
    parts.join(", ")
}

fn verdict(row: &Row) -> &'static str {
    if !row.connected() {
        "FAILED"
    } else if !row.direct_enough() {
        "NOT DIRECT"
    } else if row.expected == "relay" && row.count("direct") > 0 {
        "better"
    } else {
        "ok"
    }
}

/// Medians of a row: to the first byte, to a direct connection.
fn times(row: &Row) -> [String; 2] {
    [
        row.percentile(|t| t.first_ms, 50),
        row.percentile(|t| t.direct_ms, 50),
    ]
    .map(ms)
}

/// One line for the screen.
#[must_use]
pub fn text(row: &Row) -> String {
    let [first, direct] = times(row);
    let mut line = format!(
        "{:<52} {:<5} {:<7} {:<24} first {first:<9} direct {direct:<9} {}",
        row.case,
        row.transports,
        row.expected,
        outcome(row),
        verdict(row)
    );
    for trouble in row.trials.iter().filter_map(|t| t.trouble.as_ref()) {
        let _ = write!(line, "\n    {}", trouble.chars().take(500).collect::<String>());
    }
    line
}

type Figure = (&'static str, fn(&Trial) -> Option<u64>);

/// The times that are shown over all runs.
const FIGURES: [Figure; 4] = [
    ("until others can reach a new node", |t| t.ready_ms),
    ("request to first byte, all", |t| t.first_ms),
    ("request to first byte, through a relay", relayed_first),
    ("first attempt to direct connection", |t| t.direct_ms),
];

/// The whole as Markdown: what it adds up to, then a line for each combination.
#[must_use]
pub fn markdown(matrix: &Matrix) -> String {
    let runs = matrix.trials().count();
    let all = |way: &str| matrix.rows.iter().map(|r| r.count(way)).sum::<usize>();
    let able: Vec<&Row> = matrix.rows.iter().filter(|r| r.expected == "direct").collect();
    let able_runs: usize = able.iter().map(|r| r.trials.len()).sum();
    let able_direct: usize = able.iter().map(|r| r.count("direct")).sum();
    let enough = able.iter().filter(|r| r.direct_enough()).count();
    let better = matrix.rows.iter().filter(|r| verdict(r) == "better").count();
    let mut out = format!(
        "{} combinations × {} runs of {}: {} of {runs} connected; direct in {able_direct} of {able_runs} runs where \
         theory allows it ({enough} of {} combinations in at least 95 %)",
        matrix.rows.len(),
        matrix.runs,
        matrix.program,
        runs - all("none"),
        able.len(),
    );
    if better > 0 {
        let _ = write!(
            out,
            "; {better} combinations direct where theory does not promise it"
        );
    }
    out.push_str(".\n\n| time | p50 | p95 | worst |\n|---|---|---|---|\n");
    for (name, of) in FIGURES {
        let [p50, p95, worst] = [50, 95, 100].map(|p| ms(matrix.percentile(of, p)));
        let _ = writeln!(out, "| {name} | {p50} | {p95} | {worst} |");
    }
    out.push_str(
        "\n| networks | over | theory | runs | first byte | direct after | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in &matrix.rows {
        let [first, direct] = times(row);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {first} | {direct} | {} |",
            row.case,
            row.transports,
            row.expected,
            outcome(row),
            verdict(row)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::{row, trial};

    #[test]
    fn what_failed_is_said_and_counted() {
        let direct = trial("direct", 120, Some(400));
        let mut lost = Trial::failed("nobody answered".into());
        lost.ready_ms = Some(7);
        let matrix = Matrix {
            program: "hivenode 0".into(),
            runs: 2,
            rows: vec![
                row("direct", vec![direct.clone(), lost]),
                row("relay", vec![trial("relay", 90, None), direct]),
            ],
        };
        let said = markdown(&matrix);
        assert!(
            said.starts_with(
                "2 combinations × 2 runs of hivenode 0: 3 of 4 connected; direct in 1 of 2 runs"
            ),
            "{said}"
        );
        assert!(
            said.contains("1 combinations direct where theory does not promise it"),
            "{said}"
        );
        assert!(said.contains("| direct 1/2, FAILED 1/2 |"), "{said}");
        assert!(
            said.contains("| first attempt to direct connection | 400 ms | 400 ms | 400 ms |"),
            "{said}"
        );
        assert!(text(&matrix.rows[0]).contains("nobody answered"));
        assert!(!matrix.good());
    }
}
