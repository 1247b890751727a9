//! Wallets: balance, history, sending.

use super::{Route, jobs::limit};
use crate::{
    answer::{Answer, document, made},
    ask::{Args, Json},
    context::Context,
};
use axum::{
    extract::State,
    routing::{get, post},
};
use hive_protocol::money::MicroCpt;
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "GET",
        "/v1/wallet",
        "A wallet: this node's, or that of ?account=",
        || get(balance),
    ),
    Route::new(
        "GET",
        "/v1/wallet/history",
        "This account's history, newest first: ?before= &limit=",
        || get(history),
    ),
    Route::new("POST", "/v1/wallet/send", "Sends money", || post(send)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    account: Option<String>,
}

async fn balance(State(context): State<Context>, Args(Whose { account }): Args<Whose>) -> Answer {
    Ok(document("wallet", context.node().wallet(account).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<u64>,
    limit: Option<u32>,
}

async fn history(State(context): State<Context>, Args(page): Args<Page>) -> Answer {
    let lines = context
        .node()
        .wallet_history(page.before, limit(page.limit)?)
        .await?;
    Ok(document("history", lines))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: String,
    /// µCPT.
    amount: MicroCpt,
    #[serde(default)]
    memo: String,
}

async fn send(State(context): State<Context>, Json(Send { to, amount, memo }): Json<Send>) -> Answer {
    let subject = to.clone();
    let line = context.node().wallet_send(to, amount, memo).await?;
    Ok(made(subject, "line", line))
}
