//! Writing: many records, one write, one fdatasync; the first disk error ends it.

use super::{
    LogError, LogFile, MAX_PAYLOAD, OpenReport, Record, SEGMENT_BYTES, Storage,
    mark::{self, MarkFile},
    open,
    record::{self, Head},
    segment::{self, SegmentHead},
};
use hive_protocol::{ids::NetworkId, time::Timestamp};

/// Records waiting for one sync take at most this many bytes (and one record more).
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The number the next record gets.
    pub next: u64,
    /// The newest record's hash; zeros before the first.
    pub hash: [u8; 32],
    /// The newest record's time.
    pub time: Timestamp,
    /// The newest record's term.
    pub term: u64,
}

impl Tip {
    /// Where a log would end behind this record.
    #[must_use]
    pub const fn behind(record: &Record<'_>) -> Self {
        Self {
            next: record.index.saturating_add(1),
            hash: record.hash,
            time: record.time,
            term: record.term,
        }
    }
}

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Syncs done.
    pub syncs: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes made durable.
    pub bytes: u64,
}

/// The open log, with the one writer's position.
pub struct Log {
    storage: Box<dyn Storage>,
    network: NetworkId,
    file: Box<dyn LogFile>,
    name: String,
    len: u64,
    /// Behind the newest appended record, durable or not.
    tip: Tip,
    /// Behind the newest durable record.
    durable: Tip,
    waiting: Vec<u8>,
    marks: MarkFile,
    stopped: Option<String>,
    stats: LogStats,
}

/// A new segment file that is still empty, and the header to be written first.
struct Begun {
    file: Box<dyn LogFile>,
    name: String,
    head: Vec<u8>,
}

impl Log {
    /// Founds a ledger: its first record (number 0) is durable when this returns. What a founding that crashed half-way left behind is removed.
    ///
    /// # Errors
    /// [`LogError::Exists`] when there is a ledger already; disk errors.
    pub fn create(
        storage: Box<dyn Storage>,
        network: NetworkId,
        term: u64,
        time: Timestamp,
        payload: &[u8],
    ) -> Result<Self, LogError> {
        let place = storage.place();
        let names = storage.list().map_err(LogError::disk("listing", &place))?;
        if names.iter().any(|n| n == mark::FILE) {
            // The mark is made after the first record is durable: where it is valid, there is a ledger.
            if let (_, Some(_)) = MarkFile::open(&*storage, network, true)? {
                return Err(LogError::Exists { path: place, network });
            }
            storage
                .remove(mark::FILE)
                .map_err(LogError::disk("removing", mark::FILE))?;
        }
        for name in names.iter().filter(|n| segment::first_of(n).is_some()) {
            let file = storage.open(name).map_err(LogError::disk("opening", name))?;
            if let Some(found) = Self::is_ledger(&*file, name)? {
                return Err(LogError::Exists {
                    path: place,
                    network: found,
                });
            }
            storage.remove(name).map_err(LogError::disk("removing", name))?;
        }
        let start = Tip::default();
        let Begun {
            file,
            name,
            head: mut bytes,
        } = Self::begin(&*storage, network, start)?;
        let head = Head {
            network,
            term,
            index: start.next,
            time,
            durable: 0,
            prev: start.hash,
        };
        let hash = record::encode(&mut bytes, &head, payload).ok_or(LogError::TooLarge {
            size: payload.len(),
            limit: MAX_PAYLOAD,
        })?;
        file.write_at(0, &bytes)
            .map_err(LogError::disk("writing", &name))?;
        file.sync_data().map_err(LogError::disk("fdatasync", &name))?;
        storage
            .sync_dir()
            .map_err(LogError::disk("fsync of the folder", &place))?;
        // The mark comes last: where there is a mark, there is a ledger.
        let (mut marks, _) = MarkFile::open(&*storage, network, false)?;
        let tip = Tip {
            next: 1,
            hash,
            time,
            term,
        };
        marks.write(tip.next, tip.hash)?;
        marks.sync()?;
        storage
            .sync_dir()
            .map_err(LogError::disk("fsync of the folder", &place))?;
        let len = bytes.len() as u64;
        Ok(Self::from_open(storage, network, file, name, len, tip, marks))
    }

    /// Opens a ledger: verifies every record, shows each to `visit` in order, sets a torn tail aside.
    /// When this returns everything shown is durable.
    ///
    /// # Errors
    /// Damage, another mesh, no ledger, a newer format, disk errors. An `Err` of `visit` is reported as damage at that record.
    pub fn open(
        storage: Box<dyn Storage>,
        network: NetworkId,
        visit: &mut dyn FnMut(&Record<'_>) -> Result<(), String>,
    ) -> Result<(Self, OpenReport), LogError> {
        open::open(storage, network, visit)
    }

    pub(super) fn from_open(
        storage: Box<dyn Storage>,
        network: NetworkId,
        file: Box<dyn LogFile>,
        name: String,
        len: u64,
        tip: Tip,
        marks: MarkFile,
    ) -> Self {
        Self {
            storage,
            network,
            file,
            name,
            len,
            tip,
            durable: tip,
            waiting: Vec::new(),
            marks,
            stopped: None,
            stats: LogStats::default(),
        }
    }

    /// The mesh whose first record this file holds, or that a file too large for a failed founding may hold.
    fn is_ledger(file: &dyn LogFile, name: &str) -> Result<Option<NetworkId>, LogError> {
        let len = file.len().map_err(LogError::disk("sizing", name))?;
        let most = (segment::HEADER + record::MAX_RECORD) as u64;
        let mut bytes = vec![0; usize::try_from(len.min(most)).unwrap_or(0)];
        file.read_at(0, &mut bytes)
            .map_err(LogError::disk("reading", name))?;
        let network = segment::parse(&bytes).map(|h| h.network).ok();
        let record = bytes.get(segment::HEADER..).and_then(|b| record::parse(b).ok());
        match (network, record) {
            (_, Some((r, _))) => Ok(Some(r.network)),
            _ if len > most => Ok(Some(network.unwrap_or_default())),
            _ => Ok(None),
        }
    }

    fn begin(storage: &dyn Storage, network: NetworkId, tip: Tip) -> Result<Begun, LogError> {
        let first = tip.next;
        let name = segment::name(first);
        let file = storage.create(&name).map_err(LogError::disk("making", &name))?;
        let head = segment::encode(&SegmentHead {
            network,
            first,
            prev: tip.hash,
        });
        Ok(Begun { file, name, head })
    }

    /// Behind the newest appended record, durable or not.
    #[must_use]
    pub const fn tip(&self) -> Tip {
        self.tip
    }

    /// Behind the newest durable record.
    #[must_use]
    pub const fn durable(&self) -> Tip {
        self.durable
    }

    /// Bytes waiting for the next sync.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Counts since opening.
    #[must_use]
    pub const fn stats(&self) -> LogStats {
        self.stats
    }

    /// Queues a record behind the newest one and returns its index. Nothing is durable before [`Log::sync`].
    /// A time or term before the newest record's is raised to it.
    ///
    /// # Errors
    /// [`LogError::TooLarge`]; [`LogError::Stopped`] after a disk error.
    pub fn append(&mut self, term: u64, time: Timestamp, payload: &[u8]) -> Result<u64, LogError> {
        self.check_running()?;
        let head = Head {
            network: self.network,
            term: term.max(self.tip.term),
            index: self.tip.next,
            time: time.max(self.tip.time),
            durable: self.durable.next,
            prev: self.tip.hash,
        };
        let hash = record::encode(&mut self.waiting, &head, payload).ok_or(LogError::TooLarge {
            size: payload.len(),
            limit: MAX_PAYLOAD,
        })?;
        self.tip = Tip {
            next: head.index.saturating_add(1),
            hash,
            time: head.time,
            term: head.term,
        };
        Ok(head.index)
    }

    /// Makes every appended record durable: one write, one fdatasync. All records below the returned number are durable.
    ///
    /// # Errors
    /// The first disk error; from then on every call fails. It is never retried: after a failed fsync the system
    /// may have dropped the data and call it written.
    pub fn sync(&mut self) -> Result<u64, LogError> {
        self.check_running()?;
        let result = self.write_out();
        if let Err(e) = &result {
            self.stopped = Some(e.to_string());
            self.waiting = Vec::new();
        }
        result
    }

    fn check_running(&self) -> Result<(), LogError> {
        match &self.stopped {
            Some(first) => Err(LogError::Stopped { first: first.clone() }),
            None => Ok(()),
        }
    }

    fn write_out(&mut self) -> Result<u64, LogError> {
        if self.waiting.is_empty() {
            return Ok(self.durable.next);
        }
        if self.len >= self.storage.segment_bytes().min(SEGMENT_BYTES) {
            self.roll()?;
        }
        self.file
            .write_at(self.len, &self.waiting)
            .map_err(LogError::disk("writing", &self.name))?;
        self.file
            .sync_data()
            .map_err(LogError::disk("fdatasync", &self.name))?;
        let bytes = self.waiting.len() as u64;
        self.len = self.len.saturating_add(bytes);
        self.stats.syncs += 1;
        self.stats.bytes += bytes;
        self.stats.records += self.tip.next.saturating_sub(self.durable.next);
        self.durable = self.tip;
        self.waiting.clear();
        // Only now may the mark say so.
        self.marks.write(self.durable.next, self.durable.hash)?;
        Ok(self.durable.next)
    }

    /// Everything in the full segment is durable (each batch was synced), so a new file may follow it.
    fn roll(&mut self) -> Result<(), LogError> {
        let Begun { file, name, head } = Self::begin(&*self.storage, self.network, self.durable)?;
        file.write_at(0, &head)
            .map_err(LogError::disk("writing", &name))?;
        file.sync_data().map_err(LogError::disk("fdatasync", &name))?;
        self.storage
            .sync_dir()
            .map_err(LogError::disk("fsync of the folder", &self.storage.place()))?;
        self.marks.sync()?;
        self.len = head.len() as u64;
        self.file = file;
        self.name = name;
        Ok(())
    }

    /// Syncs what waits and makes the mark durable, so that damage to the last batch is noticed too.
    ///
    /// # Errors
    /// Disk errors.
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync()?;
        self.marks.sync()
    }
}
