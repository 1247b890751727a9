//! The configuration file.

use super::{closest, find};
use crate::{output::CliError, paths::private_folder};
use std::{collections::BTreeMap, io, path::Path};
use toml_edit::{DocumentMut, Item};

/// Largest file read, in bytes: a configuration is a page.
const MOST_BYTES: u64 = 1 << 20;

fn text(path: &Path) -> Result<String, CliError> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Ok(meta) if meta.len() > MOST_BYTES => {
            return Err(CliError::usage(
                "config.unreadable",
                format!(
                    "{} has {} bytes; a configuration is at most {MOST_BYTES}",
                    path.display(),
                    meta.len()
                ),
            ));
        }
        _ => {}
    }
    std::fs::read_to_string(path).map_err(|e| {
        CliError::usage(
            "config.unreadable",
            format!("cannot read {}: {e}", path.display()),
        )
        .hint("hivenode config path")
    })
}

/// Reads the values of a file, each as people write it. A file that is not there is empty.
///
/// # Errors
/// `config.unreadable`, `config.bad_toml`, `config.unknown_key`, `config.bad_value`.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, CliError> {
    let table: toml::Table = toml::from_str(&text(path)?).map_err(|e| {
        CliError::usage(
            "config.bad_toml",
            format!("{}: {}", path.display(), first_lines(&e.to_string())),
        )
    })?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        if find(&name).is_none() {
            return Err(unknown(&name, &format!("{}: ", path.display())));
        }
        let value = plain(&value).ok_or_else(|| {
            CliError::usage(
                "config.bad_value",
                format!(
                    "{}: `{name}` must be a text, a number or a list of texts",
                    path.display()
                ),
            )
        })?;
        values.insert(name, value);
    }
    Ok(values)
}

/// The parser's message on one line.
fn first_lines(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(n) => Some(n.to_string()),
        toml::Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(toml::Value::as_str).collect();
            texts.map(|t| t.join(","))
        }
        _ => None,
    }
}

/// An unknown setting, with the nearest known one.
pub fn unknown(name: &str, place: &str) -> CliError {
    let shown: String = name.chars().take(64).collect();
    let guess = closest(name).map_or_else(String::new, |right| format!(" (did you mean `{right}`?)"));
    CliError::usage(
        "config.unknown_key",
        format!("{place}no setting `{shown}`{guess}"),
    )
    .hint("hivenode config show")
}

/// Checks a whole file.
///
/// # Errors
/// As [`read`], and `config.bad_value` for each value.
pub fn validate_file(path: &Path) -> Result<usize, CliError> {
    let values = read(path)?;
    for (name, value) in &values {
        let Some(key) = find(name) else { continue };
        key.check(value).map_err(|why| {
            CliError::usage("config.bad_value", format!("{}: `{name}`: {why}", path.display()))
        })?;
    }
    Ok(values.len())
}

/// Writes settings into the file, keeping its comments; an empty value takes the setting out.
///
/// # Errors
/// `config.unknown_key`, `config.bad_value`, `config.bad_toml`, `config.unwritable`.
pub fn set_in_file(path: &Path, changes: &[(&str, String)]) -> Result<(), CliError> {
    let mut doc: DocumentMut = text(path)?.parse().map_err(|e: toml_edit::TomlError| {
        CliError::usage(
            "config.bad_toml",
            format!("{}: {}", path.display(), first_lines(&e.to_string())),
        )
    })?;
    for (name, value) in changes {
        let key = find(name).ok_or_else(|| unknown(name, ""))?;
        key.check(value)
            .map_err(|why| CliError::usage("config.bad_value", format!("`{name}`: {why}")))?;
        if value.is_empty() {
            doc.remove(name);
        } else {
            let item: Item = toml_edit::value(value.as_str());
            doc.insert(name, item);
        }
    }
    if let Some(parent) = path.parent() {
        private_folder(parent)?;
    }
    let unwritable = |e: io::Error| {
        CliError::internal(
            "config.unwritable",
            format!("cannot write {}: {e}", path.display()),
        )
    };
    let next = path.with_extension("toml.new");
    std::fs::write(&next, doc.to_string()).map_err(unwritable)?;
    std::fs::rename(&next, path).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn setting_keeps_comments_and_checks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub").join("config.toml");
        set_in_file(&path, &[("name", "a".into())]).unwrap();
        let old = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("# mine\n{old}")).unwrap();
        set_in_file(&path, &[("cpus", "2".into()), ("name", String::new())]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), "cpus = \"2\"");
        assert_eq!(validate_file(&path).unwrap(), 1);
        assert_eq!(
            set_in_file(&path, &[("cpu", "2".into())]).unwrap_err().code,
            "config.unknown_key"
        );
        assert_eq!(
            set_in_file(&path, &[("cpus", "x".into())]).unwrap_err().code,
            "config.bad_value"
        );
        assert_eq!(read(&path).unwrap()["cpus"], "2");
    }
}
