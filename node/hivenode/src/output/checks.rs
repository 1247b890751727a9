//! Things that were checked: a table for people, an exit code for programs.

use super::{Exit, Output, Table};
use hive_runtime::port::CheckRow;

/// The exit code: 0 when all passes, 1 with warnings, 2 with failures.
pub fn verdict(checks: &[CheckRow]) -> Exit {
    let any = |verdict: &str| checks.iter().any(|c| c.verdict == verdict);
    if any("fail") {
        Exit(2)
    } else if any("warn") {
        Exit(1)
    } else {
        Exit::OK
    }
}

/// Writes the table.
pub fn table(out: &Output, checks: &[CheckRow]) {
    let mut table = Table::new(&["CHECK", "RESULT", "DETAIL"]);
    for c in checks {
        let word = match c.verdict.as_str() {
            "fail" => "FAIL",
            _ if c.untested => "-",
            other => other,
        };
        table.row([c.name.as_str(), word, &c.detail]);
    }
    table.print(out);
    let fixes: Vec<&CheckRow> = checks.iter().filter(|c| c.fix.is_some()).collect();
    if !fixes.is_empty() {
        out.line("");
    }
    for c in fixes {
        let fix = c.fix.as_deref().unwrap_or_default();
        out.line(&format!(
            "{:<7} {}: {}",
            "try",
            super::clean(&c.name),
            super::clean(fix)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides() {
        let of = |verdicts: &[&str]| {
            let rows: Vec<CheckRow> = verdicts
                .iter()
                .map(|v| CheckRow {
                    verdict: (*v).to_owned(),
                    ..CheckRow::default()
                })
                .collect();
            verdict(&rows).0
        };
        assert_eq!(
            [
                of(&[]),
                of(&["pass"]),
                of(&["pass", "warn"]),
                of(&["fail", "warn"])
            ],
            [0, 0, 1, 2]
        );
    }
}
