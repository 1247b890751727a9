//! `file status`: transfers with who gives what; pause, resume, cancel.

use super::follow::now;
use crate::{
    args::TransfersArgs,
    commands::daemon::short,
    output::{CliError, Exit, Output, Table},
    quantity::show_size,
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{TransferDo, TransferView};
use std::time::Duration;

/// How often `-w` shows it again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `file status`
pub async fn status(session: &Session, client: &Client, args: &TransfersArgs) -> Result<Exit, CliError> {
    let out = &session.out;
    loop {
        let views = match &args.transfer {
            Some(id) => vec![client.transfer(id, 0).await?],
            None => client.transfers().await?,
        };
        match &args.transfer {
            _ if !out.json => show(out, &views, args.watch),
            Some(_) => views.iter().try_for_each(|v| out.document("transfer", v))?,
            None => out.document("transfers", &views)?,
        }
        let over = args.transfer.is_some() && views.iter().all(TransferView::is_final);
        if !args.watch || over {
            return Ok(Exit::OK);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
        }
    }
}

fn show(out: &Output, views: &[TransferView], watch: bool) {
    if out.quiet {
        views.iter().for_each(|v| out.line(&v.transfer));
        return;
    }
    let clear = if watch && out.terminal {
        "\u{1b}[2J\u{1b}[H"
    } else {
        ""
    };
    if views.is_empty() {
        out.line(&format!("{clear}No transfers. hivenode pull TICKET"));
        return;
    }
    let mut table = Table::new(&["TRANSFER", "NAME", "STATE", "DONE", "OF", "RATE", "WHAT"]);
    for v in views {
        let share = v.done.saturating_mul(100).checked_div(v.total).unwrap_or(0);
        let note = match (&v.error, &v.stalled) {
            (Some(e), _) => format!("{}: {}", e.code, e.message),
            (None, Some(why)) => format!("stalled: {}", why.message),
            (None, None) => v.dest.clone().unwrap_or_default(),
        };
        table.row([
            short(&v.transfer).to_owned(),
            v.name.clone(),
            v.state.clone(),
            format!("{share}%"),
            show_size(v.total),
            if v.rate > 0 {
                format!("{}/s", show_size(v.rate))
            } else {
                "-".to_owned()
            },
            note,
        ]);
    }
    let mut text = format!("{clear}{}", table.text());
    for v in views.iter().filter(|v| !v.is_final()) {
        for line in now(v).peers {
            text.push_str(&format!(
                "\n  {}  {}",
                short(&v.transfer),
                crate::output::clean(&line)
            ));
        }
    }
    out.line(&text);
}

/// `file pause`, `file resume`, `file cancel`
pub async fn act(session: &Session, client: &Client, id: &str, what: TransferDo) -> Result<Exit, CliError> {
    let views = client.transfer_do(id, what).await?;
    let out = &session.out;
    if out.json {
        out.document("transfers", &views)?;
    } else if out.quiet {
        views.iter().for_each(|v| out.line(&v.transfer));
    } else {
        for v in &views {
            out.line(&format!("{} {}", v.transfer, v.state));
        }
        if views.is_empty() {
            out.say("there is no transfer this could be done to");
        }
    }
    Ok(Exit::OK)
}
