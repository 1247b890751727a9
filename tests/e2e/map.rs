//! `job map`: one task a file, every output where it belongs, exit codes that tell all, some and none apart.

use crate::{
    command::{LONGEST, other},
    guests,
    mesh::{Mesh, example},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

/// `LINES WORDS BYTES` of every file by GNU wc; files named by NUL-separated list.
fn gnu_wc(files: &[PathBuf]) -> BTreeMap<PathBuf, [u64; 3]> {
    let mut list = Vec::new();
    for file in files {
        list.extend_from_slice(file.as_os_str().as_bytes());
        list.push(0);
    }
    let said = other("wc", &["-lwc", "--files0-from=-"], &list);
    said.lines()
        .filter_map(|line| {
            let mut rest = line.trim_start();
            let mut numbers = [0; 3];
            for n in &mut numbers {
                let (number, more) = rest.split_once(' ')?;
                *n = number.parse().ok()?;
                rest = more.trim_start_matches(' ');
            }
            Some((PathBuf::from(rest), numbers))
        })
        .collect()
}

fn counted(path: &Path) -> [u64; 3] {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    numbers
        .try_into()
        .unwrap_or_else(|n| panic!("{}: {n:?}", path.display()))
}

/// Files below a folder in the order of their paths, links left out.
fn files_below(folder: &Path, most: usize, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if found.len() == most {
            return;
        }
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files_below(&entry.path(), most, found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

/// Runs word count over a folder and compares every output with GNU wc.
fn word_count(mesh: &Mesh, folder: &Path, args: &[&str]) -> Value {
    let out = mesh.path("counts");
    let wc = example("word-count/wc.wasm");
    let mut map = vec![
        "job",
        "map",
        &wc,
        folder.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ];
    if !args.is_empty() {
        map.push("--");
        map.extend_from_slice(args);
    }
    let (mut files, mut outputs) = (Vec::new(), Vec::new());
    files_below(folder, usize::MAX, &mut files);
    map.insert(0, "--json");
    // All sources of a registry are ten times those of every day.
    let within = LONGEST * u32::try_from(1 + files.len() / 5000).unwrap();
    let report = mesh.client.spawn(&map).end(within).ok().document("map");
    files_below(&out, usize::MAX, &mut outputs);
    assert_eq!(files.len(), outputs.len(), "one output an input");
    assert_eq!(report["succeeded"].as_u64(), Some(files.len() as u64));
    assert_eq!(report["failures"], Value::Array(Vec::new()));
    let expected = gnu_wc(&files);
    for file in &files {
        let ours = counted(&out.join(file.strip_prefix(folder).unwrap()));
        assert_eq!(Some(&ours), expected.get(file), "{}", file.display());
    }
    report
}

/// What trips naive counters: nothing, no last newline, bytes that are no text, control characters, a long line.
fn odd_files(mesh: &Mesh) -> PathBuf {
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("deep/er/empty too", b""),
        ("no-newline", b"one two"),
        ("latin1", b"caf\xe9 \xff\xfe\x80 x\n"),
        ("zeros", b"a\0b \0 c\n\n"),
        ("blanks", b" \t\r\x0b\x0c\n \n"),
        ("-dash", b"a b\n"),
        ("{in}", b"braces\n"),
        ("\u{fc}nicode \u{1f41d}", b"bees\n"),
    ] {
        mesh.file(&format!("odd/{name}"), bytes);
    }
    mesh.file("odd/long", "word ".repeat(300_000));
    mesh.file(
        "odd/all-bytes",
        (0..=255_u8).cycle().take(100_000).collect::<Vec<u8>>(),
    );
    mesh.path("odd")
}

#[test]
fn word_counts_equal_wc_through_files_and_through_streams() {
    let mesh = Mesh::of(2);
    let folder = odd_files(&mesh);
    word_count(&mesh, &folder, &["{in}", "{out}"]);
    fs::remove_dir_all(mesh.path("counts")).unwrap();
    // Without the marks: standard input and standard output.
    word_count(&mesh, &folder, &[]);
    mesh.settled();
}

/// How many files of the registry are counted: 5,000, or as many as `HIVENODE_MAP_FILES` says (`all` for all).
fn how_many() -> usize {
    match std::env::var("HIVENODE_MAP_FILES").as_deref() {
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().expect("HIVENODE_MAP_FILES is a number or `all`"),
        Err(_) => 5000,
    }
}

#[test]
fn word_counts_equal_wc_on_the_first_5000_sources() {
    let mesh = Mesh::of(2);
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    );
    let mut sources = Vec::new();
    files_below(&cargo.join("registry/src"), how_many(), &mut sources);
    assert!(
        sources.len() >= how_many().min(5000),
        "the sources of the dependencies lie there"
    );
    let folder = odd_files(&mesh).parent().unwrap().join("sources");
    fs::rename(mesh.path("odd"), mesh.path("sources")).unwrap();
    for source in &sources {
        let place = folder.join("registry").join(source.strip_prefix(&cargo).unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        // The same bytes under a path of ours; a copy where the file system has no links across.
        if fs::hard_link(source, &place).is_err() {
            fs::copy(source, &place).unwrap();
        }
    }
    let report = word_count(&mesh, &folder, &["{in}", "{out}"]);
    let all = sources.len() + 11;
    assert_eq!(report["succeeded"], all);
    let job = mesh.client.job(report["job"].as_str().unwrap()).unwrap();
    let by_worker: u64 = job["by_worker"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|w| w[1].as_u64())
        .sum();
    assert_eq!(by_worker, all as u64, "each counted once: {job}");
    mesh.settled();
}

#[test]
fn map_ends_with_0_9_or_1_and_names_what_failed() {
    let mesh = Mesh::of(1);
    let picky = mesh.module("picky", &guests::picky());
    for (name, text) in [
        ("good/a", "a"),
        ("good/b", ""),
        ("mixed/a", "a"),
        ("mixed/bad one", "x"),
        ("bad/x", "xx"),
    ] {
        mesh.file(name, text);
    }
    let map = |folder: &str| {
        let (folder, out) = (mesh.path(folder), mesh.path(&format!("out-{folder}")));
        (
            mesh.client.run(&[
                OsStr::new("job"),
                OsStr::new("map"),
                OsStr::new(&picky),
                folder.as_os_str(),
                OsStr::new("-o"),
                out.as_os_str(),
            ]),
            out,
        )
    };
    let (all, out) = map("good");
    all.ok();
    assert_eq!(fs::read_to_string(out.join("b")).unwrap(), "fine\n");
    let (some, out) = map("mixed");
    let some = some.ends(9);
    assert!(
        some.talk().contains("bad one") && some.talk().contains("task.exit"),
        "{}",
        some.talk()
    );
    assert!(out.join("a").is_file() && !out.join("bad one").exists());
    let (none, _) = map("bad");
    none.ends(1);
    // The same for programs.
    let mixed = mesh.path("mixed");
    let json = mesh.client.run(&[
        "--json",
        "job",
        "map",
        &picky,
        mixed.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ]);
    let report = json.ends(9).document("map");
    assert_eq!(
        (report["succeeded"].as_u64(), &report["failures"][0]["input"]),
        (Some(1), &"bad one".into())
    );
    assert_eq!(report["failures"][0]["exit_code"], 3);
    mesh.settled();
}

#[test]
fn links_and_unreadable_names_are_reported_not_lost() {
    let mesh = Mesh::of(1);
    let cat = mesh.module("cat", &guests::nap_cat(1));
    let good = mesh.file("in/good", "good");
    symlink(&good, mesh.path("in/link")).unwrap();
    fs::write(mesh.path("in").join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    let (input, out) = (mesh.path("in"), mesh.path("out"));
    let run = mesh.client.run(&[
        "--json",
        "job",
        "map",
        &cat,
        input.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ]);
    let report = run.ends(9).document("map");
    assert_eq!(report["succeeded"], 1);
    assert_eq!(report["failures"][0]["code"], "job.bad_name");
    assert_eq!(report["skipped"][0][0], "link");
    assert_eq!(fs::read_to_string(out.join("good")).unwrap(), "good");
}
