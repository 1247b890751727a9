//! `net peers`: the way to everybody.

use super::{brief, place};
use crate::{
    commands::daemon::{rtt, short},
    output::{CliError, Exit, Table},
    quantity::{age, rfc3339},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::PathView;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often `-w` shows it again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `net peers`
pub async fn peers(session: &Session, client: &Client, watch: bool) -> Result<Exit, CliError> {
    let out = &session.out;
    loop {
        let peers = client.net_peers().await?;
        if out.json {
            out.document("peers", &peers)?;
        } else if out.quiet {
            peers.iter().for_each(|p| out.line(&p.node));
        } else {
            let clear = if watch && out.terminal {
                "\u{1b}[2J\u{1b}[H"
            } else {
                ""
            };
            out.line(&format!("{clear}{}", text(&peers, out.terminal)));
        }
        if !watch {
            return Ok(Exit::OK);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
        }
    }
}

fn text(peers: &[PathView], relative: bool) -> String {
    if peers.is_empty() {
        return "Connected to nobody. hivenode net check".to_owned();
    }
    let mut table = Table::new(&[
        "PEER", "NAME", "PATH", "RTT", "OVER", "SINCE", "STREAMS", "MEMBER", "ADDRESS",
    ]);
    for p in peers {
        table.row(row(p, relative));
    }
    table.text()
}

/// Since when, as an age on a terminal.
pub fn since(ms: u64, relative: bool) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    if !relative {
        return rfc3339(ms);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    age(now.max(ms), ms)
}

/// The cells of a peer.
pub fn row(p: &PathView, relative: bool) -> [String; 9] {
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    [
        short(&p.node).to_owned(),
        p.name.clone(),
        brief(&p.words()),
        p.rtt_us.map_or_else(|| "-".to_owned(), rtt),
        or_dash(&p.transport),
        since(p.since, relative),
        p.streams.to_string(),
        if p.member { "yes" } else { "no" }.to_owned(),
        or_dash(&place(&p.addr)),
    ]
}
