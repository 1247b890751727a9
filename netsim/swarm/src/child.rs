//! The two roles of a child: a bootstrap node, and a crowd that joins it. They talk in lines of JSON.

use crate::{
    Fail,
    args::{Crowd, Serve},
    figures::sorted,
    node::{Make, Node, Stat},
};
use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Names a serving node apart from the crowd's.
const SERVER: u64 = 1 << 40;

/// A bootstrap node is up.
#[derive(Serialize, Deserialize)]
pub struct Up {
    pub id: String,
    pub addr: String,
}

/// A crowd has joined.
#[derive(Serialize, Deserialize)]
pub struct Joined {
    /// Milliseconds to join of those that did, sorted.
    pub ms: Vec<f64>,
    /// Why the others did not.
    pub failed: Vec<String>,
}

/// Serves until the input ends; `stat` is answered with a [`Stat`].
pub async fn serve(args: &Serve) -> Result<(), Fail> {
    let make = Make {
        n: SERVER,
        carrier: args.carrier,
        listen: true,
        serves: true,
        ear: None,
        neighbours: None,
        silent: false,
    };
    let node = Node::start(args.kind, make).await?;
    say(&Up {
        id: node.id(),
        addr: node.addr().ok_or("no address")?,
    })?;
    answer(|| node.stat()).await
}

/// The word at which those of a crowd that have no peer any more join again.
pub const AGAIN: &str = "again";

/// Makes the nodes, says so, joins at `go`, says how that went, stays until the input ends and says at each word what
/// is counted.
pub async fn crowd(args: &Crowd) -> Result<(), Fail> {
    let mut nodes = Vec::new();
    for n in 0..u64::try_from(args.nodes)? {
        let make = Make {
            n,
            carrier: args.carrier,
            listen: args.listening,
            serves: args.listening,
            ear: None,
            neighbours: None,
            silent: false,
        };
        nodes.push(Node::start(args.kind, make).await?);
    }
    say(&Stat::default())?;
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await?;

    let start = Instant::now();
    let share = Duration::from_secs(args.over) / u32::try_from(args.nodes.max(1))?;
    let mut joining: FuturesUnordered<_> = nodes
        .iter()
        .enumerate()
        .map(|(n, node)| async move {
            let due = start + share * u32::try_from(n).unwrap_or(u32::MAX);
            tokio::time::sleep_until(due.into()).await;
            let began = Instant::now();
            let joined = node.join(&args.id, &args.addr).await;
            joined.map(|()| began.elapsed().as_secs_f64() * 1000.0)
        })
        .collect();
    let mut done = Joined {
        ms: Vec::new(),
        failed: Vec::new(),
    };
    while let Some(joined) = joining.next().await {
        match joined {
            Ok(ms) => done.ms.push(ms),
            Err(why) => done.failed.push(why),
        }
    }
    done.ms = sorted(done.ms);
    say(&done)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(word) = lines.next_line().await? {
        if word == AGAIN {
            for node in nodes.iter().filter(|n| n.stat().peers == 0) {
                // Who cannot is missed by the server.
                let _ = node.join(&args.id, &args.addr).await;
            }
        }
        say(&sum(&nodes))?;
    }
    Ok(())
}

/// The counts of all of them.
fn sum(nodes: &[Node]) -> Stat {
    let mut all = Stat::default();
    for stat in nodes.iter().map(Node::stat) {
        all.peers += stat.peers;
        all.opened += stat.opened;
        all.closed += stat.closed;
        all.failed += stat.failed;
        all.failed_in += stat.failed_in;
        all.duplicate += stat.duplicate;
    }
    all
}

async fn answer(stat: impl Fn() -> Stat) -> Result<(), Fail> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        say(&stat())?;
    }
    Ok(())
}

fn say(what: &impl Serialize) -> Result<(), Fail> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}
