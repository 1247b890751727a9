//! `poll_oneoff` of WASI preview 1, written anew: the library's own one sleeps with the thread for as
//! long as the guest likes, deaf to cancellation and time limits. Files and standard streams never make
//! a guest wait here, so only clocks do.

use super::wasi::Guest;
use std::time::{Duration, Instant};
use wasmtime::{Caller, Extern, Memory};

/// Subscriptions of one call. Each costs host memory; real programs poll a handful.
const MAX_SUBSCRIPTIONS: u32 = 1024;
const SUBSCRIPTION_BYTES: usize = 48;
const EVENT_BYTES: usize = 32;

const SUCCESS: i32 = 0;
const ERRNO_FAULT: i32 = 21;
const ERRNO_INVAL: i32 = 28;
const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const FLAG_ABSOLUTE: u16 = 1;
const TYPE_CLOCK: u8 = 0;

struct Subscription {
    userdata: [u8; 8],
    kind: u8,
    /// When its clock is due; `None` for files, which are always ready.
    due: Option<Duration>,
}

/// The host function; errors are traps, the result is a WASI error number.
pub(super) fn poll_oneoff(
    mut caller: Caller<'_, Guest>,
    subscriptions: u32,
    events: u32,
    count: u32,
    result: u32,
) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Ok(ERRNO_FAULT);
    };
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(ERRNO_INVAL);
    }
    let wanted = match read_all(&mut caller, memory, subscriptions, count) {
        Ok(wanted) => wanted,
        Err(errno) => return Ok(errno),
    };
    let now = Instant::now();
    let soonest = wanted
        .iter()
        .map(|s| s.due.unwrap_or(Duration::ZERO))
        .min()
        .unwrap_or(Duration::ZERO);
    let guest = caller.data();
    if soonest.is_zero() {
        // A guest that polls in a loop stays stoppable.
        guest.control.check(&guest.deadline)?;
    } else {
        let until = now
            .checked_add(soonest)
            .unwrap_or(now + Duration::from_secs(1 << 31));
        guest.control.sleep(until, &guest.deadline)?;
    }
    let ready = wanted
        .iter()
        .filter(|s| s.due.unwrap_or(Duration::ZERO) <= soonest);
    let mut out = Vec::with_capacity(wanted.len() * EVENT_BYTES);
    let mut n = 0u32;
    for subscription in ready {
        let mut event = [0u8; EVENT_BYTES];
        event[..8].copy_from_slice(&subscription.userdata);
        event[10] = subscription.kind;
        // Something can be read or written; how much, only reading tells.
        event[16] = u8::from(subscription.kind != TYPE_CLOCK);
        out.extend_from_slice(&event);
        n += 1;
    }
    let written = memory.write(&mut caller, events as usize, &out).is_ok()
        && memory
            .write(&mut caller, result as usize, &n.to_le_bytes())
            .is_ok();
    Ok(if written { SUCCESS } else { ERRNO_FAULT })
}

fn read_all(
    caller: &mut Caller<'_, Guest>,
    memory: Memory,
    at: u32,
    count: u32,
) -> Result<Vec<Subscription>, i32> {
    let mut raw = vec![0u8; count as usize * SUBSCRIPTION_BYTES];
    memory
        .read(&mut *caller, at as usize, &mut raw)
        .map_err(|_| ERRNO_FAULT)?;
    let clocks = &caller.data().clocks;
    let (raw, _) = raw.as_chunks::<SUBSCRIPTION_BYTES>();
    raw.iter()
        .map(|s| {
            let (userdata, _) = s.split_first_chunk::<8>().ok_or(ERRNO_INVAL)?;
            let kind = s[8];
            let due = match kind {
                TYPE_CLOCK => {
                    let id = u32::from_le_bytes([s[16], s[17], s[18], s[19]]);
                    let timeout =
                        u64::from_le_bytes([s[24], s[25], s[26], s[27], s[28], s[29], s[30], s[31]]);
                    let absolute = u16::from_le_bytes([s[40], s[41]]) & FLAG_ABSOLUTE != 0;
                    let now = match id {
                        _ if !absolute => 0,
                        CLOCK_MONOTONIC => clocks.monotonic_nanos(),
                        CLOCK_REALTIME => clocks.wall_nanos(),
                        _ => return Err(ERRNO_INVAL),
                    };
                    Some(Duration::from_nanos(timeout.saturating_sub(now)))
                }
                1 | 2 => None,
                _ => return Err(ERRNO_INVAL),
            };
            Ok(Subscription {
                userdata: *userdata,
                kind,
                due,
            })
        })
        .collect()
}
