//! `inbox …`: what others have sent here.

use crate::{
    args::InboxCommand,
    commands::{daemon::short, file::whole},
    output::{CliError, Exit, Table, clean},
    quantity::{rfc3339, show_size},
    session::Session,
};
use hive_runtime::port::InboxRow;

/// Runs a verb.
pub async fn inbox(session: &Session, command: InboxCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    let row = match command {
        InboxCommand::Ls => return list(session, &client.inbox().await?),
        InboxCommand::Show { notice } => client.inbox_item(&notice).await?,
        InboxCommand::Accept { notice, dest } => {
            let dest = dest.as_deref().map(whole).transpose()?;
            client.inbox_accept(&notice, dest.as_deref()).await?
        }
        InboxCommand::Decline { notice, reason } => client.inbox_decline(&notice, &reason).await?,
    };
    show(session, &row)
}

fn sender(row: &InboxRow) -> &str {
    if row.from_name.is_empty() {
        short(&row.from)
    } else {
        &row.from_name
    }
}

fn list(session: &Session, rows: &[InboxRow]) -> Result<Exit, CliError> {
    let out = &session.out;
    if out.json {
        out.document("inbox", rows)?;
    } else if out.quiet {
        rows.iter().for_each(|r| out.line(&r.notice));
    } else if rows.is_empty() {
        out.say("Nothing was sent here.");
    } else {
        let mut table = Table::new(&["ID", "FROM", "KIND", "WHAT", "SIZE", "STATE", "CAME", "WHY"]);
        for r in rows {
            table.row([
                short(&r.notice).to_owned(),
                sender(r).to_owned(),
                r.kind.clone(),
                r.name.clone(),
                if r.hash.is_some() {
                    show_size(r.size)
                } else {
                    "-".to_owned()
                },
                r.state.clone(),
                rfc3339(r.received),
                r.detail.clone(),
            ]);
        }
        table.print(out);
        let asking = rows.iter().filter(|r| r.state == "asking").count();
        if asking > 0 {
            out.say(&format!(
                "{asking} wait for your word: hivenode inbox accept ID, hivenode inbox decline ID"
            ));
        }
    }
    Ok(Exit::OK)
}

fn show(session: &Session, row: &InboxRow) -> Result<Exit, CliError> {
    let out = &session.out;
    if out.json {
        out.document("item", row)?;
        return Ok(Exit::OK);
    }
    if out.quiet {
        out.line(&row.notice);
        return Ok(Exit::OK);
    }
    let dash = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".to_owned());
    let mut lines = vec![
        ("id", row.notice.clone()),
        ("from", format!("{} {}", row.from_name, row.from)),
        ("kind", row.kind.clone()),
        ("what", row.name.clone()),
    ];
    if !row.data.is_empty() {
        lines.push(("data", row.data.clone()));
    }
    if row.hash.is_some() {
        lines.push(("content", dash(&row.hash)));
        lines.push(("size", format!("{} in {} files", show_size(row.size), row.files)));
        lines.push(("to", dash(&row.dest)));
        lines.push(("transfer", dash(&row.transfer)));
    }
    lines.push(("state", format!("{} {}", row.state, row.detail)));
    lines.push(("came", rfc3339(row.received)));
    for (word, text) in lines {
        out.line(&format!("{word:<8} {}", clean(text.trim())));
    }
    Ok(Exit::OK)
}
