//! Calls about the network.

use super::{Client, calls::escape};
use hive_runtime::{
    config::RelayMode,
    port::{NetCheckView, PathView, PathsView, Refused, RelayChange, RelayView},
};
use serde_json::json;

/// Each returns the daemon's refusal, or one of its own, as those in [`super::calls`].
#[allow(clippy::missing_errors_doc)] // said once above for all
impl Client {
    /// How the node is reached, judged line by line; with `fresh` after new tests.
    pub async fn net_check(&self, fresh: bool) -> Result<NetCheckView, Refused> {
        self.ask("check", format!("/v1/net/check?fresh={fresh}")).await
    }
    /// The ways to all peers connected or tried lately.
    pub async fn net_peers(&self) -> Result<Vec<PathView>, Refused> {
        self.ask("peers", "/v1/net/peers".into()).await
    }
    /// The way to a node and how it came about.
    pub async fn net_paths(&self, node: &str) -> Result<PathsView, Refused> {
        self.ask("paths", format!("/v1/net/paths/{}", escape(node))).await
    }
    /// Tries every known way to a node now.
    pub async fn net_trace(&self, node: &str) -> Result<PathsView, Refused> {
        self.act("paths", format!("/v1/net/trace/{}", escape(node))).await
    }
    /// What the node relays for others.
    pub async fn relay(&self) -> Result<RelayView, Refused> {
        self.ask("relay", "/v1/relay".into()).await
    }
    /// Changes limits by name; the rest stays.
    pub async fn relay_limits(&self, change: &RelayChange) -> Result<RelayView, Refused> {
        self.post("relay", "/v1/relay/limits".into(), change).await
    }
    /// Relays always, never, or once it is reachable from everywhere.
    pub async fn relay_mode(&self, mode: RelayMode) -> Result<RelayView, Refused> {
        self.post("relay", "/v1/relay/mode".into(), &json!({ "mode": mode }))
            .await
    }
    /// Takes nothing new.
    pub async fn relay_drain(&self) -> Result<RelayView, Refused> {
        self.act("relay", "/v1/relay/drain".into()).await
    }
    /// Takes new ones again.
    pub async fn relay_resume(&self) -> Result<RelayView, Refused> {
        self.act("relay", "/v1/relay/resume".into()).await
    }
}
