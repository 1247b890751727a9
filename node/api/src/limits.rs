//! Every bound of the API in one place, each with its reason.

use std::time::Duration;

/// Connections served at once over both listeners. Each costs a task and at most [`HEAD_BYTES`] of read buffer before
/// its request is known; further ones are told `api.busy` and closed.
pub const MAX_CONNECTIONS: usize = 1024;
/// Connections beyond [`MAX_CONNECTIONS`] that are being told so; still further ones are just closed.
pub const MAX_TURNED_AWAY: usize = 64;
/// What a connection that is turned away gets to send its request and to take the answer.
pub const TURN_AWAY_WAIT: Duration = Duration::from_secs(1);
/// A connection must have delivered a whole request head this long after it was opened or after its last answer:
/// covers silent connections, dribbled headers and idle keep-alive alike.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Largest request head in bytes. A bearer token and a few headers need under 1 KiB.
pub const HEAD_BYTES: usize = 16 << 10;
/// Most header fields of a request.
pub const HEAD_FIELDS: usize = 64;
/// A client that takes no byte of an answer for this long is cut off, so that it cannot hold buffers for ever.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// A request body must move within this time.
pub const BODY_STALL: Duration = Duration::from_secs(10);
/// A JSON body must be whole within this time, even when it trickles.
pub const BODY_TOTAL: Duration = Duration::from_secs(60);
/// Largest JSON body of an ordinary call.
pub const BODY_SMALL: usize = 64 << 10;
/// Largest JSON body that carries tasks: about 250,000 tasks of 256 bytes. Larger jobs are opened and added to.
pub const BODY_TASKS: usize = 64 << 20;
/// Bytes of JSON bodies held in memory over all connections, each until its call is answered; beyond it callers hear `api.busy` and may try again.
pub const BODY_BUDGET: usize = 256 << 20;
/// Largest blob that may be uploaded: eight times the largest module, enough for inputs of single tasks.
pub const BLOB_CAP: u64 = 16 << 30;
/// Bytes moved at a time between a blob and a connection.
pub const BLOB_CHUNK: usize = 64 << 10;
/// Tasks one call may add and wait for.
pub const WAIT_TASKS: usize = 64;
/// Longest id, prefix or name in a path, in characters: above the 64-byte names and hex ids.
pub const ID_CHARS: usize = 128;
/// Most tasks listed by one call.
pub const LIST_MOST: u32 = 1000;
/// Tasks (or wallet lines) listed when nothing is said.
pub const LIST_DEFAULT: u32 = 100;
/// Silence after which an event stream says that it is alive.
pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);
/// What running calls get to end once the server is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// Pause after `accept` has failed (no descriptors left), so that the loop does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest time the daemon may be asked to drain: a day.
pub const DRAIN_MOST_MS: u64 = 24 * 3600 * 1000;

/// Connections a client keeps open without using them.
pub const CLIENT_IDLE: usize = 32;
/// Connections a client opens at once; further calls wait for one to come free.
pub const CLIENT_OPEN: usize = 512;
/// Age at which a client drops an idle connection: half of [`HEAD_WAIT`], so that it never meets the server's close.
pub const CLIENT_IDLE_AGE: Duration = Duration::from_secs(5);
/// What a client waits for a connection.
pub const CLIENT_CONNECT: Duration = Duration::from_secs(5);
/// What a client waits for the answer to a question.
pub const CLIENT_ASK: Duration = Duration::from_secs(30);
/// What a client waits for the answer to a change; importing a job's input files takes time.
pub const CLIENT_CHANGE: Duration = Duration::from_secs(3600);
/// Largest answer a client takes as one document.
pub const CLIENT_DOCUMENT: usize = 256 << 20;
/// Longest line of a stream a client takes.
pub const CLIENT_LINE: usize = 1 << 20;

/// The bounds that depend on the clients or the machine at hand; the defaults are the constants of this module.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// See [`MAX_CONNECTIONS`].
    pub connections: usize,
    /// See [`HEAD_WAIT`].
    pub head_wait: Duration,
    /// See [`BODY_STALL`].
    pub body_stall: Duration,
    /// See [`WRITE_STALL`].
    pub write_stall: Duration,
    /// See [`BLOB_CAP`].
    pub blob_cap: u64,
    /// See [`BODY_BUDGET`].
    pub body_budget: usize,
    /// See [`SHUTDOWN_GRACE`].
    pub shutdown_grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            head_wait: HEAD_WAIT,
            body_stall: BODY_STALL,
            write_stall: WRITE_STALL,
            blob_cap: BLOB_CAP,
            body_budget: BODY_BUDGET,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }
}
