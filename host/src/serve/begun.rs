//! The start of a node until it serves: its admin address is closed again when the start fails or is cancelled. The
//! parent uses it.

use tokio::task::JoinHandle;

use crate::supervise::Supervisor;

/// A start that is under way.
pub(super) struct Begun<'a> {
    pub(super) supervisor: &'a Supervisor,
    pub(super) admin: Option<JoinHandle<()>>,
}

impl Begun<'_> {
    /// Closes the admin address, so that another start can bind it.
    pub(super) async fn ended(mut self) {
        self.supervisor.expect_ends();
        if let Some(admin) = self.admin.take() {
            admin.abort();
            let _ = admin.await;
        }
    }

    pub(super) fn finished(mut self) -> Option<JoinHandle<()>> {
        self.admin.take()
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(admin) = &self.admin {
            self.supervisor.expect_ends();
            admin.abort();
        }
    }
}
