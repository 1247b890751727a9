//! One run: two new nodes join, one asks for a file of the other, and what becomes of it is watched.

use crate::{daemon::Daemon, error::MatrixError, result::Trial, scene::Scene};
use hive_natlab::Way;
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

/// Bytes of the file that is asked for.
const FILE: usize = 64 << 10;
/// Longest wait until a node can be reached by others; whoever is not by then is asked all the same.
const READY: Duration = Duration::from_secs(15);
/// How long a direct connection is waited for where theory allows one.
const PATIENCE: Duration = Duration::from_secs(20);
/// And where it does not: long enough to see that nothing pretends to be one.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Runs it. `n` is the number of the run: in every second one the other node asks.
pub fn trial(scene: &mut Scene, expected: Way, n: usize) -> Trial {
    match run(scene, expected, n) {
        Ok(trial) => trial,
        Err(e) => Trial::failed(e.to_string()),
    }
}

fn run(scene: &mut Scene, expected: Way, n: usize) -> Result<Trial, MatrixError> {
    scene.forget()?;
    let (giver, asker) = if n.is_multiple_of(2) {
        ("a", "b")
    } else {
        ("b", "a")
    };
    let begun = Instant::now();
    let [(mut giver, giver_id), (mut asker, asker_id)] = scene.nodes([giver, asker])?;
    let ready = reachable(&giver).then(|| millis(begun.elapsed()));
    reachable(&asker);
    let (ticket, bytes) = share(&giver, scene.home(), n, FILE)?;
    let asked_at = now_ms();
    let answer = asker.bytes(&format!("/v1/files/bytes?of={ticket}"));
    let mut trial = Trial {
        way: "relay".into(),
        ready_ms: ready,
        first_ms: None,
        direct_ms: None,
        first_way: None,
        transport: None,
        trouble: None,
    };
    match answer {
        Ok(answer) if answer.body == bytes => trial.first_ms = Some(millis(answer.first)),
        Ok(answer) => {
            trial.way = "none".into();
            trial.trouble = Some(format!("{} bytes came, not the file's", answer.body.len()));
        }
        Err(e) => {
            trial.way = "none".into();
            trial.trouble = Some(e.to_string());
        }
    }
    let patience = match expected {
        Way::Direct => PATIENCE,
        Way::Relay => SHORT_PATIENCE,
    };
    let path = format!("/v1/net/paths/{giver_id}");
    let is_direct = |d: &Value| (d["paths"]["state"] == "direct").then(|| d["paths"].clone());
    let found = asker.until(&path, "a direct connection", patience, is_direct);
    let back = format!("/v1/net/paths/{asker_id}");
    let logs = [asker.get(&path)?, giver.get(&back)?];
    judge(&mut trial, found.ok().as_ref(), &logs, asked_at);
    if trial.way == "direct" || trial.way == "relay" {
        again(&mut trial, &giver, &asker, scene.home(), n);
    }
    // Read by whoever looks for the cause, if the run is kept.
    let text = format!("{:#}\n{:#}\n", logs[0], logs[1]);
    let _ = std::fs::write(scene.home().join("paths.json"), text);
    // Both at once, then waited for one after the other.
    giver.let_go();
    asker.let_go();
    Ok(trial)
}

/// What the logs of attempts and the state at the end mean.
fn judge(trial: &mut Trial, direct: Option<&Value>, logs: &[Value; 2], asked_at: u64) {
    let rows = logs
        .iter()
        .flat_map(|l| l["paths"]["attempts"].as_array().into_iter().flatten());
    let (mut begun, mut made) = (asked_at, None::<u64>);
    for row in rows {
        let Some(at) = row["at"].as_u64().filter(|at| *at > 0) else {
            continue;
        };
        begun = begun.min(at);
        let relayed =
            row["transport"] == "relay" || row["addr"].as_str().is_some_and(|a| a.contains("/p2p-circuit"));
        let connected = (row["outcome"] == "connected" || row["outcome"] == "ok")
            && !relayed
            && !row["addr"].as_str().unwrap_or_default().is_empty();
        if connected {
            let done = at + row["took_us"].as_u64().unwrap_or(0) / 1000;
            made = Some(made.map_or(done, |m| m.min(done)));
        }
    }
    let Some(direct) = direct else {
        trial.first_way = trial.first_ms.map(|_| "relay".to_owned());
        return;
    };
    if trial.way != "none" {
        trial.way = "direct".into();
    }
    let since = direct["since"].as_u64().filter(|s| *s > 0);
    let made = made.or(since);
    trial.direct_ms = made.map(|m| m.saturating_sub(begun));
    trial.transport = direct["transport"].as_str().map(str::to_owned);
    // The first byte came over whatever there was when it came.
    trial.first_way = trial.first_ms.map(|first| {
        let direct_by_then = made.is_some_and(|m| m <= asked_at + first);
        if direct_by_then { "direct" } else { "relay" }.to_owned()
    });
}

/// A second file over what there is now: a connection that carries nothing is none.
fn again(trial: &mut Trial, giver: &Daemon, asker: &Daemon, home: &Path, n: usize) {
    let outcome = share(giver, home, n + 1000, FILE).and_then(|(ticket, bytes)| {
        let answer = asker.bytes(&format!("/v1/files/bytes?of={ticket}"))?;
        Ok(answer.body == bytes)
    });
    match outcome {
        Ok(true) => {}
        Ok(false) => trial.trouble = Some("the second file did not come whole".into()),
        Err(e) => trial.trouble = Some(format!("the second file: {e}")),
    }
    if trial.trouble.is_some() {
        trial.way = "none".into();
    }
}

/// Waits until others can reach a node: at an address of its own or through a relay.
pub(crate) fn reachable(daemon: &Daemon) -> bool {
    let reached = |d: &Value| {
        let reach = &d["status"]["reach"];
        // What it tells others counts, not what it has: a ticket made before that would name no way in.
        let told = reach["published"].as_array().into_iter().flatten();
        let relayed = told.filter_map(Value::as_str).any(|a| a.contains("/p2p-circuit"));
        (relayed || reach["state"] == "public").then_some(())
    };
    daemon.until("/v1/status", "reachable", READY, reached).is_ok()
}

/// Shares a file of this size of its own; its ticket and bytes.
pub(crate) fn share(
    giver: &Daemon,
    home: &Path,
    n: usize,
    size: usize,
) -> Result<(String, Vec<u8>), MatrixError> {
    let bytes = noise(size, n as u64 + 1);
    let path = home.join(format!("{}-{n}.bin", giver.name));
    std::fs::write(&path, &bytes).map_err(|source| MatrixError::File {
        path: path.clone(),
        source,
    })?;
    let answer = giver.post("/v1/files", &json!({"path": path, "share": true}))?;
    let ticket = answer["file"]["ticket"].as_str();
    let ticket = ticket.ok_or_else(|| MatrixError::Asked {
        name: giver.name.clone(),
        path: "/v1/files".into(),
        detail: "no ticket".into(),
    })?;
    Ok((ticket.to_owned(), bytes))
}

/// Bytes that no other run has.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, millis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn attempt(at: u64, what: &str, transport: &str, took_ms: u64, outcome: &str) -> Value {
        let addr = match transport {
            "relay" => "/ip4/203.0.113.1/udp/4001/quic-v1/p2p/x/p2p-circuit",
            _ => "/ip4/203.0.113.9/udp/4001/quic-v1",
        };
        json!({"at": at, "what": what, "addr": addr, "transport": transport, "took_us": took_ms * 1000, "outcome": outcome})
    }

    fn judged(direct: bool, first: u64, attempts: &[Value]) -> Trial {
        let mut trial = Trial {
            way: "relay".into(),
            ready_ms: None,
            first_ms: Some(first),
            direct_ms: None,
            first_way: None,
            transport: None,
            trouble: None,
        };
        let path = json!({"state": "direct", "transport": "quic", "since": 5000});
        let logs = [
            json!({"paths": {"attempts": attempts}}),
            json!({"paths": {"attempts": []}}),
        ];
        judge(&mut trial, direct.then_some(&path), &logs, 1000);
        trial
    }

    #[test]
    fn times_count_from_the_first_attempt() {
        let attempts = [
            attempt(1010, "dial", "quic", 5000, "failed"),
            attempt(1100, "circuit", "relay", 50, "connected"),
            attempt(1200, "punch", "quic", 300, "connected"),
        ];
        let trial = judged(true, 200, &attempts);
        assert_eq!((&*trial.way, trial.direct_ms), ("direct", Some(500)));
        assert_eq!(trial.first_way.as_deref(), Some("relay"));
        assert_eq!(judged(true, 600, &attempts).first_way.as_deref(), Some("direct"));
        // Connected before anybody asked.
        let early = [attempt(400, "dial", "quic", 20, "ok")];
        assert_eq!(judged(true, 5, &early).direct_ms, Some(20));
        let relayed = judged(false, 200, &attempts[..2]);
        assert_eq!((&*relayed.way, relayed.direct_ms), ("relay", None));
    }
}
