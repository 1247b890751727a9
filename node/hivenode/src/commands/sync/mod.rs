//! `sync …`: mirrors of folders.

use crate::{
    args::{SyncArgs, SyncCommand, SyncVerb},
    commands::{
        daemon::short,
        file::existing,
        push::{Standing, standing},
    },
    output::{CliError, Exit, Moving, Now, Table, clean},
    quantity::show_size,
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{RecipientRow, SyncRequest, SyncView};
use std::time::{Duration, Instant};

/// How long one question waits.
const LOOK_MS: u64 = 250;
/// A receiver that has not moved for this long is taken to be away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a verb.
pub async fn run(session: &Session, command: SyncCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    match command.command {
        None => start(session, &client, &command.args).await,
        Some(SyncVerb::Ls) => list(session, &client.syncs().await?),
        Some(SyncVerb::Show { sync }) => show(session, &client.sync(&sync, 0).await?),
        Some(SyncVerb::Rm { sync }) => {
            client.sync_remove(&sync).await?;
            if session.out.json {
                session.out.document("done", true)?;
            }
            session.out.say("mirrored no longer; what receivers have stays");
            Ok(Exit::OK)
        }
    }
}

async fn start(session: &Session, client: &Client, args: &SyncArgs) -> Result<Exit, CliError> {
    let Some(dir) = &args.dir else {
        return Err(CliError::usage(
            "sync.nothing",
            "say which folder: hivenode sync DIR --to NODE",
        ));
    };
    if args.to.is_empty() {
        return Err(CliError::usage(
            "push.nobody",
            "say to whom: --to NODE…, --to role=worker, or --to all",
        )
        .hint("hivenode node ls"));
    }
    let dir = existing(dir)?;
    let begun = client
        .sync_start(&SyncRequest {
            dir,
            to: args.to.clone(),
            watch: args.watch,
            versions: args.versions,
            skip_unsafe: args.skip_unsafe,
            allow_empty: args.allow_empty,
        })
        .await?;
    session
        .out
        .step("mirror", &format!("{} → {} nodes", begun.dir, begun.nodes.len()));
    if args.detach {
        return said(session, &begun, Exit::OK);
    }
    let Some(view) = follow(session, client, begun).await? else {
        return Ok(Exit::INTERRUPTED);
    };
    if args.watch {
        session.out.say(&format!(
            "changes are sent as they happen, by the daemon; end it: {}",
            session.command(&format!("sync rm {}", clean(&view.sync)))
        ));
    }
    let failed = view.nodes.iter().filter(|r| standing(r) == Standing::Failed);
    let failed: Vec<&RecipientRow> = failed.collect();
    for row in &failed {
        session
            .out
            .warn(&format!("{} {}: {}", row.name, row.state, row.detail));
    }
    let exit = match failed.len() {
        0 => Exit::OK,
        n if n == view.nodes.len() => Exit::FAILED,
        _ => Exit::PARTIAL,
    };
    said(session, &view, exit)
}

fn said(session: &Session, view: &SyncView, exit: Exit) -> Result<Exit, CliError> {
    if session.out.json {
        session.out.document("sync", view)?;
    } else {
        session.out.line(&clean(&view.sync));
    }
    Ok(exit)
}

/// Follows until all who are there have the present state; `None` when interrupted.
async fn follow(session: &Session, client: &Client, first: SyncView) -> Result<Option<SyncView>, CliError> {
    let mut moving = Moving::new(&session.out, &format!("sync {}", first.dir));
    let mut view = first;
    let mut since = Instant::now();
    loop {
        let sent = view.seq > 0 && view.state != "scanning";
        let over = |r: &RecipientRow| match standing(r) {
            Standing::Done | Standing::Failed => true,
            Standing::Moving => false,
            Standing::Later => r.state == "mailbox" || since.elapsed() >= PATIENCE,
        };
        if view.state == "blocked" {
            return Err(CliError::internal("sync.blocked", view.detail)
                .hint(session.command(&format!("sync show {}", clean(&view.sync)))));
        }
        if sent && view.nodes.iter().all(over) {
            return Ok(Some(view));
        }
        let total = view.size.saturating_mul(view.nodes.len() as u64);
        let done = view.nodes.iter().map(|r| match standing(r) {
            Standing::Done => view.size,
            _ => r.done.min(view.size),
        });
        moving.set(&Now {
            done: done.sum(),
            total,
            message: view.state.clone(),
            ..Now::default()
        });
        let next = tokio::select! {
            next = client.sync(&view.sync, LOOK_MS) => next?,
            _ = tokio::signal::ctrl_c() => {
                moving.finish();
                session.out.say(&format!(
                    "the mirror goes on in the daemon: {}",
                    session.command(&format!("sync show {}", clean(&view.sync)))
                ));
                return Ok(None);
            }
        };
        let state = |v: &SyncView| -> Vec<(String, u64)> {
            v.nodes.iter().map(|r| (r.state.clone(), r.done)).collect()
        };
        if state(&next) != state(&view) {
            since = Instant::now();
        }
        view = next;
    }
}

fn list(session: &Session, views: &[SyncView]) -> Result<Exit, CliError> {
    let out = &session.out;
    if out.json {
        out.document("syncs", views)?;
    } else if out.quiet {
        views.iter().for_each(|v| out.line(&v.sync));
    } else if views.is_empty() {
        out.say("No mirrors. hivenode sync DIR --to NODE --watch");
    } else {
        let mut table = Table::new(&[
            "MIRROR", "WAY", "FOLDER", "STATE", "SEQ", "FILES", "SIZE", "NODES", "WHY",
        ]);
        for v in views {
            let done = v.nodes.iter().filter(|r| standing(r) == Standing::Done).count();
            table.row([
                short(&v.sync).to_owned(),
                v.direction.clone(),
                v.dir.clone(),
                v.state.clone(),
                v.seq.to_string(),
                v.files.to_string(),
                show_size(v.size),
                format!("{done}/{}", v.nodes.len()),
                v.detail.clone(),
            ]);
        }
        table.print(out);
    }
    Ok(Exit::OK)
}

fn show(session: &Session, view: &SyncView) -> Result<Exit, CliError> {
    let out = &session.out;
    if out.json {
        out.document("sync", view)?;
        return Ok(Exit::OK);
    }
    for (word, text) in [
        ("mirror", format!("{} ({})", view.sync, view.direction)),
        ("folder", view.dir.clone()),
        ("state", format!("{} {}", view.state, view.detail)),
        (
            "content",
            format!(
                "{} files, {}, state {}",
                view.files,
                show_size(view.size),
                view.seq
            ),
        ),
        ("watch", if view.watch { "yes" } else { "no" }.to_owned()),
        ("versions", view.versions.to_string()),
        ("conflicts", view.conflicts.to_string()),
    ] {
        out.line(&format!("{word:<9} {}", clean(text.trim())));
    }
    let mut table = Table::new(&["NODE", "STATE", "WHY"]);
    for r in &view.nodes {
        let name = if r.name.is_empty() { &r.node } else { &r.name };
        table.row([name.clone(), r.state.clone(), r.detail.clone()]);
    }
    table.print(out);
    Ok(Exit::OK)
}
