//! Periodic threads that only run while there is something to do: the epoch ticker that lets guests be
//! stopped, and the one that sends logs and gathered frames.

use super::control::Control;
use super::engine::TICK;
use super::outbox::Outbox;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::Engine;

/// Idle periods before a thread goes to sleep: starting and stopping for every short task would cost
/// more than some idle ticks.
const IDLE_PERIODS: usize = 20;

/// Wakes one periodic thread while at least one slot is busy.
#[derive(Default)]
pub(super) struct Pulse {
    busy: AtomicUsize,
    idle: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Pulse {
    /// A slot became busy.
    pub(super) fn start(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// A slot became idle.
    pub(super) fn stop(&self) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }

    /// Called by the periodic thread: waits one period, or as long as nothing is busy.
    pub(super) fn pause(&self, period: Duration) {
        self.thread.get_or_init(std::thread::current);
        if self.busy.load(Ordering::SeqCst) > 0 {
            self.idle.store(0, Ordering::Relaxed);
        } else if self.idle.fetch_add(1, Ordering::Relaxed) >= IDLE_PERIODS {
            self.asleep.store(true, Ordering::SeqCst);
            while self.busy.load(Ordering::SeqCst) == 0 && self.asleep.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            self.idle.store(0, Ordering::Relaxed);
        }
        std::thread::sleep(period);
    }
}

/// Advances the epoch, at which running guests look whether they must stop.
pub(super) fn tick(engine: &Engine, pulse: &Pulse) -> ! {
    loop {
        pulse.pause(TICK);
        engine.increment_epoch();
    }
}

/// Sends logs and whatever frames have gathered. May block on the pipe, so it is not the ticker.
pub(super) fn post(controls: &[Arc<Control>], outbox: &Outbox, pulse: &Pulse) -> ! {
    loop {
        pulse.pause(TICK);
        for control in controls {
            if let Some(sinks) = control.sinks() {
                sinks.tick();
            }
        }
        if !outbox.is_empty() {
            outbox.flush();
        }
    }
}
