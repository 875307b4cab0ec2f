//! Runs one record on a candidate, and compares the decision with what was decided or what the serving generation
//! decides now.

use std::sync::Arc;
use std::time::Duration;

use super::cpu::spent;
use crate::database::Procedure;
use crate::guest::Component;
use crate::limits;
use crate::members::Members;
use crate::record::Record;
use crate::replay::{self, Decision, Difference, Skipped};

/// What is compared, and how.
pub struct Sides<'a> {
    /// The candidate.
    pub candidate: &'a Component,
    /// The generation that serves, if one does.
    pub serving: Option<&'a Component>,
    /// The procedures that the handler may call: a record of another signature is skipped.
    pub procedures: &'a [Arc<Procedure>],
    /// The time that a call may take.
    pub deadline: Duration,
}

impl Sides<'_> {
    /// Where the candidate decides otherwise on a record that was kept. The stored decision counts where the generation
    /// that serves has made it and nothing of the record was redacted; otherwise that generation decides again.
    ///
    /// # Errors
    /// Why the record cannot be compared.
    pub fn kept(&self, record: &Record) -> Result<Vec<Difference>, String> {
        if replay::is_undecided(record) {
            return Err(Skipped::Undecided.to_string());
        }
        let has_decided = |serving: &Component| serving.compiled.digest.to_string() == record.sha256;
        let before = match self.serving {
            Some(serving) if replay::is_redacted(record) || !has_decided(serving) => self.decide(serving, record)?,
            _ => replay::stored(record).map_err(|skipped| skipped.to_string())?,
        };
        Ok(known(&before, &self.decide(self.candidate, record)?, &self.members()))
    }

    /// Where the candidate decides otherwise on a request that was answered a moment ago.
    ///
    /// # Errors
    /// As [`Self::kept`].
    pub fn live(&self, record: &Record) -> Result<Vec<Difference>, String> {
        let before = replay::stored(record).map_err(|skipped| skipped.to_string())?;
        Ok(known(&before, &self.decide(self.candidate, record)?, &self.members()))
    }

    /// The names of members that are no client's data.
    pub(super) fn members(&self) -> Vec<&Members> {
        [Some(self.candidate), self.serving].into_iter().flatten().map(|component| &*component.members).collect()
    }

    fn decide(&self, component: &Component, record: &Record) -> Result<Decision, String> {
        replay::check_signature(self.procedures, record).map_err(|skipped| skipped.to_string())?;
        let begun = spent();
        // What is wrong with a value quotes it.
        let decision = replay::run(component, record).map_err(|skipped| match skipped {
            Skipped::Malformed(_) => "a value in it is malformed".to_owned(),
            skipped => skipped.to_string(),
        })?;
        // A deadline is wall-clock time: on a busy machine a thread of low priority may miss it without having run.
        let late = decision.fault.as_ref().is_some_and(|fault| fault.starts_with("deadline"));
        if late && spent().saturating_sub(begun) < self.deadline / 2 {
            return Err("the machine was too busy".to_owned());
        }
        Ok(decision)
    }
}

/// The differences between two decisions. What follows a call whose outcome is not known is not one.
pub(super) fn known(before: &Decision, after: &Decision, members: &[&Members]) -> Vec<Difference> {
    let unknown = |decision: &Decision| {
        decision.call.is_some() && decision.response.is_none() && !decision.left_to_host && decision.fault.is_none()
    };
    let mut found = replay::differences(before, after, limits::DIFFERENCES_PER_RECORD_MAX, members);
    if unknown(before) || unknown(after) {
        found.retain(|difference| difference.path.starts_with("call"));
    }
    found
}
