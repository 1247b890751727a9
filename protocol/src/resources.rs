//! What a machine has and what a task needs.

use serde::{Deserialize, Serialize};

/// Longest GPU name, location or node name, in bytes.
pub const MAX_NAME: usize = 64;

/// An amount of each resource: what a node has, what is free, or what one task needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu_milli: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Scratch disk in MiB.
    pub disk_mib: u64,
    /// Number of GPUs.
    pub gpus: u16,
    /// Memory of each GPU in MiB.
    pub gpu_memory_mib: u64,
    /// Model of the GPUs; empty where none is needed or present.
    pub gpu_name: String,
}

impl Resources {
    /// Cores, memory in MiB and disk in MiB, without GPUs.
    #[must_use]
    pub fn cpu(cpu_milli: u32, memory_mib: u64, disk_mib: u64) -> Self {
        Self {
            cpu_milli,
            memory_mib,
            disk_mib,
            ..Self::default()
        }
    }

    /// Whether `need` fits into this, everything counted.
    #[must_use]
    pub fn fits(&self, need: &Self) -> bool {
        self.cpu_milli >= need.cpu_milli
            && self.memory_mib >= need.memory_mib
            && self.disk_mib >= need.disk_mib
            && self.fits_gpu(need)
    }

    /// Whether the GPU part of `need` fits into this.
    #[must_use]
    pub fn fits_gpu(&self, need: &Self) -> bool {
        need.gpus == 0
            || (self.gpus >= need.gpus
                && self.gpu_memory_mib >= need.gpu_memory_mib
                && (need.gpu_name.is_empty() || self.gpu_name.eq_ignore_ascii_case(&need.gpu_name)))
    }

    /// How many tasks of this need fit at once; `u32::MAX` for a need of nothing.
    #[must_use]
    pub fn count_fitting(&self, need: &Self) -> u32 {
        if !self.fits_gpu(need) {
            return 0;
        }
        let part = |have: u64, want: u64| have.checked_div(want).unwrap_or(u64::MAX);
        let n = part(self.cpu_milli.into(), need.cpu_milli.into())
            .min(part(self.memory_mib, need.memory_mib))
            .min(part(self.disk_mib, need.disk_mib))
            .min(part(self.gpus.into(), need.gpus.into()));
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// This less `n` times `need`, or `None` where it does not fit.
    #[must_use]
    pub fn checked_sub(&self, need: &Self, n: u32) -> Option<Self> {
        if n > 0 && !self.fits_gpu(need) {
            return None;
        }
        let n64 = u64::from(n);
        Some(Self {
            cpu_milli: self.cpu_milli.checked_sub(need.cpu_milli.checked_mul(n)?)?,
            memory_mib: self.memory_mib.checked_sub(need.memory_mib.checked_mul(n64)?)?,
            disk_mib: self.disk_mib.checked_sub(need.disk_mib.checked_mul(n64)?)?,
            gpus: self
                .gpus
                .checked_sub(u16::try_from(u32::from(need.gpus).checked_mul(n)?).ok()?)?,
            gpu_memory_mib: self.gpu_memory_mib,
            gpu_name: self.gpu_name.clone(),
        })
    }

    /// This and `n` times `need` given back; saturates.
    #[must_use]
    pub fn saturating_add(&self, need: &Self, n: u32) -> Self {
        let n64 = u64::from(n);
        Self {
            cpu_milli: self.cpu_milli.saturating_add(need.cpu_milli.saturating_mul(n)),
            memory_mib: self
                .memory_mib
                .saturating_add(need.memory_mib.saturating_mul(n64)),
            disk_mib: self.disk_mib.saturating_add(need.disk_mib.saturating_mul(n64)),
            gpus: self
                .gpus
                .saturating_add(u16::try_from(u32::from(need.gpus).saturating_mul(n)).unwrap_or(u16::MAX)),
            gpu_memory_mib: self.gpu_memory_mib,
            gpu_name: self.gpu_name.clone(),
        }
    }
}

/// What a node says of itself when it joins and in each heartbeat.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Capabilities {
    /// Everything it offers to the mesh.
    pub total: Resources,
    /// Speed of one core: thousands of BLAKE3 64-KiB hashes a second or a like figure; higher is faster.
    pub cpu_score: u32,
    /// Speed of the GPU in the same spirit; 0 without.
    pub gpu_score: u32,
    /// Whether a container runtime answers here.
    pub containers: bool,
    /// Runtimes it can execute, by name (`wasm`, later `container`, `process`); at most 8.
    pub runtimes: Vec<String>,
    /// Where it stands, as its owner says (such as `eu-fra`); empty when unsaid.
    pub location: String,
    /// Version of the program.
    pub version: String,
}

/// What a node does in the mesh.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub enum Role {
    /// Holds the ledger, the registry and trust.
    Authority,
    /// Runs tasks.
    Worker,
    /// Only submits.
    Client,
    /// Forwards traffic for others.
    Relay,
}

impl Role {
    /// The name used on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Worker => "worker",
            Self::Client => "client",
            Self::Relay => "relay",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        [Self::Authority, Self::Worker, Self::Client, Self::Relay]
            .into_iter()
            .find(|r| r.name() == s)
            .ok_or_else(|| {
                format!(
                    "`{}` is no role; roles are worker, client, relay, authority",
                    s.chars().take(40).collect::<String>()
                )
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fitting_deducting_and_giving_back() {
        let have = Resources::cpu(4000, 8192, 10_000);
        let need = Resources::cpu(1000, 3000, 10);
        assert_eq!(have.count_fitting(&need), 2);
        let left = have.checked_sub(&need, 2).unwrap();
        assert_eq!(left.memory_mib, 2192);
        assert!(left.checked_sub(&need, 1).is_none());
        assert_eq!(left.saturating_add(&need, 2), have);
        let gpu = Resources {
            gpus: 1,
            gpu_name: "RTX 4090".into(),
            ..Resources::default()
        };
        assert_eq!(have.count_fitting(&gpu), 0);
        assert_eq!(have.count_fitting(&Resources::default()), u32::MAX);
    }
}
