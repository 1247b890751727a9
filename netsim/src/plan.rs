//! What a seed decides before anything happens: who is there, what they are like, and how bad it will be.

use crate::random::Random;

/// How long faults go on, in milliseconds of virtual time.
pub const STORM: u64 = 10 * 60_000;
/// Jobs are submitted in this part of it.
const SUBMIT_UNTIL: u64 = 8 * 60_000;
/// Whatever must go wrong in every seed has begun by then: early enough to be over, and felt, before the calm.
const SURE_UNTIL: u64 = 8 * 60_000;
/// Nor does it go wrong before there is anything to disturb.
const SURE_FROM: u64 = 60_000;
/// Fewest tasks of a seed.
pub const MIN_TASKS: u32 = 200;

/// What a node does and how it is.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// It has users.
    pub submits: bool,
    /// It runs tasks.
    pub works: bool,
    /// Its account is that of another node (one owner, several machines).
    pub account_of: Option<usize>,
    /// Its account's score.
    pub score: u32,
    /// Cores it offers.
    pub cores: u32,
    /// µCPT per Gfuel it asks.
    pub price: u64,
    /// Its tasks take this much longer, in percent.
    pub slowness: u64,
    /// How it cheats.
    pub lies: Lies,
    /// How far its clock is off, in milliseconds.
    pub offset: i64,
}

/// How a node cheats, while the storm lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lies {
    /// Worker: claims more in receipts than it has reported.
    pub receipts: bool,
    /// Worker: reports more fuel than was burnt.
    pub fuel: bool,
    /// Worker: makes up results.
    pub results: bool,
    /// Worker or submitter: says things out of turn.
    pub rogue: bool,
    /// Submitter: does not countersign, nor capture.
    pub unpaying: bool,
}

impl Lies {
    /// One of the four ways in which a worker lies.
    #[must_use]
    pub const fn of_a_worker(way: usize) -> Self {
        let none = Self {
            receipts: false,
            fuel: false,
            results: false,
            rogue: false,
            unpaying: false,
        };
        match way {
            0 => Self {
                receipts: true,
                ..none
            },
            1 => Self { fuel: true, ..none },
            2 => Self {
                results: true,
                ..none
            },
            _ => Self { rogue: true, ..none },
        }
    }

    /// Whether the worker's word on fuel is worth nothing.
    #[must_use]
    pub const fn as_worker(self) -> bool {
        self.receipts || self.fuel || self.results || self.rogue
    }
}

/// A job to come.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// Whose.
    pub node: usize,
    /// When, in milliseconds.
    pub at: u64,
    /// Tasks at first.
    pub tasks: u32,
    /// Whether it is left open for more.
    pub open: bool,
    /// Half cores a task needs.
    pub half_cores: u32,
    /// Milliseconds a task takes, on average.
    pub task_ms: u64,
    /// Most µCPT it may cost.
    pub budget: u64,
    /// Whether the budget may well not do.
    pub tight: bool,
    /// Tries beyond the first.
    pub retries: u16,
    /// Once in how many tasks the program fails by itself; 0 for never.
    pub failing: u64,
    /// The module cannot be compiled anywhere.
    pub broken: bool,
    /// Its tasks read and write blobs that are not inline.
    pub blobs: bool,
}

/// How bad it will be: chances are per 10,000, times are milliseconds.
#[derive(Clone, Debug)]
pub struct Weather {
    /// A gossip or authority message is lost.
    pub loss: u32,
    /// A message comes twice.
    pub replay: u32,
    /// A gossip or authority message is held up.
    pub delay: u32,
    /// A work stream breaks with a message.
    pub breaks: u32,
    /// A path is clogged with a message.
    pub clog: u32,
    /// How long it may be clogged, and a message be held up.
    pub clog_ms: u64,
    /// One way, at most.
    pub latency: u64,
    /// Between crashes of nodes, on average.
    pub crash_every: u64,
    /// A node stays down, at most.
    pub down_ms: u64,
    /// Between crashes of the authority, on average.
    pub authority_every: u64,
    /// Between partitions, on average.
    pub partition_every: u64,
    /// A partition lasts, at most.
    pub partition_ms: u64,
    /// Between deaths of executors, on average.
    pub executor_every: u64,
    /// A task goes wrong by its worker's fault.
    pub fault: u32,
    /// A blob cannot be had.
    pub blob: u32,
    /// The log's sync takes, at most.
    pub sync_ms: u64,
    /// Between whims of users, on average.
    pub whim_every: u64,
    /// How long holds last.
    pub hold_life: u64,
}

/// A seed's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes besides the authority.
    pub nodes: Vec<NodePlan>,
    /// The jobs.
    pub jobs: Vec<JobPlan>,
    /// The faults.
    pub weather: Weather,
    /// What goes wrong for sure, besides what the weather brings.
    pub sure: Sure,
}

/// What goes wrong in every seed, and when: chance alone would leave it out of some.
#[derive(Clone, Copy, Debug)]
pub struct Sure {
    /// This worker crashes then. It has no users.
    pub worker: (usize, u64),
    /// This submitter does.
    pub submitter: (usize, u64),
    /// The authority does.
    pub authority: u64,
    /// The mesh falls in two.
    pub partition: u64,
}

impl Plan {
    /// What this stream decides.
    pub fn new(rng: &mut Random) -> Self {
        let weather = weather(rng);
        let nodes = nodes(rng);
        let jobs = jobs(rng, &nodes);
        let sure = sure(rng, &nodes);
        Self {
            nodes,
            jobs,
            weather,
            sure,
        }
    }

    /// Tasks submitted at first, over all jobs.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        self.jobs.iter().map(|j| j.tasks).sum()
    }
}

fn weather(rng: &mut Random) -> Weather {
    // What every seed must have is never 0.
    let some = |rng: &mut Random, from: u64, to: u64| u32::try_from(rng.range(from, to)).unwrap_or(0);
    Weather {
        loss: some(rng, 100, 3000),
        replay: some(rng, 100, 3000),
        delay: some(rng, 100, 1500),
        breaks: some(rng, 10, 120),
        clog: some(rng, 20, 120),
        clog_ms: rng.range(10, 5000),
        latency: rng.range(1, 120),
        crash_every: rng.range(20_000, 200_000),
        down_ms: rng.range(500, 60_000),
        authority_every: rng.range(30_000, 240_000),
        partition_every: rng.range(60_000, 300_000),
        partition_ms: rng.range(2_000, 45_000),
        executor_every: rng.range(20_000, 200_000),
        fault: some(rng, 0, 500),
        blob: some(rng, 0, 1500),
        sync_ms: rng.range(1, 60),
        whim_every: rng.range(4_000, 40_000),
        hold_life: if rng.once_in(2) {
            rng.range(150_000, 400_000)
        } else {
            30 * 60_000
        },
    }
}

fn nodes(rng: &mut Random) -> Vec<NodePlan> {
    let submitters = 1 + rng.index(3);
    let n = (submitters + 3 + rng.index(3)).max(5);
    let mut nodes: Vec<NodePlan> = (0..n)
        .map(|i| {
            let submits = i < submitters;
            // At least three workers, and two of them that may work for anybody.
            let works = i >= submitters || (i > 0 && rng.once_in(2));
            let solid = i >= n - 2;
            let cheat = rng.below(12);
            NodePlan {
                submits,
                works,
                account_of: (works && !submits && !solid && rng.once_in(6)).then_some(0),
                score: if solid {
                    80
                } else if submits {
                    [50, 60, 100, 150][rng.index(4)]
                } else {
                    [20, 50, 80, 120][rng.index(4)]
                },
                cores: 1 + u32::try_from(rng.below(4)).unwrap_or(0),
                price: rng.range(200, 2000),
                slowness: if rng.once_in(4) { rng.range(200, 1500) } else { 100 },
                lies: Lies {
                    receipts: works && !solid && cheat == 0,
                    fuel: works && !solid && cheat == 1,
                    results: works && !solid && cheat == 2,
                    rogue: !solid && cheat == 3,
                    unpaying: submits && i > 0 && cheat == 4,
                },
                offset: i64::try_from(rng.below(50_000)).unwrap_or(0) - 25_000,
            }
        })
        .collect();
    // One worker lies for sure, and is wanted: a stranger to all, well trusted, cheap and not slow.
    let liar = &mut nodes[submitters + rng.index(n - 2 - submitters)];
    liar.lies = Lies::of_a_worker(rng.index(4));
    liar.account_of = None;
    liar.score = 120;
    liar.cores = liar.cores.max(2);
    liar.price = rng.range(200, 600);
    liar.slowness = 100;
    nodes
}

fn sure(rng: &mut Random, nodes: &[NodePlan]) -> Sure {
    let submitters = nodes.iter().filter(|n| n.submits).count();
    let mut when = || rng.range(SURE_FROM, SURE_UNTIL);
    let (at_worker, at_submitter, authority, partition) = (when(), when(), when(), when());
    Sure {
        worker: (submitters + rng.index(nodes.len() - submitters), at_worker),
        submitter: (rng.index(submitters), at_submitter),
        authority,
        partition,
    }
}

fn jobs(rng: &mut Random, nodes: &[NodePlan]) -> Vec<JobPlan> {
    let owners: Vec<usize> = (0..nodes.len()).filter(|i| nodes[*i].submits).collect();
    let mut jobs = Vec::new();
    let mut total = 0;
    while total < MIN_TASKS || jobs.len() < 4 {
        // The first comes early, can be done and takes its time: without work nobody has anything to lie about.
        let first = jobs.is_empty();
        let tasks = u32::try_from(rng.range(if first { 50 } else { 10 }, 90)).unwrap_or(10);
        total += tasks;
        let tight = !first && rng.once_in(10);
        jobs.push(JobPlan {
            node: owners[rng.index(owners.len())],
            at: rng.below(if first { SURE_FROM } else { SUBMIT_UNTIL }),
            tasks,
            open: rng.once_in(4),
            half_cores: 1 + u32::try_from(rng.below(2)).unwrap_or(0),
            task_ms: if !first && rng.once_in(3) {
                rng.range(5, 200)
            } else {
                rng.range(200, 9_000)
            },
            budget: if tight {
                rng.range(1_000, 60_000)
            } else {
                100_000_000
            },
            tight,
            retries: u16::try_from(rng.range(1, 6)).unwrap_or(1),
            failing: if rng.once_in(2) { rng.range(5, 30) } else { 0 },
            broken: !first && rng.once_in(40),
            blobs: rng.once_in(2),
        });
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_large_enough() {
        for seed in 0..2000 {
            let plan = Plan::new(&mut Random::new(seed));
            assert!(plan.nodes.len() >= 5 && plan.tasks() >= MIN_TASKS, "{seed}");
            assert!(plan.nodes.iter().filter(|n| n.works).count() >= 3, "{seed}");
            assert!(plan.nodes.iter().any(|n| n.submits), "{seed}");
            let solid = plan.nodes.iter().rev().take(2);
            assert!(
                solid
                    .clone()
                    .all(|n| n.works && !n.lies.as_worker() && n.score >= 50)
            );
        }
    }

    #[test]
    fn every_plan_has_every_fault() {
        let mut ways = [0; 4];
        for seed in 0..2000 {
            let plan = Plan::new(&mut Random::new(seed));
            let liars: Vec<_> = plan
                .nodes
                .iter()
                .filter(|n| n.works && n.lies.as_worker())
                .collect();
            assert!(
                liars.iter().any(|n| n.account_of.is_none() && n.score >= 50),
                "{seed}"
            );
            for n in liars {
                let lies = [n.lies.receipts, n.lies.fuel, n.lies.results, n.lies.rogue];
                for (way, _) in lies.iter().enumerate().filter(|(_, lies)| **lies) {
                    ways[way] += 1;
                }
            }
            let w = &plan.weather;
            assert!(
                w.loss > 0 && w.replay > 0 && w.delay > 0 && w.breaks > 0 && w.clog > 0,
                "{seed}"
            );
            let sure = plan.sure;
            assert!(plan.nodes[sure.worker.0].works && !plan.nodes[sure.worker.0].submits);
            assert!(plan.nodes[sure.submitter.0].submits);
            for at in [sure.worker.1, sure.submitter.1, sure.authority, sure.partition] {
                assert!(at + 60_000 < STORM, "{seed}: nobody is back before the calm");
            }
        }
        assert!(ways.iter().all(|n| *n > 200), "{ways:?}");
    }
}
