//! What goes over the interfaces of a namespace, as a file that tcpdump and Wireshark read.

use crate::{error::LabError, space::Space};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, spawn},
    time::{Duration, SystemTime},
};

/// Bytes kept of a packet: headers. What is inside is encrypted.
const KEPT: usize = 128;
/// Packets kept of one capture: about 14 MB. What matters when a pair does not connect is at the beginning.
const MAX_PACKETS: u64 = 100_000;
/// Packets that may wait to be written down when a capture is told to stop.
const WAITING: u64 = 10_000;
/// How often a capture that sees nothing looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// A capture that goes on until it is dropped.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures all interfaces of a namespace, loopback too, into a new file.
    ///
    /// # Errors
    /// Without root, or when the file cannot be made.
    pub fn start(space: &Space, path: &Path) -> Result<Self, LabError> {
        let socket = space.enter(|| {
            let (packet, raw) = (AddressFamily::PACKET, SocketType::RAW);
            let socket = socket_with(packet, raw, SocketFlags::CLOEXEC, Some(eth::ALL))?;
            set_socket_timeout(&socket, Timeout::Recv, Some(LOOK))?;
            Ok(socket)
        })?;
        let unwritable = |source| LabError::Inside {
            space: format!("{} ({})", space.name(), path.display()),
            source,
        };
        let mut file = BufWriter::new(File::create(path).map_err(unwritable)?);
        head(&mut file).map_err(unwritable)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = spawn(move || {
            // A full disk ends a capture early; the laboratory goes on.
            let _ = keep(&socket, &mut file, &stopped);
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The head of a pcap file: its number, version 2.4, and that it holds Ethernet frames.
fn head(file: &mut impl Write) -> io::Result<()> {
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0004_0000, 1] {
        file.write_all(&word.to_le_bytes())?;
    }
    Ok(())
}

fn record(file: &mut impl Write, at: Duration, packet: &[u8], length: usize) -> io::Result<()> {
    let kept = packet.get(..packet.len().min(length)).unwrap_or_default();
    let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
    let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    for word in [seconds, at.subsec_micros(), word(kept.len()), word(length)] {
        file.write_all(&word.to_le_bytes())?;
    }
    file.write_all(kept)
}

fn keep(socket: &OwnedFd, file: &mut impl Write, stop: &AtomicBool) -> io::Result<()> {
    let mut packet = [0; KEPT];
    let (mut packets, mut last) = (0, MAX_PACKETS);
    while packets < last {
        // What waits when it is told to stop belongs to it.
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && last == MAX_PACKETS {
            last = last.min(packets + WAITING);
        }
        match recv(socket, &mut packet, RecvFlags::TRUNC) {
            Ok((_, length)) => {
                let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                record(file, at.unwrap_or_default(), &packet, length)?;
                packets += 1;
            }
            Err(Errno::AGAIN) if stopping => break,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_is_cut_to_what_is_there() {
        let mut file = Vec::new();
        head(&mut file).unwrap();
        assert_eq!(file.len(), 24);
        record(&mut file, Duration::from_micros(1_500_000), &[7; KEPT], 60).unwrap();
        assert_eq!(file.len(), 24 + 16 + 60);
        assert_eq!(file[24..28], 1u32.to_le_bytes());
        assert_eq!(file[28..32], 500_000u32.to_le_bytes());
        record(&mut file, Duration::ZERO, &[7; KEPT], 1500).unwrap();
        assert_eq!(file.len(), 24 + 16 + 60 + 16 + KEPT);
    }
}
