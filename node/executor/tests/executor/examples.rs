//! The example programs of the documentation: C with wasi-libc, as users write them.

use crate::support::{Bed, bed};
use hive_executor::{InputFile, Limits, Outcome, Program, ProgramSource, Stdin, TaskRun};
use std::io::Read;
use std::path::PathBuf;

async fn example(bed: &Bed, path: &str, task: u64, argv: &[&str]) -> TaskRun {
    let path = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
        .join("../../docs/examples")
        .join(path);
    let id = *blake3::hash(&std::fs::read(&path).unwrap()).as_bytes();
    bed.handle
        .prepare(Program {
            id,
            source: ProgramSource::File(path),
        })
        .await
        .unwrap();
    TaskRun {
        task,
        program: id,
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        ..TaskRun::default()
    }
}

#[tokio::test]
async fn noop_and_spin() {
    let mut bed = bed(2).await;
    let run = example(&bed, "noop/noop.wasm", 1, &["noop"]).await;
    assert_eq!(bed.run(run).await.done.outcome, Outcome::Exited(0));
    let mut seen = Vec::new();
    for task in [2, 3] {
        let run = example(&bed, "noop/spin.wasm", task, &["spin", "3"]).await;
        let ended = bed.run(run).await;
        assert_eq!(ended.done.outcome, Outcome::Exited(0));
        seen.push((ended.stdout(), ended.done.usage.fuel));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].0.len(), 17, "{:?}", seen[0].0);
    let run = example(&bed, "noop/spin.wasm", 4, &["spin", "x"]).await;
    assert_eq!(bed.run(run).await.done.outcome, Outcome::Exited(2));
    let run = example(&bed, "noop/spin.wasm", 5, &["spin", "1000000000"]).await;
    let limits = Limits {
        fuel: 50_000_000,
        ..Limits::default()
    };
    assert_eq!(bed.run(TaskRun { limits, ..run }).await.code(), Some("task.fuel"));
}

#[tokio::test]
async fn word_count_from_files_and_streams() {
    let mut bed = bed(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, "one two\nthree\n").unwrap();
    let run = example(&bed, "word-count/wc.wasm", 1, &["wc", "/in/text", "/out/count"]).await;
    let inputs = vec![InputFile {
        name: "text".to_owned(),
        path: path.clone(),
    }];
    let seen = bed
        .run(TaskRun {
            inputs,
            out_dir: true,
            ..run
        })
        .await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0), "{:?}", seen.done);
    let mut text = String::new();
    bed.handle
        .open_output(1, "count")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "2 3 14\n");
    let run = example(&bed, "word-count/wc.wasm", 2, &["wc"]).await;
    let seen = bed
        .run(TaskRun {
            stdin: Stdin::File(path),
            ..run
        })
        .await;
    assert_eq!(seen.stdout(), "2 3 14\n");
    let run = example(&bed, "word-count/wc.wasm", 3, &["wc", "/in/none"]).await;
    assert_eq!(bed.run(run).await.done.outcome, Outcome::Exited(1));
}

#[tokio::test]
async fn a_path_traced_tile() {
    let mut bed = bed(1).await;
    let argv = ["tile", "64", "64", "0", "0", "16", "8", "2", "/out/tile"];
    let run = example(&bed, "path-tracer/tile.wasm", 1, &argv).await;
    let seen = bed.run(TaskRun { out_dir: true, ..run }).await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0), "{:?}", seen.done);
    assert_eq!(seen.done.files[0].bytes, 4 + 16 + 16 * 8 * 3);
}
