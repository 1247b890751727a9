//! Checks a module before it is run: every import is one the sandbox offers, and there is a `_start`.

use super::wasi::Guest;
use crate::task::Failure;
use wasmtime::{Engine, ExternType, Linker, Module};

/// Imports named in one refusal; the rest is counted.
const NAMED: usize = 32;
/// Bytes shown of one name: names come from the module.
const NAME_BYTES: usize = 80;

/// Whether this module can run as a command here.
pub(super) fn check(engine: &Engine, linker: &Linker<Guest>, module: &Module) -> Result<(), Failure> {
    let mut store = wasmtime::Store::new(engine, Guest::idle());
    let mut unknown = Vec::new();
    let mut count = 0usize;
    for import in module.imports() {
        let have = linker
            .get(&mut store, import.module(), import.name())
            .map(|e| e.ty(&store));
        let wanted = import.ty();
        let why = match have {
            Err(_) => String::new(),
            Ok(have) if same(&have, &wanted) => continue,
            Ok(have) => format!(" (offered here as {})", show(&have)),
        };
        count += 1;
        if unknown.len() < NAMED {
            unknown.push(format!(
                "{}.{}: {}{why}",
                short(import.module()),
                short(import.name()),
                show(&wanted)
            ));
        }
    }
    if count > 0 {
        let more = count - unknown.len();
        let rest = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        return Err(Failure::new(
            "module.unknown_imports",
            format!(
                "only WASI preview 1 is offered; unknown: {}{rest}",
                unknown.join("; ")
            ),
        ));
    }
    match module.get_export("_start") {
        Some(ExternType::Func(f)) if f.params().len() == 0 && f.results().len() == 0 => Ok(()),
        Some(other) => Err(Failure::new(
            "module.no_start",
            format!(
                "_start is {} instead of a function without arguments",
                show(&other)
            ),
        )),
        None => {
            let names: Vec<_> = module.exports().take(NAMED).map(|e| short(e.name())).collect();
            let has = if names.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            };
            Err(Failure::new(
                "module.no_start",
                format!("no export _start (a WASI command has one); exported: {has}"),
            ))
        }
    }
}

fn same(have: &ExternType, wanted: &ExternType) -> bool {
    match (have, wanted) {
        (ExternType::Func(have), ExternType::Func(wanted)) => have.matches(wanted),
        _ => false,
    }
}

fn short(name: &str) -> String {
    let mut shown: String = name.escape_debug().take(NAME_BYTES).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

fn show(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(f) => {
            let list = |types: Vec<String>| types.join(", ");
            let params = list(f.params().take(NAMED).map(|t| t.to_string()).collect());
            let results = list(f.results().take(NAMED).map(|t| t.to_string()).collect());
            if results.is_empty() {
                format!("func({params})")
            } else {
                format!("func({params}) -> {results}")
            }
        }
        ExternType::Memory(_) => "memory".to_owned(),
        ExternType::Table(_) => "table".to_owned(),
        ExternType::Global(g) => format!("global {}", g.content()),
        ExternType::Tag(_) => "tag".to_owned(),
    }
}
