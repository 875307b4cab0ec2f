//! The functions of the handlers, linked into this program instead of run in the sandbox.

use std::sync::{Arc, OnceLock};

use galo::contract::{Outcome, Plan, Request, Response};
use galo::failure::{Fault, Phase};
use galo::guest::{Allowance, Component, Digest};
use galo::registry::Table;
use galo::request::Functions;
use galo_kit::Handler;

use super::records::{outcome, plan, request, response};

/// Runs what is linked. It takes no time limit: nothing could stop it.
pub enum Linked {}

/// The two functions of a handler.
struct Pair {
    prepare: fn(&galo_kit::Request) -> galo_kit::Plan,
    respond: fn(&[u8], &galo_kit::Outcome) -> Option<galo_kit::Response>,
}

/// Those of this process, by the digests of their components: two, so that a list is quicker than a map.
static PAIRS: OnceLock<Vec<(Digest, Pair)>> = OnceLock::new();

impl Linked {
    /// Maps each component of a table to the functions that it was compiled from.
    pub fn of(table: &Table) {
        let pair = |name: &str| match name {
            "transacoes" => pair::<transacoes::Transacoes>(),
            _ => pair::<extrato::Extrato>(),
        };
        let digest = |handler: &Arc<galo::registry::Handler>| handler.lineage().current.component.compiled.digest;
        let pairs = table.handlers.iter().map(|handler| (digest(handler), pair(&handler.entry.name)));
        PAIRS.get_or_init(|| pairs.collect());
    }
}

fn pair<H: Handler>() -> Pair {
    Pair { prepare: H::prepare, respond: galo_kit::answered::<H> }
}

fn of(component: &Component, phase: Phase) -> Result<&'static Pair, Fault> {
    let pair = PAIRS.get().and_then(|pairs| pairs.iter().find(|(digest, _)| *digest == component.compiled.digest));
    pair.map(|(_, pair)| pair).ok_or_else(|| Fault::malformed(phase, "nothing is linked for this component"))
}

impl Functions for Linked {
    fn prepare(component: &Component, _time: Allowance, given: &Request) -> Result<Plan, Fault> {
        Ok(plan((of(component, Phase::Prepare)?.prepare)(&request(given))))
    }

    fn respond(
        component: &Component,
        _time: Allowance,
        carry: &[u8],
        ended: &Outcome,
    ) -> Result<Option<Response>, Fault> {
        Ok((of(component, Phase::Respond)?.respond)(carry, &outcome(ended)).map(response))
    }
}
