//! What happens to a network under a running transfer: which events, over which transports, and what came of each run.

use crate::{
    choice::Combination,
    daemon::Daemon,
    error::MatrixError,
    kept::Kept,
    result::Word,
    run::{captures, version},
    scene::Scene,
    trial::{reachable, share},
};
use hive_natlab::{Case, LabError, NatKind, Transports};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fmt, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes of the file that is on its way, and how fast it may go: twelve seconds, so that it outlives what happens.
const FILE: usize = 24 << 20;
const RATE: &str = "2M";
/// So much of it is there when it happens.
const BEFORE: u64 = 2 << 20;
/// How long the cable is out.
const UNPLUGGED: Duration = Duration::from_secs(5);
/// Longest wait for a direct connection, before and after.
const DIRECT: Duration = Duration::from_secs(30);
/// Longest wait for all of the file.
const WHOLE: Duration = Duration::from_secs(90);
/// A run that stood still for longer than this, and what happened, is kept as a failed one is.
const LONG_STALL: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The address a renumbered router gets; what else is on the wire has the first few.
const ANOTHER: u8 = 77;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A router restarts and knows nothing of before.
    Reboot,
    /// A router gets another address towards the internet.
    Renumber,
    /// A host's cable is out for five seconds; nobody is told.
    Cable,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reboot, Self::Renumber, Self::Cable];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reboot => "router reboots, mappings lost",
            Self::Renumber => "router gets another address",
            Self::Cable => "cable out for 5 s",
        }
    }

    /// Lets it happen on the side of a host.
    fn happen(self, scene: &mut Scene, host: &str) -> Result<(), MatrixError> {
        let router = format!("r{host}");
        match self {
            Self::Reboot => scene.lab.reboot_router(&router)?,
            Self::Renumber => {
                let now = scene.lab.plan().routers.iter().find(|r| r.name == router);
                let now = now.and_then(|r| r.v4).unwrap_or(Ipv4Addr::UNSPECIFIED);
                let [a, b, c, last] = now.octets();
                // The number after it where the router has that one already.
                let other = if last < ANOTHER { ANOTHER } else { last + 1 };
                scene
                    .lab
                    .renumber_router(&router, Ipv4Addr::new(a, b, c, other))?;
            }
            Self::Cable => scene.lab.plug(host, false)?,
        }
        Ok(())
    }

    /// After how long it is over, if it does not stay.
    const fn lasts(self) -> Option<Duration> {
        match self {
            Self::Cable => Some(UNPLUGGED),
            Self::Reboot | Self::Renumber => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventTrial {
    /// Whose side it happened on: `giver` or `asker`.
    pub side: Word,
    /// The longest time without a byte, from when it happened, in milliseconds.
    pub stall_ms: Option<u64>,
    /// From when it happened until there was a direct connection that had begun after it, in milliseconds; none where
    /// the one of before lived on.
    pub direct_ms: Option<u64>,
    /// What went wrong.
    pub trouble: Option<String>,
}

/// All runs of one event over one transport.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventRow {
    /// What happened.
    pub event: Word,
    /// Over what.
    pub transports: Word,
    /// The runs.
    pub trials: Vec<EventTrial>,
}

impl EventRow {
    /// Whether every transfer went to its end, and the way was direct again.
    #[must_use]
    pub fn good(&self) -> bool {
        self.trials.iter().all(|t| t.trouble.is_none())
    }

    fn median(&self, of: fn(&EventTrial) -> Option<u64>) -> String {
        let mut all: Vec<u64> = self.trials.iter().filter_map(of).collect();
        all.sort_unstable();
        let middle = all.get(all.len() / 2);
        middle.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
    }

    fn worst(&self, of: fn(&EventTrial) -> Option<u64>) -> String {
        let worst = self.trials.iter().filter_map(of).max();
        worst.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
    }

    fn ended(&self) -> String {
        let ended = self.trials.iter().filter(|t| t.trouble.is_none()).count();
        format!("{ended}/{}", self.trials.len())
    }

    /// One line for the screen.
    #[must_use]
    pub fn text(&self) -> String {
        let mut line = format!(
            "{:<32} {:<5} went on {:<6} stall {:<9} worst {:<9} direct again {:<9} {}",
            self.event,
            self.transports,
            self.ended(),
            self.median(|t| t.stall_ms),
            self.worst(|t| t.stall_ms),
            self.median(|t| t.direct_ms),
            if self.good() { "ok" } else { "FAILED" },
        );
        for trouble in self.trials.iter().filter_map(|t| t.trouble.as_ref()) {
            line.push_str("\n    ");
            line.extend(trouble.chars().take(500));
        }
        line
    }

    /// One line of a table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            self.event,
            self.transports,
            self.ended(),
            self.median(|t| t.stall_ms),
            self.worst(|t| t.stall_ms),
            self.median(|t| t.direct_ms),
        )
    }
}

/// The head of the table of [`EventRow::markdown`].
pub const EVENTS_HEAD: &str = "| what happens under a transfer | over | went on to its end | longest time without a byte, median | worst | direct again after |
|---|---|---|---|---|---|";

/// How events are run.
#[derive(Debug, Clone)]
pub struct EventSettings {
    /// The program under test.
    pub program: PathBuf,
    /// Runs of each.
    pub runs: usize,
    /// Where logs and captures of failed runs go.
    pub keep: Arc<Kept>,
}

/// Which events over which transports: those whose name contains `only`, when given.
#[must_use]
pub fn events(only: Option<&str>) -> Vec<(Event, Transports)> {
    let over = [Transports::Quic, Transports::Tcp];
    let all = Event::ALL.into_iter().flat_map(|e| over.map(|t| (e, t)));
    all.filter(|(e, t)| only.is_none_or(|only| format!("{e} ({t})").contains(only)))
        .collect()
}

/// Runs them, one after the other; `tell` hears of each row when it is complete.
///
/// # Errors
/// When the program cannot be run at all. What fails between nodes is in the rows.
pub fn run_events(
    all: &[(Event, Transports)],
    settings: &EventSettings,
    tell: &dyn Fn(&EventRow),
) -> Result<Vec<EventRow>, MatrixError> {
    version(&settings.program)?;
    let row = |(event, transports): &(Event, Transports)| {
        let trials = (0..settings.runs).map(|n| once(*event, *transports, settings, n));
        let row = EventRow {
            event: event.name().into(),
            transports: transports.name().into(),
            trials: trials.collect(),
        };
        tell(&row);
        row
    };
    Ok(all.iter().map(row).collect())
}

/// One run in a laboratory of its own. In every second one it happens on the asker's side.
fn once(event: Event, transports: Transports, settings: &EventSettings, n: usize) -> EventTrial {
    let side = if n.is_multiple_of(2) { "giver" } else { "asker" };
    let mut trial = EventTrial {
        side: side.into(),
        stall_ms: None,
        direct_ms: None,
        trouble: None,
    };
    let case = Case::pair(NatKind::PortRestricted, NatKind::PortRestricted);
    let Some(combination) = Combination::of(case, transports) else {
        trial.trouble = Some("these transports cannot be used there".into());
        return trial;
    };
    let mut scene = match Scene::build(&settings.program, &combination) {
        Ok(scene) => scene,
        Err(e) => {
            trial.trouble = Some(e.to_string());
            return trial;
        }
    };
    let captures = captures(&scene);
    if let Err(e) = under_transfer(event, &mut scene, n, &mut trial) {
        trial.trouble = Some(e.to_string());
    }
    drop(captures);
    let bearable = LONG_STALL + event.lasts().unwrap_or_default();
    let stalled = trial
        .stall_ms
        .is_some_and(|ms| Duration::from_millis(ms) > bearable);
    if trial.trouble.is_some() || stalled {
        let plan = format!("{:#?}\n", scene.lab.plan());
        let name = format!("{event} {transports}").replace([' ', ','], "-");
        settings.keep.keep(&name, n, scene.home(), &plan);
    }
    trial
}

fn under_transfer(
    event: Event,
    scene: &mut Scene,
    n: usize,
    trial: &mut EventTrial,
) -> Result<(), MatrixError> {
    let [(giver, giver_id), (asker, asker_id)] = scene.nodes_with(["a", "b"], &[("rate_in", RATE)])?;
    reachable(&giver);
    reachable(&asker);
    let (ticket, bytes) = share(&giver, scene.home(), n, FILE)?;
    let dest = scene.home().join(format!("got-{n}.bin"));
    let made = asker.post("/v1/transfers", &json!({"what": ticket, "dest": dest}))?;
    let id = made["transfer"]["transfer"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = format!("/v1/net/paths/{giver_id}");
    let direct = |d: &Value| (d["paths"]["state"] == "direct").then_some(());
    asker.until(&path, "a direct connection", DIRECT, direct)?;
    let transfer = format!("/v1/transfers/{id}");
    let begun = |d: &Value| (done(d) >= BEFORE).then_some(());
    asker.until(&transfer, "some of the file", DIRECT, begun)?;

    let host = if trial.side == "giver" { "a" } else { "b" };
    let before = done(&asker.get(&transfer)?);
    let happened = Instant::now();
    event.happen(scene, host)?;
    let mut over = event.lasts();
    let mut mend = || match over.take_if(|lasts| happened.elapsed() >= *lasts) {
        Some(_) => scene.lab.plug(host, true),
        None => Ok(()),
    };
    let outcome = to_the_end(&asker, &transfer, (happened, before), &mut mend, trial);
    // What became of the way, also where the transfer came to nothing.
    let again = asker.until(&path, "a direct connection again", DIRECT, direct);
    let logs = [asker.get(&path), giver.get(&format!("/v1/net/paths/{asker_id}"))];
    let text: String = logs.iter().flatten().map(|l| format!("{l:#}\n")).collect();
    let _ = fs::write(scene.home().join("paths.json"), text);
    outcome?;
    again?;
    trial.direct_ms = logs[0].as_ref().ok().and_then(|log| direct_after(log, happened));
    whole(&dest, &bytes)
}

/// Watches a transfer until it has ended, and for how long it stood still. `from`: when it happened, and how much there
/// was then. `mend` is called again and again.
fn to_the_end(
    asker: &Daemon,
    transfer: &str,
    from: (Instant, u64),
    mend: &mut dyn FnMut() -> Result<(), LabError>,
    trial: &mut EventTrial,
) -> Result<(), MatrixError> {
    let (happened, mut last) = from;
    let (mut since, mut longest) = (happened, Duration::ZERO);
    loop {
        mend()?;
        let document = asker.get(transfer)?;
        let now = done(&document);
        longest = longest.max(since.elapsed());
        if now != last {
            (last, since) = (now, Instant::now());
        }
        trial.stall_ms = u64::try_from(longest.as_millis()).ok();
        match document["transfer"]["state"].as_str().unwrap_or_default() {
            "done" => return Ok(()),
            "failed" | "cancelled" => return Err(late(asker, &document)),
            _ if happened.elapsed() > WHOLE => return Err(late(asker, &document)),
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn late(asker: &Daemon, document: &Value) -> MatrixError {
    MatrixError::Late {
        name: asker.name.clone(),
        seconds: WHOLE.as_secs(),
        what: format!("the transfer goes on to its end: {document}"),
    }
}

fn done(document: &Value) -> u64 {
    document["transfer"]["done"].as_u64().unwrap_or(0)
}

/// From when it happened until the direct connection there is now; none when that is an older one that has lived on.
fn direct_after(log: &Value, happened: Instant) -> Option<u64> {
    let since = log["paths"]["since"].as_u64()?;
    let now = crate::trial::now_ms();
    let ago = u64::try_from(happened.elapsed().as_millis()).ok()?;
    since.checked_sub(now.saturating_sub(ago))
}

fn whole(dest: &Path, bytes: &[u8]) -> Result<(), MatrixError> {
    let source = |source| MatrixError::File {
        path: dest.to_owned(),
        source,
    };
    let got = fs::read(dest).map_err(source)?;
    if got == bytes {
        return Ok(());
    }
    Err(source(std::io::Error::other("not the bytes that were sent")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_over_every_transport_can_be_chosen() {
        assert_eq!(events(None).len(), 6);
        assert_eq!(events(Some("cable")).len(), 2);
        assert_eq!(
            events(Some("another address (tcp)")),
            [(Event::Renumber, Transports::Tcp)]
        );
        assert!(events(Some("flood")).is_empty());
    }

    #[test]
    fn a_row_is_good_when_every_transfer_went_on_and_shows_its_worst() {
        let trial = |stall: u64, trouble: Option<&str>| EventTrial {
            side: "giver".into(),
            stall_ms: Some(stall),
            direct_ms: None,
            trouble: trouble.map(str::to_owned),
        };
        let mut row = EventRow {
            event: Event::Cable.name().into(),
            transports: "tcp".into(),
            trials: vec![trial(5100, None), trial(9000, None), trial(5200, None)],
        };
        assert!(row.good() && row.text().ends_with("ok"));
        assert_eq!(
            row.markdown(),
            "| cable out for 5 s | tcp | 3/3 | 5200 ms | 9000 ms | - |"
        );
        row.trials.push(trial(90_000, Some("it stood still")));
        assert!(!row.good() && row.text().contains("3/4") && row.text().contains("it stood still"));
    }
}
