//! Resource limits of the whole process: the backstop behind the per-task limits.

use super::Bounds;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(super) fn apply(bounds: &Bounds<'_>) -> Result<String, String> {
    // Over the file limit a write must fail, not kill the process with every other task in it.
    // SAFETY: setting a disposition to "ignore" installs no handler.
    #[allow(unsafe_code)]
    let ignored = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if ignored == libc::SIG_ERR {
        return Err(format!("SIGXFSZ: {}", std::io::Error::last_os_error()));
    }
    // No limit on address space: WebAssembly memories reserve 4 GiB each without using it. DATA counts
    // what can really be written.
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, bounds.open_files)?;
    lower(Resource::Fsize, bounds.file_bytes)?;
    lower(Resource::Data, bounds.data_bytes)?;
    Ok(format!(
        "core 0, files {}, file size {}, memory {}",
        bounds.open_files, bounds.file_bytes, bounds.data_bytes
    ))
}

fn lower(resource: Resource, wanted: u64) -> Result<(), String> {
    let hard = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(wanted.min(hard));
    setrlimit(
        resource,
        Rlimit {
            current: value,
            maximum: value,
        },
    )
    .map_err(|e| format!("{resource:?}: {e}"))
}
