//! The receiver is killed at any moment, its owner changes things in between: nothing of the owner's is lost, nothing
//! half is seen, and in the end the folder is as wanted.

use super::stage::*;
use hive_protocol::manifest::{Entry, EntryKind, Manifest};
use hive_sync::InState;
use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const ROOM: &str = "HIVE_SYNC_TEST_ROOM";
/// Rounds at the least, and how many of them must have cut the receiver off at work.
const KILLS: u64 = 30;
const CUT: u64 = KILLS / 3;
/// Rounds at the most: how long the work takes is learned on the way.
const ROUNDS: u64 = 10 * KILLS;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn shelf_of(room: &Path) -> (Arc<Shelf>, u64, hive_protocol::ids::BlobHash) {
    let shelf = Arc::<Shelf>::default();
    for entry in fs::read_dir(room.join("shelf")).unwrap() {
        shelf.put(&fs::read(entry.unwrap().path()).unwrap());
    }
    let seq: u64 = fs::read_to_string(room.join("seq")).unwrap().parse().unwrap();
    let manifest = Manifest::decode(&fs::read(room.join("state")).unwrap()).unwrap();
    let root = shelf.state(manifest.entries);
    (shelf, seq, root)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by killed_at_any_moment_nothing_is_lost"]
async fn child() {
    let Some(room) = std::env::var_os(ROOM).map(PathBuf::from) else {
        return;
    };
    let (shelf, seq, root) = shelf_of(&room);
    let incoming = open(&room.join("journal"), &shelf).await;
    incoming
        .offer(offer(&room.join("copy"), seq, root, 2), Quiet::new())
        .unwrap();
    println!("begun");
    wait_view(&incoming, |v| v.seq == seq && v.state == InState::Whole).await;
    println!("whole");
    incoming.close().await;
}

fn start(room: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "kill::child",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROOM, room)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(child: &mut std::process::Child, word: &str) -> String {
    let (mut seen, mut piece) = (String::new(), [0; 256]);
    let out = child.stdout.as_mut().unwrap();
    while !seen.contains(word) {
        match out.read(&mut piece).unwrap() {
            0 => break,
            n => seen.push_str(std::str::from_utf8(&piece[..n]).unwrap()),
        }
    }
    seen
}

fn change(dice: &mut Dice, state: &mut Vec<Entry>, room: &Path) {
    let content = |dice: &mut Dice| {
        let bytes = vec![dice.roll(40) as u8; 1 + dice.roll(60_000) as usize];
        let hash = hash(&bytes);
        fs::write(room.join("shelf").join(hash.to_string()), &bytes).unwrap();
        EntryKind::File {
            hash,
            size: bytes.len() as u64,
        }
    };
    for _ in 0..60 {
        let path = format!("d{}/s{}/f{}", dice.roll(4), dice.roll(3), dice.roll(30));
        match dice.roll(4) {
            0 => state.retain(|e| e.path != path),
            1 if !state.is_empty() => {
                let from = dice.roll(state.len() as u64) as usize;
                if !state.iter().any(|e| e.path == path) {
                    state[from].path = path;
                }
            }
            _ => {
                state.retain(|e| e.path != path);
                let kind = content(dice);
                let mtime_ns = dice.roll(1 << 30) as i64;
                state.push(Entry {
                    path,
                    kind,
                    mode: 0o644,
                    mtime_ns,
                });
            }
        }
    }
    // The folders.
    let mut all = state.clone();
    let folders: BTreeSet<String> = state
        .iter()
        .flat_map(|e| {
            [
                e.path[..2].to_owned(),
                e.path.rsplit_once('/').unwrap().0.to_owned(),
            ]
        })
        .collect();
    all.extend(folders.iter().map(|f| folder(f, 0o755)));
    fs::write(room.join("state"), Manifest::new(all).unwrap().encode().unwrap()).unwrap();
}

#[test]
fn killed_at_any_moment_nothing_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let room = temp.path();
    fs::create_dir(room.join("shelf")).unwrap();
    fs::create_dir(room.join("copy")).unwrap();
    let (mut dice, mut state, mut precious) = (Dice(42), Vec::new(), BTreeSet::new());
    let (mut ended, mut cut) = (0, 0);
    // The kill comes within this time, in microseconds. It follows how long the work takes on this machine: a kill
    // that came too late makes it shorter, one that came in time makes it longer.
    let mut window = 60_000;
    for round in 1..=ROUNDS {
        let last = round == ROUNDS || (round >= KILLS && cut >= CUT);
        change(&mut dice, &mut state, room);
        fs::write(room.join("seq"), round.to_string()).unwrap();
        // The owner writes over a file, and makes one.
        for n in 0..2 {
            let path = format!("d{}/s{}/f{}", dice.roll(4), dice.roll(3), dice.roll(30));
            let path = room.join("copy").join(path);
            let words = format!("precious {round} {n}");
            if fs::create_dir_all(path.parent().unwrap()).is_ok() {
                // What they write over themselves they do not miss.
                if let Ok(text) = fs::read_to_string(&path) {
                    precious.remove(&text);
                }
                fs::write(&path, &words).unwrap();
                precious.insert(words);
            }
        }
        let mut child = start(room);
        if !last {
            wait_for(&mut child, "begun");
            // paced: the kill comes at any moment of the work
            std::thread::sleep(Duration::from_micros(dice.roll(window)));
            child.kill().unwrap();
            let said = wait_for(&mut child, "whole");
            if said.contains("whole") {
                ended += 1;
                window = (window * 2 / 3).max(100);
            } else {
                cut += 1;
                window = window * 5 / 4;
            }
            child.wait().unwrap();
        } else {
            let said = wait_for(&mut child, "whole");
            assert!(said.contains("whole"), "{said}");
            assert!(child.wait().unwrap().success());
            break;
        }
    }
    println!("{cut} times cut off at work, {ended} times done before the kill, at last within {window} us");
    assert!(cut >= CUT, "{cut}");
    let manifest = Manifest::decode(&fs::read(room.join("state")).unwrap()).unwrap();
    let now = listing(&room.join("copy"));
    for (path, what) in wanted(&manifest.entries) {
        assert_eq!(now.get(&path), Some(&what), "{path}");
    }
    let files = now
        .iter()
        .filter(|(_, what)| what.starts_with("f "))
        .map(|(path, _)| path);
    let mut texts = BTreeSet::new();
    let wanted_paths = wanted(&manifest.entries);
    for path in files.filter(|p| !wanted_paths.contains_key(*p)) {
        let text = fs::read(room.join("copy").join(path)).unwrap();
        let text = String::from_utf8(text).unwrap_or_default();
        assert!(
            precious.contains(&text),
            "{path} is neither wanted nor the owner's: {}",
            text.len()
        );
        texts.insert(text);
    }
    assert_eq!(texts, precious);
}
