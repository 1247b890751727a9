//! `doctor`: checks, each with pass, warn or fail and the command that mends it.

use crate::{
    config::{Settings, validate_file},
    output::{CliError, Exit, checks},
    quantity::show_size,
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::{net_check::Verdict, port::CheckRow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Free disk below which work becomes doubtful.
const DISK_LOW: u64 = 1 << 30;
/// Difference between the daemon's clock and this process's that is worth a word.
const CLOCK_APART: Duration = Duration::from_secs(5);
/// Before this moment (2025-01-01) no clock can be right.
const CLOCK_FLOOR_MS: u64 = 1_735_689_600_000;

fn check(name: &str, verdict: Verdict, detail: impl Into<String>, fix: Option<&str>) -> CheckRow {
    CheckRow {
        name: name.to_owned(),
        verdict: verdict.name().to_owned(),
        detail: detail.into(),
        fix: fix.map(str::to_owned),
        untested: false,
    }
}

/// `doctor`
pub async fn doctor(session: &Session) -> Result<Exit, CliError> {
    let mut checks = vec![configuration(session), disk(session), clock_here()];
    daemon(session, &mut checks).await;
    if session.out.json {
        session.out.document("checks", &checks)?;
    } else {
        checks::table(&session.out, &checks);
    }
    Ok(checks::verdict(&checks))
}

fn configuration(session: &Session) -> CheckRow {
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

fn disk(session: &Session) -> CheckRow {
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

fn clock_here() -> CheckRow {
    let now = now_ms();
    if now < CLOCK_FLOOR_MS {
        let shown = crate::quantity::rfc3339(now);
        return check(
            "date",
            Verdict::Fail,
            format!("this machine says {shown}"),
            Some("set the clock (timedatectl set-ntp true)"),
        );
    }
    check("date", Verdict::Pass, crate::quantity::rfc3339(now), None)
}

async fn daemon(session: &Session, checks: &mut Vec<CheckRow>) {
    let asked = match session.client() {
        Ok(client) => client
            .status()
            .await
            .map(|status| (client, status))
            .map_err(CliError::from),
        Err(e) => Err(e),
    };
    let (client, status) = match asked {
        Ok(asked) => asked,
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
    checks.push(check("daemon", Verdict::Pass, status.state.clone(), None));
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
    // What is a check of its own below is not said twice.
    let said = ["authority.unreachable"];
    for problem in status
        .problems
        .iter()
        .filter(|p| !said.contains(&p.code.as_str()))
    {
        checks.push(check(
            &problem.code,
            Verdict::Warn,
            problem.message.clone(),
            problem.hint.as_deref(),
        ));
    }
    if status.mesh.is_some() {
        network(&client, checks).await;
    }
}

/// How this node is reached, tested anew: what was found before may be of another time, or nothing.
async fn network(client: &Client, checks: &mut Vec<CheckRow>) {
    match client.net_check(true).await {
        Ok(view) => checks.extend(view.checks),
        Err(e) => checks.push(check("network", Verdict::Fail, e.message, e.hint.as_deref())),
    }
}
