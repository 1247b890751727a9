//! Look-ups in the hash table.

use crate::{
    Fail,
    args::{self, Kind},
    figures::{quantile, sorted, table},
    mesh::{self, Dice, Plan},
    node::Node,
};
use hive_protocol::ids::BlobHash;
use std::time::{Duration, Instant};

/// The tables have this long to fill before anything is looked up.
const FORMING: Duration = Duration::from_secs(5);

/// Times of one kind of look-up, and how many came to nothing.
#[derive(Default)]
struct Times {
    ms: Vec<f64>,
    failed: usize,
}

impl Times {
    fn add(&mut self, began: Instant, good: bool) {
        if good {
            self.ms.push(began.elapsed().as_secs_f64() * 1000.0);
        } else {
            self.failed += 1;
        }
    }

    fn row(self, name: &str) -> Vec<String> {
        let ms = sorted(self.ms);
        vec![
            name.to_owned(),
            ms.len().to_string(),
            self.failed.to_string(),
            format!("{:.1}", quantile(&ms, 0.5)),
            format!("{:.1}", quantile(&ms, 0.9)),
            format!("{:.1}", quantile(&ms, 0.99)),
        ]
    }
}

pub async fn run(args: &args::Kad) -> Result<bool, Fail> {
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
    let mut dice = Dice::new(2);
    let nodes = mesh::build(&plan, &mut dice, |_| None).await?;
    tokio::time::sleep(FORMING).await;
    let (mut find, mut provide, mut providers) = (Times::default(), Times::default(), Times::default());
    for n in 0..args.lookups {
        let pick = dice.some_below(nodes.len(), 3);
        let [Some(asker), Some(sought), Some(third)] = [0, 1, 2].map(|i| member(&nodes, *pick.get(i)?))
        else {
            return Err("a mesh of at least three nodes is needed".into());
        };
        let began = Instant::now();
        let found = asker.net.find_node(sought.net.me()).await;
        find.add(
            began,
            found.is_ok_and(|addrs| sought.addr().is_some_and(|a| addrs.contains(&a))),
        );
        let hash = BlobHash::of(format!("blob {n}").as_bytes());
        let began = Instant::now();
        provide.add(began, sought.net.provide(hash).await.is_ok());
        let began = Instant::now();
        let found = third.net.providers(hash).await;
        providers.add(began, found.is_ok_and(|nodes| nodes.contains(&sought.net.me())));
    }
    let failed = find.failed + provide.failed + providers.failed;
    let rows = [
        find.row("find a node"),
        provide.row("announce a blob"),
        providers.row("find a blob"),
    ];
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        table(&["look-up", "done", "failed", "p50 ms", "p90", "p99"], &rows);
    }
    Ok(failed == 0)
}

fn member(nodes: &[Node], n: usize) -> Option<&crate::hive::Member> {
    match nodes.get(n)? {
        Node::Hive(member) => Some(member),
        Node::Plain(_) => None,
    }
}
