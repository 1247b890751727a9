//! Nodes come and go while messages are published.

use crate::{
    Fail,
    args::{self, Kind},
    figures::{quantile, sorted, table},
    mesh::{self, Dice, Plan},
    node::{Ear, Make, Node},
    process,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const FORMING: Duration = Duration::from_secs(5);
/// A node that has been there for this long must hear everything.
const SETTLED: Duration = Duration::from_secs(5);
/// A message that has not arrived by then is lost.
const LOST: Duration = Duration::from_secs(5);

/// Which nodes have heard which message: pruned once a message has been judged.
type Heard = Arc<Mutex<BTreeMap<u64, BTreeSet<u64>>>>;

fn ear(heard: &Heard, n: u64) -> Ear {
    let heard = Arc::clone(heard);
    Arc::new(move |bytes: &[u8], _| {
        if let Some(first) = bytes.first_chunk() {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.entry(u64::from_le_bytes(*first)).or_default().insert(n);
        }
    })
}

struct Living {
    n: u64,
    since: Instant,
    node: Node,
}

/// A message that was published, when, and who must hear it unless it goes before it does.
struct Said {
    message: u64,
    at: Instant,
    must: Vec<u64>,
}

struct World {
    args: args::Churn,
    living: Vec<Living>,
    dice: Dice,
    heard: Heard,
    next: u64,
    joins: Vec<f64>,
    refused: usize,
}

impl World {
    /// One node goes without a word, a new one comes.
    async fn replace(&mut self) -> Result<(), Fail> {
        let gone = self.dice.below(self.living.len());
        if let Node::Hive(member) = &self.living.swap_remove(gone).node {
            member.stop().await;
        }
        let make = Make {
            n: self.next,
            carrier: self.args.carrier,
            listen: true,
            serves: true,
            ear: Some(ear(&self.heard, self.next)),
            neighbours: None,
            silent: false,
        };
        let node = Node::start(Kind::Hive, make).await?;
        for other in self.dice.some_below(self.living.len(), self.args.degree) {
            let Some(other) = self.living.get(other) else {
                continue;
            };
            let began = Instant::now();
            match node
                .join(&other.node.id(), &other.node.addr().unwrap_or_default())
                .await
            {
                Ok(()) => self.joins.push(began.elapsed().as_secs_f64() * 1000.0),
                Err(_) => self.refused += 1,
            }
        }
        self.living.push(Living {
            n: self.next,
            since: Instant::now(),
            node,
        });
        self.next += 1;
        Ok(())
    }

    async fn publish(&mut self, message: u64) -> Result<Said, Fail> {
        let mut bytes = vec![0; 1024];
        for (to, from) in bytes.iter_mut().zip(message.to_le_bytes()) {
            *to = from;
        }
        let settled: Vec<&Living> = self
            .living
            .iter()
            .filter(|l| l.since.elapsed() >= SETTLED)
            .collect();
        let author = settled.get(self.dice.below(settled.len())).ok_or("no nodes")?;
        let must = settled.iter().map(|l| l.n).filter(|n| *n != author.n).collect();
        author.node.publish(bytes).await?;
        Ok(Said {
            message,
            at: Instant::now(),
            must,
        })
    }

    /// How many had to hear it, and how many did.
    fn judge(&self, said: &Said) -> (usize, usize) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let by = heard.remove(&said.message).unwrap_or_default();
        let here: BTreeSet<u64> = self.living.iter().map(|l| l.n).collect();
        let must = said.must.iter().filter(|n| here.contains(n));
        let did = must.clone().filter(|n| by.contains(n)).count();
        (must.count(), did)
    }
}

pub async fn run(args: &args::Churn) -> Result<bool, Fail> {
    let plan = Plan {
        kind: Kind::Hive,
        carrier: args.carrier,
        nodes: args.nodes,
        degree: args.degree,
        serves: true,
        delay: Duration::ZERO,
        neighbours: None,
        silent: 0,
    };
    let mut dice = Dice::new(3);
    let heard = Heard::default();
    let nodes = mesh::build(&plan, &mut dice, |n| Some(ear(&heard, n as u64))).await?;
    tokio::time::sleep(FORMING).await;
    let mut world = World {
        args: args.clone(),
        next: nodes.len() as u64,
        living: (0..)
            .zip(nodes)
            .map(|(n, node)| Living {
                n,
                since: Instant::now(),
                node,
            })
            .collect(),
        dice,
        heard,
        joins: Vec::new(),
        refused: 0,
    };
    tokio::time::sleep(SETTLED).await;
    let first = process::usage(std::process::id())?;
    let mut open: Vec<Said> = Vec::new();
    let (mut must, mut did) = (0, 0);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for second in 0..args.time + LOST.as_secs() {
        tick.tick().await;
        if second < args.time {
            open.push(world.publish(second).await?);
            for _ in 0..args.replaced {
                world.replace().await?;
            }
        }
        let (old, young): (Vec<_>, Vec<_>) = open.into_iter().partition(|s| s.at.elapsed() >= LOST);
        open = young;
        for said in old {
            let (due, done) = world.judge(&said);
            must += due;
            did += done;
        }
    }
    let last = process::usage(std::process::id())?;
    let joins = sorted(std::mem::take(&mut world.joins));
    #[allow(clippy::cast_precision_loss)]
    let grown = (last.rss_kb - first.rss_kb) / 1024.0 / (args.time.max(1) as f64 / 60.0);
    let row = vec![
        format!(
            "{} of {}",
            args.replaced * usize::try_from(args.time)?,
            args.nodes
        ),
        format!("{did}/{must}"),
        world.refused.to_string(),
        format!("{:.1}", quantile(&joins, 0.5)),
        format!("{:.1}", quantile(&joins, 0.99)),
        format!("{grown:.1}"),
    ];
    if args.json {
        println!("{}", serde_json::to_string(&row)?);
    } else {
        table(
            &[
                "replaced",
                "heard",
                "dials failed",
                "dial p50 ms",
                "p99",
                "MB/min",
            ],
            &[row],
        );
    }
    // One in a thousand is what the design allows to be lost while nodes come and go.
    Ok(did * 1000 >= must * 999)
}
