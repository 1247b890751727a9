//! One run of the command line: how it talks, where its node lies, the way to the daemon.

use crate::{
    args::Global,
    output::{CliError, Output},
    paths::Paths,
};
use hive_api::client::Client;
use std::{net::SocketAddr, path::PathBuf};

/// What every command gets.
#[derive(Debug, Clone)]
pub struct Session {
    /// How to talk.
    pub out: Output,
    /// Where things lie.
    pub paths: Paths,
    /// Flags of every command.
    pub global: Global,
}

/// Where the daemon's API is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Loopback(SocketAddr),
}

fn place(text: &str) -> Result<Place, CliError> {
    let rest = text.strip_prefix("http://").map(|r| r.trim_end_matches('/'));
    if let Some(addr) = rest {
        return addr.parse().map(Place::Loopback).map_err(|_| {
            CliError::usage(
                "api.bad_address",
                format!("`{text}` is no address of the local API: write http://127.0.0.1:PORT or the path of a socket"),
            )
        });
    }
    let path = text.strip_prefix("unix:").unwrap_or(text);
    Ok(Place::Socket(PathBuf::from(path)))
}

impl Session {
    /// Makes the session of these flags.
    ///
    /// # Errors
    /// Those of [`Paths::find`].
    pub fn new(global: Global, out: Output) -> Result<Self, CliError> {
        let paths = Paths::find(global.data.as_deref())?;
        Ok(Self { out, paths, global })
    }

    /// The way to the daemon. Nothing is opened before the first call.
    ///
    /// # Errors
    /// `api.bad_address`, `api.no_token`.
    pub fn client(&self) -> Result<Client, CliError> {
        let Some(api) = &self.global.api else {
            return Ok(Client::unix(&self.paths.socket));
        };
        match place(api)? {
            Place::Socket(path) => Ok(Client::unix(path)),
            Place::Loopback(addr) => {
                let token = std::env::var("HIVENODE_TOKEN").map_err(|_| {
                    CliError::usage(
                        "api.no_token",
                        format!("the API at {addr} asks for its token in HIVENODE_TOKEN"),
                    )
                    .hint("it lies in the file api.token of the daemon's data folder")
                })?;
                Ok(Client::tcp(addr, token))
            }
        }
    }

    /// How a command of this node is typed, with `--data` where it is needed.
    pub fn command(&self, rest: &str) -> String {
        match &self.paths.root {
            Some(root) => format!("hivenode --data {} {rest}", root.display()),
            None => format!("hivenode {rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sockets_and_addresses_are_told_apart() {
        assert_eq!(place("/run/x.sock").unwrap(), Place::Socket("/run/x.sock".into()));
        assert_eq!(
            place("unix:/run/x.sock").unwrap(),
            Place::Socket("/run/x.sock".into())
        );
        assert_eq!(
            place("http://127.0.0.1:7787/").unwrap(),
            Place::Loopback("127.0.0.1:7787".parse().unwrap())
        );
        assert_eq!(place("http://nowhere").unwrap_err().code, "api.bad_address");
    }
}
