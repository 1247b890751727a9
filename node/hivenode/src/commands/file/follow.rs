//! Following a transfer until it has ended; Ctrl-C leaves it running.

use crate::{
    output::{CliError, Exit, Moving, Now, clean},
    quantity::{show_duration, show_size},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{Kind, Refused, TransferDo, TransferView};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long one question waits for the end: how often bars move.
const LOOK_MS: u64 = 250;

/// Where a transfer stands, for a bar.
pub fn now(view: &TransferView) -> Now {
    let mut message = String::new();
    if view.rate > 0 {
        message = format!("{}/s", show_size(view.rate));
    }
    if let Some(left) = view.eta_ms {
        message.push_str(&format!(" {} left", show_duration(Duration::from_millis(left))));
    }
    if view.state != "running" {
        message = view.state.clone();
    }
    let peers = view.peers.iter().filter(|p| p.dropped.is_none()).map(|p| {
        let name = if p.name.is_empty() { &p.node } else { &p.name };
        let path = p
            .relay
            .as_ref()
            .map_or_else(|| p.path.clone(), |relay| format!("relay {relay}"));
        format!(
            "{name:<14} {path:<7} {:>10}/s {:>10}",
            show_size(p.rate),
            show_size(p.bytes)
        )
    });
    Now {
        done: view.done,
        total: view.total,
        message: message.trim().to_owned(),
        stalled: view.stalled.as_ref().map(|s| format!("stalled: {}", s.message)),
        peers: peers.collect(),
    }
}

/// Ctrl-C, heard from now on: before something is asked for that is to go on when this command ends.
pub fn interrupts() -> Result<Signal, CliError> {
    signal(SignalKind::interrupt())
        .map_err(|e| CliError::internal("pull.signals", format!("cannot listen for signals: {e}")))
}

/// Says how to find again what goes on without this command.
pub fn goes_on(session: &Session, view: &TransferView) {
    let id = clean(&view.transfer);
    session.out.say(&format!(
        "the transfer {id} goes on in the daemon: {}\n  stop it: {}",
        session.command(&format!("file status -w {id}")),
        session.command(&format!("file cancel {id}")),
    ));
}

/// Follows; `None` when interrupted. When nothing has come for as long as `patience`, for a reason that is not this
/// node's own, the transfer is given up.
pub async fn follow(
    session: &Session,
    client: &Client,
    first: TransferView,
    patience: Option<Duration>,
    stop: &mut Signal,
) -> Result<Option<TransferView>, CliError> {
    let title = format!("pull {}", first.name);
    let mut moving = Moving::new(&session.out, &title);
    let mut view = first;
    let mut since = Instant::now();
    let mut done = view.done;
    loop {
        if view.is_final() {
            return Ok(Some(view));
        }
        if view.done > done || view.stalled.as_ref().is_none_or(|s| s.kind != Kind::Unreachable) {
            (since, done) = (Instant::now(), view.done);
        }
        if let (Some(patience), Some(why)) = (patience, &view.stalled)
            && since.elapsed() >= patience
        {
            moving.finish();
            client.transfer_do(&view.transfer, TransferDo::Cancel).await?;
            let mut error = CliError::from(why.clone());
            error.details = serde_json::to_value(&view).ok();
            return Err(error);
        }
        moving.set(&now(&view));
        view = tokio::select! {
            view = client.transfer(&view.transfer, LOOK_MS) => view?,
            _ = stop.recv() => {
                moving.finish();
                goes_on(session, &view);
                return Ok(None);
            }
        };
    }
}

/// The end of a transfer as an exit code or an error.
pub fn ended(view: &TransferView) -> Result<Exit, CliError> {
    match view.state.as_str() {
        "done" => Ok(Exit::OK),
        _ => {
            let why = view.error.clone().unwrap_or_else(|| {
                Refused::new(
                    Kind::Conflict,
                    "file.cancelled",
                    format!("the transfer of {} was cancelled", view.name),
                )
            });
            let mut error = CliError::from(why);
            error.details = serde_json::to_value(view).ok();
            Err(error)
        }
    }
}
