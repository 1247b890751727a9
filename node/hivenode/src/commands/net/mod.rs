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

/// Characters of a path shown in a table: enough for a relay's name and for what a reason begins with.
const PATH_WIDTH: usize = 44;

/// A path as a table has room for it: why a node is unreachable is a line of its own length, which `net paths` and the
/// JSON documents have whole.
pub fn brief(path: &str) -> String {
    if path.chars().count() <= PATH_WIDTH {
        return path.to_owned();
    }
    let kept: String = path.chars().take(PATH_WIDTH - 1).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::{PATH_WIDTH, brief, place};

    #[test]
    fn long_reasons_are_cut_in_tables() {
        let long =
            "unreachable: /ip4/203.0.113.7/udp/4001/quic-v1: timed out; /ip4/203.0.113.7/tcp/4001: refused";
        let cut = brief(long);
        assert!(
            cut.starts_with("unreachable: /ip4/203.0.113.7") && cut.ends_with('…'),
            "{cut}"
        );
        assert_eq!(cut.chars().count(), PATH_WIDTH);
        for whole in [
            "direct",
            "relay fra",
            "unreachable: no address",
            "punching (relay düsseldorf-außen)",
        ] {
            assert_eq!(brief(whole), whole);
        }
        let umlauts = "ü".repeat(PATH_WIDTH);
        assert_eq!(brief(&umlauts), umlauts, "characters, not bytes");
    }

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
