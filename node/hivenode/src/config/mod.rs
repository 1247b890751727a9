//! Settings of this node: flag > environment > file > default, each with its origin.

mod checks;
mod file;
mod keys;
mod net;
mod node;

pub use file::{set_in_file, validate_file};
pub use keys::{KEYS, Key, closest, find};
pub use net::{limit_key, parse_limit};

use crate::{output::CliError, paths::Paths};
use std::{collections::BTreeMap, env, fmt, path::PathBuf};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of this command.
    Flag(String),
    /// An environment variable.
    Env(String),
    /// The configuration file.
    File(PathBuf),
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value in the form people write.
    pub value: String,
    /// Its origin.
    pub origin: Origin,
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    values: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Merges flags, the process's environment, the file and the defaults.
    ///
    /// # Errors
    /// `config.unknown_key`, `config.bad_value`, `config.unreadable`, `config.bad_toml`.
    pub fn load(paths: &Paths, flags: &[(&'static str, String)]) -> Result<Self, CliError> {
        Self::merge(paths, flags, |name| env::var(name).ok())
    }

    fn merge(
        paths: &Paths,
        flags: &[(&'static str, String)],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CliError> {
        let file = file::read(&paths.config)?;
        let mut values = BTreeMap::new();
        for key in KEYS {
            let name = key.env();
            let flag = flags.iter().find(|(k, _)| *k == key.name);
            let setting = if let Some((_, value)) = flag {
                Setting {
                    value: value.clone(),
                    origin: Origin::Flag(format!("--{}", key.name.replace('_', "-"))),
                }
            } else if let Some(value) = env(&name) {
                Setting {
                    value,
                    origin: Origin::Env(name),
                }
            } else if let Some(value) = file.get(key.name) {
                Setting {
                    value: value.clone(),
                    origin: Origin::File(paths.config.clone()),
                }
            } else {
                Setting {
                    value: key.default.to_owned(),
                    origin: Origin::Default,
                }
            };
            key.check(&setting.value)
                .map_err(|why| bad_value(key, &setting.origin, &why))?;
            values.insert(key.name, setting);
        }
        Ok(Self { values })
    }

    /// The text of a setting; empty when unset.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |s| s.value.as_str())
    }

    /// All of them, in the order of [`KEYS`].
    pub fn all(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        KEYS.iter()
            .filter_map(|key| self.values.get(key.name).map(|s| (key, s)))
    }
}

fn bad_value(key: &Key, origin: &Origin, why: &str) -> CliError {
    CliError::usage(
        "config.bad_value",
        format!("setting `{}` ({origin}): {why}", key.name),
    )
    .hint(format!("hivenode config set {} VALUE", key.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paths(dir: &std::path::Path) -> Paths {
        Paths::find(Some(dir)).unwrap()
    }

    #[test]
    fn flag_beats_env_beats_file_beats_default() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        std::fs::write(
            &paths.config,
            "name = 'file'\nlocation = \"file\"\ncpus = 3\nlisten = ['/ip4/1.2.3.4/tcp/1', '/ip4/1.2.3.4/tcp/2']\n",
        )
        .unwrap();
        let env = |name: &str| match name {
            "HIVENODE_NAME" | "HIVENODE_LOCATION" => Some("env".to_owned()),
            _ => None,
        };
        let s = Settings::merge(&paths, &[("name", "flag".into())], env).unwrap();
        assert_eq!(s.text("name"), "flag");
        assert_eq!(s.text("location"), "env");
        assert_eq!(s.text("cpus"), "3");
        assert_eq!(s.text("listen"), "/ip4/1.2.3.4/tcp/1,/ip4/1.2.3.4/tcp/2");
        let origin = |n: &str| s.all().find(|(k, _)| k.name == n).unwrap().1.origin.to_string();
        assert_eq!(origin("name"), "flag --name");
        assert_eq!(origin("location"), "environment HIVENODE_LOCATION");
        assert_eq!(origin("cpus"), format!("file {}", paths.config.display()));
        assert_eq!(origin("mem"), "default");
    }

    #[test]
    fn wrong_values_are_named_with_their_origin() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let env = |name: &str| (name == "HIVENODE_MEM").then(|| "lots".to_owned());
        let error = Settings::merge(&paths, &[], env).unwrap_err();
        assert_eq!(error.code, "config.bad_value");
        assert!(error.message.contains("HIVENODE_MEM"), "{}", error.message);
    }

    #[test]
    fn unknown_keys_are_refused_with_a_guess() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        std::fs::write(&paths.config, "locaton = 'x'\n").unwrap();
        let error = Settings::merge(&paths, &[], |_| None).unwrap_err();
        assert_eq!(error.code, "config.unknown_key");
        assert!(
            error.message.contains("did you mean `location`?"),
            "{}",
            error.message
        );
        std::fs::write(&paths.config, "name = \n").unwrap();
        assert_eq!(
            Settings::merge(&paths, &[], |_| None).unwrap_err().code,
            "config.bad_toml"
        );
    }
}
