//! What the tests of files share: a store in a folder of its own, files to add, a transfer without a network.
#![allow(dead_code)]

use hive_protocol::{file::segments, ids::BlobHash};
use hive_store::{
    BlobStore, DataDir, DiskBudget,
    files::{AddOptions, AddedPath, Destination, FileStore, Partial, Report, Source},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime},
};

pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

pub fn open(data: &Path) -> (DataDir, FileStore, Report) {
    let dir = DataDir::open(data).unwrap();
    let (blobs, _) = BlobStore::open_in(&dir, DiskBudget::new(1 << 40)).unwrap();
    let (store, report) = FileStore::open(&dir, blobs).unwrap();
    (dir, store, report)
}

/// A store, and a folder for the files of its user.
pub struct Node {
    pub store: FileStore,
    pub report: Report,
    dir: Option<DataDir>,
    pub temp: tempfile::TempDir,
}

impl Node {
    pub fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub fn at(temp: tempfile::TempDir) -> Self {
        fs::create_dir_all(temp.path().join("files")).unwrap();
        let (dir, store, report) = open(&temp.path().join("data"));
        Self {
            store,
            report,
            dir: Some(dir),
            temp,
        }
    }

    /// Closes the store and opens it again; nothing of it may be held.
    pub fn reopen(&mut self) {
        let spare = tempfile::tempdir().unwrap();
        let (dir, store, _) = open(spare.path());
        // The old one has to be gone before the new one can have the lock.
        drop(std::mem::replace(&mut self.store, store));
        drop(self.dir.replace(dir));
        let (dir, store, report) = open(&self.temp.path().join("data"));
        self.store = store;
        self.dir = Some(dir);
        self.report = report;
    }

    pub fn path(&self, rel: &str) -> PathBuf {
        self.temp.path().join("files").join(rel)
    }

    pub fn file(&self, rel: &str, data: &[u8]) -> PathBuf {
        let path = self.path(rel);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, data).unwrap();
        path
    }

    pub fn add(&self, path: &Path) -> AddedPath {
        self.store
            .add_path(path, &AddOptions::default(), &AtomicBool::new(false))
            .unwrap()
    }

    pub fn dest(&self, path: Option<&Path>) -> Destination {
        Destination {
            path: path.map(Path::to_path_buf),
            ..Destination::default()
        }
    }

    pub fn begin(&self, hash: &BlobHash, path: Option<&Path>) -> Partial {
        self.store.begin(hash, &self.dest(path), u64::MAX).unwrap()
    }

    /// What is kept about content, by name.
    pub fn known(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for place in ["cvs", "folders", "partials", "chunks", "tmp"] {
            let items = fs::read_dir(self.temp.path().join("data/files").join(place)).unwrap();
            all.extend(items.map(|i| i.unwrap().path()));
        }
        all
    }
}

/// Gives everything that is missing, a segment at a time; returns the bytes given.
pub fn transfer(from: &Source, to: &Partial) -> u64 {
    if to.size().is_none() {
        to.set_tree(from.size(), &from.segment_cvs().unwrap()).unwrap();
    }
    let (mut bytes, mut given) = (Vec::new(), 0);
    for segment in 0..segments(from.size()) {
        let missing = to.missing(segment);
        if missing == 0 {
            continue;
        }
        if !to.has_groups(segment) {
            to.set_groups(segment, &from.group_cvs(segment).unwrap()).unwrap();
        }
        bytes.clear();
        from.read(segment, missing, &mut bytes).unwrap();
        given += bytes.len() as u64;
        assert_eq!(to.write_mask(segment, missing, &bytes).unwrap(), missing);
    }
    assert!(to.is_whole());
    assert_eq!(to.bytes_here(), from.size());
    given
}

pub fn set_mtime(path: &Path, to: SystemTime) {
    let times = fs::FileTimes::new().set_modified(to);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

/// Makes a file look as if it had not been changed just now.
pub fn age(path: &Path) {
    set_mtime(path, SystemTime::now() - Duration::from_secs(3600));
}
