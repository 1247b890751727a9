//! `node …`

use super::{
    daemon::{resources, rtt, short},
    net::{brief, place},
};
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
    out.line(&table(nodes, |ms| seen(session, ms)).text());
    Ok(())
}

/// All nodes and the way to each: address, or relay, and round trip as in the status.
fn table(nodes: &[NodeRow], seen: impl Fn(u64) -> String) -> Table {
    let or_dash = |text: String| if text.is_empty() { "-".into() } else { text };
    let mut table = Table::new(&[
        "NODE", "NAME", "ROLES", "STATE", "PATH", "RTT", "ADDRESS", "TRUST", "OFFERS", "RUNNING", "PRICE",
        "SEEN",
    ]);
    for n in nodes {
        table.row([
            short(&n.node).to_owned(),
            n.name.clone(),
            n.roles.join(","),
            n.state.clone(),
            brief(&n.path),
            n.rtt_us.map_or_else(|| "-".into(), rtt),
            or_dash(place(&n.addr)),
            format!("{} ({})", n.tier, n.score),
            if n.capabilities.total.cpu_milli == 0 {
                "-".into()
            } else {
                resources(&n.capabilities.total)
            },
            n.running.to_string(),
            if n.price == 0 { "-".into() } else { money(n.price) },
            seen(n.last_seen),
        ]);
    }
    table
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
            format!(
                "{} {} {}",
                n.path,
                n.rtt_us.map_or_else(String::new, rtt),
                place(&n.addr)
            ),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, path: &str, addr: &str, rtt_us: Option<u64>) -> NodeRow {
        NodeRow {
            node: format!("n_{name}"),
            account: String::new(),
            name: name.to_owned(),
            roles: vec!["worker".to_owned()],
            state: "online".to_owned(),
            path: path.to_owned(),
            addr: addr.to_owned(),
            rtt_us,
            score: 50,
            tier: "basic".to_owned(),
            capabilities: hive_protocol::resources::Capabilities::default(),
            free: hive_protocol::resources::Resources::default(),
            running: 0,
            price: 0,
            last_seen: 0,
            addrs: Vec::new(),
        }
    }

    #[test]
    fn the_table_names_the_way_the_round_trip_and_the_address() {
        let far = format!("unreachable: {}", "timed out after 10 s; ".repeat(20));
        let nodes = [
            row("near", "direct", "/ip4/192.0.2.1/udp/4001/quic-v1", Some(1234)),
            row(
                "behind",
                "relay fra",
                "/ip4/192.0.2.9/tcp/4001/p2p/12D3KooW/p2p-circuit",
                Some(20_000),
            ),
            row("away", &far, "", None),
        ];
        let text = table(&nodes, |_| "now".to_owned()).text();
        let line = |name: &str| text.lines().find(|l| l.contains(name)).unwrap_or_default();
        assert!(
            line("NODE").contains("RTT") && line("NODE").contains("ADDRESS"),
            "{text}"
        );
        for part in ["direct", "1.2 ms", "/ip4/192.0.2.1/udp/4001/quic-v1"] {
            assert!(line("near").contains(part), "{part}: {text}");
        }
        for part in ["relay fra", "20.0 ms", "/ip4/192.0.2.9/tcp/4001/…/p2p-circuit"] {
            assert!(line("behind").contains(part), "{part}: {text}");
        }
        assert!(
            line("away").contains("unreachable: timed out") && line("away").contains('…'),
            "{text}"
        );
        assert!(line("away").chars().count() < 200, "{text}");
    }
}
