//! `node …`

use super::daemon::{resources, rtt, short};
use crate::{
    args::NodeCommand,
    output::{CliError, Exit, Table, clean},
    quantity::{age, money, rfc3339},
    session::Session,
};
use hive_runtime::port::NodeRow;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs a verb.
pub async fn run(session: &Session, command: NodeCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    match command {
        NodeCommand::Ls => ls(session, &client.nodes().await?)?,
        NodeCommand::Show { node } => show(session, &client.node(&node).await?)?,
    }
    Ok(Exit::OK)
}

fn seen(session: &Session, ms: u64) -> String {
    if !session.out.terminal {
        return if ms == 0 { "-".into() } else { rfc3339(ms) };
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    // The authority's clock may be a little ahead of ours.
    age(now.max(ms), ms)
}

fn ls(session: &Session, nodes: &[NodeRow]) -> Result<(), CliError> {
    let out = &session.out;
    if out.json {
        return out.document("nodes", nodes);
    }
    if out.quiet {
        nodes.iter().for_each(|n| out.line(&clean(&n.node)));
        return Ok(());
    }
    let mut table = Table::new(&[
        "NODE", "NAME", "ROLES", "STATE", "PATH", "RTT", "TRUST", "OFFERS", "RUNNING", "PRICE", "SEEN",
    ]);
    for n in nodes {
        table.row([
            short(&n.node).to_owned(),
            n.name.clone(),
            n.roles.join(","),
            n.state.clone(),
            n.path.clone(),
            n.rtt_us.map_or_else(|| "-".into(), rtt),
            format!("{} ({})", n.tier, n.score),
            if n.capabilities.total.cpu_milli == 0 {
                "-".into()
            } else {
                resources(&n.capabilities.total)
            },
            n.running.to_string(),
            if n.price == 0 { "-".into() } else { money(n.price) },
            seen(session, n.last_seen),
        ]);
    }
    table.print(out);
    Ok(())
}

fn show(session: &Session, n: &NodeRow) -> Result<(), CliError> {
    let out = &session.out;
    if out.json {
        return out.document("node", n);
    }
    if out.quiet {
        out.line(&clean(&n.node));
        return Ok(());
    }
    let c = &n.capabilities;
    let gpu = if c.total.gpus > 0 {
        format!("{} × {}", c.total.gpus, c.total.gpu_name)
    } else {
        "none".into()
    };
    for (word, text) in [
        ("node", n.node.clone()),
        ("account", n.account.clone()),
        ("name", n.name.clone()),
        ("roles", n.roles.join(", ")),
        (
            "state",
            format!("{}, last seen {}", n.state, seen(session, n.last_seen)),
        ),
        (
            "path",
            format!("{} {}", n.path, n.rtt_us.map_or_else(String::new, rtt)),
        ),
        ("trust", format!("{} ({})", n.tier, n.score)),
        ("offers", resources(&c.total)),
        ("free", resources(&n.free)),
        ("gpu", gpu),
        ("cpu score", c.cpu_score.to_string()),
        ("runtimes", c.runtimes.join(", ")),
        ("containers", if c.containers { "yes" } else { "no" }.into()),
        ("running", n.running.to_string()),
        ("price", format!("{} per Gfuel", money(n.price))),
        ("location", c.location.clone()),
        ("version", c.version.clone()),
        ("addresses", n.addrs.join(" ")),
    ] {
        out.line(&format!("{word:<11} {}", clean(text.trim_end())));
    }
    Ok(())
}
