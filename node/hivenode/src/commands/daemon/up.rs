//! `up`: start the daemon unless it runs, join unless it is a member. Changes no setting that was not named.

use crate::{
    args::{NodeFlags, ServeArgs, UpArgs},
    config::set_in_file,
    output::{CliError, Exit},
    quantity::{cores, money, show_size},
    serve,
    session::Session,
};
use hive_api::client::Client;
use hive_protocol::{resources::Role, ticket::Ticket};
use hive_runtime::{
    config::RelayMode,
    port::{JoinView, Kind, PeerRow, StatusView},
};
use serde_json::json;
use std::{
    io::Read,
    time::{Duration, Instant},
};

/// What `up` waits for the daemon when nothing is said.
pub const START_WAIT: Duration = Duration::from_secs(60);
/// Longest ticket read from a file or standard input, in bytes; tickets have about 400.
const TICKET_MOST: u64 = 16 << 10;

/// The ticket named on the command line, read from where it lies and checked as far as this process can.
fn ticket(args: &UpArgs) -> Result<Option<String>, CliError> {
    let Some(named) = args.ticket.as_deref().filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let unreadable = |what: &str, e: std::io::Error| {
        CliError::new(
            Kind::NotFound,
            "ticket.unreadable",
            format!("cannot read the ticket from {what}: {e}"),
        )
    };
    let mut text = String::new();
    if named == "-" {
        let input = std::io::stdin().lock();
        input
            .take(TICKET_MOST)
            .read_to_string(&mut text)
            .map_err(|e| unreadable("standard input", e))?;
    } else if let Some(path) = named.strip_prefix("file:") {
        let file = std::fs::File::open(path).map_err(|e| unreadable(path, e))?;
        file.take(TICKET_MOST)
            .read_to_string(&mut text)
            .map_err(|e| unreadable(path, e))?;
    } else {
        text.push_str(named);
    }
    // A pasted ticket may carry line breaks of a terminal or a mail.
    let text: String = text.split_whitespace().collect();
    if let (Some(role), Ok(ticket)) = (args.role, text.parse::<Ticket>()) {
        agree(role, ticket.role)?;
    }
    Ok(Some(text))
}

fn agree(wanted: Role, offered: Role) -> Result<(), CliError> {
    if wanted == offered {
        return Ok(());
    }
    Err(CliError::usage(
        "ticket.other_role",
        format!(
            "the ticket is for a {}, not for a {}",
            offered.name(),
            wanted.name()
        ),
    )
    .hint(format!(
        "ask for one made with: hivenode invite --role {}",
        wanted.name()
    )))
}

/// Keeps the settings named on the command line for this and later starts; says what needs a restart.
fn keep(session: &Session, flags: &NodeFlags) -> Result<bool, CliError> {
    let named = flags.named();
    if !named.is_empty() {
        set_in_file(&session.paths.config, &named)?;
    }
    Ok(!named.is_empty())
}

/// Starts the daemon unless it runs.
pub async fn start(session: &Session, flags: &NodeFlags) -> Result<(Client, StatusView), CliError> {
    let changed = keep(session, flags)?;
    let began = Instant::now();
    let (client, status, started) =
        serve::ensure_running(session, session.global.timeout.unwrap_or(START_WAIT)).await?;
    let home = session.paths.data.display();
    session.out.step(
        "identity",
        &format!("{} \"{}\" ({home})", status.node, status.name),
    );
    if started {
        session.out.step(
            "daemon",
            &format!("started in {} ms", began.elapsed().as_millis()),
        );
    } else {
        session.out.step("daemon", "already running");
        if changed {
            session
                .out
                .warn("the settings named hold from the next start on: hivenode down && hivenode up");
        }
    }
    Ok((client, status))
}

/// Whether `--role relay` means a member of another role that shall relay besides: there is no ticket for a relay.
fn relays(args: &UpArgs, ticket: bool) -> bool {
    args.role == Some(Role::Relay) && !ticket && args.node.relay.is_none()
}

/// The settings named.
fn flags(args: &UpArgs, ticket: bool) -> NodeFlags {
    let mut flags = args.node.clone();
    if relays(args, ticket) {
        flags.relay = Some("on".to_owned());
    }
    flags
}

/// `up`
pub async fn up(session: &Session, args: &UpArgs) -> Result<Exit, CliError> {
    let ticket = ticket(args)?;
    let (client, _) = start(session, &flags(args, ticket.is_some())).await?;
    let joined = match &ticket {
        Some(ticket) => Some(join(session, &client, ticket).await?),
        None => None,
    };
    let mut status = client.status().await?;
    if relays(args, ticket.is_some()) && status.mesh.is_some() {
        // Also when the daemon ran before: the setting alone would wait for the next start.
        client.relay_mode(RelayMode::On).await?;
        status = client.status().await?;
    }
    summary(session, &status);
    if let (Some(role), true) = (args.role, status.mesh.is_some())
        && (role != Role::Relay || ticket.is_some())
        && !status.roles.is_empty()
        && !status.roles.iter().any(|r| r == role.name())
    {
        session.out.warn(&format!(
            "this node is a {} in the mesh, not a {}",
            status.roles.join(", "),
            role.name()
        ));
    }
    if session.out.json {
        session
            .out
            .document("up", json!({"status": status, "joined": joined}))?;
    } else if session.out.quiet {
        session.out.line(&status.node);
    }
    Ok(Exit::OK)
}

async fn join(session: &Session, client: &Client, ticket: &str) -> Result<JoinView, CliError> {
    let began = Instant::now();
    let view = client.join(ticket).await?;
    let how = if view.already {
        "member already".to_owned()
    } else {
        format!("{} ms", began.elapsed().as_millis())
    };
    session.out.step(
        "joined",
        &format!(
            "mesh \"{}\" as {} · tier {} ({}) · {how}",
            view.mesh.name, view.name, view.tier, view.score
        ),
    );
    Ok(view)
}

/// How many are connected.
fn peers(status: &StatusView) -> usize {
    let connected = |p: &&PeerRow| matches!(p.state.as_str(), "direct" | "relay" | "punching");
    status.peers.iter().filter(connected).count()
}

fn summary(session: &Session, status: &StatusView) {
    let out = &session.out;
    let offer = &status.capabilities.total;
    if offer.cpu_milli > 0 {
        out.step(
            "benchmark",
            &format!(
                "{} cores, score {} · mem {} · disk {}",
                cores(offer.cpu_milli),
                status.capabilities.cpu_score,
                show_size(offer.memory_mib << 20),
                show_size(offer.disk_mib << 20)
            ),
        );
    }
    out.step(
        "network",
        &format!("{} · {} peers", status.listen.join(" "), peers(status)),
    );
    if status.mesh.is_none() {
        out.say("In no mesh yet. Join: hivenode up TICKET   Or found one: hivenode mesh create NAME");
    }
    for problem in &status.problems {
        out.warn(&format!("{}: {}", problem.code, problem.message));
    }
    if status.earned > 0 {
        out.say(&format!("Earned since the start: {}", money(status.earned)));
    }
    let stop = session.command("down");
    out.say(&format!("Stop: {}", crate::output::clean(&stop)));
}

/// `up --foreground`: the daemon in this process; a ticket is redeemed once it serves.
pub fn foreground(session: &Session, args: &UpArgs) -> Result<Exit, CliError> {
    let ticket = ticket(args)?;
    keep(session, &flags(args, ticket.is_some()))?;
    if let Some(ticket) = ticket {
        let session = session.clone();
        let wait = session.global.timeout.unwrap_or(START_WAIT);
        // Beside the daemon, on threads of its own: it outlives neither the daemon nor the deadline.
        std::thread::spawn(move || match join_when_serving(&session, &ticket, wait) {
            Ok(()) => {}
            Err(error) => error.print(&session.out),
        });
    }
    serve::run(session, &ServeArgs::default())
}

fn join_when_serving(session: &Session, ticket: &str, wait: Duration) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::internal("cli.threads", format!("cannot start threads: {e}")))?;
    runtime.block_on(async {
        let client = session.client()?;
        let deadline = Instant::now() + wait;
        while let Err(refused) = client.status().await {
            if Instant::now() >= deadline {
                return Err(refused.into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        join(session, &client, ticket).await.map(drop)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(ticket: &str) -> UpArgs {
        UpArgs {
            ticket: Some(ticket.into()),
            role: None,
            foreground: false,
            node: NodeFlags::default(),
        }
    }

    #[test]
    fn tickets_come_from_files_and_lose_their_line_breaks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticket");
        std::fs::write(&path, "hive1abc\n  def\n").unwrap();
        let from_file = ticket(&args(&format!("file:{}", path.display()))).unwrap();
        assert_eq!(from_file.as_deref(), Some("hive1abcdef"));
        assert_eq!(
            ticket(&args("file:/nowhere/at/all")).unwrap_err().code,
            "ticket.unreadable"
        );
        assert_eq!(ticket(&args("")).unwrap(), None);
    }

    #[test]
    fn a_ticket_for_another_role_is_named() {
        assert_eq!(
            agree(Role::Client, Role::Worker).unwrap_err().code,
            "ticket.other_role"
        );
        agree(Role::Worker, Role::Worker).unwrap();
    }
}
