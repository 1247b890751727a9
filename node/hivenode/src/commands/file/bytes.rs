//! `file cat`: verified bytes to standard output.

use crate::{
    args::CatArgs,
    output::{CliError, Exit},
    session::Session,
};
use hive_api::client::Client;
use tokio::io::AsyncReadExt;

/// Bytes written at a time.
const PIECE: usize = 256 << 10;

/// `A-B`, `A-` or `A`: from, and to (not included).
fn range(text: &str) -> Result<(u64, Option<u64>), CliError> {
    let bad = || {
        CliError::usage(
            "file.range",
            format!("`{text}` is no range: write FROM-TO in bytes, such as 0-1000, or FROM-"),
        )
    };
    let (from, to) = text.split_once('-').ok_or_else(bad)?;
    let number = |t: &str| crate::quantity::parse_size(t).map_err(|_| bad());
    let from = number(from)?;
    let to = match to {
        "" => None,
        to => Some(number(to)?),
    };
    if to.is_some_and(|to| to < from) {
        return Err(bad());
    }
    Ok((from, to))
}

/// `file cat`
pub async fn cat(session: &Session, client: &Client, args: &CatArgs) -> Result<Exit, CliError> {
    let (from, to) = match &args.range {
        Some(text) => range(text)?,
        None => (0, None),
    };
    let mut reader = client.file_read(&args.file, from, to).await?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            read = reader.read(&mut piece) => read,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
        };
        let n = read.map_err(|e| {
            CliError::internal(
                "file.cut",
                format!("the bytes ended early ({e}); what was written so far is right, but not all"),
            )
            .hint("hivenode file status")
        })?;
        if n == 0 {
            return Ok(Exit::OK);
        }
        session.out.bytes(piece.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_read() {
        assert_eq!(range("0-10").unwrap(), (0, Some(10)));
        assert_eq!(range("1K-").unwrap(), (1024, None));
        for bad in ["", "5", "9-3", "a-b", "-5"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
