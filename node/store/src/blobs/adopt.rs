//! Taking over a file whose groups were verified elsewhere: nothing is read or hashed again but the tree.

use super::{
    Added, BlobStore, GROUP_BYTES,
    error::BlobError,
    part::{self, Temp},
    tree::{self, TreeBuilder},
};
use crate::budget::Reservation;
use hive_protocol::ids::BlobHash;
use std::{
    fs::{self, Permissions},
    io::BufWriter,
    os::unix::fs::PermissionsExt,
    path::Path,
};

impl BlobStore {
    /// Makes the file at `path`, on this store's file system, the blob `hash`. `groups` are the chaining values of
    /// all its groups in order; they must give the hash (none for a blob of one group). The file is gone after.
    ///
    /// # Errors
    /// `blob.corrupt` when they do not; too many blobs; I/O.
    pub(crate) fn adopt(
        &self,
        path: &Path,
        hash: BlobHash,
        size: u64,
        groups: impl Iterator<Item = Result<[u8; 32], BlobError>>,
        reservation: Reservation,
    ) -> Result<Added, BlobError> {
        fs::set_permissions(path, Permissions::from_mode(0o444))
            .map_err(|e| BlobError::io("protect", path, e))?;
        let outboard = (size > GROUP_BYTES as u64).then(|| Temp::new(self.temp("obao")));
        if let Some(temp) = &outboard {
            let broken = |e| BlobError::io("write", &temp.path, e);
            let mut out = BufWriter::new(part::create(&temp.path)?);
            let mut builder = TreeBuilder::default();
            for group in groups {
                builder.push(group?, &mut out).map_err(broken)?;
            }
            if builder.finish(&mut out).map_err(broken)? != hash {
                return Err(BlobError::Corrupt { hash, offset: 0 });
            }
            let file = out.into_inner().map_err(|e| broken(e.into_error()))?;
            file.set_permissions(Permissions::from_mode(0o444))
                .map_err(broken)?;
        }
        let new = self.publish(path, outboard.as_ref().map(|t| t.path.as_path()), hash, size)?;
        if new {
            reservation.settle(tree::charge(size));
            if let Some(temp) = outboard {
                temp.keep();
            }
        } else {
            fs::remove_file(path).map_err(|e| BlobError::io("remove", path, e))?;
        }
        Ok(Added { hash, size, new })
    }
}
