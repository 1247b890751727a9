//! Closes every descriptor but the three the parent gave.

/// Closes all descriptors from 3 up. Must run before this process opens anything: whatever owns such a
/// descriptor would find it closed.
pub(crate) fn close_inherited() -> Result<String, String> {
    // SAFETY: the call only closes descriptors; `child_main` runs it first thing in `main`, when no
    // Rust object owns a descriptor above 2.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if result == 0 {
        Ok("all but 0, 1, 2 closed".to_owned())
    } else {
        // Descriptors of the daemon are close-on-exec already; this is the second line.
        Err(std::io::Error::last_os_error().to_string())
    }
}
