//! One daemon of the program under test, inside a namespace.

use crate::{
    error::MatrixError,
    http::{self, Answer},
};
use hive_natlab::Space;
use serde_json::Value;
use std::{
    fs::{File, create_dir_all},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// A start takes half a second; this is for a machine that is very busy.
const START: Duration = Duration::from_secs(60);
/// How long a daemon may take to stop when told.
const STOP: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A daemon that runs; it stops when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    /// Its name in the mesh.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    child: Child,
    /// The daemon stops by itself when this closes, however the laboratory ends.
    leash: Option<ChildStdin>,
}

impl Daemon {
    /// Starts it and waits until it serves. Settings are as in its environment, without their prefix.
    ///
    /// # Errors
    /// [`MatrixError::Start`].
    pub fn start(
        program: &Path,
        space: &Space,
        home: &Path,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, MatrixError> {
        let failed = |detail: String| MatrixError::Start {
            name: name.to_owned(),
            detail,
        };
        let dir = home.join(name);
        let file = |path: PathBuf| File::create(&path).map_err(|source| MatrixError::File { path, source });
        create_dir_all(&dir).map_err(|source| MatrixError::File {
            path: dir.clone(),
            source,
        })?;
        let mut command = space.command(program);
        for (variable, _) in std::env::vars_os() {
            let variable = variable.to_string_lossy().into_owned();
            if variable.starts_with("HIVENODE_") || variable.starts_with("XDG_") || variable == "RUST_LOG" {
                command.env_remove(variable);
            }
        }
        for (setting, value) in settings {
            command.env(format!("HIVENODE_{}", setting.to_uppercase()), value);
        }
        command.env("HIVENODE_NAME", name);
        let mut child = command
            .arg("--data")
            .arg(&dir)
            .args(["serve", "--attached", "--log-file"])
            .arg(dir.join("log"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file(dir.join("stderr"))?)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let leash = child.stdin.take();
        let said = child.stdout.take();
        let daemon = Self {
            name: name.to_owned(),
            dir,
            child,
            leash,
        };
        let (tell, hear) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            if let Some(said) = said {
                let _ = BufReader::new(said).read_line(&mut line);
            }
            let _ = tell.send(line);
        });
        let line = hear.recv_timeout(START).unwrap_or_default();
        let said: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        if said["ready"].is_object() {
            return Ok(daemon);
        }
        let talk = std::fs::read_to_string(daemon.dir.join("stderr")).unwrap_or_default();
        Err(failed(format!("{line}{talk}")))
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, MatrixError> {
        let failed = |detail| MatrixError::Asked {
            name: self.name.clone(),
            path: path.to_owned(),
            detail,
        };
        let answer =
            http::ask(&self.dir.join("api.sock"), method, path, body).map_err(|e| failed(e.to_string()))?;
        if answer.status >= 300 {
            let said = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            return Err(failed(said));
        }
        Ok(answer)
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// [`MatrixError::Asked`].
    pub fn get(&self, path: &str) -> Result<Value, MatrixError> {
        self.ask("GET", path, None).map(|a| a.json())
    }

    /// Asks for bytes.
    ///
    /// # Errors
    /// [`MatrixError::Asked`].
    pub fn bytes(&self, path: &str) -> Result<Answer, MatrixError> {
        self.ask("GET", path, None)
    }

    /// Tells it something.
    ///
    /// # Errors
    /// [`MatrixError::Asked`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, MatrixError> {
        self.ask("POST", path, Some(body)).map(|a| a.json())
    }

    /// Looks until there is something; the last document seen is named when there is not.
    ///
    /// # Errors
    /// [`MatrixError::Late`].
    pub fn until<T>(
        &self,
        path: &str,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T, MatrixError> {
        let deadline = Instant::now() + within;
        loop {
            let last = match self.get(path) {
                Ok(document) => match look(&document) {
                    Some(found) => return Ok(found),
                    None => document.to_string(),
                },
                Err(e) => e.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(MatrixError::Late {
                    name: self.name.clone(),
                    seconds: within.as_secs(),
                    what: format!("{what}: {}", last.chars().take(2000).collect::<String>()),
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Daemon {
    /// Tells it to stop; dropping it waits until it has.
    pub fn let_go(&mut self) {
        drop(self.leash.take());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.let_go();
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
