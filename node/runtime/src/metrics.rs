//! Counters of the daemon in Prometheus form.

use crate::{files::Moved, jobs::EndedTask, port::PathView};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// A task's end as a label; from a small, closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabel {
    state: String,
}

/// Which way bytes went, and over which path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WayLabel {
    dir: &'static str,
    path: &'static str,
}

/// How members are reached; from a small, closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
    transport: &'static str,
}

/// All counters and gauges; cheap to update from the loop.
#[derive(Default)]
pub struct Metrics {
    /// Calls of the API.
    pub calls: Counter,
    /// Gossip not passed on.
    pub gossip_refused: Counter,
    /// Demands published.
    pub demands: Counter,
    /// Jobs submitted here.
    pub jobs: Counter,
    /// Jobs ended.
    pub jobs_ended: Counter,
    /// Tries repeated.
    pub retries: Counter,
    /// Receipts refused.
    pub receipts_refused: Counter,
    /// Leases given.
    pub leases: Counter,
    /// Tasks started for others.
    pub tasks_started: Counter,
    /// Executors that died.
    pub executor_deaths: Counter,
    /// µCPT earned.
    pub earned: Counter,
    /// Whether an authority answers.
    pub authority_up: Gauge,
    tasks: Family<EndLabel, Counter>,
    worked: Family<EndLabel, Counter>,
}

/// Gauges whose values other parts own, read when asked.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Bytes of blobs sent.
    pub sent: u64,
    /// Bytes of blobs received.
    pub received: u64,
    /// Bytes in the store.
    pub store: u64,
    /// Tasks running.
    pub running: u64,
    /// Nodes known.
    pub nodes: u64,
    /// Jobs in the book.
    pub jobs: u64,
    /// Bytes of files moved.
    pub moved: Moved,
    /// Members by how they are reached: (path, transport, how many).
    pub peers: Vec<(&'static str, &'static str, u64)>,
    /// The network's counters.
    pub net: Vec<(&'static str, u64)>,
    /// What is relayed for others: the first two as they are now, the others since the start.
    pub relay: Option<Vec<(&'static str, u64)>>,
}

impl Snapshot {
    /// Counts a way to a peer.
    pub fn saw(&mut self, path: &PathView) {
        let way = match path.state.as_str() {
            "direct" => "direct",
            "relay" | "punching" => "relay",
            _ => return,
        };
        if !path.member {
            return;
        }
        let transport = match path.transport.as_str() {
            "quic" => "quic",
            "tcp" => "tcp",
            _ => "relay",
        };
        let of = self.peers.iter_mut().find(|p| (p.0, p.1) == (way, transport));
        match of {
            Some(row) => row.2 += 1,
            None => self.peers.push((way, transport, 1)),
        }
    }
}

impl Metrics {
    /// A task of this daemon's jobs has ended.
    pub fn task_ended(&self, ended: &EndedTask) {
        use crate::jobs::Ended;
        let state = match &ended.end {
            Ended::Succeeded => "succeeded",
            Ended::Failed { .. } => "failed",
            Ended::Stopped => "stopped",
        };
        self.tasks
            .get_or_create(&EndLabel {
                state: state.to_owned(),
            })
            .inc();
    }

    /// A task has ended in an executor here. Codes come from executors, not from guests: the set is closed.
    pub fn worked(&self, code: &str) {
        let state = if code.len() <= 40 { code } else { "other" };
        self.worked
            .get_or_create(&EndLabel {
                state: state.to_owned(),
            })
            .inc();
    }

    /// The text of /metrics.
    #[must_use]
    pub fn text(&self, now: &Snapshot) -> String {
        let mut registry = Registry::with_prefix("hivenode");
        let r = &mut registry;
        r.register(
            "api_calls",
            "Calls of the local API to the daemon",
            self.calls.clone(),
        );
        r.register(
            "gossip_refused",
            "Gossip messages not passed on",
            self.gossip_refused.clone(),
        );
        r.register("demands_published", "Demands announced", self.demands.clone());
        r.register("jobs_submitted", "Jobs submitted here", self.jobs.clone());
        r.register("jobs_ended", "Jobs ended", self.jobs_ended.clone());
        r.register(
            "task_retries",
            "Tries repeated after a worker's fault",
            self.retries.clone(),
        );
        r.register(
            "receipts_refused",
            "Receipts of workers refused",
            self.receipts_refused.clone(),
        );
        r.register("leases_given", "Leases given to submitters", self.leases.clone());
        r.register(
            "tasks_started",
            "Tasks started in executors",
            self.tasks_started.clone(),
        );
        r.register(
            "executor_deaths",
            "Executor processes that died",
            self.executor_deaths.clone(),
        );
        r.register(
            "credits_earned_micro",
            "Micro-CPT captured by this node",
            self.earned.clone(),
        );
        r.register(
            "authority_up",
            "Whether an authority answers",
            self.authority_up.clone(),
        );
        r.register(
            "tasks",
            "Tasks of this daemon's jobs by how they ended",
            self.tasks.clone(),
        );
        r.register(
            "worked",
            "Tasks run in executors here by how they ended",
            self.worked.clone(),
        );
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            r.register(name, help, gauge);
        };
        gauge("blob_sent_bytes", "Bytes of blobs sent", now.sent);
        gauge("blob_received_bytes", "Bytes of blobs received", now.received);
        gauge("store_bytes", "Bytes in the blob store", now.store);
        gauge("tasks_running", "Tasks running here", now.running);
        gauge("nodes_known", "Nodes known", now.nodes);
        gauge("jobs_kept", "Jobs in the journal", now.jobs);
        let moved = Family::<WayLabel, Counter>::default();
        for (path, bytes) in &now.moved.got {
            moved.get_or_create(&WayLabel { dir: "in", path }).inc_by(*bytes);
        }
        let label = WayLabel {
            dir: "out",
            path: "any",
        };
        moved.get_or_create(&label).inc_by(now.moved.given);
        r.register("blob_bytes", "Bytes of files moved between nodes", moved);
        Self::register_net(r, now);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn register_net(r: &mut Registry, now: &Snapshot) {
        let peers = Family::<PathLabel, Gauge>::default();
        for (path, transport) in [("direct", "quic"), ("direct", "tcp"), ("relay", "relay")] {
            drop(peers.get_or_create(&PathLabel { path, transport }));
        }
        for (path, transport, n) in &now.peers {
            let label = PathLabel { path, transport };
            peers
                .get_or_create(&label)
                .set(i64::try_from(*n).unwrap_or(i64::MAX));
        }
        r.register("peers", "Connected members by how they are reached", peers);
        let net = r.sub_registry_with_prefix("net");
        for (name, n) in &now.net {
            count(net, name, "Counted by the network since the start", *n);
        }
        let Some(relay) = &now.relay else { return };
        let r = r.sub_registry_with_prefix("relay");
        for (name, n) in relay {
            if matches!(*name, "reservations" | "circuits") {
                let gauge = Gauge::<i64>::default();
                gauge.set(i64::try_from(*n).unwrap_or(i64::MAX));
                r.register(*name, "Now", gauge);
            } else {
                count(r, name, "Counted by this relay since the start", *n);
            }
        }
    }
}

fn count(r: &mut Registry, name: &str, help: &str, n: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(n);
    r.register(name, help, counter);
}
