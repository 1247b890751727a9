//! What is kept here: adding, sharing, listing, checking, clearing.

use super::existing;
use crate::{
    args::AddArgs,
    commands::daemon::short,
    output::{CliError, Exit, Table, clean},
    quantity::show_size,
    session::Session,
};
use hive_api::client::Client;
use hive_protocol::ids::BlobHash;
use hive_runtime::port::{AddRequest, FileRow, FileView};

fn request(args: &AddArgs, share: bool) -> Result<AddRequest, CliError> {
    Ok(AddRequest {
        path: existing(&args.path)?,
        copy: args.copy,
        skip_unsafe: args.skip_unsafe,
        share,
    })
}

fn said(session: &Session, view: &FileView) {
    let row = &view.row;
    let what = if row.folder {
        format!("{} files, ", row.files)
    } else {
        String::new()
    };
    session
        .out
        .step("kept", &format!("{} ({what}{})", row.name, show_size(row.size)));
    for name in &view.skipped {
        session.out.warn(&format!("left out: {name}"));
    }
}

/// `file add`
pub async fn add(session: &Session, client: &Client, args: &AddArgs) -> Result<Exit, CliError> {
    let view = client.file_add(&request(args, false)?).await?;
    if session.out.json {
        session.out.document("file", &view)?;
        return Ok(Exit::OK);
    }
    said(session, &view);
    session.out.line(&view.row.hash);
    Ok(Exit::OK)
}

/// `file share`
pub async fn share(session: &Session, client: &Client, args: &AddArgs) -> Result<Exit, CliError> {
    // What stands at a path comes first; else it is something kept already.
    let named = args.path.to_string_lossy();
    let view = match request(args, true) {
        Ok(request) => client.file_add(&request).await?,
        Err(missing) => match client.file_share(&named).await {
            Ok(view) => view,
            Err(e) if e.code == "file.not_found" && named.parse::<BlobHash>().is_err() => {
                return Err(missing);
            }
            Err(e) => return Err(e.into()),
        },
    };
    if session.out.json {
        session.out.document("file", &view)?;
        return Ok(Exit::OK);
    }
    said(session, &view);
    let ticket = view.ticket.as_deref().unwrap_or_default();
    session
        .out
        .say("Any member brings it to itself with: hivenode pull TICKET");
    session.out.line(ticket);
    Ok(Exit::OK)
}

/// `file unshare`
pub async fn unshare(session: &Session, client: &Client, file: &str) -> Result<Exit, CliError> {
    client.file_unshare(file).await?;
    if session.out.json {
        session.out.document("done", true)?;
    }
    session
        .out
        .say("shared no longer; those who have it already may still give it to each other");
    Ok(Exit::OK)
}

fn cells(row: &FileRow) -> [String; 7] {
    [
        short(&row.hash).to_owned(),
        row.name.clone(),
        if row.folder {
            format!("{} files", row.files)
        } else {
            "file".to_owned()
        },
        show_size(row.size),
        row.state.clone(),
        if row.shared { "members" } else { "-" }.to_owned(),
        row.path.clone().unwrap_or_else(|| "(store)".to_owned()),
    ]
}

/// `file ls`
pub async fn list(session: &Session, client: &Client) -> Result<Exit, CliError> {
    let rows = client.files().await?;
    let out = &session.out;
    if out.json {
        out.document("files", &rows)?;
    } else if out.quiet {
        rows.iter().for_each(|r| out.line(&r.hash));
    } else if rows.is_empty() {
        out.say("Nothing is kept here yet. hivenode file add PATH, or hivenode pull TICKET");
    } else {
        let mut table = Table::new(&["ID", "NAME", "KIND", "SIZE", "STATE", "SHARED", "PATH"]);
        rows.iter().for_each(|r| table.row(cells(r)));
        table.print(out);
    }
    Ok(Exit::OK)
}

/// `file show`
pub async fn show(session: &Session, client: &Client, file: &str) -> Result<Exit, CliError> {
    let view = client.file(file).await?;
    let out = &session.out;
    if out.json {
        out.document("file", &view)?;
        return Ok(Exit::OK);
    }
    if out.quiet {
        out.line(&view.row.hash);
        return Ok(Exit::OK);
    }
    let row = &view.row;
    let mut lines = vec![
        ("id", row.hash.clone()),
        ("name", row.name.clone()),
        (
            "what",
            if row.folder {
                format!("folder: {} files, {} entries", row.files, view.entries)
            } else {
                "file".to_owned()
            },
        ),
        ("size", format!("{} ({} bytes)", show_size(row.size), row.size)),
        ("state", row.state.clone()),
        ("kept", row.tags.join(", ")),
        (
            "path",
            row.path.clone().unwrap_or_else(|| "in the store".to_owned()),
        ),
    ];
    lines.extend(view.ticket.clone().map(|t| ("ticket", t)));
    for (word, text) in lines {
        out.line(&format!("{word:<7} {}", clean(&text)));
    }
    if !view.listing.is_empty() {
        let mut table = Table::new(&["PATH", "KIND", "SIZE", "OF"]);
        for e in &view.listing {
            let (size, of) = match e.kind.as_str() {
                "file" => (show_size(e.size), short(&e.of).to_owned()),
                _ => ("-".to_owned(), e.of.clone()),
            };
            table.row([e.path.clone(), e.kind.clone(), size, of]);
        }
        out.line("");
        table.print(out);
        if (view.listing.len() as u64) < view.entries {
            out.say(&format!("and {} more", view.entries - view.listing.len() as u64));
        }
    }
    Ok(Exit::OK)
}

/// `file verify`
pub async fn verify(session: &Session, client: &Client, file: &str) -> Result<Exit, CliError> {
    let view = client.file_verify(file).await?;
    let out = &session.out;
    if out.json {
        out.document("verify", &view)?;
    } else {
        for problem in &view.problems {
            out.warn(problem);
        }
        let verdict = if view.good { "good" } else { "NOT what it was" };
        out.line(&format!("{verdict}: {} read", show_size(view.bytes)));
    }
    Ok(if view.good { Exit::OK } else { Exit::FAILED })
}

/// `file rm`
pub async fn remove(session: &Session, client: &Client, file: &str) -> Result<Exit, CliError> {
    client.file_remove(file).await?;
    if session.out.json {
        session.out.document("done", true)?;
    }
    session
        .out
        .say("kept no longer; space in the store comes free with: hivenode file gc");
    Ok(Exit::OK)
}

/// `file gc`
pub async fn gc(session: &Session, client: &Client, dry_run: bool) -> Result<Exit, CliError> {
    let view = client.file_gc(dry_run).await?;
    let out = &session.out;
    if out.json {
        out.document("gc", &view)?;
        return Ok(Exit::OK);
    }
    if !view.items.is_empty() && !out.quiet {
        let mut table = Table::new(&["ID", "SIZE", "WHY"]);
        for item in &view.items {
            table.row([
                short(&item.hash).to_owned(),
                show_size(item.size),
                item.why.clone(),
            ]);
        }
        table.print(out);
    }
    let word = if dry_run { "would free" } else { "freed" };
    out.say(&format!(
        "{word} {} of {} things",
        show_size(view.freed),
        view.count
    ));
    Ok(Exit::OK)
}
