//! Where this machine sends what it has no better way for.

use std::net::Ipv4Addr;

/// The kernel's list of ways, as text.
const ROUTES: &str = "/proc/thread-self/net/route";
/// Flags of a line: in use, and through a gateway.
const UP: u32 = 1;
const GATEWAY: u32 = 2;

/// The default gateway; none without one, or on systems that do not tell.
pub(super) async fn find() -> Option<Ipv4Addr> {
    let table = tokio::fs::read_to_string(ROUTES).await.ok()?;
    parse(&table)
}

/// The default way with the smallest metric.
fn parse(table: &str) -> Option<Ipv4Addr> {
    let ways = table.lines().skip(1).filter_map(|line| {
        let mut parts = line.split_ascii_whitespace().skip(1);
        let to = u32::from_str_radix(parts.next()?, 16).ok()?;
        let gateway = u32::from_str_radix(parts.next()?, 16).ok()?;
        let flags = u32::from_str_radix(parts.next()?, 16).ok()?;
        let metric: u32 = parts.nth(2)?.parse().ok()?;
        let default = to == 0 && flags & UP != 0 && flags & GATEWAY != 0;
        // The kernel writes the bytes in this machine's order.
        default.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    ways.min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_way_with_the_smallest_metric_is_taken() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
                     broken line\n";
        let expected = if cfg!(target_endian = "little") {
            Ipv4Addr::new(10, 0, 0, 1)
        } else {
            Ipv4Addr::new(1, 0, 0, 10)
        };
        assert_eq!(parse(table), Some(expected));
        assert_eq!(parse(""), None);
    }
}
