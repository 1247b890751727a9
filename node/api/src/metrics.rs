//! The API's own counters, in Prometheus' text format.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{sync::atomic::AtomicU64, time::Duration};

/// Upper ends of the latency buckets, in seconds: 50 µs to 10 s.
const BUCKETS: [f64; 9] = [0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0];

/// Routes are a fixed set, methods and statuses few: the families stay small.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: &'static str,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The counters of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    pub(crate) connections: Gauge,
    pub(crate) turned_away: Counter<u64, AtomicU64>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let connections = Gauge::default();
        let turned_away = Counter::default();
        registry.register(
            "hivenode_api_requests",
            "Requests answered by the local API",
            requests.clone(),
        );
        registry.register(
            "hivenode_api_request_seconds",
            "Time to the head of an answer, without calls that wait for work to end",
            seconds.clone(),
        );
        registry.register(
            "hivenode_api_connections",
            "Open connections to the local API",
            connections.clone(),
        );
        registry.register(
            "hivenode_api_turned_away",
            "Connections closed because too many were open",
            turned_away.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            connections,
            turned_away,
        }
    }

    /// Counts one answer; `took` is `None` for calls whose length says nothing about the API.
    pub(crate) fn answered(&self, route: &str, method: &'static str, status: u16, took: Option<Duration>) {
        self.requests
            .get_or_create(&Request {
                route: route.to_owned(),
                method,
                status: status.into(),
            })
            .inc();
        if let Some(took) = took {
            self.seconds
                .get_or_create(&Route {
                    route: route.to_owned(),
                })
                .observe(took.as_secs_f64());
        }
    }

    /// The daemon's text with the API's own counters added, ended once.
    pub(crate) fn join(&self, daemon: &str) -> String {
        const END: &str = "# EOF";
        let mut text = daemon.trim_end().strip_suffix(END).unwrap_or(daemon).to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if let Err(error) = encode_registry(&mut text, &self.registry) {
            tracing::error!(target: "hive::api", %error, "the API's counters could not be written");
        }
        text.push_str(END);
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_end_once() {
        let metrics = Metrics::new();
        metrics.answered("/v1/jobs", "GET", 200, Some(Duration::from_micros(70)));
        for daemon in ["a 1\n# EOF\n", "a 1\n", "a 1", "a 1\n# EOF"] {
            let text = metrics.join(daemon);
            assert!(text.starts_with("a 1\n#"), "{text}");
            assert_eq!(text.matches("# EOF").count(), 1, "{text}");
            assert!(text.ends_with("# EOF\n"), "{text}");
            assert!(
                text.contains(r#"hivenode_api_requests_total{route="/v1/jobs",method="GET",status="200"} 1"#)
            );
        }
        assert!(metrics.join("").contains("hivenode_api_request_seconds_bucket"));
    }
}
