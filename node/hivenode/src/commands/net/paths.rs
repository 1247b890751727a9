//! `net paths` and `net trace`: the way to a node, and every attempt.

use super::{peers::since, place};
use crate::{
    commands::daemon::rtt,
    output::{CliError, Exit, Table, clean},
    quantity::rfc3339,
    session::Session,
};
use hive_runtime::port::PathsView;

/// Shows the way to a node; exit 5 when it cannot be reached.
pub fn show(session: &Session, view: &PathsView) -> Result<Exit, CliError> {
    let (out, p) = (&session.out, &view.path);
    let exit = if p.state == "unreachable" {
        Exit::UNREACHABLE
    } else {
        Exit::OK
    };
    if out.json {
        out.document("paths", view)?;
        return Ok(exit);
    }
    if out.quiet {
        out.line(&clean(&p.state));
        return Ok(exit);
    }
    let mut lines = vec![
        ("node", format!("{} \"{}\"", p.node, p.name)),
        ("path", p.words()),
    ];
    if p.since > 0 {
        lines.push(("since", since(p.since, out.terminal)));
        lines.push(("over", format!("{} {}", p.transport, place(&p.addr))));
        lines.push(("rtt", p.rtt_us.map_or_else(|| "not measured".to_owned(), rtt)));
        lines.push((
            "open",
            format!("{} connections, {} streams", p.connections, p.streams),
        ));
    }
    if let Some(version) = &p.version {
        lines.push(("version", version.clone()));
    }
    let mut known = view.addrs.clone();
    // Its own addresses first.
    known.sort_by_key(|a| a.contains("/p2p-circuit"));
    for (at, addr) in known.iter().enumerate() {
        lines.push((if at == 0 { "known at" } else { "" }, place(addr)));
    }
    for (word, text) in lines {
        out.line(&format!("{word:<8} {}", clean(text.trim_end())));
    }
    out.line("");
    if view.attempts.is_empty() {
        out.line("No attempts are remembered.");
        return Ok(exit);
    }
    let mut table = Table::new(&["AT", "WHAT", "OVER", "TOOK", "OUTCOME", "ADDRESS", "WHY"]);
    for a in &view.attempts {
        table.row([
            rfc3339(a.at),
            a.what.clone(),
            if a.transport.is_empty() {
                "-".to_owned()
            } else {
                a.transport.clone()
            },
            a.took_us.map_or_else(|| "-".to_owned(), rtt),
            a.outcome.clone(),
            if a.addr.is_empty() {
                "-".to_owned()
            } else {
                place(&a.addr)
            },
            a.detail.clone(),
        ]);
    }
    table.print(out);
    Ok(exit)
}
