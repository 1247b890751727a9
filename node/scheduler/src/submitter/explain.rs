//! Why a task does not run: the funnel from all known nodes to those that could take it, and the nearest fix.

use super::{
    Submitter,
    input::NodeFacts,
    job::{Job, Stage},
    lease::Phase,
};
use hive_protocol::{
    ids::{JobId, NodeId, TaskIndex},
    resources::{Resources, Role},
};
use hive_trust::rules::may_run;

/// One filter and how many nodes pass it (and all before it).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// `known`, `online`, `worker`, `cpu`, `memory`, `disk`, `gpu`, `runtime`, `trust`, `location`, `price`, `free`.
    pub filter: &'static str,
    /// Nodes left.
    pub left: u32,
    /// What the filter asks for, one line; empty where it asks nothing.
    pub asks: String,
    /// A node that failed here and how, one line; empty when none did.
    pub example: String,
}

/// The answer to `explain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explain {
    /// The task's stage: `waiting`, `queued`, `running`, `fetching`, `succeeded`, `failed`, `stopped`.
    pub stage: &'static str,
    /// Where it is now, for tasks with a worker.
    pub node: Option<NodeId>,
    /// Stable code of what keeps it; `ok` when nothing does.
    pub code: String,
    /// The filters in order.
    pub funnel: Vec<Step>,
    /// The nearest fix, one line.
    pub fix: String,
}

pub(super) struct Funnel {
    pub code: &'static str,
    pub steps: Vec<Step>,
    pub fix: String,
}

/// How a node fails a filter, one line; `None` when it passes.
type Fails<'a> = Box<dyn Fn(&NodeFacts) -> Option<String> + 'a>;

/// A filter: its name, the code when nobody passes it, what it asks for.
struct Filter<'a> {
    name: &'static str,
    code: &'static str,
    asks: String,
    fails: Fails<'a>,
    fix: String,
}

impl Submitter {
    /// Why a task is where it is. `None` for a job or task this core does not know.
    #[must_use]
    pub fn explain(&self, id: JobId, index: TaskIndex) -> Option<Explain> {
        let job = self.jobs.get(&id)?;
        let slot = job.slot(index)?;
        let lease = self.leases.get(&slot.copies[0]);
        let running = lease
            .and_then(|l| l.assigned.get(&index))
            .is_some_and(|h| h.started.is_some());
        let stage = match slot.stage {
            Stage::Waiting => "waiting",
            Stage::Assigned if running => "running",
            Stage::Assigned => "queued",
            Stage::Fetching => "fetching",
            Stage::Succeeded => "succeeded",
            Stage::Failed => "failed",
            Stage::Stopped => "stopped",
        };
        let node = lease
            .map(|l| l.node)
            .or_else(|| job.arriving.get(&index.0).map(|a| a.node));
        let funnel = self.funnel(job);
        let (code, fix) = self.verdict(job, slot.stage, &funnel);
        Some(Explain {
            stage,
            node,
            code: code.to_owned(),
            funnel: funnel.steps,
            fix,
        })
    }

    fn verdict<'a>(&self, job: &'a Job, stage: Stage, funnel: &'a Funnel) -> (&'a str, String) {
        match stage {
            Stage::Waiting => {}
            Stage::Assigned => return ("ok", "nothing to do: a worker has it".into()),
            Stage::Fetching => return ("ok", "nothing to do: its result is on its way".into()),
            _ => return ("ok", "nothing to do: it has ended".into()),
        }
        if self.own.is_none() {
            return (
                "credential.missing",
                "join a mesh, or wait until an authority answers".into(),
            );
        }
        let takes = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .any(|l| l.phase == Phase::Active);
        if takes {
            return (
                "ok",
                format!(
                    "nothing to do: it is one of {} that wait for their turn on {} slots",
                    job.totals.waiting, job.live_slots
                ),
            );
        }
        if !self.authority_up {
            return (
                "authority.unreachable",
                "start an authority again or mend the way to it; new leases wait for it".into(),
            );
        }
        if let Some((code, detail, _)) = &job.money {
            return (code, detail.clone());
        }
        (funnel.code, funnel.fix.clone())
    }

    /// Counts the known nodes through the filters, in the order of mission.md.
    pub(super) fn funnel(&self, job: &Job) -> Funnel {
        let need = &job.program.need;
        let kind = job.program.runtime;
        let place = &job.spec.placement;
        let user = self.own.as_ref().map_or(0, |c| c.score);
        let max_price = job.spec.max_price;
        let short = |what: &str, has: u64, unit: &str| Some(format!("has {has}{unit} {what}"));
        let filters: Vec<Filter<'_>> = vec![
            Filter {
                name: "online",
                code: "place.no_worker",
                asks: String::new(),
                fails: Box::new(|f| (!f.online || f.leaving).then(|| "is away or leaving".into())),
                fix: "start a worker: `hivenode invite --role worker` here, `hivenode up TICKET` there"
                    .into(),
            },
            Filter {
                name: "worker",
                code: "place.no_worker",
                asks: String::new(),
                fails: Box::new(|f| {
                    (!f.credential.roles.contains(&Role::Worker)).then(|| "is no worker".into())
                }),
                fix: "start a worker: `hivenode invite --role worker` here, `hivenode up TICKET` there"
                    .into(),
            },
            Filter {
                name: "cpu",
                code: "place.no_fit",
                asks: format!("{} milli-cores", need.cpu_milli),
                fails: Box::new(move |f| {
                    let has = f.capabilities.total.cpu_milli;
                    (has < need.cpu_milli)
                        .then(|| short("milli-cores", has.into(), ""))
                        .flatten()
                }),
                fix: format!("ask for fewer cores (now {} thousandths)", need.cpu_milli),
            },
            Filter {
                name: "memory",
                code: "place.no_fit",
                asks: format!("{} MiB", need.memory_mib),
                fails: Box::new(move |f| {
                    let has = f.capabilities.total.memory_mib;
                    (has < need.memory_mib)
                        .then(|| short("memory", has, " MiB"))
                        .flatten()
                }),
                fix: format!("ask for less memory (now {} MiB)", need.memory_mib),
            },
            Filter {
                name: "disk",
                code: "place.no_fit",
                asks: format!("{} MiB", need.disk_mib),
                fails: Box::new(move |f| {
                    let has = f.capabilities.total.disk_mib;
                    (has < need.disk_mib)
                        .then(|| short("disk", has, " MiB"))
                        .flatten()
                }),
                fix: format!("ask for less disk (now {} MiB)", need.disk_mib),
            },
            Filter {
                name: "gpu",
                code: "place.no_fit",
                asks: gpu(need),
                fails: Box::new(move |f| {
                    (!f.capabilities.total.fits_gpu(need))
                        .then(|| format!("has {}", gpu(&f.capabilities.total)))
                }),
                fix: format!("ask for another GPU than {}", gpu(need)),
            },
            Filter {
                name: "runtime",
                code: "place.no_fit",
                asks: kind.name().into(),
                fails: Box::new(move |f| {
                    let runs = &f.capabilities.runtimes;
                    (!runs.iter().any(|r| r == kind.name())).then(|| format!("runs {}", runs.join(", ")))
                }),
                fix: format!("start a worker that runs {} tasks", kind.name()),
            },
            Filter {
                name: "trust",
                code: "place.rule",
                asks: format!("your score {user}, workers from {}", place.min_score),
                fails: Box::new(move |f| {
                    let c = &f.credential;
                    if c.score < place.min_score {
                        return Some(format!("has a score of {}", c.score));
                    }
                    may_run(c.score, c.containers, user, kind)
                        .err()
                        .map(|rule| rule.to_string())
                }),
                fix: "the rules of trust: a better score of yours, or a worker with a better one".into(),
            },
            Filter {
                name: "location",
                code: "place.location",
                asks: place.require_location.clone(),
                fails: Box::new(move |f| {
                    let here = &f.capabilities.location;
                    (!place.require_location.is_empty() && !place.require_location.eq_ignore_ascii_case(here))
                        .then(|| format!("stands in `{here}`"))
                }),
                fix: format!("drop the required location `{}`", place.require_location),
            },
            Filter {
                name: "price",
                code: "place.price",
                asks: format!("at most {max_price} per Gfuel"),
                fails: Box::new(move |f| {
                    f.price
                        .filter(|p| p.per_gfuel > max_price)
                        .map(|p| format!("asks {} per Gfuel", p.per_gfuel))
                }),
                fix: self.cheapest(job),
            },
            Filter {
                name: "free",
                code: "place.busy",
                asks: String::new(),
                fails: Box::new(move |f| (!f.free.fits(need)).then(|| "is full for now".into())),
                fix: "wait until a worker is free, or start another one".into(),
            },
        ];
        let mut left: Vec<&NodeFacts> = self.nodes.values().collect();
        let mut steps = vec![Step {
            filter: "known",
            left: count(left.len()),
            asks: String::new(),
            example: String::new(),
        }];
        let mut verdict = None;
        for filter in filters {
            let mut example = String::new();
            left.retain(|f| match (filter.fails)(f) {
                None => true,
                Some(why) => {
                    if example.is_empty() {
                        example = format!("{} {why}", f.credential.name);
                    }
                    false
                }
            });
            if left.is_empty() && verdict.is_none() {
                verdict = Some((filter.code, filter.fix));
            }
            steps.push(Step {
                filter: filter.name,
                left: count(left.len()),
                asks: filter.asks,
                example,
            });
        }
        let (code, fix) = verdict.unwrap_or_else(|| {
            let node = left.first().map_or("", |f| f.credential.name.as_str());
            (
                "place.busy",
                format!("nothing to do: {node} could take it and is being asked"),
            )
        });
        Funnel { code, steps, fix }
    }

    fn cheapest(&self, job: &Job) -> String {
        let lowest = self
            .nodes
            .values()
            .filter(|f| f.online && f.credential.roles.contains(&Role::Worker))
            .filter(|f| f.capabilities.total.fits(&job.program.need))
            .filter_map(|f| f.price)
            .min();
        lowest.map_or_else(
            || "raise the highest price accepted".into(),
            |p| {
                format!(
                    "accept {} per Gfuel, the lowest asked (now at most {})",
                    p.per_gfuel, job.spec.max_price
                )
            },
        )
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn gpu(r: &Resources) -> String {
    if r.gpus == 0 {
        return "no GPU".into();
    }
    let name = if r.gpu_name.is_empty() { "any" } else { &r.gpu_name };
    format!("{} × {name} with {} MiB", r.gpus, r.gpu_memory_mib)
}
