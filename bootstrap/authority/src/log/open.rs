//! Opening: every byte is checked, a torn tail is set aside, damage is refused.

use super::{
    LogError, LogFile, MAX_BATCH_BYTES, Record, SEGMENT_BYTES, Storage,
    mark::{self, Mark, MarkFile},
    record::{self, Broken},
    segment,
    write::{Log, Tip},
};
use hive_protocol::{ids::NetworkId, time::Timestamp};

/// Torn tails kept beside the log; the oldest go first.
const MAX_TORN_FILES: usize = 16;

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Records read and verified.
    pub records: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The torn tail that was set aside, if there was one.
    pub torn: Option<Torn>,
    /// No whole mark was found: damage to the very last batch would have gone unnoticed.
    pub without_mark: bool,
}

/// A tail that was never acknowledged, cut off after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment it was cut from.
    pub file: String,
    /// Where it began, in bytes.
    pub offset: u64,
    /// The record that would have been there.
    pub index: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where they were moved; `None` when they were all zero.
    pub saved: Option<String>,
}

/// Where the scan of one segment ended.
struct Scanned {
    bytes: Vec<u8>,
    /// Length of the good part.
    good: usize,
    broken: Option<Broken>,
    /// Where the first record not covered by the mark begins.
    unmarked: usize,
}

struct Scan<'a> {
    network: NetworkId,
    mark: Option<Mark>,
    tip: Tip,
    visit: &'a mut dyn FnMut(&Record<'_>) -> Result<(), String>,
}

/// Opens the log in this storage and shows every record to `visit`, in order.
pub(super) fn open(
    storage: Box<dyn Storage>,
    network: NetworkId,
    visit: &mut dyn FnMut(&Record<'_>) -> Result<(), String>,
) -> Result<(Log, OpenReport), LogError> {
    let place = storage.place();
    let names = storage.list().map_err(LogError::disk("listing", &place))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|n| segment::first_of(n)).collect();
    firsts.sort_unstable();
    let Some(&last) = firsts.last() else {
        return Err(LogError::Absent { path: place });
    };
    let has_mark = names.iter().any(|n| n == mark::FILE);
    let (mut marks, mark) = MarkFile::open(&*storage, network, has_mark)?;
    let mut report = OpenReport {
        segments: firsts.len() as u64,
        without_mark: mark.is_none(),
        ..OpenReport::default()
    };
    let mut scan = Scan {
        network,
        mark,
        tip: Tip::default(),
        visit,
    };
    let mut end = None;
    for first in firsts {
        let name = segment::name(first);
        let expected = scan.tip.next;
        if first != expected {
            let what = format!(
                "the segment beginning with record {expected} is missing; the next one begins with record {first}"
            );
            return Err(LogError::corrupt(&name, 0, expected, what));
        }
        let file = storage.open(&name).map_err(LogError::disk("opening", &name))?;
        let scanned = scan.segment(&*file, &name, first)?;
        report.bytes = report.bytes.saturating_add(scanned.good as u64);
        if let Some(broken) = scanned.broken {
            scan.judge(&name, &scanned, broken, first == last)?;
        }
        end = Some((file, name, scanned));
    }
    scan.check_reach(end.as_ref().map_or("", |e| e.1.as_str()))?;
    let tip = scan.tip;
    let Some((file, name, scanned)) = end else {
        return Err(LogError::Absent { path: place });
    };
    if tip.next == 0 {
        // The very first write never became whole: no ledger was ever founded here.
        return Err(LogError::Absent { path: place });
    }
    report.records = tip.next;
    if scanned.broken.is_some() {
        report.torn = Some(set_aside(&*storage, &*file, &name, &scanned, tip.next)?);
    }
    let (file, name, len) = if scanned.good == 0 {
        // Not even the header of this segment became whole: go on in the one before.
        storage.remove(&name).map_err(LogError::disk("removing", &name))?;
        storage
            .sync_dir()
            .map_err(LogError::disk("fsync of the folder", &place))?;
        let name = before(&*storage, segment::first_of(&name).unwrap_or(u64::MAX))?;
        let file = storage.open(&name).map_err(LogError::disk("opening", &name))?;
        let len = file.len().map_err(LogError::disk("sizing", &name))?;
        (file, name, len)
    } else {
        settle(&*file, &name, &scanned)?;
        (file, name, scanned.good as u64)
    };
    // A segment made just before the crash may not have its name on the disk yet.
    storage
        .sync_dir()
        .map_err(LogError::disk("fsync of the folder", &place))?;
    marks.write(tip.next, tip.hash)?;
    marks.sync()?;
    Ok((
        Log::from_open(storage, network, file, name, len, tip, marks),
        report,
    ))
}

/// Records not covered by the mark may sit in memory only, or a failed fsync may have dropped them behind our
/// back (the kernel then calls the page clean). Writing the same bytes again and syncing settles it.
fn settle(file: &dyn LogFile, name: &str, scanned: &Scanned) -> Result<(), LogError> {
    if let Some(again) = scanned.bytes.get(scanned.unmarked..scanned.good)
        && !again.is_empty()
    {
        file.write_at(scanned.unmarked as u64, again)
            .map_err(LogError::disk("rewriting the tail", name))?;
    }
    file.sync_data().map_err(LogError::disk("fdatasync", name))
}

fn before(storage: &dyn Storage, first: u64) -> Result<String, LogError> {
    let place = storage.place();
    let names = storage.list().map_err(LogError::disk("listing", &place))?;
    names
        .iter()
        .filter_map(|n| segment::first_of(n))
        .filter(|n| *n < first)
        .max()
        .map(segment::name)
        .ok_or(LogError::Absent { path: place })
}

impl Scan<'_> {
    fn segment(&mut self, file: &dyn LogFile, name: &str, first: u64) -> Result<Scanned, LogError> {
        let len = file.len().map_err(LogError::disk("sizing", name))?;
        let limit = SEGMENT_BYTES + MAX_BATCH_BYTES as u64 + record::MAX_SLACK;
        if len > limit {
            let what = format!("the file has {len} bytes, more than a segment can have ({limit})");
            return Err(LogError::corrupt(name, limit, first, what));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_at(0, &mut bytes)
            .map_err(LogError::disk("reading", name))?;
        let mut done = Scanned {
            bytes,
            good: 0,
            broken: None,
            unmarked: 0,
        };
        let corrupt =
            |at: usize, index: u64, what: String| Err(LogError::corrupt(name, at as u64, index, what));
        match segment::parse(&done.bytes) {
            Ok(head) if head.network != self.network => {
                let what = format!(
                    "this is the ledger of mesh {}, not of {}",
                    head.network, self.network
                );
                return corrupt(0, first, what);
            }
            Ok(head) if head.first != first || head.prev != self.tip.hash => {
                return corrupt(
                    0,
                    first,
                    "the segment's header does not follow the record before it".into(),
                );
            }
            Ok(_) => done.good = segment::HEADER,
            Err(Broken::Version(found)) => return Err(version(name, 0, found)),
            Err(broken) => {
                done.broken = Some(broken);
                return Ok(done);
            }
        }
        if self.mark.is_some_and(|m| m.next > first) {
            done.unmarked = done.good;
        }
        while let Some(rest) = done.bytes.get(done.good..).filter(|r| !r.is_empty()) {
            let at = done.good;
            let (record, len) = match record::parse(rest) {
                Ok(whole) => whole,
                Err(Broken::Version(found)) => return Err(version(name, at, found)),
                Err(broken) => {
                    done.broken = Some(broken);
                    break;
                }
            };
            if let Some(what) = self.misfit(&record) {
                return corrupt(at, self.tip.next, what);
            }
            if let Err(what) = (self.visit)(&record) {
                return corrupt(at, record.index, what);
            }
            self.tip = Tip::behind(&record);
            done.good = at.saturating_add(len);
            if self.mark.is_some_and(|m| m.next > record.index) {
                done.unmarked = done.good;
            }
        }
        Ok(done)
    }

    /// Why a whole record does not belong at this place.
    fn misfit(&self, r: &Record<'_>) -> Option<String> {
        let expected = self.tip.next;
        if r.network != self.network {
            return Some(format!("the record belongs to mesh {}", r.network));
        }
        if r.index != expected {
            return Some(format!("record {} stands where {expected} belongs", r.index));
        }
        if r.prev != self.tip.hash {
            return Some("the record does not name the hash of the one before it".into());
        }
        if r.term < self.tip.term || r.time < self.tip.time || r.durable > r.index {
            return Some("term, time or durable index run backwards".into());
        }
        if self
            .mark
            .is_some_and(|m| m.next == r.index.saturating_add(1) && m.hash != r.hash)
        {
            return Some("another record was made durable under this number".into());
        }
        None
    }

    /// A broken record is a torn tail only when nothing proves that it had been durable.
    fn judge(&self, name: &str, s: &Scanned, broken: Broken, last: bool) -> Result<(), LogError> {
        let index = self.tip.next;
        let corrupt = |why: String| {
            let what = format!("{}, and {why}", broken.text());
            Err(LogError::corrupt(name, s.good as u64, index, what))
        };
        if !last {
            return corrupt("later segments follow it".into());
        }
        if let Some(mark) = self.mark.filter(|m| m.next > index) {
            return corrupt(format!("records below {} had been made durable", mark.next));
        }
        let mut at = s.good.saturating_add(1);
        while let Some(rest) = s.bytes.get(at..) {
            let Some(found) = rest.windows(4).position(|w| w == record::MAGIC) else {
                break;
            };
            at = at.saturating_add(found);
            let Some(candidate) = s.bytes.get(at..) else {
                break;
            };
            match record::parse(candidate) {
                Ok((r, _)) if r.network == self.network && r.durable > index => {
                    return corrupt(format!(
                        "record {} behind it says that it had been made durable",
                        r.index
                    ));
                }
                Ok((_, len)) => at = at.saturating_add(len),
                Err(_) => at = at.saturating_add(1),
            }
        }
        Ok(())
    }

    /// Refuses when the mark knows of records the files no longer have.
    fn check_reach(&self, name: &str) -> Result<(), LogError> {
        match self.mark {
            Some(mark) if mark.next > self.tip.next => {
                let index = self.tip.next;
                let what = format!(
                    "records from {index} to below {} had been made durable, but the files end before them",
                    mark.next
                );
                Err(LogError::corrupt(name, 0, index, what))
            }
            _ => Ok(()),
        }
    }
}

fn version(name: &str, at: usize, found: u16) -> LogError {
    LogError::Version {
        file: name.to_owned(),
        offset: at as u64,
        found,
        spoken: record::VERSION,
    }
}

/// Copies the torn tail beside the log, makes the copy durable, and only then cuts it off.
fn set_aside(
    storage: &dyn Storage,
    file: &dyn LogFile,
    name: &str,
    scanned: &Scanned,
    index: u64,
) -> Result<Torn, LogError> {
    let tail = scanned.bytes.get(scanned.good..).unwrap_or_default();
    let place = storage.place();
    let mut saved = None;
    if tail.iter().any(|b| *b != 0) {
        let names = storage.list().map_err(LogError::disk("listing", &place))?;
        let mut old: Vec<&String> = names.iter().filter(|n| n.starts_with("torn-")).collect();
        old.sort_unstable();
        let mut number = 0_u64;
        let side = loop {
            let side = format!("torn-{index:020}-{number}.bin");
            if !names.contains(&side) {
                break side;
            }
            number = number.saturating_add(1);
        };
        for surplus in old.iter().take((old.len() + 1).saturating_sub(MAX_TORN_FILES)) {
            storage
                .remove(surplus)
                .map_err(LogError::disk("removing", surplus))?;
        }
        let copy = storage.create(&side).map_err(LogError::disk("making", &side))?;
        copy.write_at(0, tail).map_err(LogError::disk("writing", &side))?;
        copy.sync_data().map_err(LogError::disk("fdatasync", &side))?;
        storage
            .sync_dir()
            .map_err(LogError::disk("fsync of the folder", &place))?;
        saved = Some(side);
    }
    file.truncate(scanned.good as u64)
        .map_err(LogError::disk("cutting the torn tail of", name))?;
    file.sync_data().map_err(LogError::disk("fdatasync", name))?;
    Ok(Torn {
        file: name.to_owned(),
        offset: scanned.good as u64,
        index,
        bytes: tail.len() as u64,
        saved,
    })
}

impl Default for Tip {
    fn default() -> Self {
        Self {
            next: 0,
            hash: [0; 32],
            time: Timestamp(0),
            term: 0,
        }
    }
}
