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

/// An address as people read it: of a way through a relay, where the relay is; its key says them nothing. The whole
/// address is in the JSON documents.
pub fn place(addr: &str) -> String {
    let Some(way) = addr.strip_suffix("/p2p-circuit") else {
        return addr.to_owned();
    };
    match way.rsplit_once("/p2p/") {
        Some((relay, _)) => format!("{relay}/…/p2p-circuit"),
        None => addr.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn ways_through_relays_are_short() {
        for (addr, shown) in [
            ("/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"),
            (
                "/ip4/10.0.0.1/udp/1/quic-v1/p2p/12D3KooW/p2p-circuit",
                "/ip4/10.0.0.1/udp/1/quic-v1/…/p2p-circuit",
            ),
            ("/p2p-circuit", "/p2p-circuit"),
            ("", ""),
        ] {
            assert_eq!(place(addr), shown);
        }
    }
}
