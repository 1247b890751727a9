//! A laboratory with a mesh in it: an authority and a relay on the open internet, and two places to put nodes.

use crate::{choice::Combination, daemon::Daemon, error::MatrixError};
use hive_natlab::Lab;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The port of those who are public.
const PORT: &str = "4001";
/// µCPT minted; nobody earns anything in a trial.
const MINT: u64 = 1_000_000_000;
/// What joining may take.
const JOIN: Duration = Duration::from_secs(30);

/// A folder that is gone when dropped.
#[derive(Debug)]
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Laboratories of this process, to tell them apart.
static SCENES: AtomicU32 = AtomicU32::new(0);

/// A mesh in a laboratory. Daemons are dropped before their networks and folders.
#[derive(Debug)]
pub struct Scene {
    authority: Daemon,
    other: Daemon,
    /// The laboratory.
    pub lab: Lab,
    home: Home,
    program: PathBuf,
    transports: &'static str,
    joined: u32,
}

impl Scene {
    /// Builds it for a combination.
    ///
    /// # Errors
    /// When the laboratory or a daemon does not come up.
    pub fn build(program: &Path, combination: &Combination) -> Result<Self, MatrixError> {
        let name = format!(
            "hm{}n{}",
            std::process::id(),
            SCENES.fetch_add(1, Ordering::Relaxed)
        );
        let home = Home(std::env::temp_dir().join(&name));
        std::fs::create_dir_all(&home.0).map_err(|source| MatrixError::File {
            path: home.0.clone(),
            source,
        })?;
        let lab = Lab::raise(&name, combination.case.plan())?;
        let transports = combination.transports.name();
        let public = [
            ("listen", PORT),
            ("transports", transports),
            ("relay", "on"),
            ("upnp", "off"),
            ("log", LOG),
        ];
        let authority = Daemon::start(program, lab.inside("relay")?, &home.0, "relay", &public)?;
        authority.post(
            "/v1/mesh",
            &json!({"name": "lab", "mint": MINT, "default_score": 50, "worker": false}),
        )?;
        let other = Daemon::start(program, lab.inside("other")?, &home.0, "other", &public)?;
        let mut scene = Self {
            authority,
            other,
            lab,
            home,
            program: program.to_owned(),
            transports,
            joined: 0,
        };
        let ticket = scene.ticket()?;
        scene.other.post("/v1/join", &json!({"ticket": ticket}))?;
        let serves = |d: &Value| (d["relay"]["state"] == "serving").then_some(());
        for public in [&scene.authority, &scene.other] {
            public.until("/v1/relay", "it relays for others", JOIN, serves)?;
        }
        Ok(scene)
    }

    fn ticket(&mut self) -> Result<String, MatrixError> {
        self.joined += 1;
        let request = json!({"role": "client", "uses": 1, "ttl_ms": 3_600_000});
        let answer = self.authority.post("/v1/invites", &request)?;
        let ticket = answer["invite"]["ticket"].as_str();
        ticket.map(str::to_owned).ok_or_else(|| MatrixError::Asked {
            name: self.authority.name.clone(),
            path: "/v1/invites".into(),
            detail: "no ticket".into(),
        })
    }

    /// Two new nodes in these places, which have just joined; each with its id.
    ///
    /// # Errors
    /// When one does not come up or may not join.
    pub fn nodes(&mut self, places: [&str; 2]) -> Result<[(Daemon, String); 2], MatrixError> {
        self.nodes_with(places, &[])
    }

    /// The same, with some settings more.
    ///
    /// # Errors
    /// As [`Scene::nodes`].
    pub fn nodes_with(
        &mut self,
        places: [&str; 2],
        more: &[(&str, &str)],
    ) -> Result<[(Daemon, String); 2], MatrixError> {
        let tickets = [self.ticket()?, self.ticket()?];
        let [one, two] = places;
        let [first, second] = &tickets;
        let here = &*self;
        let (a, b) = std::thread::scope(|scope| {
            let other = scope.spawn(|| here.node(two, second, more));
            (here.node(one, first, more), other.join())
        });
        let dead = |_| MatrixError::Start {
            name: two.to_owned(),
            detail: "its thread died".into(),
        };
        Ok([a?, b.map_err(dead)??])
    }

    fn node(&self, at: &str, ticket: &str, more: &[(&str, &str)]) -> Result<(Daemon, String), MatrixError> {
        let name = format!("{at}{}", self.joined);
        let own = [("transports", self.transports), ("upnp", "off"), ("log", LOG)];
        let settings: Vec<_> = own.iter().chain(more).copied().collect();
        let space = self.lab.inside(at)?;
        let daemon = Daemon::start(&self.program, space, &self.home.0, &name, &settings)?;
        daemon.post("/v1/join", &json!({"ticket": ticket}))?;
        let status = daemon.get("/v1/status")?;
        let id = status["status"]["node"].as_str().unwrap_or_default().to_owned();
        Ok((daemon, id))
    }

    /// Makes all routers forget what went before.
    ///
    /// # Errors
    /// What the laboratory says.
    pub fn forget(&self) -> Result<(), MatrixError> {
        for router in &self.lab.plan().routers {
            self.lab.reboot_router(&router.name)?;
        }
        Ok(())
    }

    /// The folder of the daemons.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home.0
    }

    /// Deletes what the nodes of a run that is over have left.
    pub fn sweep(&self) {
        let stays = [&self.authority.dir, &self.other.dir];
        for entry in std::fs::read_dir(&self.home.0).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_file() {
                let _ = std::fs::remove_file(path);
            } else if !stays.contains(&&path) {
                let _ = std::fs::remove_dir_all(path);
            }
        }
    }
}

/// What nodes of a trial write down.
const LOG: &str = "info,hive_net=debug";
