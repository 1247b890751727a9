//! `push ls`, `push show`, `push cancel`.

use super::{
    follow::{follow, label, outcome},
    send::what,
};
use crate::{
    commands::daemon::short,
    output::{CliError, Exit, Table, clean},
    quantity::{rfc3339, show_size},
    session::Session,
};
use hive_runtime::port::NoticeView;

fn progress(view: &NoticeView) -> String {
    let (done, failed) = view.counts();
    let failed = if failed > 0 {
        format!(", {failed} failed")
    } else {
        String::new()
    };
    format!("{done}/{} done{failed}", view.recipients.len())
}

/// `push ls`
pub async fn list(session: &Session) -> Result<Exit, CliError> {
    let views = session.client()?.notices().await?;
    let out = &session.out;
    if out.json {
        out.document("notices", &views)?;
    } else if out.quiet {
        views.iter().for_each(|v| out.line(&v.notice));
    } else if views.is_empty() {
        out.say("Nothing was sent yet. hivenode push PATH --to NODE");
    } else {
        let mut table = Table::new(&["PUSH", "KIND", "WHAT", "RECEIVERS", "CREATED"]);
        for v in &views {
            table.row([
                short(&v.notice).to_owned(),
                v.kind.clone(),
                what(v),
                progress(v),
                rfc3339(v.created),
            ]);
        }
        table.print(out);
    }
    Ok(Exit::OK)
}

/// `push show`
pub async fn show(session: &Session, id: &str, watch: bool) -> Result<Exit, CliError> {
    let client = session.client()?;
    let mut view = client.notice(id, 0).await?;
    if watch {
        let Some(ended) = follow(session, &client, view, true).await? else {
            return Ok(Exit::INTERRUPTED);
        };
        view = ended;
    }
    let out = &session.out;
    if out.json {
        out.document("notice", &view)?;
    } else if out.quiet {
        out.line(&view.notice);
    } else {
        for (word, text) in [
            ("push", view.notice.clone()),
            ("what", format!("{} {}", view.kind, what(&view))),
            ("id", view.hash.clone().unwrap_or_else(|| "-".to_owned())),
            ("sent", rfc3339(view.created)),
            ("expires", rfc3339(view.expires)),
        ] {
            out.line(&format!("{word:<8} {}", clean(&text)));
        }
        let mut table = Table::new(&["NODE", "STATE", "DONE", "OF", "WHY"]);
        for r in &view.recipients {
            table.row([
                label(r).to_owned(),
                r.state.clone(),
                show_size(r.done),
                show_size(r.total),
                r.detail.clone(),
            ]);
        }
        out.line("");
        table.print(out);
    }
    if watch {
        outcome(session, &view)
    } else {
        Ok(Exit::OK)
    }
}

/// `push cancel`
pub async fn cancel(session: &Session, id: &str) -> Result<Exit, CliError> {
    session.client()?.notice_cancel(id).await?;
    if session.out.json {
        session.out.document("done", true)?;
    }
    session
        .out
        .say("taken back from those who have not got it; what others have stays with them");
    Ok(Exit::OK)
}
