//! The daemon's own log.

use crate::{config::Settings, output::CliError};
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Mutex};
use tracing_subscriber::{EnvFilter, fmt};

/// Largest log kept from earlier runs, in bytes; a longer one is set aside as `.old` at the next start.
const KEEP_BYTES: u64 = 32 << 20;

/// Sends the log to a file or to standard error.
pub(super) fn init(settings: &Settings, file: Option<&Path>) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(settings.text("log")).map_err(|e| {
        CliError::usage("config.bad_value", format!("`log`: {e}"))
            .hint("hivenode config set log warn,hive=info")
    })?;
    let json = settings.text("log_format") == "json";
    let base = fmt().with_env_filter(filter).with_ansi(false).with_target(true);
    // A second initialisation (tests in one process) keeps the first.
    let _ = match file {
        Some(path) => {
            let writer = Mutex::new(open(path)?);
            if json {
                base.json().with_writer(writer).try_init()
            } else {
                base.with_writer(writer).try_init()
            }
        }
        None if json => base.json().with_writer(io::stderr).try_init(),
        None => base.with_writer(io::stderr).try_init(),
    };
    Ok(())
}

fn open(path: &Path) -> Result<std::fs::File, CliError> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > KEEP_BYTES) {
        let _ = std::fs::rename(path, path.with_extension("log.old"));
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| {
            CliError::internal(
                "daemon.log",
                format!("cannot write the log {}: {e}", path.display()),
            )
        })
}
