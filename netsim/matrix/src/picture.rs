//! The matrix as a picture: a coloured square for each pair of kinds and transport, and a list of special networks.

use crate::result::{Matrix, Row};
use hive_natlab::NatKind;
use std::fmt::Write as _;

/// Width and height of a square, in pixels.
const CELL: (usize, usize) = (96, 44);
/// Width of the names of rows.
const NAMES: usize = 140;
/// Height of a panel's title and the names of its columns.
const HEAD: usize = 58;
/// Height of a line of the list below.
const LINE: usize = 26;
/// Room around everything.
const MARGIN: usize = 16;

/// What a colour means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shade {
    Direct,
    Better,
    Relay,
    Worse,
    Failed,
    Absent,
}

impl Shade {
    const SHOWN: [(Self, &'static str); 5] = [
        (Self::Direct, "direct, as theory allows"),
        (Self::Better, "direct, though theory does not promise it"),
        (Self::Relay, "through a relay, as theory says"),
        (Self::Worse, "not direct often enough"),
        (Self::Failed, "did not connect"),
    ];

    const fn fill(self) -> &'static str {
        match self {
            Self::Direct => "#9fd8a4",
            Self::Better => "#8fc7e8",
            Self::Relay => "#f3dc97",
            Self::Worse => "#f0a35e",
            Self::Failed => "#e57373",
            Self::Absent => "#eeeeee",
        }
    }

    fn of(row: &Row) -> Self {
        if !row.connected() {
            Self::Failed
        } else if !row.direct_enough() {
            Self::Worse
        } else if row.expected == "direct" {
            Self::Direct
        } else if row.count("direct") > 0 {
            Self::Better
        } else {
            Self::Relay
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn label(out: &mut String, (x, y): (usize, usize), class: &str, text: &str) {
    let _ = writeln!(
        out,
        r#"<text x="{x}" y="{y}" class="{class}">{}</text>"#,
        escaped(text)
    );
}

fn square(out: &mut String, (x, y): (usize, usize), (w, h): (usize, usize), shade: Shade) {
    let fill = shade.fill();
    let _ = writeln!(
        out,
        r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="3" fill="{fill}"/>"#
    );
}

/// How often direct, and how long it took to be: two short lines.
fn words(row: &Row) -> [String; 2] {
    let ways = if row.count("direct") > 0 || row.expected == "direct" {
        format!("direct {}/{}", row.count("direct"), row.trials.len())
    } else {
        format!("relay {}/{}", row.count("relay"), row.trials.len())
    };
    let time = row
        .percentile(|t| t.direct_ms, 50)
        .or_else(|| row.percentile(|t| t.first_ms, 50));
    [ways, time.map_or_else(String::new, |ms| format!("{ms} ms"))]
}

fn cell(out: &mut String, at: (usize, usize), size: (usize, usize), row: Option<&Row>) {
    let shade = row.map_or(Shade::Absent, Shade::of);
    square(out, at, (size.0 - 3, size.1 - 3), shade);
    if let Some(row) = row {
        let [ways, time] = words(row);
        // What could only be run over both transports says so.
        let time = if row.transports == "both" {
            format!("{time} *")
        } else {
            time
        };
        let middle = at.0 + size.0 / 2;
        if size.1 < CELL.1 {
            label(out, (middle, at.1 + 16), "cell", &format!("{ways}  {time}"));
        } else {
            label(out, (middle, at.1 + 18), "cell", &ways);
            label(out, (middle, at.1 + 33), "time", &time);
        }
    }
}

/// The row of a pair of kinds, whichever way round.
fn of_pair<'a>(matrix: &'a Matrix, pair: [NatKind; 2], transports: &[&str]) -> Option<&'a Row> {
    let [a, b] = pair.map(NatKind::name);
    matrix.rows.iter().find(|r| {
        let same = r
            .kinds
            .as_ref()
            .is_some_and(|(x, y)| (x == a && y == b) || (x == b && y == a));
        same && transports.contains(&&*r.transports)
    })
}

fn panel(out: &mut String, matrix: &Matrix, top: usize, title: &str, transports: &[&str]) {
    label(out, (MARGIN, top + 16), "title", title);
    for (n, kind) in NatKind::ALL.into_iter().enumerate() {
        let x = MARGIN + NAMES + n * CELL.0 + CELL.0 / 2;
        label(out, (x, top + HEAD - 12), "column", kind.name());
        let y = top + HEAD + n * CELL.1;
        label(out, (MARGIN, y + 25), "row", kind.name());
        for (m, other) in NatKind::ALL.into_iter().enumerate().skip(n) {
            let x = MARGIN + NAMES + m * CELL.0;
            cell(out, (x, y), CELL, of_pair(matrix, [kind, other], transports));
        }
    }
}

/// Networks that are not a pair of kinds, in their order, with their rows over QUIC and TCP.
fn networks(matrix: &Matrix) -> Vec<(&str, [Option<&Row>; 2])> {
    let mut all: Vec<(&str, [Option<&Row>; 2])> = Vec::new();
    for row in matrix.rows.iter().filter(|r| r.kinds.is_none()) {
        let column = usize::from(row.transports == "tcp");
        let at = all.iter().position(|(name, _)| *name == row.case);
        let at = at.unwrap_or_else(|| {
            all.push((&row.case, [None, None]));
            all.len() - 1
        });
        if let Some(place) = all.get_mut(at).and_then(|(_, rows)| rows.get_mut(column)) {
            *place = Some(row);
        }
    }
    all
}

/// The picture as SVG.
#[must_use]
pub fn svg(matrix: &Matrix) -> String {
    let kinds = NatKind::ALL.len();
    let networks = networks(matrix);
    let panel_height = HEAD + kinds * CELL.1 + MARGIN;
    let list_top = 2 * panel_height + MARGIN;
    let list_height = if networks.is_empty() {
        0
    } else {
        HEAD + networks.len() * LINE
    };
    let legend_top = list_top + list_height + MARGIN;
    let (width, height) = (
        2 * MARGIN + NAMES + kinds * CELL.0,
        legend_top + Shade::SHOWN.len() * 20 + 64,
    );
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">
<style>
text {{ fill: #222; font-size: 12px }}
.title {{ font-size: 15px; font-weight: bold }}
.column, .cell, .time {{ text-anchor: middle }}
.column {{ font-size: 10.5px }}
.cell {{ font-size: 11px }}
.time {{ font-size: 10px; fill: #555 }}
.note {{ font-size: 11px; fill: #555 }}
</style>
<rect width="{width}" height="{height}" fill="#ffffff"/>
"##
    );
    panel(&mut out, matrix, MARGIN, "QUIC", &["quic", "both"]);
    panel(&mut out, matrix, MARGIN + panel_height, "TCP", &["tcp"]);
    if !networks.is_empty() {
        let wide = (3 * CELL.0 / 2, LINE);
        let x = [0, 1].map(|n| MARGIN + NAMES + 2 * CELL.0 + 90 + n * wide.0);
        label(&mut out, (MARGIN, list_top + 16), "title", "Other networks");
        for (x, name) in x.into_iter().zip(["QUIC", "TCP"]) {
            label(&mut out, (x + wide.0 / 2, list_top + HEAD - 12), "column", name);
        }
        for (n, (name, rows)) in networks.into_iter().enumerate() {
            let y = list_top + HEAD + n * LINE;
            label(&mut out, (MARGIN, y + 16), "row", name);
            for (x, row) in x.into_iter().zip(rows) {
                cell(&mut out, (x, y), wide, row);
            }
        }
    }
    for (n, (shade, meaning)) in Shade::SHOWN.into_iter().enumerate() {
        let y = legend_top + n * 20;
        square(&mut out, (MARGIN, y), (22, 14), shade);
        label(&mut out, (MARGIN + 30, y + 11), "row", meaning);
    }
    let notes = [
        format!("{} runs each of {}. Times are medians: from the first attempt to the direct", matrix.runs, matrix.program),
        "connection; where there is none, from a user's request to the first byte.".to_owned(),
        "counting: symmetric, the next port for each destination. * over QUIC and TCP together: UDP does not pass there.".to_owned(),
    ];
    let foot = legend_top + Shade::SHOWN.len() * 20;
    for (n, note) in notes.iter().enumerate() {
        label(&mut out, (MARGIN, foot + 14 + n * 16), "note", note);
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{
        Trial,
        tests::{row, trial},
    };

    #[test]
    fn every_pair_has_its_square_and_failures_are_red() {
        let mut network = row("direct", vec![Trial::failed("x".into())]);
        network.kinds = None;
        network.case = "a < b".into();
        let matrix = Matrix {
            program: "hivenode 0".into(),
            runs: 1,
            rows: vec![row("direct", vec![trial("direct", 1, Some(77))]), network],
        };
        let picture = svg(&matrix);
        assert!(picture.contains("direct 1/1"));
        assert!(picture.contains("77 ms"));
        assert!(picture.contains("a &lt; b"));
        let count = |shade: Shade| picture.matches(shade.fill()).count();
        // Once in the legend, once in the picture.
        assert_eq!((count(Shade::Direct), count(Shade::Failed)), (2, 2));
        // The upper half of two squares of seven, and the second column of the list, but for the one pair.
        assert_eq!(count(Shade::Absent), 2 * 28 - 1 + 1);
    }
}
