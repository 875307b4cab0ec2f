//! How the two functions of a handler are run. A node runs them in the sandbox; the comparison (`host/bench`) runs the
//! same functions linked into its program, and so measures what the sandbox costs on an otherwise equal path.
//!
//! The choice is a type, not a value: the path of a request is compiled once for each, without a pointer or a branch.

use crate::contract::{Outcome, Plan, Request, Response};
use crate::failure::Fault;
use crate::guest::{Allowance, Component};

/// The two functions of a handler. They are pure: each may be run again with the same input.
pub trait Functions: 'static {
    /// Runs `prepare` of a component for as long as `time` allows.
    ///
    /// # Errors
    /// The fault of the guest.
    fn prepare(component: &Component, time: Allowance, request: &Request) -> Result<Plan, Fault>;

    /// Runs `respond` of a component for as long as `time` allows.
    ///
    /// # Errors
    /// The fault of the guest.
    fn respond(
        component: &Component,
        time: Allowance,
        carry: &[u8],
        outcome: &Outcome,
    ) -> Result<Option<Response>, Fault>;
}

/// Each call in a fresh instance of the component.
pub enum Sandbox {}

impl Functions for Sandbox {
    fn prepare(component: &Component, time: Allowance, request: &Request) -> Result<Plan, Fault> {
        component.prepare_within(time, request)
    }

    fn respond(
        component: &Component,
        time: Allowance,
        carry: &[u8],
        outcome: &Outcome,
    ) -> Result<Option<Response>, Fault> {
        component.respond_within(time, carry, outcome)
    }
}
