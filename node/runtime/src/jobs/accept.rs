//! From a request of the API to a job that can be journalled: sources become blobs, placeholders become
//! paths, every bound is checked. Runs on a blocking thread, because it reads files.

use super::records::TaskMeta;
use crate::{
    blobs::StoreRefusal,
    port::{JobRequest, Kind, NodeHandle, Refused, Source, TaskRequest},
};
use hive_protocol::{
    ids::{BlobHash, JobId},
    money::MicroCpt,
    resources::Resources,
    task::{BlobRef, InputFile, JobSpec, MAX_INLINE, MAX_MODULE, Program, RuntimeKind, SpecError, TaskSpec},
};
use hive_store::{Added, BlobStore, Import, MAX_BLOB_BYTES};
use std::path::Path;

/// Retries after a worker's fault when the request says nothing.
pub const DEFAULT_RETRIES: u16 = 3;
/// What `{out}` stands for when the request says nothing.
const DEFAULT_OUTPUT: &str = "out";

/// A checked job, its blobs in the store and kept there.
#[derive(Debug)]
pub struct Accepted {
    /// Its id.
    pub job: JobId,
    /// What it is.
    pub spec: JobSpec,
    /// Its tasks.
    pub tasks: Vec<TaskMeta>,
}

fn invalid(code: &str, message: impl Into<String>) -> Refused {
    Refused::new(Kind::Invalid, code, message)
}

fn shape(e: &SpecError) -> Refused {
    invalid("job.shape", e.to_string())
}

/// The store, and the name what a job reads is kept under from the moment it is there: a full disk is swept at any time.
#[derive(Debug, Clone, Copy)]
pub struct Intake<'a> {
    /// Where blobs go.
    pub store: &'a BlobStore,
    /// Whose pins they get. Whoever refuses the job or the tasks afterwards takes them away.
    pub owner: &'a str,
}

impl Intake<'_> {
    fn pin(&self, hash: BlobHash) -> Result<(), Refused> {
        self.store.pin(hash, self.owner, None).map_err(|e| e.refused())
    }

    /// Puts something into the store and keeps it there. What was swept away before it was pinned is put there again,
    /// and then stays.
    fn keep(&self, put: impl Fn() -> Result<Added, Refused>) -> Result<(BlobHash, u64), Refused> {
        let mut added = put()?;
        self.pin(added.hash)?;
        if !self.store.has(&added.hash) {
            added = put()?;
            // A file that has changed meanwhile is another blob.
            self.pin(added.hash)?;
        }
        Ok((added.hash, added.size))
    }
}

fn blob(intake: Intake<'_>, source: &Source, what: &str, cap: u64) -> Result<BlobRef, Refused> {
    let store = intake.store;
    let (hash, size) = match source {
        Source::Text(text) => intake.keep(|| store.add_bytes(text.as_bytes()).map_err(|e| e.refused()))?,
        Source::Blob(id) => {
            let hash: BlobHash = id
                .parse()
                .map_err(|e: hive_protocol::text::TextError| invalid("blob.bad_id", e.to_string()))?;
            intake.pin(hash)?;
            let size = store.size(&hash).ok_or_else(|| {
                store.unpin(&hash, intake.owner);
                NodeHandle::not_found("blob", id)
            })?;
            (hash, size)
        }
        Source::Path(path) => intake.keep(|| import(store, path, what, cap))?,
    };
    if size > cap {
        return Err(invalid(
            "blob.too_large",
            format!("{what}: {size} bytes are over the limit of {cap}"),
        ));
    }
    let inline = if size <= MAX_INLINE as u64 {
        Some(store.read(&hash, MAX_INLINE as u64).map_err(|e| e.refused())?)
    } else {
        None
    };
    Ok(BlobRef { hash, size, inline })
}

fn import(store: &BlobStore, path: &Path, what: &str, cap: u64) -> Result<Added, Refused> {
    if !path.is_absolute() {
        return Err(invalid(
            "job.relative_path",
            format!("{what}: {} is not an absolute path", path.display()),
        ));
    }
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let refused = Refused::new(
                Kind::NotFound,
                "job.missing_input",
                format!("{what}: {} does not exist", path.display()),
            );
            return Err(refused);
        }
        Err(e) => {
            return Err(invalid(
                "job.unreadable_input",
                format!("{what}: {}: {e}", path.display()),
            ));
        }
        Ok(meta) if !meta.is_file() => {
            return Err(invalid(
                "job.unreadable_input",
                format!("{what}: {} is not a regular file", path.display()),
            ));
        }
        Ok(_) => {}
    }
    store.add_path(path, Import::Copy, cap).map_err(|e| e.refused())
}

fn module(intake: Intake<'_>, source: &Source) -> Result<BlobRef, Refused> {
    let module = blob(intake, source, "module", MAX_MODULE)?;
    let mut head = [0u8; 8];
    let mut file = intake.store.open_blob(&module.hash).map_err(|e| e.refused())?;
    let got = std::io::Read::read(&mut file, &mut head).unwrap_or(0);
    // A component has the same magic and another layer number; only core modules run.
    if head.get(..got) != Some(b"\0asm\x01\0\0\0") {
        let shown: Vec<String> = head.iter().take(got).map(|b| format!("{b:02x}")).collect();
        let what = if head.starts_with(b"\0asm") {
            "a WASM component, or of another version"
        } else {
            "not a WASM module"
        };
        let message = format!(
            "the module is {what}: it begins with [{}], a core module with [00 61 73 6d 01 00 00 00]",
            shown.join(" ")
        );
        return Err(invalid("module.not_wasm", message)
            .hint("build it for wasm32-wasi (WASI preview 1): docs/examples/rebuild.sh shows how"));
    }
    Ok(module)
}

/// Turns a task of a request into what is journalled.
///
/// # Errors
/// A missing file, a path that climbs, a bound.
pub fn task(intake: Intake<'_>, request: &TaskRequest) -> Result<TaskMeta, Refused> {
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for (path, source) in &request.inputs {
        hive_protocol::task::check_path(path).map_err(|e| shape(&e))?;
        inputs.push(InputFile {
            path: path.clone(),
            blob: blob(intake, source, path, MAX_BLOB_BYTES)?,
        });
    }
    let stdin = request
        .stdin
        .as_ref()
        .map(|s| blob(intake, s, "standard input", MAX_BLOB_BYTES))
        .transpose()?;
    let output = if request.output_name.is_empty() {
        DEFAULT_OUTPUT
    } else {
        &request.output_name
    };
    hive_protocol::task::check_path(output).map_err(|e| shape(&e))?;
    let first = inputs.first().map(|i| format!("/in/{}", i.path));
    if first.is_none() && request.args.iter().any(|a| a.contains("{in}")) {
        return Err(invalid(
            "job.no_input",
            "an argument says {in}, but the task has no input file",
        ));
    }
    let collect_out = !request.output_name.is_empty()
        || request
            .args
            .iter()
            .any(|a| a.contains("{out}") || a.contains("/out"));
    let replace = |arg: &String| {
        let arg = first
            .as_ref()
            .map_or_else(|| arg.clone(), |path| arg.replace("{in}", path));
        arg.replace("{out}", &format!("/out/{output}"))
    };
    let spec = TaskSpec {
        args: request.args.iter().map(replace).collect(),
        env: request.env.clone(),
        stdin,
        inputs,
        collect_out,
    };
    spec.check().map_err(|e| shape(&e))?;
    let label = request
        .label
        .chars()
        .take(hive_protocol::task::MAX_PATH)
        .collect();
    Ok(TaskMeta { label, spec })
}

/// Turns a request into a job: its sources go into the store. A request without budget may spend all that the
/// wallet has, which only the authority knows.
///
/// # Errors
/// The first thing wrong with it; nothing has been journalled.
pub fn accept(job: JobId, intake: Intake<'_>, request: &JobRequest) -> Result<Accepted, Refused> {
    let limits = request.limits.unwrap_or_default();
    let module = module(intake, &request.module)?;
    let name: String = request
        .name
        .chars()
        .take(hive_protocol::resources::MAX_NAME / 4)
        .collect();
    let memory_mib = limits.memory.div_ceil(1 << 20);
    let need = request
        .need
        .clone()
        .unwrap_or_else(|| Resources::cpu(1000, memory_mib, limits.output.div_ceil(1 << 20)));
    let tasks = request
        .tasks
        .iter()
        .map(|t| task(intake, t))
        .collect::<Result<Vec<_>, _>>()?;
    if tasks.is_empty() && !request.open {
        return Err(invalid("job.no_input", "the job has no task").hint("name at least one input file"));
    }
    let spec = JobSpec {
        name: name.clone(),
        program: Program {
            runtime: RuntimeKind::Wasm,
            module,
            need,
            limits,
            name: if name.is_empty() { "task".into() } else { name },
        },
        placement: request.placement.clone(),
        max_price: request.max_price.unwrap_or(MicroCpt(u64::MAX)),
        budget: request.budget.unwrap_or(MicroCpt(u64::MAX)),
        retries: request.retries.unwrap_or(DEFAULT_RETRIES),
        tasks: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
        open: request.open,
    };
    spec.check().map_err(|e| shape(&e))?;
    Ok(Accepted { job, spec, tasks })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_store::DiskBudget;

    const JOB: JobId = JobId([1; 16]);

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = BlobStore::open(dir.path().join("blobs"), DiskBudget::new(1 << 30), false).unwrap();
        (dir, store)
    }

    fn intake(store: &BlobStore) -> Intake<'_> {
        Intake { store, owner: "job" }
    }

    fn request(module: Source) -> JobRequest {
        JobRequest {
            name: "j".into(),
            module,
            tasks: vec![TaskRequest::default()],
            need: None,
            limits: None,
            placement: Default::default(),
            max_price: None,
            budget: None,
            retries: None,
            open: false,
        }
    }

    #[test]
    fn what_is_no_module_is_named_with_its_first_bytes() {
        let (_dir, store) = store();
        let e = accept(JOB, intake(&store), &request(Source::Text("#!/bin/sh".into()))).unwrap_err();
        assert_eq!(e.code, "module.not_wasm");
        assert!(e.message.contains("23 21 2f"), "{}", e.message);
        let e = accept(
            JOB,
            intake(&store),
            &request(Source::Text("\0asm\x0d\0\x01\0".into())),
        )
        .unwrap_err();
        assert!(e.message.contains("component"), "{}", e.message);
        let e = accept(
            JOB,
            intake(&store),
            &request(Source::Path("/nonexistent/x.wasm".into())),
        )
        .unwrap_err();
        assert_eq!((e.kind, e.code.as_str()), (Kind::NotFound, "job.missing_input"));
    }

    #[test]
    fn placeholders_become_paths_in_the_sandbox() {
        let (_dir, store) = store();
        let wish = TaskRequest {
            args: vec!["{in}".into(), "-o={out}".into()],
            inputs: vec![("a b.txt".into(), Source::Text("x".into()))],
            ..TaskRequest::default()
        };
        let meta = task(intake(&store), &wish).unwrap();
        assert_eq!(meta.spec.args, ["/in/a b.txt", "-o=/out/out"]);
        assert!(meta.spec.collect_out);
        let none = TaskRequest {
            args: vec!["{in}".into()],
            ..TaskRequest::default()
        };
        assert_eq!(task(intake(&store), &none).unwrap_err().code, "job.no_input");
        let climbs = TaskRequest {
            inputs: vec![("../x".into(), Source::Text("x".into()))],
            ..TaskRequest::default()
        };
        assert_eq!(task(intake(&store), &climbs).unwrap_err().code, "job.shape");
    }

    #[test]
    fn what_is_taken_in_outlives_a_sweep_before_the_job_is_journalled() {
        let (dir, store) = store();
        let path = dir.path().join("input");
        let big = "x".repeat(MAX_INLINE + 1);
        std::fs::write(&path, &big).unwrap();
        let uploaded = store.add_bytes(big.to_uppercase().as_bytes()).unwrap().hash;
        let mut wish = request(Source::Text("\0asm\x01\0\0\0".into()));
        wish.tasks[0].inputs = vec![
            ("path".into(), Source::Path(path)),
            ("blob".into(), Source::Blob(uploaded.to_string())),
        ];
        wish.tasks[0].stdin = Some(Source::Text(big + "y"));
        let accepted = accept(JOB, intake(&store), &wish).unwrap();
        store.gc(0).unwrap();
        let mut read: Vec<_> = accepted.tasks[0].spec.blobs().map(|b| b.hash).collect();
        read.push(accepted.spec.program.module.hash);
        assert_eq!(read.len(), 4);
        for hash in &read {
            assert!(store.has(hash), "swept away: {hash}");
        }
        // Nobody keeps them once the job is given up.
        store.unpin_all("job");
        store.gc(0).unwrap();
        assert!(read.iter().all(|hash| !store.has(hash)));
        // A blob that is not there is not kept for anybody.
        let mut wish = request(Source::Text("\0asm\x01\0\0\0".into()));
        wish.tasks[0].stdin = Some(Source::Blob(uploaded.to_string()));
        assert_eq!(
            accept(JOB, intake(&store), &wish).unwrap_err().kind,
            Kind::NotFound
        );
        assert!(!store.unpin(&uploaded, "job"));
    }
}
