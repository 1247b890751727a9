//! `demo` as somebody runs it first: a picture, a bill that adds up, and nothing left behind.

use crate::{
    command::{Going, LONGEST, bare, program},
    mesh::{CPT, GRANT, Slot, home},
    wait::{SOON, until_else},
};
use std::{
    fs::{self, File},
    io::BufReader,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Four tiles of 80 times 60, each larger than what is sent inline.
const SIZE: (usize, usize) = (160, 120);
const TILE: (usize, usize) = (80, 60);
/// Bytes of a tile's file: its head and its pixels.
const TILE_FILE: u64 = 20 + 80 * 60 * 3;

/// Where a demonstration makes its folders. Whatever still runs there at the end is killed.
struct Stage {
    temp: PathBuf,
    home: TempDir,
    _slot: Slot,
}

impl Stage {
    fn new() -> Self {
        let slot = Slot::take();
        let home = home();
        let temp = home.path().join("t");
        fs::create_dir(&temp).unwrap();
        Self {
            temp,
            home,
            _slot: slot,
        }
    }

    fn picture(&self) -> PathBuf {
        self.home.path().join("picture.png")
    }

    fn demo(&self, flag: &str) -> Going {
        let mut command = bare();
        command
            .env("TMPDIR", &self.temp)
            .args([
                "demo",
                flag,
                "--size",
                "160x120",
                "--samples",
                "1",
                "--workers",
                "2",
            ])
            .arg("--out")
            .arg(self.picture());
        Going::start(command)
    }

    /// Processes that were started here, by what they inherit.
    fn processes(&self) -> Vec<i32> {
        let mark = self.temp.as_os_str().as_bytes();
        let has = |file: PathBuf| {
            fs::read(file).is_ok_and(|bytes| bytes.windows(mark.len()).any(|part| part == mark))
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|p| has(p.path().join("environ")) || has(p.path().join("cmdline")))
            .filter_map(|p| p.file_name().to_str()?.parse().ok())
            .collect()
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        until_else(
            SOON,
            || self.processes().is_empty().then_some(()),
            || format!("still there: {:?}", self.processes()),
        );
        let left: Vec<_> = fs::read_dir(&self.temp).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Every tile of the picture shows something.
#[track_caller]
fn looks_rendered(path: &Path) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap()))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; SIZE.0 * SIZE.1 * 3];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width as usize, info.height as usize), SIZE);
    assert_eq!(info.buffer_size(), pixels.len());
    for (left, top) in [(0, 0), (TILE.0, 0), (0, TILE.1), (TILE.0, TILE.1)] {
        let pixel = |x: usize, y: usize| {
            let at = ((top + y) * SIZE.0 + left + x) * 3;
            &pixels[at..at + 3]
        };
        let colours: std::collections::BTreeSet<_> = (0..TILE.0 * TILE.1)
            .map(|n| pixel(n % TILE.0, n / TILE.0))
            .collect();
        assert!(
            colours.len() > 16,
            "{} colours in the tile at {left},{top}",
            colours.len()
        );
    }
}

#[test]
fn the_demo_renders_pays_and_leaves_nothing() {
    let stage = Stage::new();
    let demo = stage.demo("--json").end(LONGEST).ok().document("demo");
    looks_rendered(&stage.picture());
    let members = demo["members"].as_array().unwrap();
    let sum = |name: &str| -> u64 { members.iter().filter_map(|m| m[name].as_u64()).sum() };
    assert_eq!(members.len(), 4, "{demo}");
    assert_eq!(sum("tiles"), 4, "{demo}");
    for m in members {
        let (tiles, fuel, paid) = (
            m["tiles"].as_u64().unwrap(),
            m["fuel"].as_u64().unwrap(),
            m["paid"].as_u64().unwrap(),
        );
        assert!(tiles == 0 || fuel > 0 && paid > 0, "work is paid: {m}");
    }
    let client = members.iter().find(|m| m["name"] == "client").unwrap();
    assert_eq!(
        sum("paid") + client["available"].as_u64().unwrap(),
        GRANT * CPT,
        "paid + left = grant: {demo}"
    );
    assert_eq!(demo["held"], 0, "{demo}");
    assert_eq!(demo["minted"].as_u64().unwrap(), sum("available"), "{demo}");
    // The module went to each that worked, every tile to the client.
    let module = fs::metadata(crate::mesh::example("path-tracer/tile.wasm"))
        .unwrap()
        .len();
    let workers = members.iter().filter(|m| m["tiles"] != 0).count() as u64;
    let moved = demo["moved_bytes"].as_u64().unwrap();
    assert!(moved >= module * workers + 4 * TILE_FILE, "{demo}");
    stage.nothing_is_left();
}

#[test]
fn a_demo_kept_is_used_and_stopped_with_the_lines_it_prints() {
    let stage = Stage::new();
    let said = stage.demo("--keep").end(LONGEST).ok().talk();
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let after = |what: &str| {
        let at = lines.iter().position(|l| l.starts_with(what));
        lines[at.unwrap_or_else(|| panic!("no {what:?} in {said}")) + 1]
    };
    // No `hivenode` on the path.
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).env("PATH", "/usr/bin:/bin");
        Going::start(command).end(LONGEST)
    };
    let listed = shell(after("The mesh is left running")).ok();
    assert!(listed.text().contains("worker-1"), "{}", listed.text());
    assert!(said.contains(program().to_str().unwrap()), "{said}");
    shell(after("Stop it")).ok();
    stage.nothing_is_left();
}
