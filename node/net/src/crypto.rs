//! One crypto provider for the whole process.

use crate::error::NetError;

/// Makes aws-lc-rs the process's TLS provider and draws a first random number from it (the first one costs up
/// to 140 ms, which no handshake should pay). Harmless when called again.
///
/// # Errors
/// [`NetError::Setup`] when the system gives no entropy.
pub fn init_crypto() -> Result<(), NetError> {
    // An error says that a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    random(&mut [0; 8])
}

/// Fills this with random bytes no one can guess.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), NetError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(bytes).map_err(|e| NetError::Setup {
        detail: format!("no entropy from the system: {e:?}"),
    })
}
