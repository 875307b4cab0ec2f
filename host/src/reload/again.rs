//! A handler whose entry changed, or that came back: what served before is proved again under the new entry. Where a
//! node has keys, this is also where it is checked that each component is signed for that entry.

use std::sync::Arc;

use super::source::Vouched;
use super::verify::{Examples, refit, refit_previous};
use crate::database::Procedure;
use crate::guest::{Component, Digest};
use crate::manifest::Entry;
use crate::registry::{Config, Generation, Handler, Lineage, Refusal, Signed, Stage};
use crate::trust::{Trust, Untrusted};

/// With what a handler is proved again.
pub(super) struct Terms {
    /// The config that it is to serve with.
    pub(super) config: Config,
    pub(super) examples: Examples,
    /// The keys of which one must have signed what serves, if there are any.
    pub(super) trust: Option<Arc<Trust>>,
    /// The component of the file, whose signature was checked.
    pub(super) vouched: Option<Vouched>,
}

/// A handler under a new entry, and what it was.
pub(super) struct Again<'a> {
    pub(super) entry: &'a Entry,
    pub(super) procedures: &'a [Arc<Procedure>],
    pub(super) before: &'a Handler,
    pub(super) lineage: &'a Lineage,
    pub(super) terms: &'a Terms,
}

impl Again<'_> {
    /// The lineage that is to serve under the new entry. `proved` is the component of the folder; none if it is known.
    pub(super) fn lineage(&self, proved: Result<Option<Component>, Refusal>) -> Result<Lineage, Refusal> {
        let Self { entry, procedures, before, lineage, terms } = self;
        let succeeded = |component: Signed| {
            let previous = before.proved(lineage);
            let refitted = self.refitted_previous(previous)?;
            let previous = refitted.map(|component| (&**previous, component));
            Ok::<_, Refusal>(lineage.succeeded_by(component, terms.config.clone(), previous))
        };
        let is_known = matches!(proved, Ok(None));
        let why = match proved {
            Ok(Some(component)) => {
                let digest = component.compiled.digest;
                let signature = self.signature(digest, &lineage.current);
                let signature = signature.map_err(|untrusted| unsigned(&lineage.current, &untrusted, DEPLOYED_OVER))?;
                return succeeded(Signed { component, signature });
            }
            // Nobody has signed it under this entry.
            Err(refusal) if refusal.stage == Stage::Signature => return Err(refusal),
            // The manifest names a different file: fail instead of falling back.
            Err(refusal) if before.entry.component != entry.component => return Err(refusal),
            // Otherwise the component that serves must fit the new entry.
            Err(refusal) => format!("the component of the handlers folder cannot serve: {}", refusal.message),
            Ok(None) if lineage.current.over.is_some() => DEPLOYED_OVER.to_owned(),
            Ok(None) => "the component of the handlers folder was rolled back".to_owned(),
        };
        let digest = lineage.current.component.compiled.digest;
        let signature = self.signature(digest, &lineage.current);
        let signature = signature.map_err(|untrusted| unsigned(&lineage.current, &untrusted, &why))?;
        let compiled = &lineage.current.component.compiled;
        let component = refit(compiled, entry, procedures, &terms.examples)?;
        let current = Signed { component, signature };
        if !is_known && lineage.current.config != terms.config {
            // What the folder holds did not come to serve, so it is barred as before.
            return succeeded(current).map(|next| next.barring(lineage.bars.clone()));
        }
        let previous = lineage.previous.as_ref().map(|previous| self.refitted_previous(previous));
        Ok(lineage.refitted(current, previous.transpose()?.flatten()))
    }

    /// The generation to go back to, if it fits the new entry and is signed for it.
    fn refitted_previous(&self, previous: &Generation) -> Result<Option<Signed>, Refusal> {
        let compiled = &previous.component.compiled;
        let Ok(signature) = self.signature(compiled.digest, previous) else { return Ok(None) };
        Ok(refit_previous(compiled, self.entry)?.map(|component| Signed { component, signature }))
    }

    /// The signature with which a component may serve under the new entry: that of the file, if it is the file's, or
    /// the one that it served with, or one that was handed over while this entry waited.
    fn signature(&self, digest: Digest, served: &Generation) -> Result<Option<Arc<String>>, Untrusted> {
        let Self { entry, terms, .. } = self;
        let of_file = terms.vouched.as_ref().filter(|vouched| vouched.digest == digest);
        let signature = of_file.map_or_else(|| served.signature(), |vouched| vouched.signature.clone());
        let Some(trust) = &terms.trust else { return Ok(signature) };
        let statement = entry.statement(&digest.to_string());
        let check = |signature: Option<&str>| trust.check(statement.as_bytes(), signature);
        let Err(untrusted) = check(signature.as_ref().map(|signature| signature.as_str())) else {
            return Ok(signature);
        };
        let to_come = served.signature_to_come().filter(|signature| check(Some(signature)).is_ok());
        to_come.map(Some).ok_or(untrusted)
    }
}

const DEPLOYED_OVER: &str = "it was deployed over the component of the handlers folder";

fn unsigned(serving: &Generation, untrusted: &Untrusted, why: &str) -> Refusal {
    let digest = serving.component.compiled.digest;
    let how = match untrusted {
        Untrusted::Broken => "is signed for other grants".to_owned(),
        other => format!("is not trusted: {other}"),
    };
    let text = format!(
        "generation {} ({digest}), which serves, {how}, and {why}; sign its file for these grants and deploy that again \
         (`galo sign NAME FILE --key KEY --handlers FOLDER`, `galo deploy NAME FILE`), or put a component that is signed \
         for them into the handlers folder",
        serving.number
    );
    Refusal::new(Stage::Signature, text).of(digest)
}
