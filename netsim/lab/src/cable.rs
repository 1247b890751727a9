//! A cable with delay and loss, carried by threads of this process between two tap devices: not every kernel has
//! `netem`. A tap takes no offloading, so that packets come whole and with their checksums.

use crate::{error::LabError, plan::Cable, space::Space};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::{read, write},
    ioctl,
};
use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

/// Frames on their way in one direction; more are dropped, as a full queue of a real cable drops them. Enough for
/// 100 Mbit/s over a second.
const ON_THE_WAY: usize = 8192;
/// Longest frame: an Ethernet frame with a tag and room.
const FRAME: usize = 2048;
/// How often a thread with nothing to do looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// `TUNSETIFF` of the kernel.
const SET_INTERFACE: ioctl::Opcode = ioctl::opcode::write::<i32>(b'T', 202);
/// Ethernet frames without a header of the driver: `IFF_TAP | IFF_NO_PI`.
const TAP: u16 = 0x0002 | 0x1000;

/// The kernel's `struct ifreq`, as far as a tap needs it.
#[repr(C)]
struct Interface {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a tap device of this name in the namespace of this thread; it is gone when the file is closed.
#[allow(unsafe_code)]
fn tap(name: &str) -> io::Result<OwnedFd> {
    let mut interface = Interface {
        name: [0; 16],
        flags: TAP,
        rest: [0; 22],
    };
    // One byte of the name stays 0.
    for (to, from) in interface.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = open("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: the opcode is TUNSETIFF's, which reads and writes a `struct ifreq`; `Interface` has its size (40 bytes)
    // and layout and outlives the call.
    unsafe {
        ioctl::ioctl(
            &device,
            ioctl::Updater::<SET_INTERFACE, Interface>::new(&mut interface),
        )
    }?;
    Ok(device)
}

#[derive(Debug, Default)]
struct State {
    delay_us: AtomicU64,
    loss: AtomicU32,
    stop: AtomicBool,
}

impl State {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A cable between two namespaces.
#[derive(Debug)]
pub struct SlowCable {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

type Frame = (Instant, Vec<u8>);

impl SlowCable {
    /// Lays it: makes one device at each end, which are gone when it is dropped.
    ///
    /// # Errors
    /// Without root or `/dev/net/tun`.
    pub fn lay(near: (&Space, &str), far: (&Space, &str), cable: &Cable) -> Result<Self, LabError> {
        let one = Arc::new(near.0.enter(|| tap(near.1))?);
        let two = Arc::new(far.0.enter(|| tap(far.1))?);
        let state = Arc::new(State::default());
        let mut threads = Vec::new();
        for (n, from, to) in [(1, &one, &two), (2, &two, &one)] {
            let (put, take) = sync_channel(ON_THE_WAY);
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            let (reading, writing) = (Arc::clone(&state), Arc::clone(&state));
            threads.push(spawn(move || send_off(&from, &put, &reading, n)));
            threads.push(spawn(move || deliver(&to, &take, &writing)));
        }
        let laid = Self { state, threads };
        laid.set(cable);
        Ok(laid)
    }

    /// Changes delay and loss; packets on the way keep theirs.
    pub fn set(&self, cable: &Cable) {
        let us = u64::try_from(cable.delay.as_micros()).unwrap_or(u64::MAX);
        self.state.delay_us.store(us, Ordering::Relaxed);
        self.state.loss.store(cable.loss, Ordering::Relaxed);
    }
}

impl Drop for SlowCable {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The next of a row of numbers that look random, the same in every run (xorshift).
const fn next(seed: u64) -> u64 {
    let seed = seed ^ (seed << 13);
    let seed = seed ^ (seed >> 7);
    seed ^ (seed << 17)
}

fn send_off(from: &OwnedFd, put: &SyncSender<Frame>, state: &State, seed: u64) {
    let look = Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(LOOK.as_nanos()).unwrap_or(i64::MAX),
    };
    let mut dice = next(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut frame = [0; FRAME];
    while !state.stopped() {
        let mut waiting = [PollFd::new(from, PollFlags::IN)];
        if poll(&mut waiting, Some(&look)).is_err() {
            return;
        }
        // Until there is nothing more: one call of `poll` for a burst.
        while let Ok(n) = read(from, &mut frame) {
            dice = next(dice);
            if dice % 10_000 < u64::from(state.loss.load(Ordering::Relaxed)) {
                continue;
            }
            let due = Instant::now() + Duration::from_micros(state.delay_us.load(Ordering::Relaxed));
            let bytes = frame.get(..n).unwrap_or_default().to_vec();
            if let Err(TrySendError::Disconnected(_)) = put.try_send((due, bytes)) {
                return;
            }
        }
    }
}

fn deliver(to: &OwnedFd, take: &Receiver<Frame>, state: &State) {
    while !state.stopped() {
        match take.recv_timeout(LOOK) {
            Ok((due, frame)) => {
                let left = due.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    sleep(left);
                }
                // A device that is down loses it.
                let _ = write(to, &frame);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_sees_a_request_of_its_size() {
        assert_eq!(size_of::<Interface>(), 40);
    }

    #[test]
    fn loss_is_as_frequent_as_asked_for() {
        let mut dice = next(0x9e37_79b9_7f4a_7c15);
        let lost = (0..100_000)
            .filter(|_| {
                dice = next(dice);
                dice % 10_000 < 100
            })
            .count();
        assert!((900..1100).contains(&lost), "{lost} of 100,000 at 1 %");
    }
}
