//! Many real nodes on one machine: what a join, an idle peer, a gossip message and a look-up cost.
//!
//! Owns the runs and their tables. The nodes are hive-net's own; beside them, in the same run, nodes made of
//! libp2p as it comes, so that every figure has its equal. Knows nothing of hivenode's daemon.
//!
//! `cargo run --release -p hive-swarmlab -- storm|gossip|kad|churn --help`

mod args;
mod child;
mod churn;
mod figures;
mod gossip;
mod hive;
mod kad;
mod mesh;
mod node;
mod plain;
mod process;
mod storm;
mod wire;

use clap::Parser;

/// Why a run came to nothing, for people.
type Fail = Box<dyn std::error::Error + Send + Sync>;

fn main() -> std::process::ExitCode {
    process::open_files();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let args = args::Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads)
        .enable_all()
        .build();
    let done = runtime.map_err(Fail::from).and_then(|runtime| {
        let done = runtime.block_on(run(args.run));
        // Nodes are ended with the process: taking thousands of them down in order proves nothing.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::from(1),
        Err(e) => {
            eprintln!("swarmlab: {e}");
            std::process::ExitCode::from(2)
        }
    }
}

/// Whether everything held that must hold.
async fn run(what: args::Run) -> Result<bool, Fail> {
    match what {
        args::Run::Storm(args) => storm::run(&args).await,
        args::Run::Gossip(args) => gossip::run(&args).await,
        args::Run::Kad(args) => kad::run(&args).await,
        args::Run::Churn(args) => churn::run(&args).await,
        args::Run::Serve(args) => child::serve(&args).await.map(|()| true),
        args::Run::Crowd(args) => child::crowd(&args).await.map(|()| true),
    }
}
