//! The bill: who did how much, what each was paid, and that all balances add up.

use super::{fleet::Fleet, fleet::GRANT, render::Rendered};
use crate::{
    output::{CliError, Output, Table},
    quantity::{fuel, money, show_duration},
};
use hive_runtime::port::WalletView;
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Leases are captured within this time after the job's end.
const SETTLE: Duration = Duration::from_secs(20);
/// How often the ledger is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// One member in the books.
pub struct Line {
    name: String,
    node: String,
    tiles: u32,
    fuel: u64,
    wallet: WalletView,
    /// Paid to it in the ledger, micro-CPT.
    paid: u64,
}

/// Everybody's lines and the ledger's sums.
pub struct Books {
    lines: Vec<Line>,
    minted: u64,
    available: u64,
    held: u64,
}

/// Waits until nothing is held any more, then reads every wallet.
pub async fn settle(fleet: &Fleet, rendered: &Rendered) -> Result<Books, CliError> {
    let deadline = Instant::now() + SETTLE;
    let client = &fleet.client()?.client;
    loop {
        let wallet = client.wallet(None).await?;
        if wallet.held == 0 {
            break;
        }
        if Instant::now() >= deadline {
            let text = format!(
                "{} is still held after {}",
                money(wallet.held),
                show_duration(SETTLE)
            );
            return Err(CliError::internal("demo.unsettled", text));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let names = fleet.names().await?;
    let mut books = Books {
        lines: Vec::new(),
        minted: 0,
        available: 0,
        held: 0,
    };
    for member in fleet.members() {
        let wallet = member.client.wallet(None).await?;
        let history = member.client.wallet_history(None, 200).await?;
        // What a payer gets back of a hold stands in its history too: only workers are paid.
        let worked = member.name.starts_with("worker");
        let captured = history
            .iter()
            .filter(|l| worked && l.kind == "capture" && l.delta > 0);
        let paid = captured.map(|l| l.delta.unsigned_abs()).sum();
        let node = names
            .iter()
            .find(|(_, name)| **name == member.name)
            .map(|(node, _)| node.clone())
            .unwrap_or_default();
        let (tiles, fuel) = rendered.by_node.get(&node).copied().unwrap_or_default();
        (books.minted, books.available, books.held) = wallet.ledger;
        books.lines.push(Line {
            name: member.name.clone(),
            node,
            tiles,
            fuel,
            wallet,
            paid,
        });
    }
    Ok(books)
}

/// Shows the bill.
pub fn print(out: &Output, books: &Books, rendered: &Rendered, target: &Path) -> Result<(), CliError> {
    if out.json {
        let members: Vec<_> = books
            .lines
            .iter()
            .map(|l| {
                json!({
                    "name": l.name, "node": l.node, "account": l.wallet.account, "tiles": l.tiles, "fuel": l.fuel,
                    "paid": l.paid, "available": l.wallet.available, "held": l.wallet.held,
                })
            })
            .collect();
        return out.document(
            "demo",
            json!({
                "picture": target, "members": members, "minted": books.minted, "available": books.available,
                "held": books.held, "first_tile_ms": millis(rendered.first), "render_ms": millis(rendered.took),
                "moved_bytes": rendered.moved,
            }),
        );
    }
    let mut table = Table::new(&["WHO", "TILES", "FUEL", "PAID", "BALANCE"]);
    for l in &books.lines {
        let worked = l.name.starts_with("worker");
        table.row([
            l.name.clone(),
            if worked { l.tiles.to_string() } else { "-".into() },
            if worked { fuel(l.fuel) } else { "-".into() },
            if worked { money(l.paid) } else { "-".into() },
            money(l.wallet.available),
        ]);
    }
    table.print(out);
    out.line(
        "FUEL is that of the tiles used; a tile run twice near the end, to be done sooner, is PAID twice.",
    );
    let sum: u64 = books.lines.iter().map(|l| l.wallet.available).sum();
    out.line(&format!(
        "\n{} minted = {} in {} accounts + {} held",
        money(books.minted),
        money(sum),
        books.lines.len(),
        money(books.held)
    ));
    out.line(&format!(
        "first tile {} after the start, {} of rendering: {}",
        show_duration(rendered.first),
        show_duration(rendered.took),
        target.display()
    ));
    Ok(())
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// The demonstration has failed when the books do not balance.
pub fn verdict(books: &Books) -> Result<(), CliError> {
    let sum: u64 = books.lines.iter().map(|l| l.wallet.available).sum();
    let paid: u64 = books.lines.iter().map(|l| l.paid).sum();
    let client = books
        .lines
        .iter()
        .find(|l| l.name == "client")
        .map_or(0, |l| l.wallet.available);
    if books.minted != sum + books.held || books.available != sum {
        let text = format!(
            "minted {}, found {} and {} held",
            money(books.minted),
            money(sum),
            money(books.held)
        );
        return Err(CliError::internal("demo.books", text));
    }
    if client + paid != GRANT.0 {
        let text = format!(
            "the client has {} left of {GRANT}, the workers were paid {}",
            money(client),
            money(paid)
        );
        return Err(CliError::internal("demo.books", text));
    }
    Ok(())
}
