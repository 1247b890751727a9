//! What one side of a transfer costs.

use crate::PIECE;
use rustix::time::{ClockId, clock_gettime};
use std::{io::BufRead, time::Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The cost of one side.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub bytes: u64,
    /// Seconds from the first byte until the receiver has said that it has the last.
    pub wall: f64,
    /// CPU seconds of the process in this time.
    pub cpu: f64,
    /// Most memory resident at any time, in MB.
    pub peak: f64,
}

impl Cost {
    pub fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }

    pub fn per_gigabyte(&self) -> f64 {
        self.cpu / (self.bytes as f64 / 1e9)
    }

    /// Reads what the process has printed last.
    pub fn read(from: impl BufRead) -> Self {
        let line = from.lines().map_while(Result::ok).last().expect("a cost");
        let mut parts = line.split(' ').map(|part| part.parse::<f64>().unwrap());
        let mut next = || parts.next().unwrap();
        Self {
            bytes: next() as u64,
            wall: next(),
            cpu: next(),
            peak: next(),
        }
    }
}

struct Meter(Instant, f64);

impl Meter {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn stop(self, bytes: u64) {
        let (wall, cpu) = (self.0.elapsed().as_secs_f64(), cpu() - self.1);
        println!("{bytes} {wall} {cpu} {}", peak());
    }
}

pub fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

pub fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
}

/// Sends so many bytes and waits for the word that they have arrived.
pub async fn send(out: &mut (impl AsyncWrite + Unpin), back: &mut (impl AsyncRead + Unpin), total: u64) {
    let piece: Vec<u8> = (0..PIECE).map(|n| n as u8).collect();
    let meter = Meter::start();
    for _ in 0..total / PIECE as u64 {
        out.write_all(&piece).await.unwrap();
    }
    out.flush().await.unwrap();
    back.read_exact(&mut [0; 1]).await.unwrap();
    meter.stop(total);
}

/// Receives so many bytes and says so.
pub async fn receive(inn: &mut (impl AsyncRead + Unpin), back: &mut (impl AsyncWrite + Unpin), total: u64) {
    let mut buf = vec![0; PIECE];
    let mut rest = total;
    let meter = Meter::start();
    while rest > 0 {
        let got = inn.read(&mut buf).await.unwrap();
        assert_ne!(got, 0, "it ended {rest} bytes too early");
        rest -= got as u64;
    }
    back.write_all(&[1]).await.unwrap();
    back.flush().await.unwrap();
    meter.stop(total);
    // The sender leaves first, so that the word arrives.
    let _ = inn.read(&mut buf).await;
}
