//! Calls about the network and the relay, through the client and by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use std::collections::BTreeMap;

#[tokio::test]
async fn the_network_is_checked_listed_and_traced() {
    let d = Daemon::start().await;
    let c = &d.client;
    assert_eq!(c.net_check(true).await.unwrap().verdict, "warn");
    c.net_check(false).await.unwrap();
    // Without the question the last results are shown.
    assert_eq!(d.request("GET", "/v1/net/check", "").await.0, 200);
    let peers = c.net_peers().await.unwrap();
    assert_eq!(peers[0].words(), "relay fra");
    let paths = c.net_paths("n 2/x").await.unwrap_err();
    assert_eq!(paths.code, "node.not_found");
    let paths = c.net_paths("heron 2").await.unwrap();
    assert_eq!((paths.path.node.as_str(), paths.attempts.len()), ("heron 2", 1));
    assert_eq!(c.net_trace("n2").await.unwrap().attempts[0].detail, "refused");
    assert_eq!(c.net_trace("missing").await.unwrap_err().code, "node.not_found");
    let seen = d.fake.seen.lock().unwrap().clone();
    assert_eq!(seen, ["check true", "check false", "check false"]);
    let (status, body) = d.request("GET", "/v1/net/check?fresh=perhaps", "").await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("api.bad_query"), "{body}");
}

#[tokio::test]
async fn a_relay_is_shown_limited_drained_and_resumed() {
    let d = Daemon::start().await;
    let c = &d.client;
    let change = BTreeMap::from([("total_rate".to_owned(), 1 << 20)]);
    assert_eq!(c.relay_limits(&change).await.unwrap().limits.total_rate, 1 << 20);
    c.relay().await.unwrap();
    c.relay_drain().await.unwrap();
    c.relay_resume().await.unwrap();
    c.relay_mode(hive_runtime::config::RelayMode::Off).await.unwrap();
    let seen = d.fake.seen.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            "relay Limit({\"total_rate\": 1048576})",
            "relay Drain",
            "relay Resume",
            "relay Mode(Off)",
        ]
    );
    let (status, body) = d
        .request("POST", "/v1/relay/limits", r#"{"total_rate":-1}"#)
        .await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("total_rate"), "{body}");
}
