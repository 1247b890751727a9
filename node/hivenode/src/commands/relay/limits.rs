//! `relay limits`: what a relay gives at most.

use crate::{
    args::LimitsArgs,
    config::{limit_key, parse_limit, set_in_file},
    output::{CliError, Exit, Output, Table},
    quantity::{show_duration, show_size},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::{
    config::{RelayLimits, Unit},
    port::{RelayChange, RelayView},
};
use std::time::Duration;

/// `relay limits`
pub async fn limits(session: &Session, client: &Client, args: &LimitsArgs) -> Result<Exit, CliError> {
    if args.changes.is_empty() {
        show(&session.out, &client.relay().await?)?;
        return Ok(Exit::OK);
    }
    let mut change = RelayChange::new();
    let mut keep = Vec::new();
    for text in &args.changes {
        let (name, value, setting) = read(text)?;
        change.insert(name.to_owned(), value);
        keep.push((limit_key(name), setting));
    }
    let view = client.relay_limits(&change).await?;
    if args.once {
        session.out.say("holds until the daemon ends");
    } else {
        let keep: Vec<(&str, String)> = keep.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        set_in_file(&session.paths.config, &keep)?;
        session.out.say("holds now, and is kept for later starts");
    }
    show(&session.out, &view)?;
    Ok(Exit::OK)
}

/// Reads `total_rate=10M`: the limit, its value and how that is written in the settings.
fn read(text: &str) -> Result<(&'static str, u64, String), CliError> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(CliError::usage(
            "relay.bad_limit",
            format!("`{text}`: write a limit and its value, such as total_rate=10M"),
        )
        .hint("hivenode relay limits"));
    };
    let name = name.trim().replace('-', "_");
    let Some((name, unit, _)) = RelayLimits::ALL.iter().find(|(n, ..)| *n == name) else {
        let all: Vec<&str> = RelayLimits::ALL.iter().map(|(n, ..)| *n).collect();
        return Err(CliError::usage(
            "relay.unknown_limit",
            format!("a relay has no limit `{name}`; there are {}", all.join(", ")),
        )
        .hint("hivenode relay limits"));
    };
    let value = value.trim();
    let number = parse_limit(*unit, value)
        .map_err(|why| CliError::usage("relay.bad_limit", format!("`{name}`: {why}")))?;
    Ok((name, number, value.to_owned()))
}

fn shown(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Count => value.to_string(),
        Unit::Millis => show_duration(Duration::from_millis(value)),
        Unit::Bytes | Unit::Rate if value == 0 => "off".to_owned(),
        Unit::Bytes => show_size(value),
        Unit::Rate => format!("{}/s", show_size(value)),
    }
}

fn show(out: &Output, view: &RelayView) -> Result<(), CliError> {
    if out.json {
        return out.document("relay", view);
    }
    let mut table = Table::new(&["LIMIT", "VALUE", "FROM", "MEANING"]);
    for (name, unit, about) in RelayLimits::ALL {
        let value = view.limits.get(name).unwrap_or_default();
        table.row([*name, &shown(*unit, value), from(view, name), about]);
    }
    table.print(out);
    if view.mode == "auto" {
        out.say(
            "relay = auto keeps bytes within bounds for a home line; relay = on has none but those you set",
        );
    }
    Ok(())
}

/// Where a limit comes from.
fn from(view: &RelayView, name: &str) -> &'static str {
    if view.set.iter().any(|set| set == name) {
        "set"
    } else if view.limits.get(name) == RelayLimits::default().get(name) {
        "default"
    } else {
        "auto"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_are_read_and_shown_as_people_write_them() {
        assert_eq!(
            read("total_rate=10M").unwrap(),
            ("total_rate", 10 << 20, "10M".to_owned())
        );
        assert_eq!(read("circuit-life = 2h").unwrap().1, 7_200_000);
        assert_eq!(read("peer_day=off").unwrap().1, 0);
        for (bad, code) in [
            ("total_rate", "relay.bad_limit"),
            ("speed=1", "relay.unknown_limit"),
            ("circuits=0", "relay.bad_limit"),
            ("circuits=many", "relay.bad_limit"),
            ("circuit_life=0s", "relay.bad_limit"),
        ] {
            assert_eq!(read(bad).unwrap_err().code, code, "{bad}");
        }
        assert_eq!(shown(Unit::Rate, 10 << 20), "10.0 MiB/s");
        assert_eq!(shown(Unit::Bytes, 0), "off");
        assert_eq!(shown(Unit::Millis, 7_200_000), "2h00m");
    }
}
