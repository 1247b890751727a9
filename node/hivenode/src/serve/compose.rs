//! The one place where the daemon's parts are joined: the runtime, the API before it, the signal that ends both.

use super::{
    Ready,
    settings::{Followed, follow},
};
use crate::output::CliError;
use hive_api::ApiConfig;
use hive_runtime::{
    config::Config,
    port::{NodeHandle, Refused},
};
use std::{pin::Pin, process::ExitCode};
use tokio::sync::oneshot;

/// What a daemon is started with.
#[derive(Debug)]
pub struct Plan {
    /// The node.
    pub node: Config,
    /// Settings that may change while it runs.
    pub followed: Followed,
    /// Its API.
    pub api: ApiConfig,
}

/// Completes when the node has ended; with what went wrong, for people.
type Ended = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// This process as an executor: no keys, no network, no command line.
pub fn executor() -> ExitCode {
    hive_executor::child_main()
}

/// Starts the node.
async fn start_node(config: Config) -> Result<(NodeHandle, Ended), CliError> {
    let (node, mut running) = hive_runtime::start(config).await.map_err(Refused::from)?;
    Ok((node, Box::pin(async move { running.ended().await })))
}

/// Starts the node and its API, says so, and runs until `stop` or until the API is told to stop.
///
/// # Errors
/// Why it could not start, by code.
pub async fn run(
    plan: Plan,
    stop: impl Future<Output = &'static str> + Send + 'static,
    ready: impl FnOnce(&Ready),
) -> Result<(), CliError> {
    let socket = plan.api.socket.display().to_string();
    let (node, mut finished) = start_node(plan.node).await?;
    let (end_api, api_ends) = oneshot::channel::<()>();
    let api = hive_api::serve(plan.api, node.clone(), async move {
        let _ = api_ends.await;
    });
    let api = match api.await {
        Ok(api) => api,
        Err(error) => {
            let _ = node.stop(0).await;
            let _ = finished.await;
            return Err(Refused::from(error).into());
        }
    };
    ready(&Ready {
        pid: std::process::id(),
        socket,
    });
    let following = tokio::spawn(follow(plan.followed, node.clone()));
    let trimming = tokio::spawn(super::trim::from_time_to_time());
    let ended = tokio::select! {
        ended = &mut finished => ended,
        why = stop => {
            tracing::info!(target: "hive::daemon", why, "stopping");
            let _ = node.stop(0).await;
            finished.await
        }
    };
    following.abort();
    trimming.abort();
    let _ = end_api.send(());
    api.finished().await;
    ended.map_err(|why| CliError::internal("daemon.failed", why))
}
