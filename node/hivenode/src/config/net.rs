//! From settings to how this node reaches others and is reached.

use super::Settings;
use crate::quantity::{parse_duration, parse_size};
use hive_runtime::config::{NetConfig, OwnLimits, RelayConfig, RelayLimits, RelayMode, Transports, Unit};

/// The setting of a relay's limit.
pub fn limit_key(limit: &str) -> String {
    format!("relay_{limit}")
}

/// A limit as people write it.
///
/// # Errors
/// A line that says what may be written.
pub fn parse_limit(unit: Unit, text: &str) -> Result<u64, String> {
    match unit {
        Unit::Count => text
            .parse::<u32>()
            .ok()
            .filter(|n| *n > 0)
            .map(u64::from)
            .ok_or_else(|| format!("`{text}` is not a number above 0")),
        Unit::Millis => {
            let time = parse_duration(text)?;
            u64::try_from(time.as_millis())
                .ok()
                .filter(|ms| *ms > 0)
                .ok_or_else(|| format!("`{text}` is not a time above 0"))
        }
        Unit::Bytes | Unit::Rate if text == "off" => Ok(0),
        Unit::Bytes | Unit::Rate => parse_size(text.strip_suffix("/s").unwrap_or(text)),
    }
}

impl Settings {
    /// What the owner allows. Values were checked when the settings were loaded.
    pub(super) fn net_config(&self) -> NetConfig {
        let on = |name: &str| self.text(name) != "off";
        let mut limits = OwnLimits::default();
        for (name, unit, _) in RelayLimits::ALL {
            let text = self.text(&limit_key(name));
            if let (false, Ok(value)) = (text.is_empty(), parse_limit(*unit, text)) {
                limits.set(name, value);
            }
        }
        let announce = self.text("announce").split(',').map(str::trim);
        NetConfig {
            transports: match self.text("transports") {
                "quic" => Transports::Quic,
                "tcp" => Transports::Tcp,
                _ => Transports::Both,
            },
            ipv6: on("ipv6"),
            upnp: on("upnp"),
            direct: on("direct"),
            connections: self.text("connections").parse().ok(),
            announce: announce.filter(|a| !a.is_empty()).map(str::to_owned).collect(),
            relay: RelayConfig {
                mode: match self.text("relay") {
                    "on" => RelayMode::On,
                    "off" => RelayMode::Off,
                    _ => RelayMode::Auto,
                },
                limits,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{config::find, paths::Paths};

    #[test]
    fn every_limit_has_its_setting() {
        for (name, unit, _) in RelayLimits::ALL {
            let key = find(&limit_key(name)).unwrap();
            let text = if *unit == Unit::Millis { "90s" } else { "7" };
            key.check(text).unwrap();
            assert_eq!(
                parse_limit(*unit, text).unwrap(),
                if *unit == Unit::Millis { 90_000 } else { 7 }
            );
            assert!(key.check("-1").is_err() && parse_limit(*unit, "-1").is_err());
        }
        assert_eq!(parse_limit(Unit::Rate, "10M/s").unwrap(), 10 << 20);
        assert_eq!(parse_limit(Unit::Bytes, "off").unwrap(), 0);
    }

    #[test]
    fn what_is_not_named_keeps_its_default() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::find(Some(dir.path())).unwrap();
        let flags = [
            ("transports", "tcp".to_owned()),
            ("relay", "off".to_owned()),
            ("relay_total_rate", "2M".to_owned()),
            (
                "announce",
                "/ip4/203.0.113.7/tcp/1, /ip4/203.0.113.7/tcp/2".to_owned(),
            ),
            ("upnp", "off".to_owned()),
            ("connections", "40".to_owned()),
        ];
        let net = Settings::load(&paths, &flags).unwrap().net_config();
        let mut want = NetConfig {
            transports: Transports::Tcp,
            upnp: false,
            connections: Some(40),
            announce: vec!["/ip4/203.0.113.7/tcp/1".into(), "/ip4/203.0.113.7/tcp/2".into()],
            ..NetConfig::default()
        };
        want.relay.mode = RelayMode::Off;
        want.relay.limits.total_rate = Some(2 << 20);
        assert_eq!(net, want);
        let auto = RelayLimits::given(RelayMode::Auto, &net.relay.limits);
        assert_eq!(auto.total_rate, 2 << 20, "what the owner sets wins");
        assert!(auto.total_day > 0, "and only that");
    }
}
