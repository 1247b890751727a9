//! `down`: stop the daemon and wait until it is gone.

use crate::{
    args::DownArgs,
    output::{CliError, Exit},
    session::Session,
};
use hive_runtime::port::Kind;
use serde_json::json;
use std::time::{Duration, Instant};

/// What the daemon gets to close its files once nothing runs any more.
const CLOSE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// What running tasks get when nothing is said.
const DRAIN: Duration = Duration::from_secs(10);

/// `down`
pub async fn down(session: &Session, args: &DownArgs) -> Result<Exit, CliError> {
    let client = session.client()?;
    let drain = if args.force {
        Duration::ZERO
    } else {
        args.drain.unwrap_or(DRAIN)
    };
    match client
        .stop(u64::try_from(drain.as_millis()).unwrap_or(u64::MAX))
        .await
    {
        Ok(()) => {}
        // The daemon may be quicker than its answer.
        Err(refused) if refused.code == "daemon.connection_lost" || refused.code == "daemon.stopping" => {}
        Err(refused) if refused.code == "daemon.not_running" => {
            session.out.step("stopped", "it was not running");
            return finish(session, false);
        }
        Err(refused) => return Err(refused.into()),
    }
    let deadline = Instant::now() + drain + CLOSE;
    loop {
        match client.status().await {
            Err(refused) if refused.code == "daemon.not_running" => break,
            _ if Instant::now() >= deadline => {
                return Err(CliError::new(
                    Kind::Timeout,
                    "daemon.still_running",
                    "the daemon was told to stop and still answers",
                )
                .note("log", session.paths.log.display().to_string())
                .hint(session.command("down --force")));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    session.out.step("stopped", "");
    finish(session, true)
}

fn finish(session: &Session, was_running: bool) -> Result<Exit, CliError> {
    if session.out.json {
        session
            .out
            .document("down", json!({"was_running": was_running}))?;
    }
    Ok(Exit::OK)
}
