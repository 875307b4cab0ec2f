//! The procedures that may be called: what is counted of each, and the lane of one with a batch form. `pool` says which
//! they are, `call` asks how a call goes.

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

/// How a call of a procedure goes.
pub(super) enum Way {
    /// By itself; what is counted of it.
    Alone(Arc<ProcedureMetrics>),
    /// On its lane.
    Together(Arc<Lane>),
}

impl Lanes {
    /// None yet. What is counted of procedures goes there.
    pub(super) fn new(counted: Arc<Series<ProcedureMetrics>>) -> Self {
        Self { served: RwLock::default(), counted }
    }

    /// A procedure whose lane is gone is granted no more: requests of the table before are the last that call it.
    pub(super) fn way(&self, procedure: &Procedure) -> Way {
        match self.read().get(&procedure.name) {
            Some(Served { lane: Some(lane), .. }) if procedure.batch.is_some() => Way::Together(Arc::clone(lane)),
            Some(Served { counted, .. }) => Way::Alone(Arc::clone(counted)),
            None => Way::Alone(self.counted.of(&procedure.name)),
        }
    }

    /// Adds these procedures, and the lanes that they miss.
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

    /// Drops other procedures and their lanes, and shows what is counted of these. What waits on a lane is carried out.
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

    /// Notes how many calls wait on each lane, for who looks at the metrics.
    pub(super) fn count_waiting(&self) {
        for one in self.read().values() {
            one.counted.set_waiting(one.lane.as_ref().map_or(0, |lane| lane.waiting()));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Served>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner)
    }
}
