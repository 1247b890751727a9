//! `pull`: shared content to a path of this machine.

use super::{ended, existing, follow, goes_on, interrupts, whole};
use crate::{
    args::PullArgs,
    output::{CliError, Exit, clean},
    quantity::show_size,
    session::Session,
};
use hive_protocol::{ids::BlobHash, share::FileTicket};
use hive_runtime::port::{PullRequest, TransferView};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an answer that is on its way is waited for after Ctrl-C.
const ANSWER: Duration = Duration::from_secs(5);

/// The name content has by itself: a ticket tells it, a bare id has only its beginning.
fn own_name(what: &str) -> Result<String, CliError> {
    if what.starts_with("hivefile") {
        let ticket: FileTicket = what
            .parse()
            .map_err(|e: hive_protocol::share::FileTicketError| CliError::usage(e.code(), e.to_string()))?;
        return Ok(ticket.name);
    }
    if what.starts_with("hive1") {
        return Err(CliError::usage(
            "file.no_ticket",
            "this is a ticket to join a mesh, not one of a file; a file's begins with `hivefile1`",
        )
        .hint("hivenode file share PATH, on the machine that has it"));
    }
    let hash: BlobHash = what.parse().map_err(|_| {
        CliError::usage(
            "file.no_ticket",
            "this is neither a file ticket (`hivefile1…`) nor a content's id (`b_…`)",
        )
        .hint("hivenode file share PATH, on the machine that has it")
    })?;
    Ok(hash.short())
}

/// Where it goes: the path named, or into the folder named, or into the present folder.
fn destination(dest: Option<&Path>, name: &str) -> Result<PathBuf, CliError> {
    let Some(dest) = dest else {
        return whole(Path::new(name));
    };
    let into = dest.as_os_str().to_string_lossy().ends_with('/') || dest.is_dir();
    whole(&if into { dest.join(name) } else { dest.to_owned() })
}

/// `pull`
pub async fn pull(session: &Session, args: &PullArgs) -> Result<Exit, CliError> {
    // A pasted ticket may carry line breaks of a terminal or a mail.
    let what: String = args.what.split_whitespace().collect();
    let name = own_name(&what)?;
    let request = PullRequest {
        what,
        dest: Some(destination(args.dest.as_deref(), &name)?),
        folder: args.folder,
        from: args.from.clone(),
        like: args.like.as_deref().map(existing).transpose()?,
        overwrite: args.overwrite,
        priority: args.priority.map(|p| p.name().to_owned()),
    };
    let client = session.client()?;
    let mut stop = interrupts()?;
    let asked = client.file_pull(&request);
    tokio::pin!(asked);
    let begun = tokio::select! {
        begun = &mut asked => begun?,
        _ = stop.recv() => {
            // It may have begun: then its name is on the way.
            tokio::select! {
                begun = tokio::time::timeout(ANSWER, asked) => if let Ok(begun) = begun {
                    goes_on(session, &begun?);
                },
                _ = stop.recv() => {}
            }
            return Ok(Exit::INTERRUPTED);
        }
    };
    if args.detach {
        if session.out.json {
            session.out.document("transfer", &begun)?;
        } else {
            session.out.line(&begun.transfer);
        }
        return Ok(Exit::OK);
    }
    let Some(view) = follow(session, &client, begun, Some(args.patience), &mut stop).await? else {
        return Ok(Exit::INTERRUPTED);
    };
    let exit = ended(&view)?;
    show(session, &view)?;
    Ok(exit)
}

fn show(session: &Session, view: &TransferView) -> Result<(), CliError> {
    let out = &session.out;
    if out.json {
        return out.document("transfer", view);
    }
    let took = view.ended.saturating_sub(view.started).max(1);
    let from = match view.peers.len() {
        0 => "all of it was here".to_owned(),
        1 => "from one node".to_owned(),
        n => format!("from {n} nodes"),
    };
    let reused = if view.reused > 0 {
        format!(", {} were here already", show_size(view.reused))
    } else {
        String::new()
    };
    out.step(
        "pulled",
        &format!(
            "{} in {}.{:03} s ({}/s) {from}{reused}",
            show_size(view.done),
            took / 1000,
            took % 1000,
            show_size(view.done.saturating_mul(1000) / took),
        ),
    );
    out.line(&clean(view.dest.as_deref().unwrap_or(&view.hash)));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn destinations_are_paths_folders_or_here() {
        let dir = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(destination(None, "x").unwrap(), here.join("x"));
        assert_eq!(destination(Some(dir.path()), "x").unwrap(), dir.path().join("x"));
        assert_eq!(
            destination(Some(Path::new("/no/such/")), "x").unwrap(),
            Path::new("/no/such/x")
        );
        assert_eq!(
            destination(Some(Path::new("/no/such")), "x").unwrap(),
            Path::new("/no/such")
        );
    }

    #[test]
    fn tickets_of_the_wrong_kind_are_named() {
        for bad in ["hive1abc", "hivefile1abc", "nonsense", "hivefile2x"] {
            assert_eq!(own_name(bad).unwrap_err().exit, Exit::USAGE, "{bad}");
        }
        let hash = BlobHash([7; 32]);
        assert_eq!(own_name(&hash.to_string()).unwrap(), hash.short());
    }
}
