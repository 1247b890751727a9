//! `push …` and `inbox …`.

mod follow;
mod inbox;
mod list;
mod send;

pub use follow::{Standing, standing};
pub use inbox::inbox;

use crate::{
    args::{PushCommand, PushVerb},
    output::{CliError, Exit},
    session::Session,
};

/// Runs a verb.
pub async fn run(session: &Session, command: PushCommand) -> Result<Exit, CliError> {
    match command.command {
        None => send::send(session, &command.args).await,
        Some(PushVerb::Ls) => list::list(session).await,
        Some(PushVerb::Show { notice, watch }) => list::show(session, &notice, watch).await,
        Some(PushVerb::Cancel { notice }) => list::cancel(session, &notice).await,
    }
}
