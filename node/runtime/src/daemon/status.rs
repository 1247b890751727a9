//! This node at a glance, and why a task runs where it does.

use super::{Daemon, mesh::Mesh, nodes::unjoined, paths};
use crate::port::{
    FunnelStep, FunnelView, LeaseView, MeshView, Problem, ReachBrief, Refused, RelayHeld, Reply, StatusView,
};
use hive_protocol::{
    credential::Tier,
    ids::{NodeId, TaskIndex},
    resources::{Capabilities, Resources, Role},
    time::Millis,
};
use std::{collections::BTreeSet, sync::Arc};

/// How long an authority may take to be found after joining or a restart before that is a problem.
const FINDING: Millis = Millis::secs(3);
/// A daemon reads the machine's clock once, so setting that is not enough.
const CLOCK_HINT: &str =
    "set the clock that is wrong (timedatectl set-ntp true), then there: hivenode down, hivenode up";

impl Daemon {
    /// The mesh, if this node belongs to one.
    pub(super) fn mesh_view(&self) -> Option<MeshView> {
        let mesh = self.mesh.as_ref()?;
        Some(MeshView {
            id: mesh.standing.network().to_string(),
            name: mesh.standing.mesh_name(),
            authorities: mesh
                .standing
                .authorities()
                .iter()
                .map(ToString::to_string)
                .collect(),
            authority_reachable: mesh.authority_up,
        })
    }

    fn state(&self) -> &'static str {
        match (&self.mesh, self.joining, &self.stopping) {
            (_, _, Some(s)) if s.drains() => "draining",
            (_, _, Some(_)) => "stopping",
            (None, true, _) => "joining",
            (None, false, _) => "unjoined",
            (Some(m), _, _) if self.is_cut_off(m) => "offline",
            _ => "ready",
        }
    }

    /// Whether no authority has answered for longer than finding one takes.
    fn is_cut_off(&self, mesh: &Mesh) -> bool {
        !mesh.authority_up && self.clock.now().since(mesh.authority_since) > FINDING
    }

    /// This node's clock, when it is too far from the authorities': then they refuse it, and it them.
    pub(super) fn clock_problem(&self) -> Option<Problem> {
        let message = self.mesh.as_ref()?.standing.clock_apart()?;
        Some(Problem {
            code: "member.clock_skew".to_owned(),
            message,
            hint: Some(CLOCK_HINT.to_owned()),
        })
    }

    fn found_problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        // First: what else is said may come of it.
        if let Some(clock) = self.clock_problem() {
            problems.insert(0, clock);
        }
        let mut add = |code: &str, message: String, hint: &str| {
            problems.push(Problem {
                code: code.to_owned(),
                message,
                hint: Some(hint.to_owned()),
            });
        };
        if let Some(mesh) = &self.mesh {
            if self.is_cut_off(mesh) {
                let text = "no authority answers: running leases go on, new ones wait".to_owned();
                add(
                    "authority.unreachable",
                    text,
                    "is the authority's machine up? there: hivenode status",
                );
            }
            if mesh.standing.credential().is_none() {
                let text = "this node has no credential in force".to_owned();
                add(
                    "member.expired",
                    text,
                    "check this machine's clock; the node renews by itself when an authority answers",
                );
            }
        }
        let (used, quota) = (self.store.budget().used(), self.store.budget().quota());
        if quota != u64::MAX && used > quota / 10 * 9 {
            let text = format!("the store holds {used} of {quota} bytes");
            add(
                "store.nearly_full",
                text,
                "hivenode job rm JOB, or hivenode config set store_quota BYTES",
            );
        }
        problems
    }

    /// Answers with the status; peers come from the network.
    pub(super) fn status(&self, reply: Reply<StatusView>) {
        let credential = self.mesh.as_ref().and_then(|m| m.standing.last_credential());
        let score = credential.as_ref().map_or(0, |c| c.score);
        let quota = self.store.budget().quota();
        let mut view = StatusView {
            node: self.identity.node_id().to_string(),
            account: self.account_text(),
            name: credential
                .as_ref()
                .map_or_else(|| self.node_name(), |c| c.name.clone()),
            state: self.state().to_owned(),
            mesh: self.mesh_view(),
            roles: Vec::new(),
            score,
            tier: Tier::of(score).name().to_owned(),
            credential_expires: credential.map_or(0, |c| c.expires.0),
            version: crate::VERSION.to_owned(),
            started: self.started.0,
            now: self.clock.now().0,
            listen: Vec::new(),
            reach: None,
            peers: Vec::new(),
            capabilities: Capabilities::default(),
            free: Resources::default(),
            leases: Vec::new(),
            running: 0,
            jobs_active: u32::try_from(self.book.jobs.values().filter(|e| !e.standing.is_final()).count())
                .unwrap_or(u32::MAX),
            earned: 0,
            store_bytes: self.store.usage().bytes,
            store_quota: if quota == u64::MAX { 0 } else { quota },
            problems: self.found_problems(),
        };
        let Some(mesh) = &self.mesh else {
            let _ = reply.send(Ok(view));
            return;
        };
        if mesh.local_authority.is_some() {
            view.roles.push(Role::Authority.name().to_owned());
        }
        view.roles.push(mesh.membership.role.name().to_owned());
        view.listen = mesh.net.listen_addrs();
        // Ways through relays are no places of this node's own: they are among what it publishes.
        view.listen.retain(|a| !a.contains("/p2p-circuit"));
        view.earned = mesh.earned;
        if let Some(worker) = &mesh.worker {
            view.capabilities = self.capabilities.clone();
            view.free = worker.free().clone();
            view.running = worker.running();
            view.leases = worker
                .leases()
                .filter(|l| !l.settling)
                .map(|l| LeaseView {
                    lease: l.lease.to_string(),
                    job: l.job.to_string(),
                    submitter: l.submitter.to_string(),
                    slots: l.slots,
                    running: l.running,
                    queued: l.queued,
                    ended: l.tasks,
                    owed: l.owed.0,
                })
                .collect();
        }
        let (net, names) = (mesh.net.clone(), self.names());
        view.reach = Some(self.reach_brief(mesh, &names));
        let now = self.clock.now();
        let online = mesh.directory.iter().filter(|k| mesh.directory.is_online(k, now));
        let online: BTreeSet<String> = online.map(|k| k.view.node.to_string()).collect();
        tokio::spawn(async move {
            let paths = paths::all(&net, &names).await.into_iter();
            // Of those that cannot be reached only the ones that are there.
            let shown = paths.filter(|p| p.since > 0 || online.contains(&p.node));
            view.peers = shown.map(paths::peer_row).collect();
            let _ = reply.send(Ok(view));
        });
    }

    /// How this node is reached, in short.
    fn reach_brief(&self, mesh: &Mesh, names: &paths::Names) -> ReachBrief {
        let name = |node: &NodeId| names.get(node).cloned().unwrap_or_default();
        let reach = mesh.reach.view(name);
        let held = reach.relays.iter().filter(|r| r.state == "reserved");
        let label = |r: &RelayHeld| {
            if r.name.is_empty() {
                r.node.chars().take(12).collect()
            } else {
                r.name.clone()
            }
        };
        ReachBrief {
            relays: held.map(label).collect(),
            state: reach.state,
            mapping: reach.mapping,
            published: reach.published,
            relaying: mesh.reach.relay_state().0.to_owned(),
        }
    }

    /// The funnel of a task or job.
    pub(super) fn explain(&self, subject: &str) -> Result<FunnelView, Refused> {
        let (job, index) = match self.book.find_task(subject) {
            Ok((job, index)) => (job, Some(index)),
            Err(_) => {
                let found = self.book.find(subject);
                (
                    found.map_err(|_| crate::port::NodeHandle::not_found("job", subject))?,
                    None,
                )
            }
        };
        let mesh = self.mesh.as_ref().ok_or_else(unjoined)?;
        let entry = self
            .book
            .jobs
            .get(&job)
            .ok_or_else(|| crate::port::NodeHandle::not_found("job", subject))?;
        let funnel = mesh.submitter.explain(job, index.unwrap_or(TaskIndex(0)));
        let state = index.and_then(|i| entry.tasks.get(i.0 as usize)).map_or_else(
            || entry.state_name().to_owned(),
            |t| format!("{:?}", t.state).to_lowercase(),
        );
        let need = &entry.spec.program.need;
        let mut needs = format!(
            "{} mcpu, {} MiB memory, {} MiB disk",
            need.cpu_milli, need.memory_mib, need.disk_mib
        );
        if need.gpus > 0 {
            needs.push_str(&format!(
                ", {} gpu {} {} MiB",
                need.gpus, need.gpu_name, need.gpu_memory_mib
            ));
        }
        let placement = &entry.spec.placement;
        if placement.min_score > 0 {
            needs.push_str(&format!(", trust ≥ {}", placement.min_score));
        }
        if !placement.require_location.is_empty() {
            needs.push_str(&format!(", location {}", placement.require_location));
        }
        let (steps, fixes) = funnel.map_or_else(Default::default, |f| {
            let steps = f.funnel.into_iter().map(|s| FunnelStep {
                rule: s.filter.to_owned(),
                left: s.left,
                lost: if s.example.is_empty() {
                    Vec::new()
                } else {
                    vec![s.example]
                },
            });
            let fixes = if f.fix.is_empty() { Vec::new() } else { vec![f.fix] };
            (steps.collect(), fixes)
        });
        let fixes = match self.clock_problem() {
            Some(clock) => vec![clock.message, CLOCK_HINT.to_owned()],
            None => fixes,
        };
        let subject = index.map_or_else(
            || job.to_string(),
            |i| hive_protocol::ids::TaskId { job, index: i }.to_string(),
        );
        Ok(FunnelView {
            subject,
            state,
            needs,
            steps,
            fixes,
        })
    }
}

impl Daemon {
    /// Answers with the text of /metrics; peers come from the network.
    pub(super) fn metrics_text(&self, reply: Reply<String>) {
        use std::sync::atomic::Ordering;
        let mesh = self.mesh.as_ref();
        let mut now = crate::metrics::Snapshot {
            sent: mesh.map_or(0, |m| m.sent.load(Ordering::Relaxed)),
            received: mesh.map_or(0, |m| m.received.load(Ordering::Relaxed)),
            store: self.store.usage().bytes,
            running: mesh
                .and_then(|m| m.worker.as_ref())
                .map_or(0, |w| w.running().into()),
            nodes: mesh.map_or(0, |m| m.directory.iter().count() as u64),
            jobs: self.book.jobs.len() as u64,
            moved: self.desk.moved(),
            ..crate::metrics::Snapshot::default()
        };
        let metrics = Arc::clone(&self.metrics);
        let Some(net) = mesh.map(|m| m.net.clone()) else {
            let _ = reply.send(Ok(metrics.text(&now)));
            return;
        };
        now.net = net.counters().list();
        now.relay = mesh.and_then(|m| m.reach.relay()).map(|r| r.counts().list());
        tokio::spawn(async move {
            for path in paths::all(&net, &paths::Names::new()).await {
                now.saw(&path);
            }
            let _ = reply.send(Ok(metrics.text(&now)));
        });
    }
}
