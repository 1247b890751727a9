//! `config …`

use crate::{
    args::ConfigCommand,
    config::{Settings, find, set_in_file, validate_file},
    output::{CliError, Exit, Table},
    session::Session,
};
use hive_runtime::port::Kind;
use serde_json::json;

/// Runs a verb.
pub async fn run(session: &Session, command: ConfigCommand) -> Result<Exit, CliError> {
    let out = &session.out;
    match command {
        ConfigCommand::Show { origin } => show(session, origin)?,
        ConfigCommand::Get { key } => {
            let settings = Settings::load(&session.paths, &[])?;
            find(&key).ok_or_else(|| no_key(&key))?;
            if out.json {
                out.document("setting", json!({"key": key, "value": settings.text(&key)}))?;
            } else {
                out.line(settings.text(&key));
            }
        }
        ConfigCommand::Set { key, value } => {
            set_in_file(&session.paths.config, &[(&key, value)])?;
            out.say(if holds_at_once(&key) {
                // What is done next is not to meet the old value. A daemon that does not run reads the file when it
                // starts, and one that does not answer looks at it by itself.
                match session.client()?.reload().await {
                    Ok(()) => "kept; the running daemon goes by it",
                    Err(_) => "kept; a running daemon goes by it within seconds",
                }
            } else {
                "kept; holds from the next start of the daemon on: hivenode down && hivenode up"
            });
        }
        ConfigCommand::Path if out.json => out.document("path", session.paths.config.to_string_lossy())?,
        ConfigCommand::Path => out.line(&session.paths.config.to_string_lossy()),
        ConfigCommand::Validate => {
            let count = validate_file(&session.paths.config)?;
            if out.json {
                out.document("valid", json!({"settings": count}))?;
            } else {
                out.line(&format!(
                    "{}: {count} settings, all good",
                    session.paths.config.display()
                ));
            }
        }
    }
    Ok(Exit::OK)
}

/// Whether a running daemon takes a change of this setting up by itself.
fn holds_at_once(key: &str) -> bool {
    key.starts_with("rate_") || key.starts_with("push_")
}

fn no_key(key: &str) -> CliError {
    let guess = crate::config::closest(key).map_or_else(String::new, |k| format!(" (did you mean `{k}`?)"));
    CliError::new(
        Kind::NotFound,
        "config.unknown_key",
        format!("no setting `{key}`{guess}"),
    )
    .hint("hivenode config show")
}

fn show(session: &Session, origin: bool) -> Result<(), CliError> {
    let settings = Settings::load(&session.paths, &[])?;
    if session.out.json {
        let all: Vec<_> = settings
            .all()
            .map(|(k, s)| json!({"key": k.name, "value": s.value, "origin": s.origin.to_string(), "help": k.help}))
            .collect();
        return session.out.document("settings", all);
    }
    let mut table = Table::new(if origin {
        &["KEY", "VALUE", "ORIGIN"]
    } else {
        &["KEY", "VALUE", "MEANING"]
    });
    for (key, setting) in settings.all() {
        let third = if origin {
            setting.origin.to_string()
        } else {
            key.help.to_owned()
        };
        table.row([key.name, &setting.value, &third]);
    }
    table.print(&session.out);
    Ok(())
}
