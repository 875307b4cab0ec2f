//! The procedures that may be called: the metrics of each, and the lane of each that has a batch form. `pool` sets
//! which procedures there are; `call` asks how to execute a call.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::lane::Lane;
use super::procedure::Procedure;
use crate::metrics::{ProcedureMetrics, Series};

/// The procedures that may be called, by their names, and the lanes of those with a batch form.
pub(super) struct Lanes {
    served: RwLock<HashMap<String, Served>>,
    counted: Arc<Series<ProcedureMetrics>>,
}

/// A procedure that may be called.
struct Served {
    counted: Arc<ProcedureMetrics>,
    lane: Option<Arc<Lane>>,
}

/// How a call of a procedure is executed.
pub(super) enum Way {
    /// By itself, with the metrics of its procedure.
    Alone(Arc<ProcedureMetrics>),
    /// On its lane.
    Together(Arc<Lane>),
}

impl Lanes {
    /// Starts without procedures. Their metrics are registered in `counted`.
    pub(super) fn new(counted: Arc<Series<ProcedureMetrics>>) -> Self {
        Self { served: RwLock::default(), counted }
    }

    /// A procedure whose lane is gone is no longer granted: only requests that began under the previous table still
    /// call it.
    pub(super) fn way(&self, procedure: &Procedure) -> Way {
        match self.read().get(&procedure.name) {
            Some(Served { lane: Some(lane), .. }) if procedure.batch.is_some() => Way::Together(Arc::clone(lane)),
            Some(Served { counted, .. }) => Way::Alone(Arc::clone(counted)),
            None => Way::Alone(self.counted.of(&procedure.name)),
        }
    }

    /// Adds these procedures, and the lanes that are missing.
    pub(super) fn open(&self, procedures: &[Arc<Procedure>]) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        for procedure in procedures {
            let new = || Served { counted: self.counted.of(&procedure.name), lane: None };
            let Served { counted, lane } = served.entry(procedure.name.clone()).or_insert_with(new);
            if procedure.batch.is_some() {
                lane.get_or_insert_with(|| Arc::new(Lane::new(Arc::clone(counted))));
            }
        }
    }

    /// Drops other procedures and their lanes, and reports only the metrics of these. Calls that already wait on a
    /// dropped lane are still executed.
    pub(super) fn keep(&self, procedures: &[Arc<Procedure>]) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let kept = |name: &String, batch: bool| {
            procedures.iter().any(|one| one.name == *name && (one.batch.is_some() || !batch))
        };
        for (_, one) in served.iter_mut().filter(|(name, _)| !kept(name, true)) {
            one.lane = None;
            one.counted.set_waiting(0);
        }
        served.retain(|name, _| kept(name, false));
        self.counted.serve(served.iter().map(|(name, one)| (name.clone(), Arc::clone(&one.counted))));
    }

    pub(super) fn count(&self) -> usize {
        self.read().values().filter(|one| one.lane.is_some()).count()
    }

    /// Updates the metric of how many calls wait on each lane.
    pub(super) fn count_waiting(&self) {
        for one in self.read().values() {
            one.counted.set_waiting(one.lane.as_ref().map_or(0, |lane| lane.waiting()));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Served>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner)
    }
}
