//! Checks the procedures that a manifest names to explain requests (`explain`): each exists, only reads, and has only
//! parameters that there are arguments for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::database::{Database, GrantedProcedure, Procedure};
use crate::manifest::{EXPLAIN_PARAMETERS, Entry, Manifest, Mistake};

/// Notes what is wrong with the `explain` of each handler. `described` are the procedures that handlers may call.
pub(super) async fn check(
    manifest: &Manifest,
    database: &Database,
    described: &HashMap<GrantedProcedure, Arc<Procedure>>,
    mistakes: &mut Vec<Mistake>,
) {
    for entry in &manifest.handlers {
        let Some(name) = &entry.explain else { continue };
        let wrong = match database.describe(&GrantedProcedure::plain(name)).await {
            Ok(procedure) => wrong(&procedure, entry, described),
            Err(unusable) => Some(unusable.to_string()),
        };
        if let Some(wrong) = wrong {
            let mistake = Mistake::new(Some(entry.line), format!("{}: explain: {wrong}", entry.name));
            mistakes.push(Mistake { outside: true, ..mistake });
        }
    }
}

fn wrong(explain: &Procedure, entry: &Entry, described: &HashMap<GrantedProcedure, Arc<Procedure>>) -> Option<String> {
    let name = &explain.name;
    if explain.writes() {
        return Some(format!("`{name}` may write; declare it STABLE"));
    }
    let called: Vec<_> = entry.procedures.iter().filter_map(|granted| described.get(granted)).collect();
    let known = |parameter: &String| {
        EXPLAIN_PARAMETERS.contains(&parameter.as_str())
            || called.iter().any(|procedure| procedure.parameters().contains(parameter))
    };
    let unknown = explain.parameters().iter().find(|parameter| !known(parameter))?;
    Some(format!(
        "there is no argument for the parameter `{unknown}` of `{name}`: give it the name of a parameter of a procedure \
         that the handler calls, or {}",
        EXPLAIN_PARAMETERS.join(", ")
    ))
}
