//! The procedures that may be called: the metrics of each, and the lanes of each that has a batch form. `pool` sets
//! which procedures there are; `call` asks how to execute a call.
//!
//! Calls of one key are on one lane, in their order. Handlers that grant the same procedure share its lanes: as many as
//! the entry with the most lanes states.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::lane::Lane;
use super::procedure::Procedure;
use crate::contract::Value;
use crate::limits;
use crate::metrics::{ProcedureMetrics, Series};

/// The procedures that may be called, by their names, and the lanes of those with a batch form.
pub(super) struct Lanes {
    served: RwLock<HashMap<String, Served>>,
    counted: Arc<Series<ProcedureMetrics>>,
}

/// A procedure that may be called.
struct Served {
    counted: Arc<ProcedureMetrics>,
    /// A power of two, or none without a batch form.
    lanes: Vec<Arc<Lane>>,
}

/// How a call of a procedure is executed.
pub(super) enum Way {
    /// By itself, with the metrics of its procedure.
    Alone(Arc<ProcedureMetrics>),
    /// On its lane.
    Together(Arc<Lane>),
}

impl Way {
    /// The metrics of the procedure.
    pub(super) fn counted(&self) -> &ProcedureMetrics {
        match self {
            Self::Alone(counted) => counted,
            Self::Together(lane) => lane.counted(),
        }
    }
}

impl Lanes {
    /// Starts without procedures. Their metrics are registered in `counted`.
    pub(super) fn new(counted: Arc<Series<ProcedureMetrics>>) -> Self {
        Self { served: RwLock::default(), counted }
    }

    /// A procedure whose lane is gone is no longer granted: only requests that began under the previous table still
    /// call it.
    pub(super) fn way(&self, procedure: &Procedure, arguments: &[Value]) -> Way {
        let served = self.read();
        let Some(Served { counted, lanes }) = served.get(&procedure.name) else {
            return Way::Alone(self.counted.of(&procedure.name));
        };
        match (lanes.as_slice(), &procedure.batch) {
            ([], _) | (_, None) => Way::Alone(Arc::clone(counted)),
            ([lane], Some(_)) => Way::Together(Arc::clone(lane)),
            (lanes, Some(form)) => Way::Together(Arc::clone(&lanes[form.key.lane(arguments, lanes.len())])),
        }
    }

    /// Adds these procedures, and the lanes that are missing.
    pub(super) fn open(&self, procedures: &[Arc<Procedure>]) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        for procedure in procedures {
            let new = || Served { counted: self.counted.of(&procedure.name), lanes: Vec::new() };
            let Served { counted, lanes } = served.entry(procedure.name.clone()).or_insert_with(new);
            let count = lanes.len().max(procedure.lanes());
            lanes.resize_with(count, || Arc::new(Lane::new(Arc::clone(counted))));
        }
    }

    /// Drops other procedures and their lanes, and reports only the metrics of these. Calls that already wait on a
    /// dropped lane are still executed.
    pub(super) fn keep(&self, procedures: &[Arc<Procedure>]) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        served.retain(|name, one| {
            let count = procedures.iter().filter(|kept| kept.name == *name).map(|kept| kept.lanes()).max();
            one.lanes.truncate(count.unwrap_or(0));
            one.counted.set_waiting(one.waiting());
            count.is_some()
        });
        self.counted.serve(served.iter().map(|(name, one)| (name.clone(), Arc::clone(&one.counted))));
    }

    /// How many connections the lanes need: one for each of those that a procedure has several of, and one for each
    /// other procedure, up to a limit.
    pub(super) fn connections(&self) -> usize {
        let served = self.read();
        let single = served.values().filter(|one| one.lanes.len() == 1).count();
        let several = served.values().map(|one| one.lanes.len()).filter(|lanes| *lanes > 1);
        single.min(limits::BATCH_CONNECTIONS_MAX) + several.sum::<usize>()
    }

    /// Updates the metric of how many calls wait for each procedure.
    pub(super) fn count_waiting(&self) {
        self.read().values().for_each(|one| one.counted.set_waiting(one.waiting()));
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Served>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served {
    /// Calls that wait on its lanes.
    fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting()).sum()
    }
}

/// How many connections these procedures need for lanes of which they have several.
pub(super) fn connections_of_lanes<'a>(procedures: impl Iterator<Item = &'a Procedure>) -> usize {
    let mut most: HashMap<&str, usize> = HashMap::new();
    for procedure in procedures.filter(|procedure| procedure.lanes() > 1) {
        let lanes = most.entry(&procedure.name).or_default();
        *lanes = procedure.lanes().max(*lanes);
    }
    most.values().sum()
}
