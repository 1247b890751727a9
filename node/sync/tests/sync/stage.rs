//! Both sides of mirrors on real folders, with contents carried by a test's own hands.

use futures::future::BoxFuture;
use hive_protocol::{
    ids::{BlobHash, NodeId, NoticeId, SyncId, TransferId},
    manifest::{Entry, EntryKind, Manifest},
    notice::Priority,
    time::Timestamp,
};
use hive_store::SledJournal;
use hive_sync::{
    Added, FetchFault, FetchFile, Fetcher, Found, InDeps, InState, Incoming, Library, NewState, News, Offer,
    Origin, OutDeps, Outgoing, ReplicaView, Sender, SyncError, TREES,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;

pub const ME: NodeId = NodeId([7; 32]);
pub const OTHER: NodeId = NodeId([9; 32]);
/// Generous: a machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    Arc::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp(now.as_millis() as u64)
    })
}

type Before = Box<dyn FnMut(&FetchFile) + Send>;

/// Contents that can be had, and what was asked for.
#[derive(Default)]
pub struct Shelf {
    pub manifests: Mutex<BTreeMap<BlobHash, Manifest>>,
    /// Where each content lies.
    pub files: Mutex<BTreeMap<BlobHash, PathBuf>>,
    pub bytes: Mutex<BTreeMap<BlobHash, Vec<u8>>>,
    pub fetched: Mutex<Vec<FetchFile>>,
    pub fetched_bytes: AtomicU64,
    /// Nothing is given while it is set.
    pub shut: AtomicBool,
    /// Called before each content is put at its path.
    pub before_each: Mutex<Option<Before>>,
    pub settled: AtomicUsize,
    /// The next fetch says that the disk is full after so many contents.
    pub full_after: Mutex<Option<usize>>,
}

pub fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash(*blake3::hash(bytes).as_bytes())
}

impl Shelf {
    pub fn put(&self, bytes: &[u8]) -> BlobHash {
        let hash = hash(bytes);
        self.bytes.lock().unwrap().insert(hash, bytes.to_vec());
        hash
    }

    /// Puts a manifest made of these entries on the shelf.
    pub fn state(&self, entries: Vec<Entry>) -> BlobHash {
        let manifest = Manifest::new(entries).unwrap();
        let root = hash(&manifest.encode().unwrap());
        self.manifests.lock().unwrap().insert(root, manifest);
        root
    }

    fn read(&self, hash: &BlobHash) -> Option<Vec<u8>> {
        if let Some(bytes) = self.bytes.lock().unwrap().get(hash) {
            return Some(bytes.clone());
        }
        let path = self.files.lock().unwrap().get(hash)?.clone();
        let bytes = fs::read(path).ok()?;
        (self::hash(&bytes) == *hash).then_some(bytes)
    }
}

pub struct Carrier(pub Arc<Shelf>);

impl Fetcher for Carrier {
    fn manifest(
        &self,
        from: &Origin,
        _: Option<BlobHash>,
    ) -> BoxFuture<'static, Result<Manifest, FetchFault>> {
        let found = self.0.manifests.lock().unwrap().get(&from.root).cloned();
        Box::pin(async move {
            found.ok_or_else(|| FetchFault {
                code: "file.no_provider".into(),
                text: "nobody has the manifest".into(),
                disk_full: false,
            })
        })
    }

    fn fetch(
        &self,
        _: &Origin,
        files: Vec<FetchFile>,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, Result<(), FetchFault>> {
        let shelf = self.0.clone();
        Box::pin(async move {
            let fault = |code: &str, disk_full| FetchFault {
                code: code.into(),
                text: "test".into(),
                disk_full,
            };
            let (mut done, mut missing) = (0, false);
            for (n, file) in files.into_iter().enumerate() {
                if *stop.borrow() {
                    return Err(fault("file.cancelled", false));
                }
                if shelf.full_after.lock().unwrap().is_some_and(|at| n >= at) {
                    return Err(fault("store.disk_full", true));
                }
                if let Some(before) = shelf.before_each.lock().unwrap().as_mut() {
                    before(&file);
                }
                let bytes = if shelf.shut.load(Ordering::Relaxed) {
                    None
                } else {
                    shelf.read(&file.hash)
                };
                let Some(bytes) = bytes else {
                    missing = true;
                    continue;
                };
                let part = file.path.with_extension("part");
                if fs::write(&part, &bytes)
                    .and_then(|()| fs::rename(&part, &file.path))
                    .is_err()
                {
                    return Err(fault("store.io", false));
                }
                done += bytes.len() as u64;
                shelf
                    .fetched_bytes
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                shelf.fetched.lock().unwrap().push(file);
                progress(done);
            }
            if missing {
                Err(fault("file.no_provider", false))
            } else {
                Ok(())
            }
        })
    }

    fn settled(&self, _: &Origin, _: &Path, _: &Manifest, _: &[String]) {
        self.0.settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Hashes folders and puts them on the shelf.
pub struct Shelving(pub Arc<Shelf>);

impl Library for Shelving {
    fn add(&self, dir: &Path, found: Vec<Found>, _: &str, _: &AtomicBool) -> Result<Added, SyncError> {
        let (mut entries, mut failed) = (Vec::new(), Vec::new());
        for found in found {
            let mut entry = found.entry;
            if let EntryKind::File { hash, .. } = &mut entry.kind {
                let path = dir.join(&entry.path);
                let steady = fs::metadata(&path).is_ok_and(|m| m.ino() == found.ino);
                match fs::read(&path) {
                    Ok(bytes) if steady => {
                        *hash = self::hash(&bytes);
                        self.0.files.lock().unwrap().insert(*hash, path);
                    }
                    result => {
                        let why = result.err().map_or("changed".to_owned(), |e| e.to_string());
                        failed.push((entry.path.clone(), why, false));
                        match found.older {
                            Some(older) => entry = older,
                            None => continue,
                        }
                    }
                }
            }
            entries.push(entry);
        }
        let manifest = Manifest::new(entries).unwrap();
        let root = hash(&manifest.encode().unwrap());
        self.0.manifests.lock().unwrap().insert(root, manifest.clone());
        Ok(Added {
            root,
            manifest,
            failed,
        })
    }

    fn manifest(&self, root: &BlobHash) -> Option<Manifest> {
        self.0.manifests.lock().unwrap().get(root).cloned()
    }

    fn release(&self, _: &BlobHash, _: &str) {}
}

/// Remembers what was announced, and when; hands it to a receiver if there is one.
#[derive(Default)]
pub struct Post {
    pub sent: Mutex<Vec<(NewState, Instant)>>,
    pub to: Mutex<Option<(Incoming, PathBuf)>>,
    pub count: watch::Sender<usize>,
    pub refuse: AtomicBool,
}

/// [`Post`], as a sender.
pub struct Clerk(pub Arc<Post>);

impl Sender for Clerk {
    fn send(&self, state: NewState) -> BoxFuture<'static, Result<NoticeId, String>> {
        if self.0.refuse.load(Ordering::Relaxed) {
            return Box::pin(async { Err("the post is closed".to_owned()) });
        }
        let mut sent = self.0.sent.lock().unwrap();
        sent.push((state.clone(), Instant::now()));
        let n = sent.len();
        drop(sent);
        if let Some((incoming, dir)) = &*self.0.to.lock().unwrap() {
            let sync = state.notice.sync.clone().unwrap();
            incoming
                .offer(
                    offer(dir, sync.seq, state.notice.root, sync.versions),
                    Quiet::new(),
                )
                .unwrap();
        }
        self.0.count.send_replace(n);
        Box::pin(async move { Ok(NoticeId([n as u8; 16])) })
    }
}

impl Post {
    pub async fn wait_for(&self, count: usize) {
        let mut watch = self.count.subscribe();
        let waited = tokio::time::timeout(DEADLINE, watch.wait_for(|n| *n >= count)).await;
        waited.expect("a state in time").unwrap();
    }
    pub fn last(&self) -> NewState {
        self.sent.lock().unwrap().last().unwrap().0.clone()
    }
    pub fn number(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

pub fn offer(dir: &Path, seq: u64, root: BlobHash, versions: u32) -> Offer {
    Offer {
        sync: SyncId([1; 16]),
        from: OTHER,
        seq,
        root,
        versions,
        dir: dir.to_path_buf(),
        name: "test".into(),
        hints: vec![OTHER],
        priority: Priority::Normal,
        transfer: TransferId([1; 16]),
    }
}

#[derive(Default)]
pub struct Quiet {
    pub done: AtomicUsize,
    pub failed: Mutex<Vec<(String, bool)>>,
    ended: tokio::sync::Notify,
    pub progress: Mutex<Vec<(u64, u64)>>,
}

impl Quiet {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub async fn wait_failed(&self, count: usize) {
        while self.failed.lock().unwrap().len() < count {
            tokio::time::timeout(DEADLINE, self.ended.notified())
                .await
                .expect("an end in time");
        }
    }
}

impl News for Quiet {
    fn progress(&self, done: u64, total: u64) {
        self.progress.lock().unwrap().push((done, total));
    }
    fn waiting(&self, _: String) {}
    fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
    fn failed(&self, why: String, again: bool) {
        self.failed.lock().unwrap().push((why, again));
        self.ended.notify_one();
    }
}

pub fn journal(dir: &Path) -> Arc<SledJournal> {
    Arc::new(SledJournal::open(dir, TREES).unwrap().0)
}

/// A receiver with a folder and a shelf.
pub struct Receiver {
    pub temp: tempfile::TempDir,
    pub shelf: Arc<Shelf>,
    pub incoming: Incoming,
    pub dir: PathBuf,
}

impl Receiver {
    pub async fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let shelf = Arc::<Shelf>::default();
        let incoming = open(&temp.path().join("journal"), &shelf).await;
        let dir = temp.path().join("copy");
        Self {
            temp,
            shelf,
            incoming,
            dir,
        }
    }

    /// Offers a state and waits until it is reached.
    pub async fn reach(&self, seq: u64, entries: Vec<Entry>) -> ReplicaView {
        self.reach_with(seq, entries, 0).await
    }

    pub async fn reach_with(&self, seq: u64, entries: Vec<Entry>, versions: u32) -> ReplicaView {
        let root = self.shelf.state(entries);
        self.incoming
            .offer(offer(&self.dir, seq, root, versions), Quiet::new())
            .unwrap();
        self.wait(|v| v.seq == seq && matches!(v.state, InState::Whole | InState::Partial))
            .await
    }

    pub async fn wait(&self, until: impl Fn(&ReplicaView) -> bool) -> ReplicaView {
        wait_view(&self.incoming, until).await
    }

    pub fn file(&self, path: &str, bytes: &[u8]) -> Entry {
        let hash = self.shelf.put(bytes);
        Entry {
            path: path.into(),
            kind: EntryKind::File {
                hash,
                size: bytes.len() as u64,
            },
            mode: 0o644,
            mtime_ns: 1_600_000_000_123_456_789,
        }
    }

    pub fn read(&self, path: &str) -> String {
        String::from_utf8(fs::read(self.dir.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
    }

    pub fn fetched(&self) -> usize {
        self.shelf.fetched.lock().unwrap().len()
    }
}

pub async fn open(journal_dir: &Path, shelf: &Arc<Shelf>) -> Incoming {
    let deps = InDeps {
        journal: journal(journal_dir),
        fetcher: Arc::new(Carrier(shelf.clone())),
        clock: clock(),
        me: ME,
    };
    Incoming::start(deps).await.unwrap()
}

pub async fn wait_view(incoming: &Incoming, until: impl Fn(&ReplicaView) -> bool) -> ReplicaView {
    let mut changes = incoming.changes();
    let waited = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(view) = incoming.list().into_iter().find(|v| until(v)) {
                return view;
            }
            changes.changed().await.unwrap();
        }
    });
    match waited.await {
        Ok(view) => view,
        Err(_) => panic!("not in time: {:?}", incoming.list()),
    }
}

pub fn folder(path: &str, mode: u32) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::Folder,
        mode,
        mtime_ns: 1_500_000_000_000_000_000,
    }
}

pub fn link(path: &str, target: &str) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::Link {
            target: target.into(),
        },
        mode: 0o777,
        mtime_ns: 1_400_000_000_000_000_001,
    }
}

/// Everything below a folder but what is the mirror's own: path, and what it is.
pub fn listing(dir: &Path) -> BTreeMap<String, String> {
    try_listing(dir).unwrap()
}

/// The same of a folder in which things move about.
pub fn try_listing(dir: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let rel = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if rel == ".hive-sync.part" || rel == ".hive-versions" {
                continue;
            }
            let m = fs::symlink_metadata(&path)?;
            let what = if m.is_dir() {
                todo.push(path);
                format!("d {:o}", m.permissions().mode() & 0o777)
            } else if m.is_symlink() {
                format!("l {}", fs::read_link(&path)?.display())
            } else {
                let sum = hash(&fs::read(&path)?);
                format!(
                    "f {:o} {} {}",
                    m.permissions().mode() & 0o777,
                    m.mtime_nsec(),
                    sum.short()
                )
            };
            all.insert(rel, what);
        }
    }
    Ok(all)
}

/// The same of a manifest.
pub fn wanted(entries: &[Entry]) -> BTreeMap<String, String> {
    let one = |e: &Entry| match &e.kind {
        EntryKind::File { hash, .. } => format!(
            "f {:o} {} {}",
            e.mode,
            e.mtime_ns.rem_euclid(1_000_000_000),
            hash.short()
        ),
        EntryKind::Folder => format!("d {:o}", e.mode),
        EntryKind::Link { target } => format!("l {target}"),
    };
    entries.iter().map(|e| (e.path.clone(), one(e))).collect()
}

pub async fn outgoing(temp: &Path, shelf: &Arc<Shelf>, post: &Arc<Post>) -> Outgoing {
    let deps = OutDeps {
        journal: journal(&temp.join("out-journal")),
        library: Arc::new(Shelving(shelf.clone())),
        sender: Arc::new(Clerk(post.clone())),
        clock: clock(),
    };
    Outgoing::start(deps).await.unwrap()
}

pub fn names(dir: &Path) -> BTreeSet<String> {
    listing(dir).into_keys().collect()
}
