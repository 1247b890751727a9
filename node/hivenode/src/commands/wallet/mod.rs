//! `wallet …` and `trust …`

use super::daemon::short;
use crate::{
    args::{SendArgs, TrustCommand, WalletCommand},
    output::{CliError, Exit, Table, clean},
    quantity::{money, money_change, rfc3339},
    session::Session,
};
use hive_runtime::port::{WalletLine, WalletView};
use std::io::{IsTerminal, Write};

/// Lines asked for at once.
const PAGE: u32 = 1000;

/// `wallet …`
pub async fn run(session: &Session, command: WalletCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    match command {
        WalletCommand::Balance { account } => {
            balance(session, &client.wallet(account.as_deref()).await?)?;
        }
        WalletCommand::History { limit } => {
            let mut lines: Vec<WalletLine> = Vec::new();
            while let Some(left) = limit
                .checked_sub(u32::try_from(lines.len()).unwrap_or(u32::MAX))
                .filter(|n| *n > 0)
            {
                let page = client
                    .wallet_history(lines.last().map(|l| l.index), left.min(PAGE))
                    .await?;
                if page.is_empty() {
                    break;
                }
                lines.extend(page);
            }
            history(session, &lines)?;
        }
        WalletCommand::Send(args) => {
            confirm(session, &args)?;
            let line = client.wallet_send(&args.to, args.amount, &args.memo).await?;
            session
                .out
                .step("sent", &format!("{} to {}", args.amount, args.to));
            if session.out.json {
                session.out.document("line", &line)?;
            } else {
                session.out.line(&line.index.to_string());
            }
        }
    }
    Ok(Exit::OK)
}

fn balance(session: &Session, w: &WalletView) -> Result<(), CliError> {
    let out = &session.out;
    if out.json {
        return out.document("wallet", w);
    }
    if out.quiet {
        out.line(&w.available.to_string());
        return Ok(());
    }
    let (minted, available, held) = w.ledger;
    let whole = if available.checked_add(held) == Some(minted) {
        "adds up"
    } else {
        "DOES NOT ADD UP"
    };
    for (word, text) in [
        ("account", w.account.clone()),
        ("free", money(w.available)),
        ("held", money(w.held)),
        ("trust", format!("{} ({})", w.tier, w.score)),
        (
            "mesh",
            format!(
                "{} minted = {} free + {} held: {whole}",
                money(minted),
                money(available),
                money(held)
            ),
        ),
    ] {
        out.line(&format!("{word:<8} {}", clean(&text)));
    }
    if !w.holds.is_empty() {
        let mut table = Table::new(&["HOLD", "LEASE", "FOR", "AMOUNT", "UNTIL"]);
        for (hold, lease, payee, amount, until) in &w.holds {
            table.row([
                short(hold),
                short(lease),
                short(payee),
                &money(*amount),
                &rfc3339(*until),
            ]);
        }
        out.line("");
        table.print(out);
    }
    Ok(())
}

fn history(session: &Session, lines: &[WalletLine]) -> Result<(), CliError> {
    let out = &session.out;
    if out.json {
        return out.document("history", lines);
    }
    let mut table = Table::new(&["NUMBER", "TIME", "WHAT", "WITH", "CHANGE", "FREE", "NOTE"]);
    for l in lines {
        table.row([
            l.index.to_string(),
            rfc3339(l.time),
            l.kind.clone(),
            l.other.as_deref().map_or("-", short).to_owned(),
            money_change(l.delta),
            money(l.available),
            l.note.clone(),
        ]);
    }
    table.print(out);
    Ok(())
}

/// Money that is sent is gone: asks on a terminal, needs `--yes` elsewhere.
fn confirm(session: &Session, args: &SendArgs) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    let asks = std::io::stdin().is_terminal() && !session.global.no_input && !session.out.json;
    if !asks {
        return Err(CliError::usage(
            "wallet.unconfirmed",
            "sending credits needs a yes and nobody can be asked here",
        )
        .hint(format!(
            "hivenode wallet send {} {} --yes",
            args.to,
            args.amount.to_string().trim_end_matches(" CPT")
        )));
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "Send {} to {}? [y/N] ", args.amount, clean(&args.to)).and_then(|()| err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(CliError::internal("wallet.unconfirmed", "nothing was sent"))
}

/// `trust …`
pub async fn trust(session: &Session, command: TrustCommand) -> Result<Exit, CliError> {
    let TrustCommand::Show { who } = command;
    let client = session.client()?;
    let who = match who {
        Some(who) => who,
        None => client.status().await?.account,
    };
    let view = client.trust(&who).await?;
    let out = &session.out;
    if out.json {
        out.document("trust", &view)?;
        return Ok(Exit::OK);
    }
    out.line(&format!("account  {}", clean(&view.account)));
    out.line(&format!("score    {} ({})", view.score, clean(&view.tier)));
    if !view.reasons.is_empty() {
        let mut table = Table::new(&["TIME", "SCORE", "REASON"]);
        for (time, score, reason) in &view.reasons {
            table.row([&rfc3339(*time), &score.to_string(), reason]);
        }
        out.line("");
        table.print(out);
    }
    Ok(Exit::OK)
}
