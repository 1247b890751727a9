//! Text from strangers (task logs, names, labels, messages) made harmless for a terminal.

use std::fmt::Write;

/// Characters that move, hide or reorder what is on the screen.
fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !harmful(c) || keep(c) {
            out.push(c);
            continue;
        }
        // Writing to a string cannot fail.
        let _ = match c {
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c => write!(out, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    out
}

/// One line: every control character and reordering mark is written out.
pub fn clean(text: &str) -> String {
    escape(text, |_| false)
}

/// Several lines: line ends and tabs stay.
pub fn clean_block(text: &str) -> String {
    escape(text, |c| c == '\n' || c == '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_steered_by_strangers() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n\u{9b}x"), "a\\u{1b}[2Jb\\r\\n\\u{9b}x");
        assert_eq!(clean("abc\u{202e}cba"), "abc\\u{202e}cba");
        assert_eq!(clean("grüße 日本"), "grüße 日本");
        assert_eq!(clean_block("a\n\tb\u{7}"), "a\n\tb\\u{7}");
    }
}
