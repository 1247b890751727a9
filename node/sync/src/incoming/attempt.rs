//! One attempt to bring a folder to a state: look, plan, carry out, and again while things move under it. Blocks; runs
//! on a thread of its own.

use super::{
    apply::{Applier, Report},
    bring::Bringing,
    names::Probed,
    port::{Fetcher, InState, Origin},
    scan::{Halt, Scan, Scanner, Seen},
    staging,
};
use crate::{
    error::SyncError,
    ground::Ground,
    rows::{Key, Known, Rows},
};
use hive_protocol::{
    ids::BlobHash,
    manifest::{EntryKind, Manifest},
    time::Timestamp,
};
use hive_transfer::mirror::{Applied, Ask, Outcome, Plan, State, Thing, conflict_name, plan};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};
use tokio::{runtime::Handle, sync::watch};

/// Looks at the folder in one attempt, while things are changed under it.
const ROUNDS: u32 = 3;
/// A file changed this shortly before it was looked at may change again without its time telling.
const TICK_NS: i64 = 20_000_000;

/// What the attempt says while it goes on.
pub(crate) trait Tell: Send + Sync + 'static {
    fn state(&self, state: InState);
    fn progress(&self, done: u64, total: u64);
}

/// What stays in memory between attempts of one mirror.
#[derive(Default)]
pub(crate) struct Memory {
    known: Option<BTreeMap<String, Known>>,
    seen: Seen,
    manifest: Option<(BlobHash, Arc<Manifest>)>,
}

/// What an attempt is made with.
pub(crate) struct Attempt {
    pub(crate) key: Key,
    pub(crate) dir: PathBuf,
    pub(crate) state: State,
    pub(crate) before: Option<BlobHash>,
    pub(crate) origin: Origin,
    pub(crate) rows: Rows,
    pub(crate) fetcher: Arc<dyn Fetcher>,
    pub(crate) runtime: Handle,
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) node: String,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Somebody has said that the folder is really meant to be empty or new.
    pub(crate) forced: bool,
    pub(crate) tell: Arc<dyn Tell>,
}

/// How it went.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) state: InState,
    pub(crate) detail: String,
    pub(crate) conflicts: Vec<String>,
    pub(crate) refused: Vec<(String, String)>,
}

impl Ended {
    fn new(outcome: Outcome, state: InState, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            state,
            detail: detail.into(),
            conflicts: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn blocked(error: &SyncError) -> Self {
        Self::new(
            Outcome::Later,
            InState::Blocked,
            format!("{}: {error}", error.code()),
        )
    }
}

impl Attempt {
    /// Makes the attempt.
    pub(crate) fn run(&self, memory: &mut Memory) -> Ended {
        match self.attempt(memory) {
            Ok(ended) => ended,
            Err(SyncError::Closed) => Ended::new(Outcome::Abandoned, InState::Waiting, ""),
            Err(error) => {
                // What is on the disk is right; what is in memory may be half of a step.
                *memory = Memory::default();
                Ended::blocked(&error)
            }
        }
    }

    fn attempt(&self, memory: &mut Memory) -> Result<Ended, SyncError> {
        let manifest = match self.manifest(memory) {
            Ok(manifest) => manifest,
            Err(ended) => return Ok(ended),
        };
        if memory.known.is_none() {
            memory.known = Some(self.rows.paths(&self.key)?);
        }
        let Memory {
            known: Some(known),
            seen,
            ..
        } = memory
        else {
            return Err(SyncError::Closed);
        };
        let ground = self.ground(known)?;
        let node = self.node.clone();
        let now = (self.clock)();
        let keep = |path: &str| conflict_name(path, now, &node, &|p| !matches!(ground.stamp(p), Ok(None)));
        let mut conflicts = Vec::new();
        let names = Probed::of(&ground);
        let mut last = Ended::new(Outcome::Later, InState::Waiting, "");
        for round in 0..ROUNDS {
            let found = staging::recover(&ground, known, &self.stop, &keep)?;
            conflicts.extend(found.stray);
            self.tell.state(InState::Scanning);
            let scan = self.scan(&ground, known, &manifest, seen)?;
            let applied: BTreeMap<String, Applied> = known
                .iter()
                .map(|(p, k)| (p.clone(), k.applied.clone()))
                .collect();
            let staged = self.prune(&ground, &manifest, found.contents);
            let plan = plan(&Ask {
                wanted: &manifest,
                local: &scan.local,
                blind: &scan.blind,
                applied: &applied,
                staged: &staged,
                versions: self.state.versions,
                names: &names,
                now: (self.clock)(),
                node: &self.node,
            });
            drop(applied);
            let (report, moved) = self.carry_out(&ground, known, &scan, &plan)?;
            conflicts.extend(report.conflicts.iter().cloned());
            last = self.judge(&report, &plan);
            if last.outcome == Outcome::Whole {
                staging::clear(&ground, false);
                let absent: Vec<String> = plan.refused.iter().map(|r| r.path.clone()).collect();
                self.fetcher.settled(&self.origin, &self.dir, &manifest, &absent);
            }
            if !moved
                || report.stopped
                || report.full
                || round + 1 == ROUNDS
                || last.outcome == Outcome::Whole
            {
                break;
            }
        }
        last.conflicts = conflicts;
        Ok(last)
    }

    fn manifest(&self, memory: &mut Memory) -> Result<Arc<Manifest>, Ended> {
        if let Some((_, manifest)) = memory
            .manifest
            .as_ref()
            .filter(|(root, _)| *root == self.state.root)
        {
            return Ok(manifest.clone());
        }
        self.tell.state(InState::Fetching);
        let fetch = self.fetcher.manifest(&self.origin, self.before);
        let mut stopping = self.stopping.clone();
        let fetched = self.runtime.block_on(async {
            tokio::select! {
                fetched = fetch => Some(fetched),
                _ = stopping.wait_for(|stop| *stop) => None,
            }
        });
        match fetched {
            Some(Ok(manifest)) => {
                let manifest = Arc::new(manifest);
                memory.manifest = Some((self.state.root, manifest.clone()));
                Ok(manifest)
            }
            Some(Err(fault)) => Err(Ended::new(
                Outcome::Later,
                InState::Waiting,
                format!("{}: {fault}", fault.code),
            )),
            None => Err(Ended::new(Outcome::Abandoned, InState::Waiting, "")),
        }
    }

    /// Opens the folder, making it the first time. One that has vanished is not made again: rather its disk is not
    /// there.
    fn ground(&self, known: &BTreeMap<String, Known>) -> Result<Ground, SyncError> {
        let failed = |what, e: std::io::Error| SyncError::io(what, &self.dir, e);
        if known.is_empty() || self.forced {
            std::fs::create_dir_all(&self.dir).map_err(|e| failed("create", e))?;
        }
        let ground = match Ground::open(&self.dir) {
            Ok(ground) => ground,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return Err(SyncError::SourceGone {
                    dir: self.dir.clone(),
                });
            }
            Err(e) => return Err(failed("open", e.into())),
        };
        if !known.is_empty() && !self.forced {
            let names = ground.dir("").and_then(|dir| Ground::names(&dir));
            if names.map_err(|e| failed("read", e.into()))?.is_empty() {
                return Err(SyncError::SourceGone {
                    dir: self.dir.clone(),
                });
            }
        }
        staging::claim(&ground, &self.key)?;
        Ok(ground)
    }

    fn scan(
        &self,
        ground: &Ground,
        known: &mut BTreeMap<String, Known>,
        manifest: &Manifest,
        seen: &mut Seen,
    ) -> Result<Scan, SyncError> {
        let began = i64::try_from((self.clock)().0)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000);
        let scan = Scanner {
            ground,
            known,
            wanted: manifest,
            stop: &self.stop,
            seen,
        }
        .run()
        .map_err(|halt| match halt {
            Halt::Stopped => SyncError::Closed,
            Halt::Failed(e) => SyncError::io("read", &self.dir, e),
            Halt::TooMany => SyncError::Content {
                code: "file.too_many_entries",
                text: format!("{} holds more things than a mirror may", self.dir.display()),
            },
        })?;
        let mut changed = BTreeMap::new();
        for (path, (at, hash)) in seen.iter() {
            if let Some(row) = known.get_mut(path)
                && row.stamp != Some(*at)
                && matches!(&row.applied.is, Some(Thing::File { hash: is, .. }) if is == hash)
                && at.2.saturating_add(TICK_NS) < began
            {
                row.stamp = Some(*at);
                changed.insert(path.clone(), Some(row.clone()));
            }
        }
        self.rows.put_paths(&self.key, &changed, false)?;
        Ok(scan)
    }

    /// Drops waiting contents that this state does not want.
    fn prune(&self, ground: &Ground, manifest: &Manifest, found: BTreeSet<BlobHash>) -> BTreeSet<BlobHash> {
        if found.is_empty() {
            return found;
        }
        let wanted: BTreeSet<BlobHash> = manifest
            .entries
            .iter()
            .filter_map(|e| match &e.kind {
                EntryKind::File { hash, .. } => Some(*hash),
                _ => None,
            })
            .collect();
        let (keep, drop): (BTreeSet<_>, BTreeSet<_>) = found.into_iter().partition(|h| wanted.contains(h));
        for hash in drop {
            let _ = ground.remove(&staging::staged(&hash));
        }
        keep
    }

    /// Carries out a plan; true when things moved under it that the next look may find at rest.
    fn carry_out(
        &self,
        ground: &Ground,
        known: &mut BTreeMap<String, Known>,
        scan: &Scan,
        plan: &Plan,
    ) -> Result<(Report, bool), SyncError> {
        self.tell.state(InState::Placing);
        let mut bring = Bringing::new(self, ground, plan.fetch_bytes);
        let mut applier = Applier {
            ground,
            key: &self.key,
            rows: &self.rows,
            known,
            scan,
            stop: &self.stop,
            now: (self.clock)(),
            node: &self.node,
            versions: self.state.versions,
            report: Report::default(),
            changed: BTreeMap::new(),
        };
        applier.run(&plan.effects, &mut bring)?;
        if !applier.report.stopped && !applier.report.full {
            for path in &plan.adopted {
                applier.adopt(path);
            }
            for path in &plan.forgotten {
                applier.set(path, None);
            }
        }
        applier.write(false)?;
        let report = applier.report;
        let fetched_all = report.missing.is_empty();
        let moved = fetched_all && !report.problems.is_empty();
        Ok((report, moved))
    }

    fn judge(&self, report: &Report, plan: &Plan) -> Ended {
        let mut ended = if report.stopped {
            Ended::new(Outcome::Abandoned, InState::Waiting, "")
        } else if report.full {
            let path = self.dir.clone();
            let error = SyncError::DiskFull { path };
            Ended::blocked(&error)
        } else if let Some((path, why)) = report.problems.first() {
            let more = match report.problems.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let detail = match path.as_str() {
                "" => format!("{why}{more}"),
                path => format!("`{path}`: {why}{more}"),
            };
            Ended::new(Outcome::Later, InState::Waiting, detail)
        } else if !report.missing.is_empty() {
            let n = report.missing.len();
            Ended::new(
                Outcome::Later,
                InState::Waiting,
                format!("{n} contents are not to be had at present"),
            )
        } else if plan.refused.is_empty() {
            Ended::new(Outcome::Whole, InState::Whole, "")
        } else {
            let n = plan.refused.len();
            let detail = format!("{n} paths cannot be had here");
            Ended::new(Outcome::Whole, InState::Partial, detail)
        };
        ended.refused = plan
            .refused
            .iter()
            .map(|r| (r.path.clone(), r.why.to_owned()))
            .collect();
        ended
    }
}
