//! How a message spreads.

use crate::{
    Fail,
    args::{self, Kind},
    figures::{quantile, sorted, table},
    mesh::{self, Dice, Plan},
    node::Ear,
    process,
};
use serde::Serialize;
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// Messages published before it counts: the mesh has formed by then.
const WARM_UP: usize = 10;
/// The mesh has this long to form before anything is published.
const FORMING: Duration = Duration::from_secs(5);
/// A message that has not arrived so long after the last was published is lost.
const LOST: Duration = Duration::from_secs(20);
/// Until then it is looked this often whether all have arrived.
const LOOK: Duration = Duration::from_millis(100);

/// Who heard what when.
struct Heard {
    message: usize,
    /// Whether its author brought it.
    one_hop: bool,
    ms: f64,
}

/// Times of publishing, and what was heard: at most one entry for each node and message.
struct Log {
    published: Vec<OnceLock<Instant>>,
    heard: Mutex<Vec<Heard>>,
}

impl Log {
    fn ear(self: &Arc<Self>) -> Ear {
        let log = Arc::clone(self);
        Arc::new(move |bytes: &[u8], one_hop| {
            let now = Instant::now();
            let message = bytes.first_chunk().map_or(usize::MAX, |b| {
                usize::try_from(u64::from_le_bytes(*b)).unwrap_or(usize::MAX)
            });
            let Some(at) = log.published.get(message).and_then(OnceLock::get) else {
                return;
            };
            let ms = now.saturating_duration_since(*at).as_secs_f64() * 1000.0;
            let mut heard = log.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(Heard { message, one_hop, ms });
        })
    }

    /// What was heard of the messages that count.
    fn counted(&self) -> usize {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|h| h.message >= WARM_UP).count()
    }
}

/// What came of one kind.
#[derive(Serialize)]
struct Outcome {
    kind: &'static str,
    nodes: usize,
    messages: usize,
    delivered: usize,
    due: usize,
    one_hop_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Until the last node had it: median over the messages.
    all_ms: f64,
    ratio: f64,
    cpu_us_each: f64,
    rss_kb_node: f64,
}

pub async fn run(args: &args::Gossip) -> Result<bool, Fail> {
    let kinds = args
        .kind
        .map_or_else(|| vec![Kind::Hive, Kind::Plain], |k| vec![k]);
    let mut good = true;
    let mut rows = Vec::new();
    for kind in kinds {
        let outcome = one(args, kind).await?;
        // Only ours must hold it; the other is there to be compared with.
        let held =
            outcome.delivered == outcome.due && (args.most_hops <= 0.0 || outcome.ratio <= args.most_hops);
        good &= held || kind == Kind::Plain;
        if args.json {
            println!("{}", serde_json::to_string(&outcome)?);
        }
        rows.push(vec![
            outcome.kind.to_owned(),
            format!("{}/{}", outcome.delivered, outcome.due),
            format!("{:.1}", outcome.one_hop_ms),
            format!("{:.1}", outcome.p50_ms),
            format!("{:.1}", outcome.p99_ms),
            format!("{:.1}", outcome.max_ms),
            format!("{:.1}", outcome.all_ms),
            format!("{:.1}", outcome.ratio),
            format!("{:.0}", outcome.cpu_us_each),
            format!("{:.0}", outcome.rss_kb_node),
        ]);
    }
    if !args.json {
        table(
            &[
                "nodes of",
                "delivered",
                "one hop ms",
                "p50",
                "p99",
                "max",
                "to all",
                "p99/one hop",
                "cpu us each",
                "KB a node",
            ],
            &rows,
        );
    }
    Ok(good)
}

async fn one(args: &args::Gossip, kind: Kind) -> Result<Outcome, Fail> {
    let total = WARM_UP + args.messages;
    let log = Arc::new(Log {
        published: (0..total).map(|_| OnceLock::new()).collect(),
        heard: Mutex::default(),
    });
    let before = process::usage(std::process::id())?;
    let mut dice = Dice::new(1);
    let plan = Plan {
        kind,
        carrier: args.carrier,
        nodes: args.nodes,
        degree: args.degree,
        serves: false,
        delay: Duration::from_millis(args.delay),
        neighbours: args.neighbours,
        silent: args.silent,
    };
    let honest: Vec<usize> = (0..args.nodes).filter(|n| !plan.is_silent(*n)).collect();
    let nodes = mesh::build(&plan, &mut dice, |n| (!plan.is_silent(n)).then(|| log.ear())).await?;
    tokio::time::sleep(FORMING).await;
    let built = process::usage(std::process::id())?;
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    let mut start = built;
    for (message, published) in log.published.iter().enumerate() {
        tick.tick().await;
        if message == WARM_UP {
            start = process::usage(std::process::id())?;
        }
        let mut bytes = vec![0; args.size.max(8)];
        for (to, from) in bytes.iter_mut().zip((message as u64).to_le_bytes()) {
            *to = from;
        }
        let author = honest.get(dice.below(honest.len())).and_then(|n| nodes.get(*n));
        let author = author.ok_or("no nodes")?;
        let _ = published.set(Instant::now());
        if !author.publish(bytes).await? {
            eprintln!("swarmlab: message {message}: nobody to take it");
        }
    }
    let due = args.messages * honest.len().saturating_sub(1);
    let lost = Instant::now() + LOST;
    while log.counted() < due && Instant::now() < lost {
        tokio::time::sleep(LOOK).await;
    }
    let end = process::usage(std::process::id())?;
    let heard = std::mem::take(&mut *log.heard.lock().unwrap_or_else(PoisonError::into_inner));
    let mut outcome = figures(args, honest.len(), heard);
    outcome.kind = kind.name();
    #[allow(clippy::cast_precision_loss)]
    {
        outcome.cpu_us_each = (end.cpu_ms - start.cpu_ms) * 1000.0 / outcome.due.max(1) as f64;
        outcome.rss_kb_node = (built.rss_kb - before.rss_kb) / args.nodes.max(1) as f64;
    }
    Ok(outcome)
}

fn figures(args: &args::Gossip, nodes: usize, heard: Vec<Heard>) -> Outcome {
    let counted: Vec<Heard> = heard.into_iter().filter(|h| h.message >= WARM_UP).collect();
    let ms = sorted(counted.iter().map(|h| h.ms).collect());
    let one_hop = sorted(counted.iter().filter(|h| h.one_hop).map(|h| h.ms).collect());
    let mut last = vec![0.0_f64; args.messages];
    for h in &counted {
        if let Some(last) = last.get_mut(h.message.saturating_sub(WARM_UP)) {
            *last = last.max(h.ms);
        }
    }
    let (one_hop_ms, p99_ms) = (quantile(&one_hop, 0.5), quantile(&ms, 0.99));
    Outcome {
        kind: "",
        nodes: args.nodes,
        messages: args.messages,
        delivered: counted.len(),
        due: args.messages * nodes.saturating_sub(1),
        one_hop_ms,
        p50_ms: quantile(&ms, 0.5),
        p99_ms,
        max_ms: quantile(&ms, 1.0),
        all_ms: quantile(&sorted(last), 0.5),
        ratio: if one_hop_ms > 0.0 {
            p99_ms / one_hop_ms
        } else {
            f64::INFINITY
        },
        cpu_us_each: 0.0,
        rss_kb_node: 0.0,
    }
}
