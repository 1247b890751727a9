//! Where a node's files lie and where its settings come from, seen from outside: XDG folders, `HOME` alone, and flag
//! before environment before file before default.

use crate::{
    command::{Going, LONGEST, bare},
    mesh::home,
    wait::{SOON, until},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A user with a home folder and some variables.
struct User {
    home: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl User {
    fn new() -> Self {
        Self {
            home: home(),
            variables: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The same with this variable set to a folder below the home folder.
    fn with(mut self, name: &'static str, folder: &str) -> Self {
        self.variables.push((name, self.path(folder)));
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = bare();
        command
            .env("HOME", self.home.path())
            .env("HIVENODE_LISTEN", "loopback")
            .envs(self.variables.iter().map(|(n, v)| (n, v)))
            .args(args);
        command
    }

    fn json(&self, name: &str, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend_from_slice(args);
        Going::start(self.command(&all)).end(LONGEST).ok().document(name)
    }

    /// What `paths` says.
    #[track_caller]
    fn has_paths(&self, expected: &[(&str, &str)]) {
        let paths = self.json("paths", &["paths"]);
        for (what, place) in expected {
            assert_eq!(
                paths[what].as_str(),
                self.path(place).to_str(),
                "{what} with {:?}",
                self.variables
            );
        }
        assert_eq!(paths.as_object().unwrap().len(), expected.len(), "{paths}");
    }

    /// A daemon of this user's with these flags, once it serves.
    fn serves(&self, flags: &[&str]) -> Daemon {
        let mut command = self.command(&["serve", "--attached"]);
        command
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut daemon = Daemon(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(daemon.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("ready"), "{line}");
        daemon
    }

    /// Files and folders below the home folder, those directly in it only.
    fn own(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.home.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Stops when it is dropped: its standard input closes.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

const HOME_ALONE: [(&str, &str); 6] = [
    ("config", ".config/hivenode/config.toml"),
    ("data", ".local/share/hivenode"),
    ("cache", ".cache/hivenode"),
    ("log", ".local/state/hivenode/log/hivenode.log"),
    ("socket", ".local/share/hivenode/api.sock"),
    ("inbox", "hivenode/inbox"),
];

#[test]
fn xdg_folders_are_used_where_they_are_set() {
    let user = User::new()
        .with("XDG_DATA_HOME", "d")
        .with("XDG_CONFIG_HOME", "c")
        .with("XDG_CACHE_HOME", "k")
        .with("XDG_STATE_HOME", "s")
        .with("XDG_RUNTIME_DIR", "r");
    fs::create_dir(user.path("r")).unwrap();
    user.has_paths(&[
        ("config", "c/hivenode/config.toml"),
        ("data", "d/hivenode"),
        ("cache", "k/hivenode"),
        ("log", "s/hivenode/log/hivenode.log"),
        ("socket", "r/hivenode/api.sock"),
        ("inbox", "hivenode/inbox"),
    ]);
    // And a daemon lives there: its key, its socket, and nothing beside those folders.
    let _daemon = user.serves(&[]);
    assert!(has_key(&user.path("d/hivenode")));
    assert_eq!(mode(&user.path("r/hivenode")), 0o700);
    assert_eq!(mode(&user.path("d/hivenode")), 0o700);
    assert_eq!(user.json("status", &["status"])["state"], "unjoined");
    for name in user.own() {
        assert!(
            ["c", "d", "k", "s", "r", "hivenode"].contains(&name.as_str()),
            "{name} was made in the home folder"
        );
    }
}

fn has_key(folder: &Path) -> bool {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == "node.key" {
                return true;
            }
        }
    }
    false
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn home_alone_is_enough() {
    let user = User::new();
    user.has_paths(&HOME_ALONE);
    let _daemon = user.serves(&[]);
    assert!(has_key(&user.path(".local/share/hivenode")));
    assert_eq!(user.json("status", &["status"])["state"], "unjoined");
}

#[test]
fn each_folder_is_moved_by_its_own_variable_alone() {
    for (variable, what, moved) in [
        ("XDG_DATA_HOME", "data", "x/hivenode"),
        ("XDG_CONFIG_HOME", "config", "x/hivenode/config.toml"),
        ("XDG_CACHE_HOME", "cache", "x/hivenode"),
        ("XDG_STATE_HOME", "log", "x/hivenode/log/hivenode.log"),
        ("XDG_RUNTIME_DIR", "socket", "x/hivenode/api.sock"),
    ] {
        let user = User::new().with(variable, "x");
        fs::create_dir(user.path("x")).unwrap();
        let mut expected = HOME_ALONE;
        for place in &mut expected {
            if place.0 == what {
                place.1 = moved;
            }
            // Without a runtime folder the socket lies beside the keys.
            if variable == "XDG_DATA_HOME" && place.0 == "socket" {
                place.1 = "x/hivenode/api.sock";
            }
        }
        user.has_paths(&expected);
    }
    // A runtime folder that is not there is none.
    User::new().with("XDG_RUNTIME_DIR", "gone").has_paths(&HOME_ALONE);
    // Nor does a relative path count: it would be another place for each command.
    let mut user = User::new();
    user.variables.push(("XDG_DATA_HOME", "relative".into()));
    user.has_paths(&HOME_ALONE);
}

/// A setting as `config show` tells it: its value and where that comes from.
fn shown(user: &User, key: &str) -> (String, String) {
    let all = user.json("settings", &["config", "show"]);
    let row = all.as_array().unwrap().iter().find(|s| s["key"] == key).unwrap();
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

/// The name the daemon of these flags goes by.
fn name_of_daemon(user: &User, flags: &[&str]) -> String {
    let _daemon = user.serves(flags);
    let status = until("a status", SOON, || Some(user.json("status", &["status"])));
    status["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let mut user = User::new();
    let file = user.path(".config/hivenode/config.toml");
    assert_eq!(shown(&user, "name"), (String::new(), "default".into()));
    let default = name_of_daemon(&user, &[]);
    assert!(!default.is_empty() && !default.starts_with("by-"), "{default}");

    Going::start(user.command(&["config", "set", "name", "by-file"]))
        .end(LONGEST)
        .ok();
    assert!(fs::read_to_string(&file).unwrap().contains("by-file"));
    assert_eq!(
        shown(&user, "name"),
        ("by-file".into(), format!("file {}", file.display()))
    );
    assert_eq!(name_of_daemon(&user, &[]), "by-file");

    user.variables.push(("HIVENODE_NAME", "by-environment".into()));
    assert_eq!(
        shown(&user, "name"),
        ("by-environment".into(), "environment HIVENODE_NAME".into())
    );
    assert_eq!(name_of_daemon(&user, &[]), "by-environment");

    assert_eq!(name_of_daemon(&user, &["--name", "by-flag"]), "by-flag");
    // For that run only: nothing of it is kept.
    assert!(!fs::read_to_string(&file).unwrap().contains("by-flag"));
    assert_eq!(name_of_daemon(&user, &[]), "by-environment");
}
