//! Invitations into the mesh.

use super::Route;
use crate::{
    answer::{Answer, Failure, done, made},
    ask::{Id, Json},
    context::Context,
};
use axum::{
    extract::State,
    routing::{delete, post},
};
use hive_protocol::{money::MicroCpt, resources::Role};
use hive_runtime::port::InviteRequest;
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/invites",
        "Makes an invitation; answers its ticket",
        || post(create),
    ),
    Route::new("DELETE", "/v1/invites/{id}", "Ends an invitation", || {
        delete(revoke)
    }),
];

/// An invitation as people write it: the role by its name on the command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    role: String,
    #[serde(default)]
    score: Option<u32>,
    #[serde(default)]
    grant: MicroCpt,
    uses: u32,
    ttl_ms: u64,
}

async fn create(State(context): State<Context>, Json(invite): Json<Invite>) -> Answer {
    let role: Role = invite
        .role
        .to_ascii_lowercase()
        .parse()
        .map_err(|why: String| Failure::invalid("api.bad_field", format!("`role`: {why}")))?;
    let request = InviteRequest {
        role,
        score: invite.score,
        grant: invite.grant,
        uses: invite.uses,
        ttl_ms: invite.ttl_ms,
    };
    let invite = context.node().invite(request).await?;
    Ok(made(invite.invite.clone(), "invite", invite))
}

async fn revoke(State(context): State<Context>, id: Id) -> Answer {
    context.node().invite_revoke(id.of("invite")?).await?;
    Ok(done())
}
