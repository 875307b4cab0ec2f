//! Counts the answers of a handler: for the handler, and for the route and the generation.

use std::time::Duration;

use http::StatusCode;

use super::handler::{Generation, Handler};

impl Handler {
    /// Counts an answer to the route at this place.
    pub fn answered(&self, by: &Generation, place: usize, status: StatusCode, took: Duration) {
        self.metrics.duration.took(took);
        self.metrics.answered(status);
        by.traffic.answered(place, self.routes.len(), status, took);
    }
}
