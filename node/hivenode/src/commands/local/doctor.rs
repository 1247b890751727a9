//! `doctor`: checks, each with pass, warn or fail and the command that mends it.

use crate::{
    config::{Settings, validate_file},
    output::{CliError, Exit, Table},
    quantity::show_size,
    session::Session,
};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Free disk below which work becomes doubtful.
const DISK_LOW: u64 = 1 << 30;
/// Difference between the daemon's clock and this process's that is worth a word.
const CLOCK_APART: Duration = Duration::from_secs(5);
/// Before this moment (2025-01-01) no clock can be right.
const CLOCK_FLOOR_MS: u64 = 1_735_689_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    verdict: Verdict,
    detail: String,
    fix: Option<String>,
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>, fix: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        verdict,
        detail: detail.into(),
        fix: fix.map(str::to_owned),
    }
}

/// `doctor`
pub async fn doctor(session: &Session) -> Result<Exit, CliError> {
    let mut checks = vec![configuration(session), disk(session), clock_here()];
    daemon(session, &mut checks).await;
    let worst = |v| checks.iter().any(|c| c.verdict == v);
    let exit = if worst(Verdict::Fail) {
        Exit::FAILED
    } else {
        Exit::OK
    };
    if session.out.json {
        session.out.document("checks", &checks)?;
        return Ok(exit);
    }
    let mut table = Table::new(&["CHECK", "RESULT", "DETAIL", "FIX"]);
    for c in &checks {
        let verdict = match c.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        table.row([
            c.name.as_str(),
            verdict,
            &c.detail,
            c.fix.as_deref().unwrap_or(""),
        ]);
    }
    table.print(&session.out);
    Ok(exit)
}

fn configuration(session: &Session) -> Check {
    let result =
        validate_file(&session.paths.config).and_then(|n| Settings::load(&session.paths, &[]).map(|_| n));
    match result {
        Ok(n) => check(
            "config",
            Verdict::Pass,
            format!("{n} settings in {}", session.paths.config.display()),
            None,
        ),
        Err(e) => check(
            "config",
            Verdict::Fail,
            e.message.clone(),
            Some("hivenode config validate"),
        ),
    }
}

fn disk(session: &Session) -> Check {
    let existing = session.paths.data.ancestors().find(|p| p.exists());
    let Some(stat) = existing.and_then(|p| rustix::fs::statvfs(p).ok()) else {
        return check("disk", Verdict::Warn, "cannot ask the file system", None);
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let verdict = if free < DISK_LOW {
        Verdict::Warn
    } else {
        Verdict::Pass
    };
    let fix = (verdict != Verdict::Pass).then_some("hivenode config set store_quota SIZE");
    check(
        "disk",
        verdict,
        format!("{} free below {}", show_size(free), session.paths.data.display()),
        fix,
    )
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn clock_here() -> Check {
    let now = now_ms();
    if now < CLOCK_FLOOR_MS {
        let shown = crate::quantity::rfc3339(now);
        return check(
            "clock",
            Verdict::Fail,
            format!("this machine says {shown}"),
            Some("set the clock (timedatectl set-ntp true)"),
        );
    }
    check("clock", Verdict::Pass, crate::quantity::rfc3339(now), None)
}

async fn daemon(session: &Session, checks: &mut Vec<Check>) {
    let asked = match session.client() {
        Ok(client) => client.status().await.map_err(CliError::from),
        Err(e) => Err(e),
    };
    let status = match asked {
        Ok(status) => status,
        Err(e) => {
            checks.push(check(
                "daemon",
                Verdict::Fail,
                e.message.clone(),
                e.hint.as_deref(),
            ));
            return;
        }
    };
    checks.push(check(
        "daemon",
        Verdict::Pass,
        format!("{}, {} peers", status.state, status.peers.len()),
        None,
    ));
    let apart = Duration::from_millis(status.now.abs_diff(now_ms()));
    if apart > CLOCK_APART {
        let detail = format!(
            "the daemon's clock is {} from this machine's",
            crate::quantity::show_duration(apart)
        );
        checks.push(check(
            "clock offset",
            Verdict::Warn,
            detail,
            Some("hivenode config set clock_offset_ms 0"),
        ));
    }
    match &status.mesh {
        None => checks.push(check(
            "mesh",
            Verdict::Warn,
            "in no mesh",
            Some("hivenode up TICKET"),
        )),
        Some(mesh) if mesh.authority_reachable => {
            checks.push(check(
                "authority",
                Verdict::Pass,
                format!("mesh {} answers", mesh.name),
                None,
            ));
        }
        Some(mesh) => checks.push(check(
            "authority",
            Verdict::Fail,
            format!("no authority of mesh {} answers", mesh.name),
            Some("check the network and the authority's daemon"),
        )),
    }
    for problem in &status.problems {
        checks.push(check(
            &problem.code,
            Verdict::Warn,
            problem.message.clone(),
            problem.hint.as_deref(),
        ));
    }
}
