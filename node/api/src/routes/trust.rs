//! Trust in accounts and nodes.

use super::Route;
use crate::{
    answer::{Answer, document},
    ask::Id,
    context::Context,
    document::TrustView,
};
use axum::{extract::State, routing::get};

pub(super) const ROUTES: &[Route] = &[Route::new(
    "GET",
    "/v1/trust/{who}",
    "Score, tier and the latest reasons of an account, node or name",
    || get(trust),
)];

async fn trust(State(context): State<Context>, who: Id) -> Answer {
    let wallet = context.node().wallet(Some(who.of("account")?)).await?;
    Ok(document(
        "trust",
        TrustView {
            account: wallet.account,
            score: wallet.score,
            tier: wallet.tier,
            reasons: wallet.reasons,
        },
    ))
}
