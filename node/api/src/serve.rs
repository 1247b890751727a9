//! The accept loops and the life of a connection.
//!
//! Not `axum::serve`: that has no timers, so a silent client would hold its place for ever.

use crate::{
    context::Context,
    error::ApiError,
    gate::Peer,
    limits::{ACCEPT_PAUSE, Bounds, HEAD_BYTES, HEAD_FIELDS, MAX_TURNED_AWAY, TURN_AWAY_WAIT},
    listen::{tcp, unix},
    patience::Patient,
    routes,
};
use axum::Router;
use hive_runtime::port::NodeHandle;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tower::Service;

/// Where and how to serve.
#[derive(Clone, Default)]
pub struct ApiConfig {
    /// The unix socket; at most 107 bytes.
    pub socket: PathBuf,
    /// A loopback address besides, for programs that cannot use the socket.
    pub tcp: Option<SocketAddr>,
    /// The bearer token asked for at that address; at least 32 printable characters.
    pub token: Option<String>,
    /// Bounds.
    pub bounds: Bounds,
}

impl std::fmt::Debug for ApiConfig {
    // Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiConfig")
            .field("socket", &self.socket)
            .field("tcp", &self.tcp)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// A serving API.
#[derive(Debug)]
pub struct Running {
    /// The socket it serves.
    pub socket: PathBuf,
    /// The address it serves, with the port the system has chosen where 0 was asked for.
    pub tcp: Option<SocketAddr>,
    task: JoinHandle<()>,
}

impl Running {
    /// Returns when the last connection is closed after the shutdown; the socket's file is gone then.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(target: "hive::api", %error, "the API ended by a fault");
        }
    }
}

/// Serves the daemon behind `node` until `shutdown` completes. Running calls then get
/// [`Bounds::shutdown_grace`] to end.
///
/// # Errors
/// [`ApiError`] when a listener cannot be had; nothing is served then.
pub async fn serve(
    config: ApiConfig,
    node: NodeHandle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Running, ApiError> {
    let listener = match config.tcp {
        Some(addr) => Some(tcp::bind(addr, config.token.as_deref()).await?),
        None => None,
    };
    let socket = unix::bind(&config.socket)?;
    let addr = listener.as_ref().and_then(|l| l.local_addr().ok());
    let grace = config.bounds.shutdown_grace;
    let context = Context::new(node, config.bounds, config.token);
    let (stop, stopped) = watch::channel(false);
    let server = Arc::new(Server {
        places: Arc::new(Semaphore::new(context.bounds().connections)),
        doors: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
        router: routes::router(context.clone()),
        context,
        stopped,
    });
    let task = tokio::spawn(async move {
        let mut loops = JoinSet::new();
        loops.spawn(Arc::clone(&server).accept_unix(socket));
        if let Some(listener) = listener {
            loops.spawn(Arc::clone(&server).accept_tcp(listener));
        }
        shutdown.await;
        // Nobody listening any more is as good as told.
        let _ = stop.send(true);
        let ended = timeout(grace, async { while loops.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::debug!(target: "hive::api", "connections cut at shutdown");
        }
        // Drops what is left: its connections and the socket's file with them.
        loops.shutdown().await;
    });
    Ok(Running {
        socket: config.socket,
        tcp: addr,
        task,
    })
}

struct Server {
    context: Context,
    router: Router,
    places: Arc<Semaphore>,
    /// Places of those who are told that there is none.
    doors: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Server {
    async fn accept_unix(self: Arc<Self>, socket: unix::Socket) {
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = told(&mut stopped) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = socket.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let peer = Peer::Unix(stream.peer_cred().ok().map(|cred| cred.uid()));
                    self.admit(&mut connections, stream, peer);
                }
                Err(error) => pause(&error).await,
            }
        }
        // Whoever comes now finds no socket instead of one that nobody answers; the lock stays until all is closed.
        let lock = socket.close();
        drain(connections).await;
        drop(lock);
    }

    async fn accept_tcp(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = told(&mut stopped) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    if stream.set_nodelay(true).is_ok() {
                        self.admit(&mut connections, stream, Peer::Tcp);
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
        drop(listener);
        drain(connections).await;
    }

    /// Gives a connection a place, or tells it that there is none.
    fn admit<S>(self: &Arc<Self>, connections: &mut JoinSet<()>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let metrics = self.context.metrics();
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics.turned_away.inc();
            if let Ok(place) = Arc::clone(&self.doors).try_acquire_owned() {
                connections.spawn(async move {
                    let _ = timeout(TURN_AWAY_WAIT, turn_away(stream)).await;
                    drop(place);
                });
            }
            return;
        };
        metrics.connections.inc();
        let server = Arc::clone(self);
        connections.spawn(async move {
            server.connection(stream, peer).await;
            server.context.metrics().connections.dec();
            drop(place);
        });
    }

    async fn connection<S>(&self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let bounds = self.context.bounds();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            // A clone is one reference count.
            self.router.clone().call(request)
        });
        let stream = TokioIo::new(Patient::new(stream, bounds.write_stall));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head_wait)
            .max_headers(HEAD_FIELDS)
            .max_header_size(HEAD_BYTES)
            .serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(target: "hive::api", %error, who = %peer, "connection ended");
        }
    }
}

/// What a connection beyond the bound is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: 230\r\n\r\n\
{\"v\":1,\"error\":{\"code\":\"api.busy\",\"kind\":\"unreachable\",\"message\":\"too many connections\",\"hint\":null,\"retryable\":true},\"type\":\"urn:hivenode:error:api.busy\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections\"}";

/// Takes the request first: an answer that comes before it, or a close with it unread, looks like a broken connection.
async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut request = [0; 4096];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    stream.write_all(FULL).await?;
    stream.shutdown().await?;
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

/// Returns once the server is told to stop, or nobody is left to tell it.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn pause(error: &io::Error) {
    tracing::warn!(target: "hive::api", %error, "cannot accept a connection");
    sleep(ACCEPT_PAUSE).await;
}

async fn drain(mut connections: JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ready_made_answer_has_its_true_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let told = head.rsplit_once("content-length: ").unwrap().1;
        assert_eq!(told.parse::<usize>().unwrap(), body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
