//! Every source file keeps the rules of form, and the rules catch what they forbid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_tests::sources::{MAX_LINES, MAX_TEST_LINES, Source, machine_paths, rust_files, text_files};

/// Test files that do wait by the clock, and why no event could be waited for instead.
const SLEEPERS: &[(&str, &str)] = &[
    (
        "bootstrap/authority/tests/authority/kill.rs",
        "the process is killed at a random moment",
    ),
    (
        "node/api/src/patience.rs",
        "the test is about a reader that is slow by the clock",
    ),
    (
        "node/net/tests/net/mesh.rs",
        "asks counters that announce nothing, until a deadline",
    ),
    (
        "tests/e2e/deaths.rs",
        "the authority is away, or the submitter gone, for ten seconds by the clock",
    ),
    (
        "tests/e2e/wait.rs",
        "the one place that asks another process again until a deadline",
    ),
];

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn every_source_file_is_in_form() {
    let files = rust_files();
    assert!(files.len() > 100, "only {} source files were found", files.len());
    let found: Vec<String> = files.iter().flat_map(Source::broken).collect();
    assert!(found.is_empty(), "out of form:\n  {}", found.join("\n  "));
}

#[test]
fn tests_wait_for_events_not_for_the_clock() {
    let found: Vec<String> = rust_files()
        .iter()
        .filter(|file| !SLEEPERS.iter().any(|(name, _)| *name == file.name))
        .flat_map(Source::sleeps_in_tests)
        .collect();
    assert!(
        found.is_empty(),
        "tests that sleep (wait for the event with a deadline, or say `// paced: why` beside it):\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn no_file_names_a_machine() {
    let own = ["tests/src/sources.rs", "tests/tests/tidy.rs"];
    let found: Vec<String> = text_files()
        .iter()
        .filter(|file| !own.contains(&file.name.as_str()))
        .flat_map(machine_paths)
        .collect();
    assert!(
        found.is_empty(),
        "paths of some machine:\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn each_rule_catches_its_breach() {
    let head = "//! What it owns.\n";
    let long = format!("{head}{}", "//\n".repeat(MAX_LINES));
    let long_test = format!("{head}{}", "//\n".repeat(MAX_TEST_LINES));
    for (name, text, says) in [
        ("a/src/x.rs", "fn f() {}\n".to_owned(), "head"),
        ("a/src/x.rs", long.clone(), "lines"),
        ("a/tests/x.rs", long_test, "lines"),
        ("a/src/util.rs", head.to_owned(), "names no owner"),
        ("a/src/common/x.rs", head.to_owned(), "names no owner"),
        ("a/src/x.rs", format!("{head}fn f() {{ todo!() }}\n"), "todo!("),
        (
            "a/src/x.rs",
            format!("{head}let (t, r) = mpsc::unbounded_channel();\n"),
            "unbounded_channel",
        ),
        (
            "a/src/x.rs",
            format!("{head}#[ignore]\nfn t() {{}}\n"),
            "#[ignore",
        ),
        (
            "a/src/x.rs",
            format!("{head}#[ignore = \"slow\"]\nfn t() {{}}\n"),
            "#[ignore",
        ),
        (
            "a/src/x.rs",
            format!("{head}#[ignore = \"needs root and iproute2\"]\nfn t() {{}}\n"),
            "#[ignore",
        ),
    ] {
        let found = source(name, &text).broken();
        assert!(
            found.iter().any(|f| f.contains(says)),
            "{name}: {says} was not caught: {found:?}"
        );
    }
    for (name, text) in [
        ("a/src/x.rs", head.to_owned()),
        ("a/tests/x.rs", long),
        (
            "a/src/x.rs",
            format!("{head}#[ignore = \"needs root: cargo test -- --ignored\"]\n"),
        ),
    ] {
        assert_eq!(source(name, &text).broken(), Vec::<String>::new());
    }
}

#[test]
fn sleeping_is_seen_in_test_code_only() {
    let text = "//! x\nfn wait() { std::thread::sleep(d); }\n#[cfg(test)]\nmod tests {\n    use super::*;\n    fn t() {\n        \
                tokio::time::sleep(d).await;\n        // paced: a kill comes at any moment\n        \
                std::thread::sleep(d);\n    }\n}\nfn after() { std::thread::sleep(d); }\n";
    let found = source("a/src/x.rs", text).sleeps_in_tests();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("a/src/x.rs:7:"), "{found:?}");
    assert_eq!(source("a/tests/x.rs", text).sleeps_in_tests().len(), 3);
    // A test-only item of one line does not hide what follows it.
    let one = "#[cfg(test)]\nmod tests;\nfn f() {}\n";
    assert_eq!(source("a/src/x.rs", one).product_lines().count(), 1);
}

#[test]
fn machine_paths_are_told_from_protocol_names() {
    assert_eq!(
        machine_paths(&source("x.md", "see /hive/work/1 and /home/me/x")),
        Vec::<String>::new()
    );
    assert_eq!(
        machine_paths(&source("x.md", "cd /root/x\nls /home/alice/y /work/z")).len(),
        3
    );
}
