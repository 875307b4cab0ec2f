//! The limits of a handler, as a manifest sets them: each from 1 to its ceiling, and no body larger than its memory
//! holds.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::limits::{self, HandlerLimits};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    body_bytes_max: Option<Spanned<usize>>,
    memory_bytes_max: Option<Spanned<usize>>,
    deadline_ms: Option<Spanned<usize>>,
    reply_bytes_max: Option<Spanned<usize>>,
    table_elements_max: Option<Spanned<usize>>,
    probation_calls: Option<Spanned<usize>>,
    probation_seconds: Option<Spanned<usize>>,
}

impl LimitsTable {
    /// The limits; each mistake is noted with its place in the text.
    pub(super) fn limits(&self, mistake: &mut dyn FnMut(usize, String)) -> HandlerLimits {
        let default = HandlerLimits::default();
        let mut limit = |name: &str, given: &Given, default: usize, ceiling: usize| {
            within(name, given, 1..=ceiling, mistake).unwrap_or(default)
        };
        let body = limit("body_bytes_max", &self.body_bytes_max, default.body_bytes_max, limits::BODY_BYTES_CEILING);
        let deadline = limit("deadline_ms", &self.deadline_ms, ms(default.deadline), ms(limits::DEADLINE_CEILING));
        let reply =
            limit("reply_bytes_max", &self.reply_bytes_max, default.reply_bytes_max, limits::REPLY_BYTES_CEILING);
        let elements = limit(
            "table_elements_max",
            &self.table_elements_max,
            default.table_elements_max,
            limits::TABLE_ELEMENTS_CEILING,
        );
        let calls = usize::try_from(default.probation_calls).unwrap_or(usize::MAX);
        let calls = limit("probation_calls", &self.probation_calls, calls, limits::PROBATION_CALLS_CEILING);
        let seconds = ms(default.probation) / 1000;
        let seconds = limit("probation_seconds", &self.probation_seconds, seconds, limits::PROBATION_SECONDS_CEILING);
        let range = limits::MEMORY_BYTES_MIN..=limits::MEMORY_BYTES_CEILING;
        let memory = within("memory_bytes_max", &self.memory_bytes_max, range, mistake);
        let memory = memory.unwrap_or(default.memory_bytes_max);
        let wanted = limits::memory_for_body(body);
        if let Some(given) = self.body_bytes_max.as_ref().filter(|_| memory < wanted) {
            let text = format!(
                "body_bytes_max = {body}: a memory of {memory} bytes cannot hold it; set memory_bytes_max to {wanted} or more"
            );
            mistake(given.span().start, text);
        }
        HandlerLimits {
            body_bytes_max: body,
            memory_bytes_max: memory,
            deadline: Duration::from_millis(deadline as u64),
            reply_bytes_max: reply,
            table_elements_max: elements,
            probation_calls: calls as u64,
            probation: Duration::from_secs(seconds as u64),
        }
    }
}

/// A limit as a manifest sets it, or not.
type Given = Option<Spanned<usize>>;

/// A limit that is set; a mistake when it is outside of what is allowed.
fn within(
    name: &str,
    given: &Given,
    allowed: RangeInclusive<usize>,
    mistake: &mut dyn FnMut(usize, String),
) -> Option<usize> {
    let given = given.as_ref()?;
    let value = *given.get_ref();
    if !allowed.contains(&value) {
        let (least, most) = allowed.into_inner();
        mistake(given.span().start, format!("{name} = {value}: {least} to {most} are allowed"));
        return None;
    }
    Some(value)
}

fn ms(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX)
}
