//! Tables on standard output.

use super::{Output, clean};
use comfy_table::{ContentArrangement, presets::NOTHING};

/// A table with a header. Cells are cleaned here, so callers may pass what strangers wrote.
pub struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_header(columns.iter().copied());
        if let Some(width) = terminal_width() {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    /// Adds a line.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.0.add_row(cells.into_iter().map(|c| clean(c.as_ref())));
    }

    /// The text, without spaces at line ends.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self.0.lines().map(|l| l.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    /// Writes it.
    pub fn print(&self, out: &Output) {
        out.line(&self.text());
    }
}

/// Columns of the terminal on standard output; `None` in a pipe, where nothing is cut.
fn terminal_width() -> Option<u16> {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| size.ws_col)
        .filter(|width| *width >= 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_do_not_pass() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["blue-heron", "online"]);
        table.row(["x\u{1b}[31m", "offline"]);
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(!text.contains('\u{1b}'));
        let column = |l: &str, word: &str| l.find(word);
        assert_eq!(column(lines[0], "STATE"), column(lines[1], "online"), "{text}");
    }
}
