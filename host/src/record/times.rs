//! Why a request is recorded, and how long its phases took.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a record was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its turn had come.
    Sampled,
    /// It was among the slowest hundredth.
    Slow,
    /// The answer was a 5xx.
    Error,
    /// A guest faulted, or had too many slow calls, also if another generation finished the request (a rescue).
    Fault,
}

/// How long the phases of a request took, in microseconds. A phase that was not reached took none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// To read the body.
    pub read: u32,
    /// To wait for admission and to run `prepare`.
    pub prepare: u32,
    /// To wait for a connection or for the lane.
    pub wait: u32,
    /// The call, without the wait.
    pub database: u32,
    /// To run `respond`.
    pub respond: u32,
    /// From the head to the answer.
    pub whole: u32,
}

impl Times {
    /// A duration as it is kept.
    pub fn micros(duration: Duration) -> u32 {
        u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
    }
}
