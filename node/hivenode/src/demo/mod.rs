//! `demo` placeholder while building
use crate::{
    args::DemoArgs,
    output::{CliError, Exit},
    session::Session,
};
pub async fn run(_s: &Session, _a: &DemoArgs) -> Result<Exit, CliError> {
    Ok(Exit::OK)
}
