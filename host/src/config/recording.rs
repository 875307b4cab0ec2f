//! What a node records of the requests to its handlers.

use crate::limits;

/// What a node records of each handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recording {
    /// One request in so many is recorded unless the operator or the manifest says otherwise; 0 records nothing.
    pub every: usize,
    /// As the operator says at the start, whatever the manifest says.
    pub asked: Option<usize>,
    /// The most records of a handler.
    pub records_max: usize,
    /// The most bytes of the records of a handler.
    pub bytes_max: usize,
    /// The most bytes of the records of all handlers.
    pub node_bytes_max: usize,
}

/// Who may read records besides those who show the token of the admin address or may open its unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Nobody: records are the data of clients.
    Guarded,
    /// Whoever reaches an admin address on loopback: the node is a developer's.
    Loopback,
}

impl Recording {
    /// Nothing is recorded.
    pub const OFF: Self = Self::one_in(0);

    /// One request in so many, within the default bounds.
    pub const fn one_in(every: usize) -> Self {
        Self {
            every,
            asked: None,
            records_max: limits::RECORDS_DEFAULT,
            bytes_max: limits::RECORDS_BYTES_MAX,
            node_bytes_max: limits::RECORDS_NODE_BYTES_MAX,
        }
    }

    /// The same, with what the operator says.
    #[must_use]
    pub const fn asked(self, every: usize) -> Self {
        Self { asked: Some(every), ..self }
    }

    /// One request in how many of a handler is recorded for which the manifest says this.
    pub fn of(&self, manifest: Option<usize>) -> usize {
        self.asked.or(manifest).unwrap_or(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_decides_before_the_manifest() {
        assert_eq!(Recording::OFF.of(None), 0);
        assert_eq!(Recording::OFF.of(Some(100)), 100);
        assert_eq!(Recording::one_in(1).of(Some(100)), 100);
        assert_eq!(Recording::one_in(1).asked(0).of(Some(100)), 0);
        assert_eq!(Recording::OFF.asked(5).of(None), 5);
    }
}
