//! What can be said of a job without asking the daemon: fields, sources and paths.

use crate::{
    answer::Failure,
    ask::{closest, parse},
};
use hive_protocol::{
    resources::Resources,
    task::{Limits, MAX_INPUTS, MAX_PATH, Placement},
};
use hive_runtime::port::{JobRequest, Source, TaskRequest};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::collections::BTreeMap;

/// Reads a job and checks it.
///
/// # Errors
/// `api.bad_json`, `api.bad_field`, `api.path_not_absolute`, `api.bad_path`, each naming the field.
pub(crate) fn job(bytes: &[u8]) -> Result<JobRequest, Failure> {
    let job: JobRequest = parse(bytes)?;
    inner_fields(bytes)?;
    source("module", &job.module)?;
    tasks(&job.tasks)?;
    Ok(job)
}

/// Checks tasks to be added.
pub(crate) fn tasks(tasks: &[TaskRequest]) -> Result<(), Failure> {
    for (index, task) in tasks.iter().enumerate() {
        let at = |field: &str| format!("tasks[{index}].{field}");
        if let Some(stdin) = &task.stdin {
            source(&at("stdin"), stdin)?;
        }
        if task.inputs.len() > MAX_INPUTS {
            return Err(Failure::invalid(
                "api.bad_field",
                format!(
                    "`{}`: {} files; a task takes at most {MAX_INPUTS}",
                    at("inputs"),
                    task.inputs.len()
                ),
            ));
        }
        for (path, from) in &task.inputs {
            inside(&at("inputs"), path)?;
            source(&at("inputs"), from)?;
        }
        if !task.output_name.is_empty() {
            inside(&at("output_name"), &task.output_name)?;
        }
    }
    Ok(())
}

fn source(field: &str, source: &Source) -> Result<(), Failure> {
    match source {
        Source::Path(path) if !path.is_absolute() => Err(Failure::invalid(
            "api.path_not_absolute",
            format!(
                "`{field}`: the daemon does not know the folder you are in; give the whole path instead of `{}`",
                path.display()
            ),
        )),
        _ => Ok(()),
    }
}

/// A path inside the sandbox: relative, without `..`.
fn inside(field: &str, path: &str) -> Result<(), Failure> {
    let plain = !path.is_empty()
        && path.len() <= MAX_PATH
        && !path.contains(['\0', '\\'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if plain {
        return Ok(());
    }
    let shown: String = path.chars().take(80).collect();
    Err(Failure::invalid(
        "api.bad_path",
        format!(
            "`{field}`: {shown:?} is no path inside the sandbox: relative, without `.` and `..`, at most {MAX_PATH} bytes"
        ),
    ))
}

/// The parts of a job whose types also travel between nodes and so take unknown fields in silence.
#[derive(Deserialize)]
struct Inner {
    need: Option<BTreeMap<String, IgnoredAny>>,
    limits: Option<BTreeMap<String, IgnoredAny>>,
    placement: Option<BTreeMap<String, IgnoredAny>>,
}

fn inner_fields(bytes: &[u8]) -> Result<(), Failure> {
    let inner: Inner = parse(bytes)?;
    known("need", inner.need, &Resources::default())?;
    known("limits", inner.limits, &Limits::default())?;
    known("placement", inner.placement, &Placement::default())
}

fn known(
    field: &str,
    found: Option<BTreeMap<String, IgnoredAny>>,
    example: &impl Serialize,
) -> Result<(), Failure> {
    let Some(found) = found else { return Ok(()) };
    let example = serde_json::to_value(example).unwrap_or_default();
    let Some(example) = example.as_object() else {
        return Ok(());
    };
    for name in found.keys() {
        if !example.contains_key(name) {
            let shown: String = name.chars().take(80).collect();
            let meant = closest(name, example.keys().map(String::as_str))
                .map_or_else(String::new, |right| format!(" (did you mean `{right}`?)"));
            return Err(Failure::invalid(
                "api.bad_field",
                format!("`{field}`: unknown field `{shown}`{meant}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn why(text: &str) -> String {
        format!("{:?}", job(text.as_bytes()).err().unwrap())
    }

    #[test]
    fn a_good_job_passes() {
        let job = job(br#"{"name":"a","module":{"path":"/m.wasm"},"placement":{"min_score":5,"require_location":"","prefer_location":""},
            "tasks":[{"label":"x","inputs":[["a/b",{"blob":"00"}]],"output_name":"o.txt","stdin":{"text":"hi"}}]}"#)
        .unwrap();
        assert_eq!(job.tasks.len(), 1);
        assert_eq!(job.placement.min_score, 5);
    }

    #[test]
    fn wrong_paths_and_fields_are_named() {
        assert!(
            why(r#"{"name":"a","module":{"path":"m.wasm"},"tasks":[]}"#).contains("api.path_not_absolute")
        );
        for bad in ["../x", "/x", "a//b", ".", "", "a/../b", "a\\\\b", "a\\u0000"] {
            let text = format!(
                r#"{{"name":"a","module":{{"blob":"0"}},"tasks":[{{"inputs":[["{bad}",{{"text":""}}]]}}]}}"#
            );
            let why = why(&text);
            assert!(
                why.contains("api.bad_path") && why.contains("tasks[0].inputs"),
                "{bad}: {why}"
            );
        }
        let text = why(
            r#"{"name":"a","module":{"blob":"0"},"tasks":[],"placement":{"min_score":5,"require_location":"","prefer_location":"","min_scor":1}}"#,
        );
        assert!(text.contains("did you mean `min_score`?"), "{text}");
        let text = why(r#"{"name":"a","module":{"blob":"0"},"tasks":[{"inptus":[]}]}"#);
        assert!(
            text.contains("tasks[0]") && text.contains("did you mean `inputs`?"),
            "{text}"
        );
    }
}
