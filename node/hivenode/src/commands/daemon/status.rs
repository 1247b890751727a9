//! `status`: this node at a glance.

use crate::{
    args::StatusArgs,
    commands::net::{brief, place},
    output::{CliError, Exit, Table, clean},
    quantity::{age, cores, money, rfc3339, show_size},
    session::Session,
};
use hive_protocol::resources::Resources;
use hive_runtime::port::{ReachBrief, StatusView};
use std::{fmt::Write, time::Duration};

/// How often `-w` shows it again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `status`
pub async fn status(session: &Session, args: &StatusArgs) -> Result<Exit, CliError> {
    let client = session.client()?;
    loop {
        let view = client.status().await?;
        if session.out.json {
            session.out.document("status", &view)?;
        } else if session.out.quiet {
            session.out.line(&view.node);
        } else {
            let clear = if args.watch && session.out.terminal {
                "\u{1b}[2J\u{1b}[H"
            } else {
                ""
            };
            session
                .out
                .line(&format!("{clear}{}", text(&view, session.out.terminal)));
        }
        if !args.watch {
            return Ok(if view.problems.is_empty() {
                Exit::OK
            } else {
                Exit::FAILED
            });
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
        }
    }
}

/// Resources on one line.
pub fn resources(r: &Resources) -> String {
    let mut text = format!(
        "{} cores, {}, disk {}",
        cores(r.cpu_milli),
        show_size(r.memory_mib.saturating_mul(1 << 20)),
        show_size(r.disk_mib.saturating_mul(1 << 20))
    );
    if r.gpus > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, ", {} gpu {}", r.gpus, r.gpu_name);
    }
    text
}

/// How the node is reached, on one line.
fn network(r: &ReachBrief) -> String {
    let relays = match (r.state.as_str(), r.relays.as_slice()) {
        (_, []) if r.state == "public" => String::new(),
        (_, []) => " · no relay".to_owned(),
        (_, names) => format!(" · relays {}", names.join(", ")),
    };
    let relaying = match r.relaying.as_str() {
        "" | "off" | "waiting" => String::new(),
        state => format!(" · relaying for others: {state}"),
    };
    format!("{} · NAT mapping {}{relays}{relaying}", r.state, r.mapping)
}

fn text(v: &StatusView, relative: bool) -> String {
    let when = |ms: u64| {
        if relative {
            age(v.now, ms)
        } else if ms == 0 {
            "-".into()
        } else {
            rfc3339(ms)
        }
    };
    let mut lines = vec![
        ("node", format!("{} \"{}\"", v.node, v.name)),
        ("state", v.state.clone()),
    ];
    match &v.mesh {
        Some(mesh) => {
            let answers = if mesh.authority_reachable {
                "authority answers"
            } else {
                "NO AUTHORITY ANSWERS"
            };
            lines.push(("mesh", format!("{} ({}) · {answers}", mesh.name, mesh.id)));
            lines.push(("roles", v.roles.join(", ")));
            lines.push((
                "trust",
                format!(
                    "{} ({}) · credential ends {}",
                    v.tier,
                    v.score,
                    when(v.credential_expires)
                ),
            ));
        }
        None => lines.push(("mesh", "none; join one: hivenode up TICKET".into())),
    }
    lines.push(("listens", v.listen.join(" ")));
    if let Some(reach) = &v.reach {
        lines.push(("network", network(reach)));
    }
    if v.capabilities.total != Resources::default() {
        lines.push(("offers", resources(&v.capabilities.total)));
        lines.push(("free", resources(&v.free)));
    }
    lines.push((
        "work",
        format!(
            "{} running · {} leases · {} own jobs",
            v.running,
            v.leases.len(),
            v.jobs_active
        ),
    ));
    lines.push(("earned", format!("{} since {}", money(v.earned), when(v.started))));
    let quota = if v.store_quota > 0 {
        format!(" of {}", show_size(v.store_quota))
    } else {
        String::new()
    };
    lines.push(("store", format!("{}{quota}", show_size(v.store_bytes))));
    let mut text = String::new();
    for (word, line) in lines {
        let _ = writeln!(text, "{word:<8} {}", clean(&line));
    }
    if !v.peers.is_empty() {
        let mut table = Table::new(&["PEER", "NAME", "PATH", "RTT", "OVER", "MEMBER", "ADDRESS"]);
        for p in &v.peers {
            let rtt = p.rtt_us.map_or_else(|| "-".into(), rtt);
            let member = if p.member { "yes" } else { "no" };
            let addr = place(&p.addr);
            let path = brief(&p.path);
            table.row([
                short(&p.node),
                &p.name,
                &path,
                &rtt,
                if p.transport.is_empty() { "-" } else { &p.transport },
                member,
                if p.addr.is_empty() { "-" } else { &addr },
            ]);
        }
        let _ = write!(text, "\n{}\n", table.text());
    }
    if !v.leases.is_empty() {
        let mut table = Table::new(&["LEASE", "FOR", "SLOTS", "RUNNING", "QUEUED", "ENDED", "OWED"]);
        for l in &v.leases {
            table.row([
                short(&l.lease).to_owned(),
                short(&l.submitter).to_owned(),
                l.slots.to_string(),
                l.running.to_string(),
                l.queued.to_string(),
                l.ended.to_string(),
                money(l.owed),
            ]);
        }
        let _ = write!(text, "\n{}\n", table.text());
    }
    for p in &v.problems {
        let fix = p
            .hint
            .as_deref()
            .map_or_else(String::new, |h| format!("\n  try     {}", clean(h)));
        let _ = write!(
            text,
            "\nproblem[{}]: {}{fix}\n",
            clean(&p.code),
            clean(&p.message)
        );
    }
    text.trim_end().to_owned()
}

/// Round trip for people.
pub fn rtt(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

/// The first characters of an id, enough to tell a handful apart and to type.
pub fn short(id: &str) -> &str {
    id.char_indices()
        .nth(12)
        .map_or(id, |(at, _)| id.get(..at).unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_shorten_and_times_show() {
        assert_eq!(short("n_abcdefghijklmnop"), "n_abcdefghij");
        assert_eq!(short("n_a"), "n_a");
        assert_eq!(rtt(1234), "1.2 ms");
        assert_eq!(
            resources(&Resources::cpu(1500, 1024, 0)),
            "1.5 cores, 1.0 GiB, disk 0 B"
        );
        let reach = ReachBrief {
            state: "private".into(),
            mapping: "endpoint-independent".into(),
            relays: vec!["fra".into(), "ams".into()],
            relaying: "off".into(),
            ..ReachBrief::default()
        };
        assert_eq!(
            network(&reach),
            "private · NAT mapping endpoint-independent · relays fra, ams"
        );
    }
}
