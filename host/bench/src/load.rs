//! What a load generator reports, whichever it is.

/// What a load generator saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    pub requests: u64,
    /// Of them answered 422.
    pub refused: u64,
    pub seconds: f64,
    /// In milliseconds: half of all, 75, 90, 99 and 99.9 % of them, all.
    pub latency: [f64; 6],
}

/// What the latencies of a load are called.
pub const PERCENTILES: [&str; 6] = ["p50", "p75", "p90", "p99", "p99.9", "most"];
