//! The limits of a handler, as a manifest sets them: each from 1 to its ceiling.

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
        let mut within = |limit: &Option<Spanned<usize>>, name: &str, default: usize, ceiling: usize| match limit {
            None => default,
            Some(value) if (1..=ceiling).contains(value.get_ref()) => *value.get_ref(),
            Some(value) => {
                mistake(value.span().start, format!("{name} = {}: 1 to {ceiling} are allowed", value.get_ref()));
                default
            }
        };
        let default = HandlerLimits::default();
        let (body, reply) = (&self.body_bytes_max, &self.reply_bytes_max);
        let ms = |duration: Duration| usize::try_from(duration.as_millis()).unwrap_or(usize::MAX);
        HandlerLimits {
            body_bytes_max: within(body, "body_bytes_max", default.body_bytes_max, limits::BODY_BYTES_CEILING),
            memory_bytes_max: within(
                &self.memory_bytes_max,
                "memory_bytes_max",
                default.memory_bytes_max,
                limits::MEMORY_BYTES_CEILING,
            ),
            deadline: Duration::from_millis(within(
                &self.deadline_ms,
                "deadline_ms",
                ms(default.deadline),
                ms(limits::DEADLINE_CEILING),
            ) as u64),
            reply_bytes_max: within(reply, "reply_bytes_max", default.reply_bytes_max, limits::REPLY_BYTES_CEILING),
            table_elements_max: within(
                &self.table_elements_max,
                "table_elements_max",
                default.table_elements_max,
                limits::TABLE_ELEMENTS_CEILING,
            ),
            probation_calls: within(
                &self.probation_calls,
                "probation_calls",
                usize::try_from(default.probation_calls).unwrap_or(usize::MAX),
                limits::PROBATION_CALLS_CEILING,
            ) as u64,
            probation: Duration::from_secs(within(
                &self.probation_seconds,
                "probation_seconds",
                usize::try_from(default.probation.as_secs()).unwrap_or(usize::MAX),
                limits::PROBATION_SECONDS_CEILING,
            ) as u64),
        }
    }
}
