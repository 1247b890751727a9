//! `version`, `help`, `completion`, `paths`.

use crate::{
    output::{CliError, EXIT_CODES, Exit, Output, Table},
    session::Session,
};
use clap_complete::Shell;
use serde_json::json;

/// `version`
pub fn version(out: &Output) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    if out.json {
        out.document("version", json!({ "hivenode": version }))?;
    } else {
        out.line(&format!("hivenode {version}"));
    }
    Ok(Exit::OK)
}

/// `help [TOPIC]`
pub fn help(out: &Output, topic: &[String], root: clap::Command) -> Result<Exit, CliError> {
    if topic.first().is_some_and(|t| t == "exit-codes") {
        out.bytes(EXIT_CODES.as_bytes());
        return Ok(Exit::OK);
    }
    let mut root = root;
    root.build();
    let mut command = root;
    for word in topic {
        let Some(found) = command.find_subcommand(word) else {
            return Err(CliError::usage(
                "help.no_topic",
                format!(
                    "no command or topic `{}`; besides commands there is: exit-codes",
                    topic.join(" ")
                ),
            )
            .hint("hivenode help"));
        };
        command = found.clone();
    }
    out.bytes(command.render_long_help().to_string().as_bytes());
    Ok(Exit::OK)
}

/// `completion`
pub fn completion(shell: Shell, mut root: clap::Command) {
    clap_complete::generate(shell, &mut root, "hivenode", &mut std::io::stdout());
}

/// `paths`
pub fn paths(session: &Session) -> Result<Exit, CliError> {
    let p = &session.paths;
    let all = [
        ("config", &p.config),
        ("data", &p.data),
        ("cache", &p.cache),
        ("log", &p.log),
        ("socket", &p.socket),
        ("inbox", &p.inbox),
    ];
    if session.out.json {
        let map: serde_json::Map<_, _> = all
            .iter()
            .map(|(n, p)| ((*n).to_owned(), json!(p.to_string_lossy())))
            .collect();
        session.out.document("paths", map)?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new(&["WHAT", "PATH"]);
    for (name, path) in all {
        table.row([name, &path.to_string_lossy()]);
    }
    table.print(&session.out);
    Ok(Exit::OK)
}
