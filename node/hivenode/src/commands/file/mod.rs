//! `file …` and `pull`.

mod bytes;
mod follow;
mod keep;
mod pull;
mod status;

pub use follow::{ended, follow};
use follow::{goes_on, interrupts};
pub use pull::pull;

use crate::{
    args::FileCommand,
    output::{CliError, Exit},
    session::Session,
};
use hive_runtime::port::{Kind, TransferDo};
use std::path::{Path, PathBuf};

/// Runs a verb.
pub async fn run(session: &Session, command: FileCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    match command {
        FileCommand::Add(args) => keep::add(session, &client, &args).await,
        FileCommand::Share(args) => keep::share(session, &client, &args).await,
        FileCommand::Unshare(id) => keep::unshare(session, &client, &id.file).await,
        FileCommand::Ls => keep::list(session, &client).await,
        FileCommand::Show(id) => keep::show(session, &client, &id.file).await,
        FileCommand::Verify(id) => keep::verify(session, &client, &id.file).await,
        FileCommand::Rm(id) => keep::remove(session, &client, &id.file).await,
        FileCommand::Gc { dry_run } => keep::gc(session, &client, dry_run).await,
        FileCommand::Status(args) => status::status(session, &client, &args).await,
        FileCommand::Cat(args) => bytes::cat(session, &client, &args).await,
        FileCommand::Pause(id) => status::act(session, &client, &id.transfer, TransferDo::Pause).await,
        FileCommand::Resume(id) => status::act(session, &client, &id.transfer, TransferDo::Resume).await,
        FileCommand::Cancel(id) => status::act(session, &client, &id.transfer, TransferDo::Cancel).await,
    }
}

/// A path as the daemon can use it: whole, seen from the folder this command runs in.
pub fn whole(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path)
        .map_err(|e| CliError::usage("file.bad_path", format!("`{}` is no path: {e}", path.display())))
}

/// A path that must be there, named before the daemon is asked.
pub fn existing(path: &Path) -> Result<PathBuf, CliError> {
    let whole = whole(path)?;
    match std::fs::symlink_metadata(&whole) {
        Ok(_) => Ok(whole),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(CliError::new(
            Kind::NotFound,
            "file.missing",
            format!("there is no `{}`", path.display()),
        )),
        // The daemon may be allowed what this command is not, and says so itself otherwise.
        Err(_) => Ok(whole),
    }
}
