//! The gate of a candidate, between its examples and the swap: what it would answer otherwise than the generation that
//! serves, on the corpus beside its examples and on the last requests where they are recorded.

use std::sync::Arc;

use super::verify::Examples;
use super::worker::{Priority, Worker};
use crate::database::Procedure;
use crate::gate::{self, Deployed, Gates, Intended, Material, Sides, Tally, Verdict};
use crate::guest::Component;
use crate::limits;
use crate::manifest::Entry;
use crate::record::Ring;
use crate::registry::{Refusal, Stage};

/// The gate of one handler, with what its next candidate is compared on.
pub(super) struct Passage {
    gates: Arc<Gates>,
    corpus: Result<Deployed, Refusal>,
    ring: Option<Arc<Ring>>,
}

impl Worker {
    /// Reads what a candidate of a handler is compared on.
    pub(super) async fn passage(&self, priority: Priority, entry: &Entry, ring: Option<Arc<Ring>>) -> Passage {
        let (gates, read) = (Arc::clone(&self.gates), entry.clone());
        let read = self.ask(priority, Stage::Recorded, move || Deployed::read(&read)).await;
        let corpus = read.and_then(|read| {
            read.map_err(|(text, passing)| Refusal { passing, ..Refusal::new(Stage::Recorded, text) })
        });
        Passage { gates, corpus, ring }
    }
}

impl Passage {
    /// Compares a candidate that has passed its examples with the generation that serves, if one does.
    ///
    /// # Errors
    /// When it differs, and the manifest refuses that.
    pub(super) fn judge(
        self,
        candidate: &Component,
        serving: Option<&Component>,
        entry: &Entry,
        procedures: &[Arc<Procedure>],
        examples: &Examples,
    ) -> Result<Arc<Verdict>, Refusal> {
        let passing = self.corpus.as_ref().err().is_some_and(|refusal| refusal.passing);
        let ring = self.ring.iter().flat_map(|ring| ring.last(limits::RECORDS_GATE_MAX, 0));
        let last = ring.map(|kept| kept.line).collect();
        let material = Material { corpus: self.corpus.map_err(|refusal| refusal.message), last };
        let sides = Sides { candidate, serving, procedures, deadline: entry.limits.deadline };
        let mut verdict = gate::judge(&material, &sides, entry, examples.as_deref().unwrap_or_default());
        verdict.accepted |= self.gates.is_accepted(&entry.name, verdict.digest);
        let verdict = self.gates.note(&entry.name, verdict);
        if verdict.refuses() {
            let refusal = Refusal::new(Stage::Recorded, verdict.refusal()).of(verdict.digest);
            return Err(Refusal { passing, ..refusal });
        }
        Ok(verdict)
    }
}

/// The differences that the examples of a candidate state, for its live requests.
pub(super) fn intended(
    candidate: &Component,
    serving: &Component,
    entry: &Entry,
    procedures: &[Arc<Procedure>],
    examples: &Examples,
) -> Intended {
    let sides = Sides { candidate, serving: Some(serving), procedures, deadline: entry.limits.deadline };
    Intended::by(examples.as_deref().unwrap_or_default(), entry, &sides)
}

/// Logs what the gate found about the component that a new table is to serve with.
pub(super) fn log(name: &str, verdict: &Verdict, serving: Option<&Component>) {
    let (shown, Tally { compared, .. }) = (shown(verdict), &verdict.tally);
    match serving {
        _ if verdict.tally == Tally::default() => {}
        // A redacted record proves nothing without a second component. A first start has none, so it cannot be refused.
        None if *compared == 0 => tracing::warn!(
            "{name}: {shown}; no component that served before is known here, so this one serves without a comparison"
        ),
        _ => tracing::info!("{name}: {shown}"),
    }
}

/// What the gate found, as the end of the line of a swap.
pub(super) fn shown(verdict: &Verdict) -> String {
    let places = verdict.places();
    let at = if places.is_empty() { String::new() } else { format!(" — {places}") };
    format!("gate: {verdict}{at}, in {:.0} ms", verdict.took.as_secs_f64() * 1e3)
}

/// The last requests that would be answered otherwise, for the one who has just saved a change. The values are those of
/// a developer's own requests.
pub(super) fn for_developer(verdict: &Verdict) -> Option<String> {
    if verdict.otherwise.is_empty() {
        return None;
    }
    let mut text = format!("{} of the last {} requests", verdict.tally.differ, verdict.tally.compared);
    text += " would be answered otherwise";
    for otherwise in &verdict.otherwise {
        text += &format!("\n    {}", otherwise.request);
        for difference in &otherwise.differences {
            let [before, after] = [&difference.before, &difference.after].map(value);
            text += &format!("\n        {}: {before} → {after}", difference.path);
        }
    }
    Some(text)
}

/// A value as JSON, cut.
fn value(value: &serde_json::Value) -> String {
    let mut text = value.to_string();
    if text.len() > limits::GATE_VALUE_BYTES_SHOWN {
        text.truncate(text.floor_char_boundary(limits::GATE_VALUE_BYTES_SHOWN));
        text.push('…');
    }
    text
}
