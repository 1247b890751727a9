"""The peer `iroh-blobs library` of `files.py`: a small program, built outside this repository's workspace.

It keeps one endpoint and one file store and takes commands on standard input, so that start-up is outside the clock.
No relay, no discovery. Imports by reference and exports by reference: the fastest the library offers.
"""
import os, subprocess

VERSION = "iroh-blobs 0.104.0, iroh 1.4.1, -O3"

MANIFEST = """[package]
name = "iroh-peer"
version = "0.0.0"
edition = "2021"
publish = false

[workspace]

[dependencies]
iroh-blobs = "=0.104.0"
iroh = { version = "=1.4.1", default-features = false, features = ["tls-ring"] }
iroh-tickets = "1"
n0-future = "0.3"
tokio = { version = "1", features = ["full"] }
anyhow = "1"

[profile.release]
opt-level = 3
"""

PROGRAM = r"""
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, Context, Result};
use iroh::{endpoint::presets, protocol::Router, Endpoint, RelayMode};
use iroh_blobs::api::blobs::{AddPathOptions, ExportMode, ExportOptions, ImportMode};
use iroh_blobs::api::{Store, TempTag};
use iroh_blobs::{format::collection::Collection, store::fs::FsStore, ticket::BlobTicket, BlobFormat, BlobsProtocol};
use n0_future::{BufferedStreamExt, StreamExt};

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

async fn add_one(db: &Store, path: PathBuf) -> Result<TempTag> {
    let options = AddPathOptions { path, mode: ImportMode::TryReference, format: BlobFormat::Raw };
    Ok(db.blobs().add_path_with_opts(options).temp_tag().await?)
}

async fn add(db: &Store, path: &Path) -> Result<TempTag> {
    if path.is_file() {
        return add_one(db, path.to_owned()).await;
    }
    let mut files = Vec::new();
    walk(path, &mut files)?;
    let jobs = std::thread::available_parallelism()?.get();
    let mut added = n0_future::stream::iter(files)
        .map(|file| async move {
            let name = file.strip_prefix(path)?.to_string_lossy().into_owned();
            anyhow::Ok((name, add_one(db, file).await?))
        })
        .buffered_unordered(jobs);
    let mut tags = Vec::new();
    while let Some(one) = added.next().await {
        tags.push(one?);
    }
    tags.sort_by(|a, b| a.0.cmp(&b.0));
    let collection: Collection = tags.iter().map(|(name, tag)| (name.clone(), tag.hash())).collect();
    Ok(collection.store(db).await?)
}

async fn get(db: &Store, endpoint: &Endpoint, ticket: &str, dest: &Path) -> Result<String> {
    let ticket: BlobTicket = ticket.parse().context("ticket")?;
    let local = db.remote().local(ticket.hash_and_format()).await?;
    let had = local.local_bytes();
    if !local.is_complete() {
        let connection = endpoint.connect(ticket.addr().clone(), iroh_blobs::ALPN).await?;
        db.remote().execute_get(connection, local.missing()).complete().await?;
    }
    let export = |hash, target: PathBuf| ExportOptions { hash, target, mode: ExportMode::TryReference };
    if ticket.format() == BlobFormat::Raw {
        db.blobs().export_with_opts(export(ticket.hash(), dest.to_owned())).await?;
    } else {
        let collection = Collection::load(ticket.hash(), db).await?;
        for (name, hash) in collection.iter() {
            db.blobs().export_with_opts(export(*hash, dest.join(name))).await?;
        }
    }
    Ok(format!("had {had}"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let store_dir = std::env::args().nth(1).ok_or_else(|| anyhow!("usage: iroh-peer STORE"))?;
    let db = FsStore::load(&store_dir).await?;
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![iroh_blobs::ALPN.to_vec()])
        .bind()
        .await?;
    let router = Router::builder(endpoint.clone()).accept(iroh_blobs::ALPN, BlobsProtocol::new(&db, None)).spawn();
    println!("ready");
    let mut kept = Vec::new();
    let (lines, mut next) = tokio::sync::mpsc::channel::<String>(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = next.recv().await {
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match words.as_slice() {
            ["add", path] => add(&db, Path::new(path)).await.map(|tag| {
                let ticket = BlobTicket::new(endpoint.addr(), tag.hash(), tag.hash_and_format().format);
                kept.push(tag);
                ticket.to_string()
            }),
            ["get", ticket, dest] => get(&db, &endpoint, ticket, Path::new(dest)).await,
            _ => Err(anyhow!("unknown command {line:?}")),
        };
        match answer {
            Ok(text) => println!("ok {text}"),
            Err(error) => println!("error {error:#}"),
        }
        std::io::stdout().flush()?;
    }
    router.shutdown().await?;
    db.shutdown().await?;
    Ok(())
}
"""


def build(cache):
    """The built program; compiles for about four minutes the first time."""
    folder, program = cache / "iroh", cache / "target/release/iroh-peer"
    files = {folder / "Cargo.toml": MANIFEST, folder / "src/main.rs": PROGRAM}
    if program.exists() and all(f.exists() and f.read_text() == text for f, text in files.items()):
        return program
    print("building the iroh-blobs peer …", flush=True)
    (folder / "src").mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text)
    subprocess.run(["cargo", "build", "--release", "--manifest-path", folder / "Cargo.toml"], check=True,
                   env=dict(os.environ, CARGO_TARGET_DIR=str(cache / "target")))
    return program
