//! Trying it out.

use clap::Args;
use std::path::PathBuf;

/// `demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Leave the mesh running
    #[arg(long)]
    pub keep: bool,
    /// Where the picture goes
    #[arg(long, default_value = "hivenode-demo.png", value_name = "FILE")]
    pub out: PathBuf,
    /// Size of the picture
    #[arg(long, default_value = "640x360", value_parser = parse_extent, value_name = "WxH")]
    pub size: (u32, u32),
    /// Light paths per pixel
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536), value_name = "N")]
    pub samples: u32,
    /// Worker processes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub workers: u8,
}

/// `bench`
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// No-op tasks for the throughput
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub tasks: u32,
    /// Tries for the latency of one task
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub tries: u32,
}

/// `640x360`
fn parse_extent(text: &str) -> Result<(u32, u32), String> {
    let bad = || format!("`{text}` is no size: write such as 640x360, each side from 16 to 16384");
    let (w, h) = text.split_once(['x', 'X']).ok_or_else(bad)?;
    let side = |t: &str| {
        t.parse::<u32>()
            .ok()
            .filter(|n| (16..=16_384).contains(n))
            .ok_or_else(bad)
    };
    Ok((side(w)?, side(h)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents() {
        assert_eq!(parse_extent("640x360"), Ok((640, 360)));
        for bad in ["640", "x", "0x10", "99999x20", "-1x20"] {
            assert!(parse_extent(bad).is_err(), "{bad}");
        }
    }
}
