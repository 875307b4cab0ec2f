//! The recorder of a node: the rings of its handlers, and the thread that writes what is handed to it. The queue is
//! bounded: what does not fit is dropped and counted, and no request waits.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::draft::Draft;
use super::observer::Observed;
use super::ring::Ring;
use crate::config::Recording;
use crate::limits;

/// The recorder of a node.
pub struct Recorder {
    recording: Recording,
    rings: Mutex<BTreeMap<String, Arc<Ring>>>,
    queue: SyncSender<(Arc<Ring>, Box<Draft>)>,
    dropped: Counter,
}

impl Recorder {
    /// Starts the thread of a recorder. It ends with the recorder.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(recording: Recording, dropped: Counter) -> std::io::Result<Arc<Self>> {
        let (queue, drafts) = sync_channel(limits::RECORD_QUEUE_MAX);
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || write(&drafts))?;
        Ok(Arc::new(Self { recording, rings: Mutex::default(), queue, dropped }))
    }

    /// The ring of a handler.
    pub fn ring(&self, handler: &str) -> Arc<Ring> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let Recording { every, records_max, bytes_max } = self.recording;
        let new = || Arc::new(Ring::new(handler, every, records_max, bytes_max));
        Arc::clone(rings.entry(handler.to_owned()).or_insert_with(new))
    }

    /// Hands over a request that was answered.
    pub fn hand_over(&self, ring: &Arc<Ring>, draft: Box<Draft>) {
        if let Err(TrySendError::Full((_, draft)) | TrySendError::Disconnected((_, draft))) =
            self.queue.try_send((Arc::clone(ring), draft))
        {
            self.dropped.inc();
            draft.observed.iter().for_each(Observed::lost);
        }
    }
}

fn write(drafts: &Receiver<(Arc<Ring>, Box<Draft>)>) {
    for (ring, draft) in drafts {
        // Unwind safe: a record is kept at the end, whole.
        let kept = catch_unwind(AssertUnwindSafe(|| take(&ring, *draft)));
        if kept.is_err() {
            tracing::error!(handler = &*ring.handler, "a record could not be written");
        }
    }
}

/// Hands a record to whoever observes, and keeps it in the ring without what must not be kept.
fn take(ring: &Ring, mut draft: Draft) {
    let (observed, is_kept, redaction) = (draft.observed.take(), draft.why.is_some(), Arc::clone(&draft.redaction));
    let mut record = draft.record();
    match observed {
        Some(observed) if !is_kept => return observed.take(record),
        Some(observed) => observed.take(record.clone()),
        None => {}
    }
    redaction.apply(&mut record);
    ring.keep(&record);
}
