//! Connections: opened when needed, kept for the next call, never shared by two calls at once.

use super::failure;
use crate::limits::{CLIENT_ASK, CLIENT_CONNECT, CLIENT_DOCUMENT, CLIENT_IDLE, CLIENT_IDLE_AGE, CLIENT_OPEN};
use bytes::Bytes;
use hive_runtime::port::{Kind, Refused};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// A request body: whole bytes or a stream.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Where the daemon is.
pub(super) enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr, String),
}

impl Target {
    fn place(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(addr, _) => addr.to_string(),
        }
    }
}

/// The connections of one client.
pub(super) struct Pool {
    target: Target,
    idle: Mutex<Vec<(SendRequest<Body>, Instant)>>,
    open: Arc<Semaphore>,
}

impl fmt::Debug for Pool {
    // Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target.place())
            .finish_non_exhaustive()
    }
}

/// A connection on loan. Given back with [`Loan::give_back`] once its answer was read whole; closed when dropped before.
pub(super) struct Loan {
    pool: Arc<Pool>,
    sender: SendRequest<Body>,
    _permit: OwnedSemaphorePermit,
}

impl Loan {
    pub(super) fn give_back(self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CLIENT_IDLE && !self.sender.is_closed() {
            idle.push((self.sender, Instant::now()));
        }
    }
}

/// One call, ready to be sent.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Body,
    pub(super) json: bool,
    /// Content type the caller wants to see.
    pub(super) accept: Option<&'static str>,
    /// `None` for no limit: calls that wait for work to end.
    pub(super) wait: Option<Duration>,
}

impl Ask {
    pub(super) fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            body: whole(Bytes::new()),
            json: false,
            accept: None,
            wait: Some(CLIENT_ASK),
        }
    }
}

/// A body of bytes at hand.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

impl Pool {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            idle: Mutex::new(Vec::new()),
            open: Arc::new(Semaphore::new(CLIENT_OPEN)),
        }
    }

    /// Sends a call and returns its answer's head, with the connection it comes on.
    pub(super) async fn send(self: &Arc<Self>, ask: Ask) -> Result<(Response<Incoming>, Loan), Refused> {
        let wait = ask.wait;
        let mut request = self.request(ask)?;
        let answer = async {
            loop {
                let (mut loan, fresh) = self.borrow().await?;
                match loan.sender.try_send_request(request).await {
                    Ok(response) => return Ok((response, loan)),
                    // Never sent: the connection had been closed while it was idle. A fresh one will do.
                    Err(mut error) => match error.take_message() {
                        Some(unsent) if !fresh => request = unsent,
                        _ => return Err(failure::cut(error.error())),
                    },
                }
            }
        };
        match wait {
            None => answer.await,
            Some(limit) => timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(failure::slow(limit.as_secs()))),
        }
    }

    /// Sends a call and returns the whole body of its success.
    pub(super) async fn fetch(self: &Arc<Self>, ask: Ask) -> Result<Bytes, Refused> {
        let (response, loan) = self.send(ask).await?;
        let status = response.status();
        let bytes = collect(response).await?;
        loan.give_back();
        if status.is_success() {
            Ok(bytes)
        } else {
            Err(failure::answered(status, &bytes))
        }
    }

    fn request(&self, ask: Ask) -> Result<Request<Body>, Refused> {
        let invalid = |e: &dyn fmt::Display| {
            Refused::new(Kind::Invalid, "api.bad_request", format!("no such call: {e}"))
        };
        let mut request = Request::new(ask.body);
        *request.method_mut() = ask.method;
        *request.uri_mut() = ask.path.parse().map_err(|e| invalid(&e))?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        if ask.json {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(kind) = ask.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(kind));
        }
        if let Target::Tcp(_, token) = &self.target {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| invalid(&"the token holds characters that no token has"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// A connection and whether it was opened just now.
    async fn borrow(self: &Arc<Self>) -> Result<(Loan, bool), Refused> {
        let permit = Arc::clone(&self.open)
            .acquire_owned()
            .await
            .map_err(|e| failure::cut(&e))?;
        while let Some(mut sender) = self.pop() {
            if sender.ready().await.is_ok() {
                let loan = Loan {
                    pool: Arc::clone(self),
                    sender,
                    _permit: permit,
                };
                return Ok((loan, false));
            }
        }
        let sender = timeout(CLIENT_CONNECT, self.connect())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|e| failure::not_connected(&self.target.place(), &e))?;
        let loan = Loan {
            pool: Arc::clone(self),
            sender,
            _permit: permit,
        };
        Ok((loan, true))
    }

    /// The youngest idle connection; old ones are dropped.
    fn pop(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.pop() {
            Some((sender, since)) if since.elapsed() < CLIENT_IDLE_AGE => Some(sender),
            // The youngest is too old, so all are.
            _ => {
                idle.clear();
                None
            }
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Body>> {
        match &self.target {
            Target::Unix(path) => handshake(UnixStream::connect(path).await?).await,
            Target::Tcp(addr, _) => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                handshake(stream).await
            }
        }
    }
}

async fn handshake<S>(stream: S) -> io::Result<SendRequest<Body>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends when the connection closes or its sender is dropped; errors reach the call through the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// The whole body of an answer, up to [`CLIENT_DOCUMENT`].
pub(super) async fn collect(response: Response<Incoming>) -> Result<Bytes, Refused> {
    Limited::new(response.into_body(), CLIENT_DOCUMENT)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|e| failure::cut(&e))
}
