//! The hivenode binary: command line, configuration, and the only place where the parts are wired together.

mod args;
mod commands;
mod config;
mod demo;
mod output;
mod paths;
mod quantity;
mod serve;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    // An executor holds no keys and knows no commands: it must not even read its arguments further.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "__executor")
    {
        return serve::compose::executor();
    }
    commands::main()
}
