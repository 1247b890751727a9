//! From what the pulls of contents report to what a transfer's users see.

use crate::{
    error::PullError,
    limits::{Class, Direction, Limits},
    pull::report::{ContentReport, PeerShare, Standing},
    transfer::Transfer,
    view::{MAX_PEERS_SHOWN, PeerView, Stage, StallView},
};
use hive_protocol::ids::NodeId;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};

/// Nothing new for so long is a stall that is explained.
const STALL: Duration = Duration::from_secs(5);
/// How often what is seen is renewed.
const EVERY: Duration = Duration::from_millis(200);
/// The span over which a rate is measured.
const RATE_SPAN: Duration = Duration::from_secs(3);

/// What a transfer has, all of its contents together.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Verified bytes here.
    pub here: u64,
    /// All bytes, if known.
    pub total: Option<u64>,
    /// Payload bytes that came.
    pub fetched: u64,
    /// Of `here`: found on this machine.
    pub reused: u64,
    /// Files in place, and of how many.
    pub files: (u64, u64),
    /// Providers.
    pub peers: Vec<PeerShare>,
    /// Providers not asked any more.
    pub dropped: BTreeMap<NodeId, String>,
    /// Why bytes come or not.
    pub standing: Standing,
}

impl From<&ContentReport> for Sum {
    fn from(report: &ContentReport) -> Self {
        Self {
            here: report.here,
            total: report.size,
            fetched: report.fetched,
            reused: 0,
            files: (0, 1),
            peers: report.peers.clone(),
            dropped: report.dropped.clone(),
            standing: report.standing.clone(),
        }
    }
}

/// Runs a piece of work while what it has is shown.
pub async fn while_shown<T>(
    transfer: &Transfer,
    limits: &Limits,
    mut sum: impl FnMut() -> Sum,
    work: impl Future<Output = Result<T, PullError>>,
) -> Result<T, PullError> {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Shown::default();
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                shown.show(transfer, limits, sum());
                return done;
            }
            _ = every.tick() => shown.show(transfer, limits, sum()),
        }
    }
}

#[derive(Default)]
struct Shown {
    /// Bytes fetched at moments within the span.
    rate: std::collections::VecDeque<(Instant, u64)>,
    here: u64,
    moved: Option<Instant>,
}

impl Shown {
    fn show(&mut self, transfer: &Transfer, limits: &Limits, sum: Sum) {
        let now = Instant::now();
        if sum.here != self.here || self.moved.is_none() || transfer.is_paused() {
            (self.here, self.moved) = (sum.here, Some(now));
        }
        self.rate.push_back((now, sum.fetched));
        while self
            .rate
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > RATE_SPAN)
        {
            self.rate.pop_front();
        }
        let rate = self.rate.front().map_or(0, |(at, bytes)| {
            let millis = u64::try_from(now.duration_since(*at).as_millis()).unwrap_or(u64::MAX);
            sum.fetched
                .saturating_sub(*bytes)
                .saturating_mul(1000)
                .checked_div(millis)
                .unwrap_or(0)
        });
        let still = self.moved.map_or(Duration::ZERO, |at| now.duration_since(at));
        let whole = sum.total.is_some_and(|t| sum.here >= t);
        let stalled = (still >= STALL && !whole).then(|| why(&sum, limits));
        transfer.show(|view| {
            view.done = sum.here;
            view.total = sum.total.unwrap_or(view.total);
            view.fetched = sum.fetched;
            view.reused = sum.reused;
            (view.files_done, view.files) = sum.files;
            view.rate = rate;
            view.stalled = stalled;
            view.peers = peers(&sum);
            if matches!(view.stage, Stage::Queued | Stage::Starting) && sum.here > sum.reused {
                view.stage = Stage::Running;
            }
        });
    }
}

fn peers(sum: &Sum) -> Vec<PeerView> {
    let asked = sum.peers.iter().map(|p| PeerView {
        node: p.node,
        path: p.path,
        whole: p.whole,
        bytes: p.bytes,
        rate: p.rate,
        dropped: sum.dropped.get(&p.node).cloned(),
    });
    let gone = sum
        .dropped
        .iter()
        .filter(|(node, _)| sum.peers.iter().all(|p| p.node != **node));
    let gone = gone.map(|(node, why)| PeerView {
        node: *node,
        path: "",
        whole: false,
        bytes: 0,
        rate: 0,
        dropped: Some(why.clone()),
    });
    asked.chain(gone).take(MAX_PEERS_SHOWN).collect()
}

/// Why nothing comes.
fn why(sum: &Sum, limits: &Limits) -> StallView {
    let say = |code, why: String| StallView { code, why };
    match &sum.standing {
        Standing::Moving => {
            let held = sum
                .peers
                .iter()
                .find_map(|p| limits.reason(Direction::In, Class::Bulk, p.node));
            held.map_or_else(
                || say("file.slow", "waiting for bytes".to_owned()),
                |rate| say("file.limited", format!("limit of {rate} bytes a second")),
            )
        }
        Standing::Paused => say("file.paused", "paused".to_owned()),
        Standing::NoProviders => say("file.no_provider", no_provider(sum)),
        Standing::NobodyHasRest => say(
            "file.no_provider",
            "those who are there do not have what is missing yet".to_owned(),
        ),
        Standing::Waiting(node) => say(
            "file.waiting",
            format!("{} is busy or has just failed; it is asked again", node.short()),
        ),
        Standing::Silent(node) => say(
            "file.silent",
            format!("waiting for {}, which has gone silent", node.short()),
        ),
        Standing::DiskFull => say(
            "store.disk_full",
            "the disk is full; it goes on when there is room".to_owned(),
        ),
    }
}

fn no_provider(sum: &Sum) -> String {
    match sum.dropped.iter().next() {
        None => "nobody is known who has it".to_owned(),
        Some((node, why)) => {
            let more = sum.dropped.len() - 1;
            let others = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more)")
            };
            format!("no provider can be asked: {}: {why}{others}", node.short())
        }
    }
}
