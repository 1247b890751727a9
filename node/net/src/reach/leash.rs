//! Dials that can be ended before their time: those of a punch end with their round, so that what it sends to addresses
//! that a peer has named does not go on beside the next one.

use futures::future::{Either, select};
use std::{
    io,
    pin::pin,
    sync::{Mutex, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Whose dials are being made just now.
#[derive(Debug, Default)]
pub(crate) struct Leash(Mutex<Option<CancellationToken>>);

impl Leash {
    /// What is dialed while this is done ends with the token.
    pub(crate) fn hold<T>(&self, token: &CancellationToken, doing: impl FnOnce() -> T) -> T {
        self.set(Some(token.clone()));
        let done = doing();
        self.set(None);
        done
    }

    fn set(&self, token: Option<CancellationToken>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// What a dial made now ends with.
    pub(super) fn held(&self) -> Option<CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A dial, until its token ends it.
pub(super) async fn until<T>(
    token: CancellationToken,
    dial: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match select(pin!(token.cancelled()), pin!(dial)).await {
        Either::Left(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "not while its round of punching lasted",
        )),
        Either::Right((done, _)) => done,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_dialed_on_a_leash_ends_with_it_and_nothing_else_does() {
        let (leash, token) = (Leash::default(), CancellationToken::new());
        assert!(leash.held().is_none());
        let held = leash.hold(&token, || leash.held()).unwrap();
        assert!(leash.held().is_none());
        assert_eq!(until(held.clone(), async { Ok(1) }).await.unwrap(), 1);
        token.cancel();
        let error = until(held, std::future::pending::<io::Result<()>>()).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
