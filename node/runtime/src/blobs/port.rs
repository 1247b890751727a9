//! The store as the API uses it.

use crate::port::{BlobPort, BlobView, Kind, NodeHandle, Refused};
use hive_protocol::ids::BlobHash;
use hive_store::{BlobError, BlobStore, Import, MAX_BLOB_BYTES};
use std::{future::Future, path::Path, pin::Pin};
use tokio::io::AsyncRead;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// The store behind the port.
pub struct StorePort(pub BlobStore);

/// A store's error as the API passes it on.
pub trait StoreRefusal {
    /// The refusal.
    fn refused(&self) -> Refused;
}

impl StoreRefusal for BlobError {
    fn refused(&self) -> Refused {
        refused(self)
    }
}

fn refused(e: &BlobError) -> Refused {
    let code = e.code();
    let kind = match code {
        "blob.not_found" => Kind::NotFound,
        "store.quota" | "store.disk_full" | "store.full" => Kind::Conflict,
        "blob.too_large" | "blob.changed" | "blob.not_a_file" => Kind::Invalid,
        _ => Kind::Internal,
    };
    let refused = Refused::new(kind, code, e.to_string());
    match code {
        "store.quota" => {
            refused.hint("hivenode config set store_quota BYTES, or remove jobs: hivenode job rm JOB")
        }
        "store.disk_full" => refused.hint("free space on the disk of the data folder: hivenode paths"),
        _ => refused,
    }
}

fn view(added: &hive_store::Added) -> BlobView {
    BlobView {
        blob: added.hash.to_string(),
        size: added.size,
    }
}

impl BlobPort for StorePort {
    fn put(
        &self,
        reader: Box<dyn AsyncRead + Send + Unpin>,
        cap: u64,
    ) -> Pin<Box<dyn Future<Output = Result<BlobView, Refused>> + Send + '_>> {
        Box::pin(async move {
            let added = self
                .0
                .add_async(&mut reader.compat(), cap.min(MAX_BLOB_BYTES))
                .await
                .map_err(|e| refused(&e))?;
            Ok(view(&added))
        })
    }

    fn import<'a>(
        &'a self,
        path: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Result<BlobView, Refused>> + Send + 'a>> {
        let (store, path) = (self.0.clone(), path.to_owned());
        Box::pin(async move {
            let added =
                tokio::task::spawn_blocking(move || store.add_path(&path, Import::Copy, MAX_BLOB_BYTES))
                    .await
                    .map_err(|_| Refused::stopping())?
                    .map_err(|e| refused(&e))?;
            Ok(view(&added))
        })
    }

    fn open<'a>(
        &'a self,
        blob: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(tokio::fs::File, u64), Refused>> + Send + 'a>> {
        Box::pin(async move {
            let hash: BlobHash = blob.parse().map_err(|e: hive_protocol::text::TextError| {
                Refused::new(Kind::Invalid, "blob.bad_id", e.to_string())
            })?;
            let size = self
                .0
                .size(&hash)
                .ok_or_else(|| NodeHandle::not_found("blob", blob))?;
            let file = self.0.open_blob(&hash).map_err(|e| refused(&e))?;
            Ok((tokio::fs::File::from_std(file), size))
        })
    }
}
