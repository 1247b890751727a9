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
}

#[test]
fn a_ticket_that_promises_less_than_comes_is_named_at_once() {
    let mesh = Mesh::of(2);
    let (w1, w2) = (&mesh.workers[0], &mesh.workers[1]);
    let tree = mesh.path("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("a"), vec![1; 200_000]).unwrap();
    fs::write(tree.join("b"), vec![2; 10]).unwrap();
    let shared = [
        (mesh.file("small", vec![7; 70_000]), 70_000),
        (mesh.file("one", vec![8; 3 << 20]), 3 << 20),
        (
            mesh.file("many", crate::trees::noise((9 << 20) + 5, 1)),
            (9 << 20) + 5,
        ),
        (tree, 200_010),
    ];
    for (path, size) in &shared {
        let honest: FileTicket = share(w1, path).parse().unwrap();
        assert_eq!(honest.size, *size);
        let name = path.file_name().unwrap().to_str().unwrap();
        for said in [0, 1, 10, size / 2, size - 1] {
            let hints = honest.hints.clone();
            let short = FileTicket::new(
                honest.network,
                honest.root,
                honest.folder,
                said,
                "s".into(),
                hints,
            );
            let dest = mesh.path(&format!("dest-{name}-{said}"));
            let began = std::time::Instant::now();
            let args = ["pull", &short.to_string(), text(&dest), "--patience", "120s"];
            let out = mesh.client.run(&args).fails(1, "file.too_large");
            assert!(out.talk().contains(&said.to_string()), "{}", out.talk());
            assert!(
                began.elapsed().as_secs() < 60,
                "{name} {said}: by running out of patience"
            );
            assert!(!dest.exists());
        }
        // What promises more than comes takes what comes.
        for said in [size + 1, size + (5 << 20), 100 << 30] {
            let hints = honest.hints.clone();
            let long = FileTicket::new(
                honest.network,
                honest.root,
                honest.folder,
                said,
                "s".into(),
                hints,
            );
            let dest = mesh.path(&format!("dest-{name}-{said}"));
            let view = w2.json("transfer", &["pull", &long.to_string(), text(&dest)]);
            assert_eq!(view["total"], *size, "{view}");
            fs::remove_dir_all(&dest)
                .or_else(|_| fs::remove_file(&dest))
                .unwrap();
            // The next one must come over the network too.
            w2.run(&["file", "rm", &honest.root.to_string()]).ok();
        }
    }
    // Nobody is held to have sent wrong bytes for it.
    for node in [&mesh.client, w2] {
        assert!(!node.log().contains("sent wrong bytes"), "{}", node.log());
    }
}

#[test]
fn a_manifest_that_says_a_wrong_size_is_named_and_its_giver_not_blamed() {
    let mesh = Mesh::of(1);
    let w1 = &mesh.workers[0];
    let mut lies = Vec::new();
    for (n, size) in [5_usize, 70_000, 3 << 20, (9 << 20) + 3].into_iter().enumerate() {
        let path = mesh.file(&format!("f{n}"), crate::trees::noise(size, n as u64));
        let shared: FileTicket = share(w1, &path).parse().unwrap();
        for said in [size as u64 - 1, size as u64 / 2, size as u64 + 1] {
            let entries = [("x", Entry::File(shared.root, said))];
            let list = mesh.file(&format!("manifest-{n}-{said}"), manifest(&entries));
            let as_file: FileTicket = share(w1, &list).parse().unwrap();
            let hints = as_file.hints.clone();
            let lie = FileTicket::new(as_file.network, as_file.root, true, said, "d".into(), hints);
            lies.push((size, said, lie, mesh.path(&format!("dest-{n}-{said}"))));
        }
    }
    // All at once: each is waited for as long as its patience lasts.
    std::thread::scope(|scope| {
        for (size, said, lie, dest) in &lies {
            let client = &mesh.client;
            scope.spawn(move || {
                let out = client.run(&["pull", &lie.to_string(), text(dest), "--patience", "8s"]);
                assert_ne!(out.code, 0, "{size} said to be {said}");
                assert!(!dest.exists());
            });
        }
    });
    assert!(
        !mesh.client.log().contains("sent wrong bytes"),
        "{}",
        mesh.client.log()
    );
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
