//! What this machine has: measured once at start, in a fraction of a second.

use crate::config::Config;
use hive_protocol::resources::{Capabilities, Resources};
use std::{path::Path, time::Instant};

/// How long the processor is measured.
const MEASURE_MS: u128 = 60;
/// Share of the memory offered when the configuration says nothing, in percent.
const MEMORY_SHARE: u64 = 50;
/// Share of the free disk offered when the configuration says nothing, in percent.
const DISK_SHARE: u64 = 50;

/// The host's name, or `node`.
#[must_use]
pub fn host_name() -> String {
    sysinfo::System::host_name()
        .ok()
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "node".to_owned())
}

/// Speed of one core: 64-KiB BLAKE3 hashes a millisecond, times ten.
fn cpu_score() -> u32 {
    let block = vec![0x5a_u8; 64 << 10];
    let start = Instant::now();
    let mut hashes: u64 = 0;
    while start.elapsed().as_millis() < MEASURE_MS {
        std::hint::black_box(hive_protocol::ids::BlobHash::of(std::hint::black_box(&block)));
        hashes += 1;
    }
    let us = u64::try_from(start.elapsed().as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    u32::try_from(hashes.saturating_mul(10_000) / us).unwrap_or(u32::MAX)
}

/// What this node can offer: the configuration's word where it has one, measured otherwise.
#[must_use]
pub fn capabilities(config: &Config, data: &Path, free_disk: u64) -> Capabilities {
    let memory = sysinfo::System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let measured = Resources {
        cpu_milli: u32::try_from(cores.saturating_mul(1000)).unwrap_or(u32::MAX),
        memory_mib: (memory >> 20) * MEMORY_SHARE / 100,
        disk_mib: (free_disk >> 20) * DISK_SHARE / 100,
        ..Resources::default()
    };
    let pick = |told: u64, found: u64| if told == 0 { found } else { told };
    let told = &config.offer;
    let total = Resources {
        cpu_milli: if told.cpu_milli == 0 {
            measured.cpu_milli
        } else {
            told.cpu_milli
        },
        memory_mib: pick(told.memory_mib, measured.memory_mib),
        disk_mib: pick(told.disk_mib, measured.disk_mib),
        gpus: told.gpus,
        gpu_memory_mib: told.gpu_memory_mib,
        gpu_name: told.gpu_name.clone(),
    };
    tracing::debug!(target: "hive_runtime", data = %data.display(), ?total, "measured");
    Capabilities {
        total,
        cpu_score: cpu_score(),
        gpu_score: 0,
        containers: false,
        runtimes: vec!["wasm".to_owned()],
        location: config
            .location
            .chars()
            .take(hive_protocol::resources::MAX_NAME / 4)
            .collect(),
        version: crate::VERSION.to_owned(),
    }
}

/// The same machine offering nothing.
#[must_use]
pub fn idle(capabilities: &Capabilities) -> Capabilities {
    Capabilities {
        total: Resources::default(),
        runtimes: Vec::new(),
        ..capabilities.clone()
    }
}
