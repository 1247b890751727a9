//! `net check`: how this node is reached, line by line, with what to do.

use crate::{
    args::CheckArgs,
    commands::{
        daemon::{rtt, short},
        net::place,
    },
    output::{CliError, Exit, Output, Table, checks, clean},
    quantity::rfc3339,
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::ReachView;

/// `net check`
pub async fn check(session: &Session, client: &Client, args: &CheckArgs) -> Result<Exit, CliError> {
    let out = &session.out;
    if !args.last {
        out.say("testing how this node is reached; this may take some seconds");
    }
    let view = client.net_check(!args.last).await?;
    if out.json {
        out.document("check", &view)?;
    } else if out.quiet {
        out.line(&clean(&view.verdict));
    } else {
        checks::table(out, &view.checks);
        if args.verbose {
            all(out, &view.reach);
        }
    }
    Ok(checks::verdict(&view.checks))
}

fn when(ms: u64) -> String {
    if ms == 0 { "-".to_owned() } else { rfc3339(ms) }
}

fn places(addrs: &[String]) -> String {
    addrs.iter().map(|a| place(a)).collect::<Vec<_>>().join(" ")
}

fn part(out: &Output, columns: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new(columns);
    for row in rows {
        let cells = row.iter().map(|c| if c.is_empty() { "-" } else { c });
        table.row(cells);
    }
    out.line("");
    table.print(out);
}

/// Everything it was judged by.
fn all(out: &Output, r: &ReachView) {
    out.line("");
    for (word, text) in [
        ("state", r.state.clone()),
        ("listens", places(&r.listen)),
        ("published", places(&r.published)),
        ("dht", if r.dht_server { "server" } else { "client" }.to_owned()),
        ("tested", when(r.tested_at)),
    ] {
        out.line(&format!("{word:<10} {}", clean(&text)));
    }
    let observed = r.observed.iter();
    part(
        out,
        &["SEEN AS", "BY", "LAST"],
        observed
            .map(|o| vec![o.addr.clone(), o.observers.to_string(), when(o.last)])
            .collect(),
    );
    let tested = r.tested.iter();
    part(
        out,
        &["ADDRESS", "STATE", "TESTED", "EXPIRES", "WHY"],
        tested
            .map(|a| {
                let (tested, expires) = (when(a.tested), when(a.expires));
                vec![a.addr.clone(), a.state.clone(), tested, expires, a.detail.clone()]
            })
            .collect(),
    );
    let mappings = r.mappings.iter();
    part(
        out,
        &["MAPPING", "FROM", "TO", "EXPIRES", "WHY"],
        mappings
            .map(|m| {
                let (protocol, external) = (m.protocol.clone(), m.external.clone());
                vec![
                    protocol,
                    external,
                    m.internal.clone(),
                    when(m.expires),
                    m.detail.clone(),
                ]
            })
            .collect(),
    );
    let held = r.relays.iter();
    part(
        out,
        &["RELAY", "NAME", "STATE", "RTT", "SINCE", "WHY"],
        held.map(|h| {
            let far = h.rtt_us.map_or_else(|| "-".to_owned(), rtt);
            let (node, name) = (short(&h.node).to_owned(), h.name.clone());
            vec![node, name, h.state.clone(), far, when(h.since), h.detail.clone()]
        })
        .collect(),
    );
    let known = r.known_relays.iter();
    part(
        out,
        &["KNOWN RELAY", "NAME", "RTT", "LOAD", "FROM", "WHY NOT"],
        known
            .map(|k| {
                let far = k.rtt_us.map_or_else(|| "-".to_owned(), rtt);
                let load = k.load.map_or_else(|| "-".to_owned(), |l| format!("{l}%"));
                let (node, name) = (short(&k.node).to_owned(), k.name.clone());
                vec![node, name, far, load, k.source.clone(), k.detail.clone()]
            })
            .collect(),
    );
}
