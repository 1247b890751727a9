//! Starting a daemon beside this process and waiting until it serves.

use super::announce::{Announced, Ready, read_announcement};
use crate::{
    output::{CliError, Exit},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{Kind, Refused, StatusView};
use serde_json::Value;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

/// How often a starting daemon is asked whether it answers.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// Lines of its log shown when it dies without a word.
const LOG_LINES: usize = 8;

/// Starts the daemon unless it runs; tells whether it was started.
///
/// # Errors
/// Why it did not start, under the daemon's own code; `daemon.start_timeout`, `daemon.died`.
pub async fn ensure_running(
    session: &Session,
    wait: Duration,
) -> Result<(Client, StatusView, bool), CliError> {
    let client = session.client()?;
    match client.status().await {
        Ok(status) => return Ok((client, status, false)),
        Err(refused) if refused.code != "daemon.not_running" || session.global.api.is_some() => {
            return Err(refused.into());
        }
        Err(_) => {}
    }
    session.paths.create()?;
    let deadline = Instant::now() + wait;
    spawn(session, wait).await?;
    let status = answering(&client, deadline).await?;
    Ok((client, status, true))
}

/// Asks until it answers.
async fn answering(client: &Client, deadline: Instant) -> Result<StatusView, CliError> {
    loop {
        match client.status().await {
            Ok(status) => return Ok(status),
            Err(refused) if refused.retryable && Instant::now() < deadline => sleep(ASK_EVERY).await,
            Err(refused) => return Err(refused.into()),
        }
    }
}

async fn spawn(session: &Session, wait: Duration) -> Result<Ready, CliError> {
    let failed =
        |e: std::io::Error| CliError::internal("daemon.spawn", format!("cannot start the daemon: {e}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    if let Some(root) = &session.paths.root {
        command.arg("--data").arg(root);
    }
    command
        .arg("serve")
        .arg("--detached")
        .arg("--log-file")
        .arg(&session.paths.log);
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&session.paths.log)
        .map_err(failed)?;
    let mut child = command
        .env_remove("HIVENODE_TICKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(false)
        .spawn()
        .map_err(failed)?;
    let Some(stdout) = child.stdout.take() else {
        return Err(CliError::internal(
            "daemon.spawn",
            "the daemon has no standard output",
        ));
    };
    match timeout(wait, read_announcement(stdout)).await {
        Err(_) => {
            // Half started is worse than not started: the next `up` would find a silent process.
            let _ = child.kill().await;
            Err(CliError::new(
                Kind::Timeout,
                "daemon.start_timeout",
                format!("the daemon did not start within {} s", wait.as_secs()),
            )
            .note("log", session.paths.log.display().to_string()))
        }
        Ok(None) => Err(died(&session.paths.log)),
        Ok(Some(Announced::Failed(document))) => Err(told(&document)),
        Ok(Some(Announced::Ready(ready))) => Ok(ready),
    }
}

fn died(log: &Path) -> CliError {
    let mut error = CliError::internal("daemon.died", "the daemon ended before it could serve");
    for line in last_lines(log, LOG_LINES) {
        error = error.note("log", line);
    }
    error
}

/// The end of a log.
pub fn last_lines(path: &Path, most: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    // A few lines never need more than this.
    const TAIL_BYTES: u64 = 16 << 10;
    let Ok(mut file) = std::fs::File::open(path) else {
        return Vec::new();
    };
    let length = file.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::new();
    if file
        .seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))
        .is_err()
        || file.take(TAIL_BYTES).read_to_end(&mut bytes).is_err()
    {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(most))
        .map(|l| (*l).to_owned())
        .collect()
}

/// The daemon's own error, as it announced it.
pub fn told(document: &Value) -> CliError {
    let text = |name: &str| {
        document
            .pointer(&format!("/error/{name}"))
            .and_then(Value::as_str)
    };
    let mut error = CliError::from(Refused::new(
        Kind::Internal,
        text("code").unwrap_or("daemon.died"),
        text("message").unwrap_or("the daemon could not start"),
    ));
    error.hint = text("hint").map(str::to_owned);
    if let Some(code) = document.pointer("/error/exit").and_then(Value::as_u64) {
        error.exit = Exit(u8::try_from(code).unwrap_or(1));
    }
    error
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_daemons_error_is_shown_as_its_own() {
        let original = CliError::usage("store.locked", "in use").hint("hivenode down");
        let shown = told(&original.document());
        assert_eq!((shown.code.as_str(), shown.exit), ("store.locked", Exit(2)));
        assert_eq!(shown.hint.as_deref(), Some("hivenode down"));
        assert_eq!(told(&Value::Null).code, "daemon.died");
    }

    #[test]
    fn the_end_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(last_lines(&path, 2), ["b", "c"]);
        assert!(last_lines(&dir.path().join("none"), 2).is_empty());
    }
}
