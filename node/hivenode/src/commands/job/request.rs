//! From flags to the request of a job.

use crate::{args::WorkFlags, output::CliError};
use hive_protocol::{
    resources::{MAX_NAME, Resources},
    task::{Limits, Placement},
};
use hive_runtime::port::{JobRequest, Kind, Source};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What a WASM module begins with.
const MAGIC: [u8; 4] = *b"\0asm";

/// The module's whole path, once it has been seen to be one.
///
/// # Errors
/// `module.missing`, `module.unreadable`, `module.not_wasm`.
pub fn module(path: &Path) -> Result<PathBuf, CliError> {
    let shown = path.display();
    let unreadable = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => {
            CliError::new(Kind::NotFound, "module.missing", format!("no module at {shown}"))
        }
        _ => CliError::usage(
            "module.unreadable",
            format!("cannot read the module {shown}: {e}"),
        ),
    };
    let whole = path.canonicalize().map_err(unreadable)?;
    let mut file = File::open(&whole).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(4).read_to_end(&mut head).map_err(unreadable)?;
    if head != MAGIC {
        return Err(CliError::usage(
            "module.not_wasm",
            format!("{shown} is not a WASM module: it does not begin with \\0asm"),
        )
        .hint("build it for wasm32-wasi (WASI preview 1), such as docs/examples/rebuild.sh does"));
    }
    if whole.to_str().is_none() {
        return Err(CliError::usage(
            "module.bad_name",
            format!("the path of {shown} is not UTF-8"),
        ));
    }
    Ok(whole)
}

/// Fuel units from Gfuel with at most nine decimals.
fn fuel(text: &str) -> Result<u64, CliError> {
    let bad = || {
        CliError::usage(
            "job.bad_fuel",
            format!("`{text}` is no amount of fuel: write Gfuel such as 10 or 0.5"),
        )
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 9 {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let part: u64 = format!("{part:0<9}").parse().map_err(|_| bad())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|w| w.checked_add(part))
        .filter(|units| *units > 0)
        .ok_or_else(bad)
}

/// Lowest score from a tier's name or a number.
fn score(text: &str) -> Result<u32, CliError> {
    match text {
        "low" | "any" => Ok(0),
        "normal" => Ok(50),
        "high" => Ok(100),
        _ => text.parse().map_err(|_| {
            CliError::usage(
                "job.bad_trust",
                format!("`{text}` is no trust: write low, normal, high or a score"),
            )
        }),
    }
}

fn cores(text: &str) -> Result<u32, CliError> {
    let bad = || {
        CliError::usage(
            "job.bad_cpus",
            format!("`{text}` is no number of cores: write such as 1, 2 or 0.5"),
        )
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(bad());
    }
    let whole: u32 = whole.parse().map_err(|_| bad())?;
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| bad())?;
    whole
        .checked_mul(1000)
        .and_then(|w| w.checked_add(part))
        .filter(|m| *m > 0)
        .ok_or_else(bad)
}

/// A job without tasks.
///
/// # Errors
/// Those of [`module`] and `job.bad_…` for each flag.
pub fn job(module_path: &Path, work: &WorkFlags) -> Result<JobRequest, CliError> {
    let module = module(module_path)?;
    let name = work.name.clone().unwrap_or_else(|| {
        module_path
            .file_stem()
            .map_or_else(|| "job".into(), |s| s.to_string_lossy().into_owned())
    });
    // The daemon counts bytes; cut by characters so that none is torn.
    let name: String = name.chars().take(MAX_NAME / 4).collect();
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Ok(JobRequest {
        name,
        module: Source::Path(module),
        tasks: Vec::new(),
        need: Some(Resources::cpu(
            cores(&work.cpus)?,
            mib(work.mem),
            mib(work.disk.unwrap_or(work.output_limit)),
        )),
        limits: Some(Limits {
            fuel: fuel(&work.fuel)?,
            wall_ms: u64::try_from(work.task_timeout.as_millis()).unwrap_or(u64::MAX),
            memory: work.mem,
            output: work.output_limit,
            files: work.files_limit,
        }),
        placement: Placement {
            min_score: work.trust.as_deref().map_or(Ok(0), score)?,
            require_location: work.location.clone().unwrap_or_default(),
            prefer_location: work.near.clone().unwrap_or_default(),
        },
        max_price: work.max_price,
        budget: work.budget,
        retries: work.retries,
        open: false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_wasm_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.wasm");
        assert_eq!(module(&path).unwrap_err().exit.0, 3);
        std::fs::write(&path, b"#!/bin/sh").unwrap();
        let error = module(&path).unwrap_err();
        assert_eq!((error.code.as_str(), error.exit.0), ("module.not_wasm", 2));
        std::fs::write(&path, b"\0a").unwrap();
        assert_eq!(module(&path).unwrap_err().code, "module.not_wasm");
        std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        assert!(module(&path).unwrap().is_absolute());
    }

    #[test]
    fn amounts_of_flags() {
        assert_eq!(fuel("100").unwrap(), 100_000_000_000);
        assert_eq!(fuel("0.5").unwrap(), 500_000_000);
        assert_eq!(score("high").unwrap(), 100);
        assert_eq!(score("71").unwrap(), 71);
        assert_eq!(cores("0.5").unwrap(), 500);
        for bad in ["0", "-1", "x", "99999999999999999999"] {
            assert!(fuel(bad).is_err() && cores(bad).is_err(), "{bad}");
        }
    }
}
