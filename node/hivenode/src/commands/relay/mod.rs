//! `relay …`: what this node relays for others.

mod limits;

use crate::{
    args::{DrainArgs, RelayCommand},
    commands::daemon::short,
    config::set_in_file,
    output::{CliError, Exit, Output, Table, clean},
    quantity::{rfc3339, show_size},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::{
    config::RelayMode,
    port::{RelayRefused, RelayView},
};
use std::time::{Duration, Instant};

/// How often it is looked at again, watching or waiting.
const EVERY: Duration = Duration::from_secs(1);

/// Runs a verb.
pub async fn run(session: &Session, command: RelayCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    match command {
        RelayCommand::Status(args) => status(session, &client, args.watch).await,
        RelayCommand::Limits(args) => limits::limits(session, &client, &args).await,
        RelayCommand::Drain(args) => drain(session, &client, &args).await,
        RelayCommand::On => mode(session, &client, RelayMode::On).await,
        RelayCommand::Off => mode(session, &client, RelayMode::Off).await,
        RelayCommand::Auto => mode(session, &client, RelayMode::Auto).await,
        RelayCommand::Resume => {
            let view = client.relay_resume().await?;
            show(&session.out, &view, "")?;
            Ok(Exit::OK)
        }
    }
}

/// Changes whether the node relays: now, and for later starts.
async fn mode(session: &Session, client: &Client, mode: RelayMode) -> Result<Exit, CliError> {
    let view = client.relay_mode(mode).await?;
    set_in_file(&session.paths.config, &[("relay", mode.name().to_owned())])?;
    session.out.say("holds now, and is kept for later starts");
    show(&session.out, &view, "")?;
    Ok(Exit::OK)
}

async fn status(session: &Session, client: &Client, watch: bool) -> Result<Exit, CliError> {
    let out = &session.out;
    loop {
        let clear = if watch && out.terminal {
            "\u{1b}[2J\u{1b}[H"
        } else {
            ""
        };
        show(out, &client.relay().await?, clear)?;
        if !watch {
            return Ok(Exit::OK);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
        }
    }
}

async fn drain(session: &Session, client: &Client, args: &DrainArgs) -> Result<Exit, CliError> {
    let out = &session.out;
    let mut view = client.relay_drain().await?;
    let Some(wait) = args.wait else {
        show(out, &view, "")?;
        return Ok(Exit::OK);
    };
    let end = Instant::now() + wait;
    while view.circuits > 0 && Instant::now() < end {
        out.say(&format!("{} circuits still run", view.circuits));
        tokio::time::sleep(EVERY.min(end.saturating_duration_since(Instant::now()))).await;
        view = client.relay().await?;
    }
    show(out, &view, "")?;
    Ok(if view.circuits == 0 {
        Exit::OK
    } else {
        Exit::TIMEOUT
    })
}

fn sums(counts: &[RelayRefused]) -> String {
    let all: Vec<String> = counts
        .iter()
        .filter(|c| c.count > 0)
        .map(|c| format!("{} {}", c.count, c.reason))
        .collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

/// What may be relayed in all, where that has a bound.
fn bounds(v: &RelayView) -> String {
    let (day, rate) = (v.limits.total_day, v.limits.total_rate);
    let day = (day > 0).then(|| format!(" of {}", show_size(day)));
    let rate = (rate > 0).then(|| format!("; at most {}/s", show_size(rate)));
    [day, rate].into_iter().flatten().collect()
}

fn show(out: &Output, v: &RelayView, clear: &str) -> Result<(), CliError> {
    if out.json {
        return out.document("relay", v);
    }
    if out.quiet {
        out.line(&clean(&v.state));
        return Ok(());
    }
    let why = if v.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", v.detail)
    };
    let mut text = String::from(clear);
    for (word, line) in [
        ("relay", format!("{}{why} (relay = {})", v.state, v.mode)),
        (
            "reaches",
            format!("{} nodes of {}", v.reservations, v.limits.reservations),
        ),
        (
            "circuits",
            format!(
                "{} of {}; {} opened since the start",
                v.circuits, v.limits.circuits, v.circuits_opened
            ),
        ),
        (
            "relayed",
            format!(
                "{} since the start, {} today{}",
                show_size(v.bytes),
                show_size(v.bytes_today),
                bounds(v)
            ),
        ),
        ("refused", sums(&v.refused)),
        ("cut", sums(&v.cut)),
    ] {
        text.push_str(&format!("{word:<8} {}\n", clean(&line)));
    }
    if !v.open.is_empty() {
        let label = |name: &str, node: &str| {
            if name.is_empty() {
                short(node).to_owned()
            } else {
                name.to_owned()
            }
        };
        let mut table = Table::new(&["FROM", "TO", "SINCE", "CARRIED"]);
        for c in &v.open {
            table.row([
                label(&c.from_name, &c.from),
                label(&c.to_name, &c.to),
                rfc3339(c.since),
                show_size(c.bytes),
            ]);
        }
        text.push_str(&format!("\n{}\n", table.text()));
    }
    out.line(text.trim_end());
    Ok(())
}
