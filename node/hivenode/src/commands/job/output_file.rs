//! An output on its way to disk: whole or not at all.

use crate::output::CliError;
use data_encoding::BASE64;
use hive_api::client::Client;
use hive_runtime::port::OutputView;
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::{fs, io::AsyncWriteExt};

/// Where an output comes from.
pub enum Fetched<'a> {
    /// A stored blob.
    Blob(&'a OutputView),
    /// Nothing was written: an empty file stands for it.
    Empty,
}

/// A path below `root` from a label: every part a plain name, whatever the label says.
pub fn below(root: &Path, label: &str) -> PathBuf {
    let mut path = root.to_owned();
    for part in label.split('/').filter(|p| !p.is_empty() && *p != ".") {
        // A label is ours, but a journal may be older than this rule.
        path.push(if part == ".." { "_" } else { part });
    }
    path
}

/// The name a file has until it is whole, in the same folder so that the rename is atomic.
fn unfinished(path: &Path, number: u32) -> PathBuf {
    path.with_file_name(format!(".hive-{}-{number}.part", std::process::id()))
}

/// Bytes of an inline output.
pub fn inline(output: &OutputView) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(output.inline.as_deref()?.as_bytes()).ok()?;
    (bytes.len() as u64 == output.size).then_some(bytes)
}

/// Writes an output to `path`, making folders as needed; returns its size.
///
/// # Errors
/// `out.write`, and what the daemon says of the blob.
pub async fn save_output(
    client: &Client,
    from: Fetched<'_>,
    path: &Path,
    number: u32,
) -> Result<u64, CliError> {
    let failed =
        |e: io::Error| CliError::internal("out.write", format!("cannot write {}: {e}", path.display()));
    let part = unfinished(path, number);
    let create = || async {
        match fs::File::create(&part).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).await?;
                }
                fs::File::create(&part).await
            }
            other => other,
        }
    };
    let mut file = create().await.map_err(failed)?;
    let written = match from {
        Fetched::Empty => Ok(0),
        Fetched::Blob(output) => fill(client, output, &mut file).await.map_err(|e| match e {
            Filling::Daemon(e) => e,
            Filling::Disk(e) => failed(e),
        }),
    };
    let finished = match written {
        Ok(size) => match file.flush().await {
            Ok(()) => fs::rename(&part, path).await.map(|()| size).map_err(failed),
            Err(e) => Err(failed(e)),
        },
        Err(e) => Err(e),
    };
    if finished.is_err() {
        // The error matters; a part left behind has a name that says what it is.
        let _ = fs::remove_file(&part).await;
    }
    finished
}

enum Filling {
    Daemon(CliError),
    Disk(io::Error),
}

async fn fill(client: &Client, output: &OutputView, file: &mut fs::File) -> Result<u64, Filling> {
    if let Some(bytes) = inline(output) {
        file.write_all(&bytes).await.map_err(Filling::Disk)?;
        return Ok(output.size);
    }
    let mut reader = client
        .blob_get(&output.blob)
        .await
        .map_err(|e| Filling::Daemon(e.into()))?;
    tokio::io::copy(&mut reader, file).await.map_err(Filling::Disk)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_label_leaves_the_folder() {
        let root = Path::new("/out");
        assert_eq!(below(root, "a/b.c"), Path::new("/out/a/b.c"));
        assert_eq!(below(root, "/../x/./../y"), Path::new("/out/_/x/_/y"));
    }

    #[tokio::test]
    async fn written_whole_and_without_rests() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::unix(dir.path().join("none"));
        let path = dir.path().join("d/e/f");
        let output = OutputView {
            path: String::new(),
            blob: "b_x".into(),
            size: 5,
            inline: Some(BASE64.encode(b"hello")),
        };
        assert_eq!(
            save_output(&client, Fetched::Blob(&output), &path, 1)
                .await
                .unwrap(),
            5
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        // Inline bytes that are not what they claim are not used; without a daemon that is an error and no file.
        let lie = OutputView { size: 6, ..output };
        let other = dir.path().join("d/e/g");
        assert!(
            save_output(&client, Fetched::Blob(&lie), &other, 2)
                .await
                .is_err()
        );
        assert!(!other.exists());
        assert_eq!(std::fs::read_dir(dir.path().join("d/e")).unwrap().count(), 1);
    }
}
