//! A simulated disk: keeps a journal of every call, and makes from any prefix of it an image of what a power cut
//! could have left. Unsynced writes survive in any subset of their sectors, in any order; names that were not
//! synced survive or not; a length may survive without its bytes.

use hive_authority::log::{LogFile, Storage};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

pub type Image = BTreeMap<String, Vec<u8>>;

#[derive(Clone)]
enum Call {
    Create(String, usize),
    Remove(String),
    SyncDir,
    Write(usize, u64, Vec<u8>),
    Truncate(usize, u64),
    Sync(usize),
    /// A sync that failed: the system forgets that these bytes were never written out, though they stay readable.
    Drop(usize),
    /// The test's own note: this was acknowledged to somebody.
    Ack(u64),
}

/// A call that is to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// With this error number, nothing done.
    Error(i32),
    /// A write that stores the first half of its bytes and then says "no space".
    Short,
}

/// Syncs that say yes and do nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    Everything,
    /// Only those of the folder.
    Names,
}

#[derive(Default)]
struct Inner {
    start: Image,
    journal: Vec<Call>,
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    segment: Option<u64>,
    lies: Option<Lie>,
    calls: u64,
    fault: Option<(u64, Fault)>,
}

#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

struct Handle(Disk, usize);

impl Disk {
    pub fn new(segment: u64) -> Self {
        let disk = Self::default();
        disk.lock().segment = Some(segment);
        disk
    }

    /// A disk that starts with these files, all durable.
    pub fn from_image(image: &Image, segment: u64) -> Self {
        let disk = Self::new(segment);
        {
            let mut d = disk.lock();
            d.start = image.clone();
            for (name, bytes) in image {
                let ino = d.files.len();
                d.files.push(bytes.clone());
                d.names.insert(name.clone(), ino);
            }
        }
        disk
    }

    /// From now on these syncs say yes and do nothing.
    pub fn lie(&self, lie: Lie) {
        self.lock().lies = Some(lie);
    }

    /// The n-th call from now (0 is the next) fails once; the ones after it succeed.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        let mut d = self.lock();
        d.fault = Some((d.calls + n, fault));
    }

    /// Calls that could have failed so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub fn ack(&self, what: u64) {
        self.lock().journal.push(Call::Ack(what));
    }

    /// Length of the journal so far.
    pub fn moments(&self) -> usize {
        self.lock().journal.len()
    }

    /// What is readable now: as after `kill -9`.
    pub fn now(&self) -> Image {
        let d = self.lock();
        d.names
            .iter()
            .map(|(n, ino)| (n.clone(), d.files[*ino].clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// What a power cut after this many journal entries could have left, and what had been acknowledged by then.
    pub fn crash(&self, moment: usize, rng: &mut Rng) -> (Image, Vec<u64>) {
        let d = self.lock();
        // Each crash has a temper: how much of what was not synced survives, in percent.
        let keep = [0, 100, 20, 50, 80][rng.below(5)];
        let sector = if rng.chance(50) { 512 } else { 4096 };
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut durable: Vec<Vec<u8>> = Vec::new();
        for (name, bytes) in &d.start {
            names.insert(name.clone(), durable.len());
            durable.push(bytes.clone());
        }
        let mut loose: Vec<Vec<Call>> = vec![Vec::new(); d.files.len()];
        durable.resize(d.files.len().max(durable.len()), Vec::new());
        let mut loose_names: Vec<Call> = Vec::new();
        let mut acked = Vec::new();
        for call in &d.journal[..moment] {
            match call {
                Call::Create(..) | Call::Remove(_) => loose_names.push(call.clone()),
                Call::SyncDir => loose_names.drain(..).for_each(|c| apply_name(&mut names, &c)),
                Call::Write(ino, ..) | Call::Truncate(ino, _) => loose[*ino].push(call.clone()),
                Call::Sync(ino) => {
                    let calls = std::mem::take(&mut loose[*ino]);
                    calls.iter().for_each(|c| apply(&mut durable[*ino], c));
                }
                Call::Drop(ino) => loose[*ino].clear(),
                Call::Ack(what) => acked.push(*what),
            }
        }
        for call in loose_names {
            if rng.chance(keep) {
                apply_name(&mut names, &call);
            }
        }
        for (file, calls) in durable.iter_mut().zip(loose) {
            for call in calls {
                survive(file, &call, keep, sector, rng);
            }
        }
        let image = names
            .into_iter()
            .map(|(n, ino)| (n, durable[ino].clone()))
            .collect();
        (image, acked)
    }

    fn call(&self, write: bool) -> io::Result<(MutexGuard<'_, Inner>, bool)> {
        let mut d = self.lock();
        let n = d.calls;
        d.calls += 1;
        match d.fault {
            Some((at, Fault::Error(code))) if at == n => Err(io::Error::from_raw_os_error(code)),
            Some((at, Fault::Short)) if at == n && write => Ok((d, true)),
            Some((at, Fault::Short)) if at == n => Err(io::Error::from_raw_os_error(28)),
            _ => Ok((d, false)),
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, call: &Call) {
    match call {
        Call::Create(name, ino) => drop(names.insert(name.clone(), *ino)),
        Call::Remove(name) => drop(names.remove(name)),
        _ => {}
    }
}

fn apply(file: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Write(_, offset, bytes) => put(file, usize::try_from(*offset).unwrap(), bytes),
        Call::Truncate(_, len) => file.resize(usize::try_from(*len).unwrap(), 0),
        _ => {}
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// Applies an unsynced call sector by sector, each surviving by chance.
fn survive(file: &mut Vec<u8>, call: &Call, keep: u64, sector: usize, rng: &mut Rng) {
    match call {
        Call::Write(_, offset, bytes) => {
            let offset = usize::try_from(*offset).unwrap();
            let mut at = 0;
            while at < bytes.len() {
                let room = sector - (offset + at) % sector;
                let end = (at + room).min(bytes.len());
                if rng.chance(keep) {
                    put(file, offset + at, &bytes[at..end]);
                }
                at = end;
            }
            // The new length may survive although the bytes do not.
            if rng.chance(keep) && file.len() < offset + bytes.len() {
                file.resize(offset + bytes.len(), 0);
            }
        }
        Call::Truncate(..) if rng.chance(keep) => apply(file, call),
        _ => {}
    }
}

impl Storage for Disk {
    fn place(&self) -> String {
        "simulated".into()
    }
    fn segment_bytes(&self) -> u64 {
        self.lock().segment.unwrap()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        let (d, _) = self.call(false)?;
        Ok(d.names.keys().cloned().collect())
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let (d, _) = self.call(false)?;
        let ino = *d.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(d);
        Ok(Box::new(Handle(self.clone(), ino)))
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let (mut d, _) = self.call(false)?;
        if d.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ino = d.files.len();
        d.files.push(Vec::new());
        d.names.insert(name.to_owned(), ino);
        d.journal.push(Call::Create(name.to_owned(), ino));
        drop(d);
        Ok(Box::new(Handle(self.clone(), ino)))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut d, _) = self.call(false)?;
        d.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        d.journal.push(Call::Remove(name.to_owned()));
        Ok(())
    }
    fn sync_dir(&self) -> io::Result<()> {
        let (mut d, _) = self.call(false)?;
        if d.lies.is_none() {
            d.journal.push(Call::SyncDir);
        }
        Ok(())
    }
}

impl LogFile for Handle {
    fn len(&self) -> io::Result<u64> {
        let (d, _) = self.0.call(false)?;
        Ok(d.files[self.1].len() as u64)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (d, _) = self.0.call(false)?;
        let at = usize::try_from(offset).unwrap();
        let bytes = d.files[self.1]
            .get(at..at + buffer.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut d, short) = self.0.call(true)?;
        let done = if short { &bytes[..bytes.len() / 2] } else { bytes };
        let call = Call::Write(self.1, offset, done.to_vec());
        apply(&mut d.files[self.1], &call);
        d.journal.push(call);
        if short {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        let (mut d, _) = self.0.call(false)?;
        let call = Call::Truncate(self.1, len);
        apply(&mut d.files[self.1], &call);
        d.journal.push(call);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let called = self.0.call(false);
        let Ok((mut d, _)) = called else {
            self.0.lock().journal.push(Call::Drop(self.1));
            return called.map(|_| ());
        };
        if d.lies != Some(Lie::Everything) {
            d.journal.push(Call::Sync(self.1));
        }
        Ok(())
    }
}
