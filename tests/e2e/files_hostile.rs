//! Folders that a stranger describes: whatever a manifest says, nothing is written outside its destination.

use crate::{
    mesh::Mesh,
    trees::{share, text},
};
use hive_protocol::{ids::BlobHash, share::FileTicket};
use std::fs;

/// A manifest's bytes as a stranger could write them; `Manifest` itself refuses to.
fn manifest(entries: &[(&str, Entry<'_>)]) -> Vec<u8> {
    // The codec: little endian, lengths as u64, enum variants as u32.
    let mut out = 1_u16.to_le_bytes().to_vec();
    let text = |out: &mut Vec<u8>, t: &str| {
        out.extend_from_slice(&(t.len() as u64).to_le_bytes());
        out.extend_from_slice(t.as_bytes());
    };
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    for (path, entry) in entries {
        text(&mut out, path);
        match entry {
            Entry::File(hash, size) => {
                out.extend_from_slice(&0_u32.to_le_bytes());
                out.extend_from_slice(&hash.0);
                out.extend_from_slice(&size.to_le_bytes());
            }
            Entry::Folder => out.extend_from_slice(&1_u32.to_le_bytes()),
            Entry::Link(target) => {
                out.extend_from_slice(&2_u32.to_le_bytes());
                text(&mut out, target);
            }
        }
        out.extend_from_slice(&0o644_u32.to_le_bytes());
        out.extend_from_slice(&0_i64.to_le_bytes());
    }
    out
}

#[derive(Clone, Copy)]
enum Entry<'a> {
    File(BlobHash, u64),
    Folder,
    Link(&'a str),
}

#[test]
fn manifests_that_lead_out_are_refused_and_write_nothing() {
    let mesh = Mesh::of(1);
    let w1 = &mesh.workers[0];
    let evil = mesh.file("evil", "evil");
    let content = w1.run(&["-q", "file", "share", text(&evil)]).ok();
    let ticket: FileTicket = content.text().trim().parse().unwrap();
    let file = Entry::File(ticket.root, 4);
    let outside = mesh.path("outside");
    fs::create_dir_all(&outside).unwrap();
    let absolute = format!("{}/x", outside.display());
    let cases: Vec<(&str, Vec<(&str, Entry<'_>)>)> = vec![
        ("up", vec![("../outside/x", file)]),
        ("absolute", vec![(absolute.as_str(), file)]),
        ("dots", vec![("a", Entry::Folder), ("a/../../outside/x", file)]),
        ("link out", vec![("a", Entry::Link("../outside")), ("a/x", file)]),
        ("link down and up", vec![("a", Entry::Link("b/../../outside"))]),
        ("absolute link", vec![("a", Entry::Link("/etc"))]),
        (
            "through a link",
            vec![("a", Entry::Folder), ("b", Entry::Link("a")), ("b/x", file)],
        ),
        ("twice", vec![("a", file), ("a", file)]),
        ("order", vec![("b", file), ("a", file)]),
        ("file as folder", vec![("a", file), ("a/x", file)]),
        ("zero", vec![("a\0b", file)]),
        ("empty name", vec![("a//b", file)]),
    ];
    for (n, (what, entries)) in cases.iter().enumerate() {
        let bytes = manifest(entries);
        let path = mesh.file(&format!("manifest-{n}"), &bytes);
        let as_file: FileTicket = share(w1, &path).parse().unwrap();
        let as_folder = FileTicket::new(as_file.network, as_file.root, true, 4, "d".into(), as_file.hints);
        let dest = mesh.path(&format!("dest-{n}"));
        let out = mesh.client.run(&["pull", &as_folder.to_string(), text(&dest)]);
        assert_eq!(out.code, 2, "{what}: {}", out.talk());
        assert!(out.talk().contains("error[file."), "{what}: {}", out.talk());
        assert!(!dest.exists(), "{what}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{what}");
    }
    // A lying count costs nothing.
    let mut lying = manifest(&[("a", file)]);
    lying[2..10].copy_from_slice(&u64::MAX.to_le_bytes());
    let path = mesh.file("lying", &lying);
    let as_file: FileTicket = share(w1, &path).parse().unwrap();
    let as_folder = FileTicket::new(as_file.network, as_file.root, true, 4, "d".into(), as_file.hints);
    let dest = mesh.path("dest-lying");
    mesh.client
        .run(&["pull", &as_folder.to_string(), text(&dest)])
        .ends(2);
    // A good one made by hand passes: the cases above fail for what is in them.
    let good = mesh.file(
        "good",
        manifest(&[("a", Entry::Folder), ("a/x", file), ("b", Entry::Link("a/x"))]),
    );
    let as_file: FileTicket = share(w1, &good).parse().unwrap();
    let as_folder = FileTicket::new(as_file.network, as_file.root, true, 4, "d".into(), as_file.hints);
    let dest = mesh.path("dest-good");
    let out = mesh.client.run(&["pull", &as_folder.to_string(), text(&dest)]);
    // Its file is not listed as shared with it, unless its giver knows the manifest: what is there must be right.
    if out.code == 0 {
        assert_eq!(fs::read(dest.join("a/x")).unwrap(), b"evil");
    } else {
        assert!(out.talk().contains("file.no_provider"), "{}", out.talk());
    }
    // A ticket that promises less than comes.
    let large = mesh.file("large", vec![7; 3 << 20]);
    let honest: FileTicket = share(w1, &large).parse().unwrap();
    let small = FileTicket::new(honest.network, honest.root, false, 10, "s".into(), honest.hints);
    let dest = mesh.path("dest-small");
    let out = mesh
        .client
        .run(&["pull", &small.to_string(), text(&dest), "--patience", "3s"]);
    assert!(out.code != 0, "{}", out.text());
    assert!(!dest.exists());
}

#[test]
fn a_source_changed_after_sharing_gives_no_wrong_bytes() {
    let mesh = Mesh::of(1);
    let w1 = &mesh.workers[0];
    let file = mesh.file("changing", vec![1; 2 << 20]);
    let ticket = share(w1, &file);
    fs::write(&file, vec![2; 2 << 20]).unwrap();
    let dest = mesh.path("got");
    let out = mesh.client.run(&["pull", &ticket, text(&dest)]);
    assert!(out.code != 0, "{}", out.text());
    assert!(!dest.exists());
    // Its owner sees what is wrong, and mends it by adding it again.
    let view = mesh.workers[0].json("files", &["file", "ls"]);
    assert_eq!(view[0]["state"], "changed", "{view}");
    let again = share(w1, &file);
    mesh.client.run(&["pull", &again, text(&dest)]).ok();
    assert_eq!(fs::read(&dest).unwrap(), vec![2; 2 << 20]);
}
