//! The demonstration's processes: each a daemon with its own identity and folder, all gone when we are.

use crate::{
    config::KEYS,
    output::{CliError, Output, clean},
    paths::{Paths, private_folder},
    serve::{Announced, last_lines, read_announcement, told},
};
use data_encoding::HEXLOWER;
use futures::future::{join_all, try_join, try_join_all};
use hive_api::client::Client;
use hive_protocol::{money::MicroCpt, resources::Role};
use hive_runtime::port::{InviteRequest, Kind, MeshRequest};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    time::timeout,
};

/// What a daemon gets to start.
const START: Duration = Duration::from_secs(30);
/// What a daemon gets to stop before it is killed.
const STOP: Duration = Duration::from_secs(8);
/// Lines of each log shown after a failure.
const LAST_WORDS: usize = 4;
/// Longest path of the home folder: leaves room for the socket's name within `sun_path`.
const HOME_MOST: usize = 80;

/// Name of a daemon's counter of bytes received.
const RECEIVED: &str = "hivenode_blob_received_bytes ";

/// What the founder mints and gives the client.
pub const MINT: MicroCpt = MicroCpt::cpt(1_000_000);
/// The client's funds.
pub const GRANT: MicroCpt = MicroCpt::cpt(1000);

/// One daemon.
pub struct Member {
    /// `authority`, `worker-1` …, `client`.
    pub name: String,
    /// The way to it.
    pub client: Client,
    paths: Paths,
    child: Option<Child>,
    /// Closing it stops the daemon, also when this process dies without a word.
    leash: Option<ChildStdin>,
    price: &'static str,
}

/// All of them: the authority first, then the workers, the client last.
pub struct Fleet {
    home: PathBuf,
    keep: bool,
    members: Vec<Member>,
}

fn home() -> Result<PathBuf, CliError> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes)
        .map_err(|e| CliError::internal("demo.home", format!("no random numbers from the system: {e}")))?;
    let name = format!("hivenode-demo-{}", HEXLOWER.encode(&bytes));
    let wished = std::env::temp_dir().join(&name);
    // A deep TMPDIR would leave no room for sockets.
    let home = if wished.as_os_str().len() <= HOME_MOST {
        wished
    } else {
        Path::new("/tmp").join(&name)
    };
    private_folder(&home)?;
    Ok(home)
}

/// The bytes of blobs received, of a metrics page.
fn received(page: &str) -> u64 {
    let mut lines = page.lines().filter_map(|l| l.strip_prefix(RECEIVED));
    lines.find_map(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = clean(&path.display().to_string());
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Fleet {
    /// Names the members; nothing runs yet.
    pub fn new(workers: u8, keep: bool) -> Result<Self, CliError> {
        let home = home()?;
        let mut fleet = Self {
            home,
            keep,
            members: Vec::new(),
        };
        // Three prices, so that the bill shows who asked what.
        const PRICES: [&str; 3] = ["0.001", "0.0011", "0.0012"];
        fleet.add("authority", "0.001")?;
        for (n, price) in (1..=workers).zip(PRICES.iter().cycle()) {
            fleet.add(&format!("worker-{n}"), price)?;
        }
        fleet.add("client", "0.001")?;
        Ok(fleet)
    }

    fn add(&mut self, name: &str, price: &'static str) -> Result<(), CliError> {
        let paths = Paths::find(Some(&self.home.join(name)))?;
        paths.create()?;
        self.members.push(Member {
            name: name.to_owned(),
            client: Client::unix(&paths.socket),
            paths,
            child: None,
            leash: None,
            price,
        });
        Ok(())
    }

    /// The folder that holds all folders.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn member(&self, name: &str) -> Result<&Member, CliError> {
        self.members
            .iter()
            .find(|m| m.name == name)
            .ok_or_else(|| CliError::internal("demo.member", format!("no member {name}")))
    }

    /// The submitter.
    pub fn client(&self) -> Result<&Member, CliError> {
        self.member("client")
    }

    /// The ledger's keeper.
    pub fn authority(&self) -> Result<&Member, CliError> {
        self.member("authority")
    }

    /// Starts all daemons at once, founds the mesh, lets everyone join.
    pub async fn launch(&mut self, out: &Output) -> Result<(), CliError> {
        let workers = self.members.len().saturating_sub(2).max(1);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // Together the workers offer what the machine has, each at least one core.
        let share = (cores / workers).max(1);
        let keep = self.keep;
        try_join_all(self.members.iter_mut().map(|m| m.start(share, keep))).await?;
        let authority = self.authority()?;
        let request = MeshRequest {
            name: "demo".into(),
            mint: MINT,
            default_score: 50,
            worker: false,
        };
        let mesh = authority.client.mesh_create(&request).await?;
        out.step("founded", &format!("mesh \"{}\", {MINT} minted", mesh.name));
        let invite = |role, grant, uses| InviteRequest {
            role,
            score: Some(50),
            grant,
            uses,
            ttl_ms: 3_600_000,
        };
        let uses = u32::try_from(workers).unwrap_or(1);
        let (worker, client) = (
            invite(Role::Worker, MicroCpt::ZERO, uses),
            invite(Role::Client, GRANT, 1),
        );
        let (worker, client) =
            try_join(authority.client.invite(&worker), authority.client.invite(&client)).await?;
        let joins = self.members.iter().filter(|m| m.name != "authority").map(|m| {
            let ticket = if m.name == "client" {
                &client.ticket
            } else {
                &worker.ticket
            };
            async move { m.client.join(ticket).await.map(|view| (m.name.as_str(), view)) }
        });
        let joined = try_join_all(joins).await?;
        let names: Vec<&str> = joined.iter().map(|(name, _)| *name).collect();
        out.step("joined", &names.join(", "));
        Ok(())
    }

    /// The members' names by node id.
    pub async fn names(&self) -> Result<BTreeMap<String, String>, CliError> {
        let asked = self
            .members
            .iter()
            .map(|m| async { Ok((m.client.status().await?.node, m.name.clone())) });
        try_join_all(asked).await.map(|pairs| pairs.into_iter().collect())
    }

    /// Bytes of modules, inputs and results that members have received from each other, by their own counters.
    pub async fn moved(&self) -> Result<u64, CliError> {
        let asked = self.members.iter().map(|m| m.client.metrics());
        let pages = try_join_all(asked).await?;
        Ok(pages.iter().map(|page| received(page)).sum())
    }

    /// The ends of all logs.
    pub fn last_words(&self) -> Vec<String> {
        let words = |m: &Member| {
            let lines = last_lines(&m.paths.log, LAST_WORDS);
            lines
                .into_iter()
                .map(|l| format!("{}: {l}", m.name))
                .collect::<Vec<_>>()
        };
        self.members.iter().flat_map(words).collect()
    }

    /// Stops all daemons and takes their folders away; says how it went, and what went wrong.
    pub async fn stop(&mut self) -> Result<String, String> {
        self.end(STOP).await
    }

    /// The same; each daemon gets so long before it is killed.
    async fn end(&mut self, within: Duration) -> Result<String, String> {
        // The authority last: the others' last words go to it.
        let (authority, others): (Vec<_>, Vec<_>) =
            self.members.iter_mut().partition(|m| m.name == "authority");
        let mut killed: usize = 0;
        for group in [others, authority] {
            let ends = join_all(group.into_iter().map(|m| m.stop(within))).await;
            killed += ends.into_iter().filter(|clean| !clean).count();
        }
        let removed = std::fs::remove_dir_all(&self.home);
        let processes = if killed == 0 {
            "all processes ended".to_owned()
        } else {
            format!("{killed} processes had to be killed")
        };
        let clean = killed == 0 && removed.is_ok();
        let folder = match removed {
            Ok(()) => "their folders are gone".to_owned(),
            Err(e) => format!("their folders remain in {}: {e}", self.home.display()),
        };
        let text = format!("{processes}, {folder}");
        if clean { Ok(text) } else { Err(text) }
    }

    /// Says how to use what is left running.
    pub fn keep(&self, out: &Output) {
        // As it is: after `cargo run` there is no `hivenode` on the path.
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hivenode"));
        let program = quoted(&program);
        let home = quoted(&self.home);
        let command = |name: &str, rest: &str| format!("{program} --data {home}/{name} {rest}");
        out.say("\nThe mesh is left running. Use it:");
        out.say(&format!("  {}", command("client", "node ls")));
        out.say(&format!("  {}", command("client", "job map MODULE.wasm FILES…")));
        out.say(&format!("  {}", command("client", "wallet history")));
        out.say(&format!("  {}", command("authority", "invite --role worker")));
        out.say("Stop it:");
        out.say(&format!(
            "  for d in {home}/*/; do {program} --data \"$d\" down; done; rm -r {home}"
        ));
    }
}

impl Member {
    async fn start(&mut self, cores: usize, keep: bool) -> Result<(), CliError> {
        let failed =
            |e: std::io::Error| CliError::internal("demo.spawn", format!("cannot start {}: {e}", self.name));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.paths.log)
            .map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        // The user's own settings are not the demonstration's.
        for key in KEYS {
            command.env_remove(key.env());
        }
        for name in [
            "HIVENODE_DATA",
            "HIVENODE_API",
            "HIVENODE_TOKEN",
            "HIVENODE_TICKET",
        ] {
            command.env_remove(name);
        }
        if let Some(filter) = std::env::var_os("HIVENODE_LOG") {
            command.env("HIVENODE_LOG", filter);
        }
        if let Some(root) = &self.paths.root {
            command.arg("--data").arg(root);
        }
        command
            .args(["serve", "--name", &self.name, "--price", self.price])
            .args(["--cpus", &cores.to_string()])
            .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
            .arg("--log-file")
            .arg(&self.paths.log)
            .arg(if keep { "--detached" } else { "--attached" })
            // Ctrl-C in the terminal is for us; we stop them in order.
            .process_group(0)
            .stdin(if keep { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take();
        self.leash = child.stdin.take();
        self.child = Some(child);
        let Some(stdout) = stdout else {
            return Err(CliError::internal(
                "demo.spawn",
                "a process without standard output",
            ));
        };
        match timeout(START, read_announcement(stdout)).await {
            Ok(Some(Announced::Ready(_))) => Ok(()),
            Ok(Some(Announced::Failed(document))) => Err(told(&document).note("who", self.name.clone())),
            Ok(None) => Err(CliError::internal(
                "demo.died",
                format!("{} ended before it could serve", self.name),
            )),
            Err(_) => Err(CliError::new(
                Kind::Timeout,
                "demo.start_timeout",
                format!("{} did not start within {} s", self.name, START.as_secs()),
            )),
        }
    }

    /// Stops the daemon; false when it had to be killed.
    async fn stop(&mut self, within: Duration) -> bool {
        let Some(mut child) = self.child.take() else {
            return true;
        };
        // Either way of telling it is enough; a daemon that never came up hears only the second.
        let _ = timeout(Duration::from_secs(2), self.client.stop(0)).await;
        self.leash = None;
        if timeout(within, child.wait()).await.is_ok() {
            return true;
        }
        let _ = child.kill().await;
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_had_to_be_killed_or_remains_is_no_clean_end() {
        let mut fleet = Fleet::new(1, false).unwrap();
        let deaf = Command::new("sleep")
            .arg("600")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        fleet.members[1].child = Some(deaf);
        let said = fleet.end(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(said, "1 processes had to be killed, their folders are gone");
        // The folder is gone by now, which is as good as one that cannot be removed.
        let said = fleet.end(Duration::from_millis(50)).await.unwrap_err();
        assert!(
            said.starts_with("all processes ended, their folders remain in "),
            "{said}"
        );
        let mut fleet = Fleet::new(1, false).unwrap();
        assert_eq!(
            fleet.stop().await.unwrap(),
            "all processes ended, their folders are gone"
        );
    }

    #[test]
    fn a_metrics_page_tells_what_came() {
        let page = "# TYPE hivenode_blob_received_bytes gauge\nhivenode_blob_sent_bytes 5\nhivenode_blob_received_bytes 31089\n";
        assert_eq!(received(page), 31_089);
        assert_eq!(received("# EOF"), 0);
    }

    #[test]
    fn paths_are_quoted_for_the_shell_only_where_they_must_be() {
        assert_eq!(quoted(Path::new("/a/b-1.c")), "/a/b-1.c");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
