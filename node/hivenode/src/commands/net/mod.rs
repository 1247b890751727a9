//! `net …`: how this node is reached, and the ways to others.

mod check;
mod paths;
mod peers;

use crate::{
    args::NetCommand,
    output::{CliError, Exit},
    session::Session,
};

/// Runs a verb.
pub async fn run(session: &Session, command: NetCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    match command {
        NetCommand::Check(args) => check::check(session, &client, &args).await,
        NetCommand::Peers(args) => peers::peers(session, &client, args.watch).await,
        NetCommand::Paths { node } => paths::show(session, &client.net_paths(&node).await?),
        NetCommand::Trace { node } => paths::show(session, &client.net_trace(&node).await?),
    }
}
