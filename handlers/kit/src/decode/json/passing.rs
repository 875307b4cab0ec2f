//! What passes by serde_json while it reads: a problem on its way out, and the depth.

use core::cell::Cell;
use core::fmt::Display;

use serde::de::Error;

use crate::decode::Problem;

/// Levels of arrays and objects in a type that contains itself: one takes up to 700 bytes of a stack of 16 KiB.
pub(super) const DEPTH_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Passing {
    problem: Cell<Option<Problem>>,
    /// How many arrays and objects the value that is read is in.
    depth: Cell<usize>,
}

impl Passing {
    /// An error of serde_json that stands for this problem.
    pub(super) fn send<E: Error>(&self, problem: Problem) -> E {
        self.problem.set(Some(problem));
        E::custom("")
    }

    /// The problem that an error of serde_json stands for. Without one the text is not JSON.
    pub(super) fn receive(&self, error: impl Display) -> Problem {
        self.problem.take().unwrap_or_else(|| Problem::malformed(error))
    }

    /// Reads the inside of an array or an object.
    pub(super) fn inside<T, E: Error>(&self, read: impl FnOnce() -> Result<T, Problem>) -> Result<T, E> {
        let depth = self.depth.replace(self.depth.get() + 1);
        let value = if depth < DEPTH_MAX { read() } else { Err(Problem::expected("at most 16 levels")) };
        self.depth.set(depth);
        value.map_err(|problem| self.send(problem))
    }
}
