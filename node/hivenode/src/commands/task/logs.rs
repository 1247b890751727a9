//! `task logs`: bytes as the task wrote them; on a terminal made harmless.

use crate::{
    output::{CliError, Exit, Output, clean, clean_block},
    session::Session,
};
use data_encoding::BASE64;
use hive_api::{client::Client, document::LogLine};
use hive_runtime::port::LogChunk;
use std::io::{self, IsTerminal, Write};

/// Shows a chunk where it belongs.
fn show(out: &Output, chunk: &LogChunk, err_terminal: bool) -> Result<(), CliError> {
    if out.json {
        return out.document(
            "log",
            LogLine {
                stderr: chunk.stderr,
                data: BASE64.encode(&chunk.bytes),
            },
        );
    }
    let harmless = || clean_block(&String::from_utf8_lossy(&chunk.bytes)).into_bytes();
    if chunk.stderr {
        let bytes = if err_terminal {
            harmless()
        } else {
            chunk.bytes.clone()
        };
        let _ = io::stderr().lock().write_all(&bytes);
    } else if out.terminal {
        out.bytes(&harmless());
    } else {
        out.bytes(&chunk.bytes);
    }
    Ok(())
}

/// Shows a log until it ends.
pub async fn stream(out: &Output, client: &Client, task: &str, follow: bool) -> Result<(), CliError> {
    let err_terminal = io::stderr().is_terminal();
    let mut log = client.logs(task, follow).await?;
    while let Some(chunk) = log.next().await? {
        show(out, &chunk, err_terminal)?;
    }
    Ok(())
}

/// `task logs`
pub async fn logs(session: &Session, client: &Client, task: &str, follow: bool) -> Result<Exit, CliError> {
    tokio::select! {
        shown = stream(&session.out, client, task, follow) => shown.map(|()| Exit::OK),
        _ = tokio::signal::ctrl_c() => {
            let again = session.command(&format!("task logs -f {task}"));
            session.out.say(&format!("the task goes on: {}", clean(&again)));
            Ok(Exit::INTERRUPTED)
        }
    }
}
