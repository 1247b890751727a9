//! The funnel: how many nodes are left after each rule, and the nearest fix.

use crate::output::{CliError, Output, Table, clean};
use hive_runtime::port::FunnelView;

/// `42 known → 40 online → 0 memory`
pub fn line(funnel: &FunnelView) -> String {
    let steps: Vec<String> = funnel
        .steps
        .iter()
        .map(|s| format!("{} {}", s.left, s.rule))
        .collect();
    steps.join(" → ")
}

/// Shows it.
pub fn show(out: &Output, funnel: &FunnelView) -> Result<(), CliError> {
    if out.json {
        return out.document("explain", funnel);
    }
    out.line(&format!("subject  {}", clean(&funnel.subject)));
    out.line(&format!("state    {}", clean(&funnel.state)));
    out.line(&format!("needs    {}", clean(&funnel.needs)));
    out.line(&format!("nodes    {}", clean(&line(funnel))));
    let mut table = Table::new(&["RULE", "LEFT", "LOST HERE"]);
    for step in &funnel.steps {
        table.row([step.rule.as_str(), &step.left.to_string(), &step.lost.join("; ")]);
    }
    out.line("");
    table.print(out);
    for fix in &funnel.fixes {
        out.line(&format!("try      {}", clean(fix)));
    }
    Ok(())
}
