//! The bearer token of the API's loopback address.

use crate::output::CliError;
use data_encoding::HEXLOWER;
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// Reads the token, or makes one that only its owner can read.
pub(super) fn load_or_make(data: &Path) -> Result<String, CliError> {
    let path = data.join("api.token");
    let failed = |e: io::Error| {
        CliError::internal(
            "api.token",
            format!("cannot use the token file {}: {e}", path.display()),
        )
    };
    match std::fs::read_to_string(&path) {
        Ok(token) => return Ok(token.trim().to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let mut bytes = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|e| CliError::internal("api.token", format!("no random numbers from the system: {e}")))?;
    let token = HEXLOWER.encode(&bytes);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.write_all(token.as_bytes()).map_err(failed)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let token = load_or_make(dir.path()).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(load_or_make(dir.path()).unwrap(), token);
        let mode = std::fs::metadata(dir.path().join("api.token"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
