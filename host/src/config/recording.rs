//! What a node records of the requests to its handlers.

use crate::limits;

/// What a node records of each handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recording {
    /// One request in so many is recorded; 0 records nothing.
    pub every: usize,
    /// The most records of a handler.
    pub records_max: usize,
    /// The most bytes of the records of a handler.
    pub bytes_max: usize,
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
        Self { every, records_max: limits::RECORDS_DEFAULT, bytes_max: limits::RECORDS_BYTES_MAX }
    }
}
