//! A handler that an earlier run of the node served, with what the state folder has of it.

use std::sync::Arc;

use super::again::Terms;
use super::compiling::Asker;
use super::verify::refit_previous;
use super::worker::{Priority, Without, Worker};
use crate::guest::{Component, Digest};
use crate::manifest::Entry;
use crate::registry::{Bars, Config, Kept, Lineage, Past, Refusal, RolledBack, Signed, Stage};
use crate::state::{Barred, Record, State};

/// The result of an order: the lineage that is to serve, and why it differs from the folder, if it does.
pub(super) type Made = Result<(Lineage, Option<Refusal>), Refusal>;

/// The last proved component, fitted to the current entry, without running the examples, which belong to a later
/// component. `None` when it is lost. A refusal that may pass is returned: nothing else serves in its place.
pub(super) async fn kept(
    worker: &Worker,
    priority: Priority,
    entry: &Entry,
    state: &Arc<State>,
    past: &Record,
) -> Result<Option<Kept>, Without> {
    let Some(mark) = &past.proved else { return Ok(None) };
    let source = match worker.kept(priority, entry, state, &mark.sha256).await {
        Ok(Some(source)) => source,
        Ok(None) => return Ok(None),
        Err(refusal) if refusal.stage == Stage::Signature && !refusal.passing => {
            tracing::error!("{}: the proved component of the state does not serve: {}", entry.name, refusal.message);
            return Ok(None);
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let signature = source.vouched().signature;
    let compiled = match worker.compile(priority, Asker::Kept, entry, source).await {
        Ok((compiled, _)) => compiled,
        Err(Without::Refused(refusal)) if !refusal.passing => return Ok(None),
        Err(without) => return Err(without),
    };
    let fitting = entry.clone();
    let component = worker.run(priority, move || refit_previous(&compiled, &fitting)).await??;
    let over = mark.over.as_deref().and_then(Digest::parse);
    let component = component.map(|component| Signed { component, signature });
    Ok(component.map(|component| Kept { number: mark.generation, component, over }))
}

/// Makes the lineage. A component that was rolled back does not serve now, and a broken one does not keep the node from
/// starting if the last proved component is there. `missed` is why what was deployed does not serve.
pub(super) fn resumed(
    past: &Record,
    proved: Result<Option<Component>, Refusal>,
    kept: Option<Kept>,
    missed: Option<Refusal>,
    terms: &Terms,
) -> Made {
    let config = &terms.config;
    let back = |barred: &Barred| rolled_back(barred, config);
    let remembered = || Past {
        rolled_back: past.barred.as_ref().and_then(back),
        bars: Bars::of(past.all_barred().filter_map(back)),
        last: past.last,
    };
    let signed = |component: Component| {
        let signature = terms.vouched.as_ref().and_then(|vouched| vouched.signature.clone());
        Signed { component, signature }
    };
    match (proved, kept) {
        (Ok(Some(component)), kept) => {
            let digest = component.compiled.digest;
            let sha256 = digest.to_string();
            let (number, over) = (past.number_of(&sha256), past.over_of(&sha256).and_then(Digest::parse));
            let previous = kept.filter(|kept| kept.component.component.compiled.digest != digest);
            // What was rolled back is kept only if the component is the one that served already.
            let served = past.current.as_ref().is_some_and(|mark| mark.sha256 == sha256);
            let remembered = if served { remembered() } else { Past { last: past.last, ..Past::default() } };
            let current = Kept { number, component: signed(component), over };
            Ok((Lineage::resumed(current, previous, remembered, config), missed))
        }
        (Ok(None), Some(kept)) => Ok((Lineage::resumed(kept, None, remembered(), config), missed)),
        (Err(refusal), Some(kept)) => Ok((Lineage::resumed(kept, None, remembered(), config), Some(refusal))),
        (Ok(None), None) => unreachable!("only what was kept makes a component known"),
        (Err(refusal), None) => Err(refusal),
    }
}

fn rolled_back(barred: &Barred, config: &Config) -> Option<RolledBack> {
    let Barred { sha256, generation, cause, at, over } = barred;
    let (digest, at) = (Digest::parse(sha256)?, at.parse().ok()?);
    let over = over.as_deref().and_then(Digest::parse);
    let (number, config, cause) = (*generation, config.clone(), cause.clone());
    Some(RolledBack { number, digest, config, cause, at, over, passed_over: None })
}
