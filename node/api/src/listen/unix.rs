//! The unix socket: its owner's only, one live daemon at a time, a dead one's leftovers replaced.

use crate::error::ApiError;
use rustix::{
    fs::{Mode, fchmod},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_fd, connect, listen, socket_with,
    },
};
use std::{
    fs::{DirBuilder, File, TryLockError},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// Connections the system may hold before they are accepted.
const BACKLOG: i32 = 1024;

/// A listening socket.
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    _file: SocketFile,
    lock: Lock,
}

/// Says that a daemon lives behind the socket. Held longer than the socket, until the last connection is closed.
#[must_use]
pub(crate) struct Lock(#[allow(dead_code)] File);

impl Socket {
    /// Stops listening and removes the file.
    pub(crate) fn close(self) -> Lock {
        self.lock
    }
}

/// The socket's file. Removed when dropped, unless somebody has put another one there.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. Blocks for a few file operations only.
pub(crate) fn bind(path: &Path) -> Result<Socket, ApiError> {
    let failed = |source: io::Error| ApiError::Socket {
        path: path.to_owned(),
        source,
    };
    let address = SocketAddrUnix::new(path).map_err(|_| ApiError::SocketPath {
        path: path.to_owned(),
        why: "the path is too long for a socket (107 bytes) or empty".into(),
    })?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    let lock = lock(path)?;
    clear(path, &address)?;
    let fd = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|e| failed(e.into()))?;
    let listener = (|| -> io::Result<UnixListener> {
        // The file takes its mode from the socket: it is never open to others, not even for a moment.
        fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        bind_fd(&fd, &address)?;
        listen(&fd, BACKLOG)?;
        UnixListener::from_std(StdListener::from(fd))
    })()
    .map_err(failed)?;
    let meta = std::fs::symlink_metadata(path).map_err(failed)?;
    Ok(Socket {
        listener,
        _file: SocketFile {
            path: path.to_owned(),
            inode: (meta.dev(), meta.ino()),
        },
        lock,
    })
}

/// The lock beside the socket. Held while a daemon lives: two that start at once cannot both take the place.
fn lock(path: &Path) -> Result<Lock, ApiError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let failed = |source: io::Error| ApiError::Socket {
        path: PathBuf::from(&beside),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(ApiError::SocketInUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Takes a dead daemon's socket away. Anything else at the path stays.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), ApiError> {
    let failed = |source: io::Error| ApiError::Socket {
        path: path.to_owned(),
        source,
    };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta.file_type(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    if !kind.is_socket() {
        return Err(ApiError::SocketPath {
            path: path.to_owned(),
            why: "something that is no socket lies there".into(),
        });
    }
    let probe: OwnedFd = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|e| failed(e.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        // Full queue (AGAIN) or accepted: somebody listens.
        Ok(()) | Err(Errno::AGAIN) => Err(ApiError::SocketInUse {
            path: path.to_owned(),
        }),
        Err(e) => Err(failed(e.into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn only_the_owner_and_only_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/api.sock");
        let socket = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let folder = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        assert_eq!(bind(&path).err().unwrap().code(), "api.socket_in_use");
        let lock = socket.close();
        assert!(!path.exists());
        // Still closing its last connections.
        assert_eq!(bind(&path).err().unwrap().code(), "api.socket_in_use");
        drop(lock);
        drop(bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&path).unwrap());

        // A live listener that holds no lock of ours.
        let other = StdListener::bind(&path).unwrap();
        assert_eq!(bind(&path).err().unwrap().code(), "api.socket_in_use");
        drop(other);
        std::fs::remove_file(&path).unwrap();

        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path).err().unwrap().code(), "api.socket_path");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

        let long = dir.path().join("x".repeat(120));
        assert_eq!(bind(&long).err().unwrap().code(), "api.socket_path");
    }

    #[tokio::test]
    async fn somebody_elses_socket_is_not_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let socket = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = StdListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
