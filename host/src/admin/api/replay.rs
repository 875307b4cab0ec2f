//! Runs a recorded request again, on the component that serves or on the candidate, and compares. Nothing is sent
//! anywhere: handlers are pure.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::denied::Denied;
use super::requests;
use crate::admin::Admin;
use crate::guest::Component;
use crate::limits;
use crate::record::Record;
use crate::registry::{Generation, Handler, Refusal};
use crate::replay::{self, Decision, Difference, Skipped};

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Replay {
    pub(in crate::admin) handler: String,
    /// The number of the record.
    pub(in crate::admin) number: u64,
    #[serde(default)]
    pub(in crate::admin) on: On,
}

/// The component that a request is run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum On {
    /// The one that serves.
    #[default]
    Current,
    /// The last one that was refused, or the one before the one that serves.
    Candidate,
}

/// What a component decided, and what was decided before.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Replayed {
    pub(in crate::admin) on: On,
    /// The component, for a person: `generation 3`.
    pub(in crate::admin) component: String,
    pub(in crate::admin) sha256: String,
    /// What it was compared with: `the record`, or for a record with something taken out `generation 3`. Nothing, if
    /// such a record was run on that generation.
    pub(in crate::admin) compared_with: Option<String>,
    pub(in crate::admin) same: bool,
    /// At most so many as are shown.
    pub(in crate::admin) differences: Vec<Difference>,
    pub(in crate::admin) decided: Json,
    pub(in crate::admin) before: Option<Json>,
}

/// A component that requests can be run on.
pub(in crate::admin) enum Runnable {
    Generation(Arc<Generation>),
    Refused(Arc<Component>),
}

impl Runnable {
    /// The component of a handler.
    pub(in crate::admin) fn find(handler: &Handler, on: On) -> Option<Self> {
        let lineage = handler.lineage();
        match (on, handler.refusal().filter(|refusal| refusal.digest.is_some())) {
            (On::Current, _) => Some(Self::Generation(Arc::clone(&lineage.current))),
            (On::Candidate, Some(refusal)) => refusal.candidate.clone().map(Self::Refused),
            (On::Candidate, None) => lineage.previous.clone().map(Self::Generation),
        }
    }

    /// Why the candidate of a handler cannot be run, if there is one that cannot: it was refused before it was one that
    /// could be called.
    pub(in crate::admin) fn refused(handler: &Handler) -> Option<String> {
        let refusal = handler.refusal().filter(|refusal| refusal.digest.is_some() && refusal.candidate.is_none())?;
        let Refusal { stage, message, .. } = &*refusal;
        Some(format!("the candidate was refused at the stage {stage}, so it cannot be run: {message}"))
    }

    /// Its name, for a person.
    pub(in crate::admin) fn name(&self) -> String {
        match self {
            Self::Generation(generation) => format!("generation {}", generation.number),
            Self::Refused(_) => "the refused candidate".to_owned(),
        }
    }

    pub(super) fn component(&self) -> &Component {
        match self {
            Self::Generation(generation) => &generation.component,
            Self::Refused(component) => component,
        }
    }

    fn run(&self, record: &Record) -> Result<Decision, Denied> {
        replay::run(self.component(), record).map_err(skipped)
    }
}

/// Runs a record again.
pub(in crate::admin) fn replay(admin: &Admin, asked: &Replay) -> Result<Replayed, Denied> {
    let record = requests::one(admin, &asked.handler, asked.number)?;
    let table = admin.started()?.registry.table();
    let none = |what: &str| Denied::new(StatusCode::CONFLICT, format!("{} has no {what}", asked.handler));
    let handler = table.handler(&asked.handler).ok_or_else(|| Denied::missing("no such handler"))?;
    replay::check_signature(&handler.procedures, &record).map_err(skipped)?;
    if replay::is_undecided(&record) {
        return Err(skipped(Skipped::Undecided));
    }
    let current = Runnable::find(handler, On::Current).ok_or_else(|| none("generation"))?;
    let candidate = || match Runnable::refused(handler) {
        Some(why) => Denied::conflict(why),
        None => none("candidate: none was refused, and there is no previous generation"),
    };
    let chosen = Runnable::find(handler, asked.on).ok_or_else(candidate)?;
    let decision = chosen.run(&record)?;
    let before = match record.redacted.is_empty() {
        true => Some(("the record".to_owned(), replay::recorded(&record))),
        false if asked.on == On::Current => None,
        false => Some((current.name(), current.run(&record)?)),
    };
    let differences = before
        .as_ref()
        .map(|(_, before)| replay::differences(before, &decision, limits::DIFFERENCES_SHOWN_MAX, &[]))
        .unwrap_or_default();
    Ok(Replayed {
        on: asked.on,
        component: chosen.name(),
        sha256: chosen.component().compiled.digest.to_string(),
        same: before.is_some() && differences.is_empty(),
        differences,
        decided: decision.json(),
        before: before.as_ref().map(|(_, before)| before.json()),
        compared_with: before.map(|(what, _)| what),
    })
}

/// Why a record cannot be run here.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn skipped(skipped: Skipped) -> Denied {
    Denied::conflict(skipped.to_string())
}
