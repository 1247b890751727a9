//! Many nodes join one bootstrap node and then do nothing.

use crate::{
    Fail,
    args::{Carrier, Kind, Storm},
    child::{AGAIN, Joined, Up},
    figures::{median, quantile, table},
    node::Stat,
    process::{Child, Usage, usage},
};
use serde::Serialize;
use std::time::Duration;

/// The server has this long before the first one comes, and after the last has joined, until it is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// Times it is given that long at the most: on a machine that is busy with other things the last ends of the storm may
/// come late, and who took too long to be heard joins again, as daemons do.
const SETTLES: u32 = 10;
/// The idle server is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// Looks from one point of the curve of its memory to the next: a minute.
const POINT: u64 = 60;

/// What came of one round.
#[derive(Serialize)]
struct Outcome {
    kind: &'static str,
    carrier: &'static str,
    joined: usize,
    failed: usize,
    /// Peers the server had once all had joined, and after the idle time.
    peers: [u64; 2],
    p50_ms: f64,
    p99_ms: f64,
    /// The server's processor time for each join, with what it does in the first seconds after.
    cpu_ms_join: f64,
    /// The server's memory for each peer once all have joined, and after the idle time.
    kb_peer: f64,
    kb_peer_later: f64,
    /// The same after each full minute of idleness.
    kb_peer_minutes: Vec<f64>,
    /// The server's processor time in a second of doing nothing, for a thousand peers.
    idle_cpu_ms: f64,
    /// Connections the server made or lost, and dials of the crowd that failed, while idle.
    unrest: u64,
    /// The crowd's counts after the join, and at the end.
    crowd: [Stat; 2],
}

impl Outcome {
    /// What went wrong, one line; `None` when all nodes joined, the server has each of them, and nothing moved
    /// while nothing was to be done.
    fn wrong(&self) -> Option<String> {
        let (joined, [there, later]) = (self.joined as u64, self.peers);
        if self.failed > 0 || joined == 0 {
            return Some(format!("{joined} joined, {} did not", self.failed));
        }
        if there != joined || later != joined {
            return Some(format!(
                "{joined} joined, and the server had {there} peers, later {later}"
            ));
        }
        (self.unrest > 0).then(|| format!("{} connections were made, lost or tried while idle", self.unrest))
    }
}

/// Runs the rounds; whether nothing went wrong in any of hive-net's. libp2p's are there to compare with.
pub async fn run(args: &Storm) -> Result<bool, Fail> {
    let kinds = args
        .kind
        .map_or_else(|| vec![Kind::Hive, Kind::Plain], |k| vec![k]);
    let carriers = args
        .carrier
        .map_or_else(|| vec![Carrier::Tcp, Carrier::Quic], |c| vec![c]);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for _ in 0..args.rounds {
        for carrier in &carriers {
            for kind in &kinds {
                let outcome = one(args, *kind, *carrier).await?;
                if args.json {
                    println!("{}", serde_json::to_string(&outcome)?);
                }
                outcomes.push(outcome);
            }
        }
    }
    let mut rows = Vec::new();
    for carrier in &carriers {
        for kind in &kinds {
            let of: Vec<&Outcome> = outcomes
                .iter()
                .filter(|o| o.kind == kind.name() && o.carrier == carrier.name())
                .collect();
            rows.push(row(*kind, *carrier, &of));
        }
    }
    if !args.json {
        table(
            &[
                "nodes of",
                "joined",
                "failed",
                "p50 ms",
                "p99 ms",
                "cpu ms/join",
                "KB/peer",
                "later",
                "idle cpu ms/s/1000",
                "unrest",
            ],
            &rows,
        );
    }
    let mut held = true;
    for outcome in &outcomes {
        if let Some(wrong) = outcome.wrong() {
            eprintln!("swarmlab: {} {}: {wrong}", outcome.kind, outcome.carrier);
            held &= outcome.kind == Kind::Plain.name();
        }
    }
    Ok(held)
}

fn row(kind: Kind, carrier: Carrier, of: &[&Outcome]) -> Vec<String> {
    let middle = |value: fn(&Outcome) -> f64| median(of.iter().map(|o| value(o)).collect());
    vec![
        format!("{} {}", kind.name(), carrier.name()),
        of.iter().map(|o| o.joined).sum::<usize>().to_string(),
        of.iter().map(|o| o.failed).sum::<usize>().to_string(),
        format!("{:.1}", middle(|o| o.p50_ms)),
        format!("{:.1}", middle(|o| o.p99_ms)),
        format!("{:.2}", middle(|o| o.cpu_ms_join)),
        format!("{:.1}", middle(|o| o.kb_peer)),
        format!("{:.1}", middle(|o| o.kb_peer_later)),
        format!("{:.1}", middle(|o| o.idle_cpu_ms)),
        of.iter().map(|o| o.unrest).sum::<u64>().to_string(),
    ]
}

async fn one(args: &Storm, kind: Kind, carrier: Carrier) -> Result<Outcome, Fail> {
    let role = |role: &str| -> Vec<String> {
        [role, "--kind", kind.name(), "--carrier", carrier.name()]
            .map(str::to_owned)
            .into()
    };
    let mut server = Child::start(&role("serve"))?;
    let up: Up = server.hear().await?;
    let mut crowd = role("crowd");
    for (name, value) in [
        ("--nodes", args.nodes.to_string()),
        ("--over", args.over.to_string()),
        ("--id", up.id),
        ("--addr", up.addr),
    ] {
        crowd.extend([name.to_owned(), value]);
    }
    if args.listening {
        crowd.push("--listening".to_owned());
    }
    let mut crowd = Child::start(&crowd)?;
    let _: Stat = crowd.hear().await?;
    tokio::time::sleep(SETTLE).await;
    let before = usage(server.pid())?;
    let joined: Joined = crowd.ask("go").await?;
    let (here, there) = settled(&mut server, &mut crowd, joined.ms.len()).await?;
    let after = usage(server.pid())?;
    let (later, minutes) = idle(args.idle, server.pid()).await?;
    let (here_later, there_later): (Stat, Stat) = (server.ask("stat").await?, crowd.ask("stat").await?);
    let unrest =
        here_later.opened - here.opened + here_later.closed - here.closed + there_later.failed - there.failed;
    crowd.end().await?;
    server.end().await?;
    #[allow(clippy::cast_precision_loss)]
    let (peers, seconds) = (joined.ms.len().max(1) as f64, args.idle.max(1) as f64);
    Ok(Outcome {
        kind: kind.name(),
        carrier: carrier.name(),
        joined: joined.ms.len(),
        failed: explain(&joined.failed),
        peers: [here.peers, here_later.peers],
        p50_ms: quantile(&joined.ms, 0.5),
        p99_ms: quantile(&joined.ms, 0.99),
        cpu_ms_join: (after.cpu_ms - before.cpu_ms) / peers,
        kb_peer: (after.rss_kb - before.rss_kb) / peers,
        kb_peer_later: (later.rss_kb - before.rss_kb) / peers,
        kb_peer_minutes: minutes
            .iter()
            .map(|u| (u.rss_kb - before.rss_kb) / peers)
            .collect(),
        idle_cpu_ms: (later.cpu_ms - after.cpu_ms) / seconds * 1000.0 / peers,
        unrest,
        crowd: [there, there_later],
    })
}

/// Waits until the server has so many peers and the counts of both stay what they are for a while; gives them back.
async fn settled(server: &mut Child, crowd: &mut Child, joined: usize) -> Result<(Stat, Stat), Fail> {
    let mut last = (Stat::default(), Stat::default());
    for _ in 0..SETTLES {
        tokio::time::sleep(SETTLE).await;
        let here: Stat = server.ask("stat").await?;
        let all = here.peers == joined as u64;
        let now = (here, crowd.ask(if all { "stat" } else { AGAIN }).await?);
        if all && now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn explain(failed: &[String]) -> usize {
    if let Some(why) = failed.first() {
        eprintln!(
            "swarmlab: {} did not join, the first because: {why}",
            failed.len()
        );
    }
    failed.len()
}

/// Watches a process do nothing; gives back its last figures, and those of each full minute.
async fn idle(seconds: u64, pid: u32) -> Result<(Usage, Vec<Usage>), Fail> {
    let mut tick = tokio::time::interval(LOOK);
    let mut last = usage(pid)?;
    let mut minutes = Vec::new();
    for second in 1..=seconds {
        tick.tick().await;
        last = usage(pid)?;
        if second.is_multiple_of(POINT) {
            minutes.push(last);
        }
    }
    Ok((last, minutes))
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Stat};

    fn outcome(joined: usize, failed: usize, peers: [u64; 2], unrest: u64) -> Outcome {
        Outcome {
            kind: "hive",
            carrier: "tcp",
            joined,
            failed,
            peers,
            p50_ms: 0.0,
            p99_ms: 0.0,
            cpu_ms_join: 0.0,
            kb_peer: 0.0,
            kb_peer_later: 0.0,
            kb_peer_minutes: Vec::new(),
            idle_cpu_ms: 0.0,
            unrest,
            crowd: [Stat::default(); 2],
        }
    }

    #[test]
    fn all_join_all_stay_and_nothing_moves() {
        assert_eq!(outcome(9, 0, [9, 9], 0).wrong(), None);
        for wrong in [
            outcome(8, 1, [8, 8], 0),
            outcome(0, 0, [0, 0], 0),
            outcome(9, 0, [8, 9], 0),
            outcome(9, 0, [9, 8], 0),
            outcome(9, 0, [9, 9], 1),
        ] {
            assert!(wrong.wrong().is_some());
        }
    }
}
