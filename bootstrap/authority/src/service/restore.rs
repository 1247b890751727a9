//! From the log to a state: founding and replay, with the history index following along.

use super::{OpenError, core::TERM};
use crate::{
    history::{Feed, History, HistoryError, Writer, touched},
    log::{DirStorage, Log, LogError, OpenReport, Record, Storage, Tip},
};
use hive_protocol::{command::Refusal, genesis::Genesis, ids::NetworkId};
use hive_state::{Entry, State};
use std::path::Path;

/// The index's folder beside the ledger's files.
const HISTORY: &str = "history.sled";

/// What an authority starts with.
pub(super) struct Restored {
    pub log: Log,
    pub state: State,
    pub report: OpenReport,
    pub history: Option<History>,
    pub writer: Option<Writer>,
}

/// Founds a ledger; an index beside it, should one be left over, is made anew.
pub(super) fn found(
    storage: Box<dyn Storage>,
    genesis: &[u8],
    dir: Option<&Path>,
) -> Result<Restored, OpenError> {
    let state = State::genesis(genesis)?;
    let network = state.network();
    let payload = Entry::Genesis(genesis.to_vec()).encode()?;
    let log = Log::create(storage, network, TERM, state.now(), &payload)?;
    let index = dir.and_then(|dir| {
        let path = dir.join(HISTORY);
        let fresh = History::set_aside(&path);
        warned(fresh.and_then(|()| open_index(&path, network)))
    });
    let (history, mut writer) = index.unzip();
    if let Some(writer) = &mut writer {
        writer.feed_patiently(Feed {
            lines: touched(&state, &[], 0),
            tip: log.durable(),
        });
    }
    let report = OpenReport {
        records: 1,
        segments: 1,
        ..OpenReport::default()
    };
    Ok(Restored {
        log,
        state,
        report,
        history,
        writer,
    })
}

/// Restores from a folder. An index that turns out to be of another log is made anew, which takes a second replay.
pub(super) fn restore_dir(dir: &Path, network: NetworkId) -> Result<Restored, OpenError> {
    let path = dir.join(HISTORY);
    let storage = Box::new(DirStorage::take(dir)?);
    let restored = restore(storage, network, warned(open_index(&path, network)))?;
    if restored.history.is_some() || !path.exists() {
        return Ok(restored);
    }
    // The lock goes with the log and is taken again.
    drop(restored);
    let fresh = warned(History::set_aside(&path).and_then(|()| open_index(&path, network)));
    restore(Box::new(DirStorage::take(dir)?), network, fresh)
}

fn open_index(path: &Path, network: NetworkId) -> Result<(History, Writer), HistoryError> {
    let (history, applied) = History::open(path, network)?;
    let writer = Writer::start(history.clone(), network, applied)?;
    Ok((history, writer))
}

/// Without its index an authority only answers less of old history.
fn warned<T>(result: Result<T, HistoryError>) -> Option<T> {
    result
        .inspect_err(|e| tracing::warn!(target: "hive_authority", "{e}"))
        .ok()
}

/// Verifies the log and rebuilds the state from it. Signatures were checked before the records were written and the
/// chain proves the bytes are the same, so they are not checked again. An index that does not belong to this log
/// is left out of what is returned.
pub(super) fn restore(
    storage: Box<dyn Storage>,
    network: NetworkId,
    index: Option<(History, Writer)>,
) -> Result<Restored, OpenError> {
    let place = storage.place();
    let (mut history, mut writer) = index.unzip();
    let mut state: Option<State> = None;
    let mut step = |r: &Record<'_>| {
        let lines_wanted = writer.as_ref().is_some_and(|w| r.index >= w.applied().next);
        let lines = apply(&mut state, r, lines_wanted).map_err(|e| format!("{}: {}", e.code, e.detail))?;
        let Some(index) = &mut writer else {
            return Ok(());
        };
        let (applied, tip) = (index.applied(), Tip::behind(r));
        if applied.next == tip.next && applied.hash != tip.hash {
            writer = None;
        } else if let Some(lines) = lines {
            index.feed_patiently(Feed { lines, tip });
        }
        Ok(())
    };
    let (log, report) = Log::open(storage, network, &mut step)?;
    if let Some(torn) = &report.torn {
        tracing::warn!(
            target: "hive_authority",
            "ledger.torn: {} bytes of {} from byte {} on were written when the machine stopped and had never been acknowledged; cut off, kept as {}",
            torn.bytes, torn.file, torn.offset, torn.saved.as_deref().unwrap_or("nothing (all zero)")
        );
    }
    if report.without_mark {
        tracing::warn!(target: "hive_authority", "ledger.mark: no whole mark was found beside the log; damage to its last batch would have gone unnoticed");
    }
    if writer
        .as_ref()
        .is_some_and(|w| w.applied().next > log.durable().next)
    {
        writer = None;
    }
    if writer.is_none() {
        history = None;
    }
    match state {
        Some(state) => Ok(Restored {
            log,
            state,
            report,
            history,
            writer,
        }),
        // A log that opened has at least record 0.
        None => Err(LogError::Absent { path: place }.into()),
    }
}

type Lines = Vec<(
    hive_protocol::ids::AccountId,
    hive_protocol::authority::LedgerLine,
)>;

fn apply(state: &mut Option<State>, r: &Record<'_>, lines: bool) -> Result<Option<Lines>, Refusal> {
    let refuse = |e: String| Refusal::new("log.entry", e);
    let Some(state) = state else {
        let Entry::Genesis(bytes) = Entry::decode(r.payload).map_err(|e| refuse(e.to_string()))? else {
            return Err(refuse("the first record is no founding document".into()));
        };
        if Genesis::network_of(&bytes) != r.network {
            return Err(refuse("the founding document is of another mesh".into()));
        }
        let first = State::genesis(&bytes).map_err(|e| refuse(e.to_string()))?;
        let lines = lines.then(|| touched(&first, &[], 0));
        *state = Some(first);
        return Ok(lines);
    };
    let applied = state.replay(r.index, r.time, r.payload);
    if applied.outcome?.repeated {
        return Err(refuse("the command stands in the log twice".into()));
    }
    Ok(lines.then(|| touched(state, &applied.events, r.index)))
}
