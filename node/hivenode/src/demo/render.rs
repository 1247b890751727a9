//! The job itself: tiles out, progress, tiles back into one picture.

use super::{fleet::Fleet, tiles};
use crate::{
    args::DemoArgs,
    output::{CliError, Output, Progress},
    quantity::{show_duration, show_size},
};
use data_encoding::BASE64;
use hive_api::client::Client;
use hive_runtime::port::{JobRequest, OutputView, Source, TaskFilter, TaskRow, TaskState};
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};
use tokio::io::AsyncReadExt;

/// How often the daemon is asked how things stand.
const ASK_EVERY: Duration = Duration::from_millis(80);
/// How often all daemons are asked what they have received.
const COUNT_EVERY: Duration = Duration::from_millis(400);
/// The whole picture must be there by then.
const DEADLINE: Duration = Duration::from_secs(600);
/// Rows asked for at once.
const PAGE: u32 = 1000;

/// What rendering came to.
pub struct Rendered {
    /// Eight-bit RGB.
    pub pixels: Vec<u8>,
    /// Tiles and fuel by worker node id.
    pub by_node: BTreeMap<String, (u32, u64)>,
    /// From the start of the demonstration to the first tile.
    pub first: Duration,
    /// From the submission to the last tile.
    pub took: Duration,
    /// Bytes members have received from each other.
    pub moved: u64,
}

/// Submits the job and gathers its tiles.
pub async fn render(
    out: &Output,
    fleet: &Fleet,
    args: &DemoArgs,
    began: Instant,
) -> Result<Rendered, CliError> {
    let client = &fleet.client()?.client;
    let module = fleet.home().join("tile.wasm");
    fs::write(&module, tiles::MODULE)
        .map_err(|e| CliError::internal("demo.module", format!("cannot write {}: {e}", module.display())))?;
    let tiles = tiles::cut(args.size);
    let request = JobRequest {
        name: "picture".into(),
        module: Source::Path(module),
        tasks: tiles.iter().map(|t| t.task(args.size, args.samples)).collect(),
        need: None,
        limits: None,
        placement: hive_protocol::task::Placement::default(),
        max_price: None,
        budget: None,
        retries: None,
        open: false,
    };
    let names = fleet.names().await?;
    let submitted = Instant::now();
    let job = client.job_submit(&request).await?.job;
    out.step(
        "submitted",
        &format!(
            "{} tiles of a {}x{} picture",
            tiles.len(),
            args.size.0,
            args.size.1
        ),
    );
    let mut progress = Progress::new(out, "rendering", tiles.len() as u64);
    let mut gathered = Gathered {
        pixels: vec![0; args.size.0 as usize * args.size.1 as usize * 3],
        done: vec![false; tiles.len()],
        by_node: BTreeMap::new(),
        first: None,
    };
    let (mut moved, mut asked) = (0, Instant::now());
    let ended = loop {
        let view = client.job(&job).await?;
        gathered.take(client, &job, &tiles, args.size.0, began).await?;
        if asked.elapsed() >= COUNT_EVERY {
            moved = fleet.moved().await?;
            asked = Instant::now();
        }
        let who: Vec<String> = gathered
            .by_node
            .iter()
            .map(|(node, (n, _))| format!("{} {n}", names.get(node).map_or(node.as_str(), String::as_str)))
            .collect();
        let waiting = view
            .waiting
            .as_ref()
            .map_or_else(String::new, |w| format!(" · {}", w.code));
        let message = format!(
            "{} · {} moved · {} queued, {} running{waiting}",
            if who.is_empty() {
                "no tile yet".to_owned()
            } else {
                who.join(", ")
            },
            show_size(moved),
            view.queued + view.assigned,
            view.running,
        );
        progress.set(u64::from(view.succeeded), u64::from(view.tasks), &message);
        if view.ended != 0 && gathered.done.iter().filter(|d| **d).count() as u32 == view.succeeded {
            break view;
        }
        if submitted.elapsed() > DEADLINE {
            let text = format!(
                "{} of {} tiles after {}",
                view.succeeded,
                view.tasks,
                show_duration(DEADLINE)
            );
            return Err(CliError::internal("demo.timeout", text));
        }
        tokio::time::sleep(ASK_EVERY).await;
    };
    progress.finish();
    if ended.succeeded != ended.tasks {
        let text = format!(
            "{} of {} tiles failed",
            ended.tasks - ended.succeeded,
            ended.tasks
        );
        return Err(CliError::internal("demo.failed_tiles", text));
    }
    let took = submitted.elapsed();
    let moved = fleet.moved().await?;
    out.step(
        "rendered",
        &format!(
            "{} tiles in {}, {} moved between the processes",
            ended.tasks,
            show_duration(took),
            show_size(moved)
        ),
    );
    Ok(Rendered {
        pixels: gathered.pixels,
        by_node: gathered.by_node,
        first: gathered.first.unwrap_or(took),
        took,
        moved,
    })
}

struct Gathered {
    pixels: Vec<u8>,
    done: Vec<bool>,
    by_node: BTreeMap<String, (u32, u64)>,
    first: Option<Duration>,
}

impl Gathered {
    /// Takes the tiles that have ended since the last look.
    async fn take(
        &mut self,
        client: &Client,
        job: &str,
        tiles: &[tiles::Tile],
        width: u32,
        began: Instant,
    ) -> Result<(), CliError> {
        let mut filter = TaskFilter {
            state: Some(TaskState::Succeeded),
            after: None,
            limit: PAGE,
        };
        loop {
            let rows = client.job_tasks(job, &filter).await?;
            let full = rows.len() as u64 >= u64::from(PAGE);
            filter.after = rows.last().map(|r| r.index);
            for row in rows {
                let at = row.index as usize;
                let (Some(done), Some(tile)) = (self.done.get_mut(at), tiles.get(at)) else {
                    continue;
                };
                if std::mem::replace(done, true) {
                    continue;
                }
                self.first.get_or_insert_with(|| began.elapsed());
                let file = one_file(&row)?;
                let bytes = fetch(client, file).await?;
                let bad = |why| CliError::internal("demo.bad_tile", format!("{}: {why}", row.label));
                tile.place(width, &mut self.pixels, tile.pixels(&bytes).map_err(bad)?);
                let by = self.by_node.entry(row.node.unwrap_or_default()).or_default();
                *by = (by.0 + 1, by.1.saturating_add(row.fuel));
            }
            if !full {
                return Ok(());
            }
        }
    }
}

fn one_file(row: &TaskRow) -> Result<&OutputView, CliError> {
    row.outputs
        .first()
        .ok_or_else(|| CliError::internal("demo.bad_tile", format!("{}: no file came back", row.label)))
}

async fn fetch(client: &Client, file: &OutputView) -> Result<Vec<u8>, CliError> {
    let bad = |e: &dyn std::fmt::Display| CliError::internal("demo.bad_tile", format!("{}: {e}", file.path));
    if let Some(text) = &file.inline {
        return BASE64.decode(text.as_bytes()).map_err(|e| bad(&e));
    }
    let mut bytes = Vec::new();
    let reader = client.blob_get(&file.blob).await?;
    let mut reader = std::pin::pin!(reader);
    reader.read_to_end(&mut bytes).await.map_err(|e| bad(&e))?;
    Ok(bytes)
}
