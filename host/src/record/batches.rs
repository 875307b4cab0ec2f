//! The spans of batches. A batch carries calls of several requests, and each of these is traced by itself or not at
//! all; so the span of a batch is made when its calls have had time to be noted, with a link to the span of each.

use std::collections::VecDeque;
use std::time::Instant;

use super::span;
use crate::database::{Batched, Peer};
use crate::limits;
use crate::traces::otlp::{Link, Span};
use crate::traces::{SpanId, TraceId};

/// Batches whose span was not made yet, the oldest first.
#[derive(Default)]
pub(super) struct Batches(VecDeque<Waiting>);

struct Waiting {
    batch: Batched,
    procedure: String,
    ids: (TraceId, SpanId),
    /// When it ended, in nanoseconds since 1970.
    ended: u64,
    due: Instant,
    calls: Vec<Link>,
}

impl Batches {
    /// Notes a call that is traced, and when its batch ended. Returns the link to the span of the batch.
    pub(super) fn note(&mut self, batch: Batched, procedure: &str, ended: u64, call: Link) -> Link {
        let at = self.0.iter().rposition(|waiting| waiting.batch.number == batch.number).unwrap_or_else(|| {
            self.0.push_back(Waiting {
                batch,
                procedure: procedure.to_owned(),
                ids: (TraceId::random(), SpanId::random()),
                ended,
                due: Instant::now() + limits::BATCH_SPAN_PATIENCE,
                calls: Vec::new(),
            });
            self.0.len() - 1
        });
        let waiting = &mut self.0[at];
        waiting.calls.push(call);
        let (trace, span) = waiting.ids;
        Link { trace_id: trace.bytes(), span_id: span.bytes(), ..span::link(&Span::default()) }
    }

    /// The spans of those that have waited long enough at this moment, or of too many.
    pub(super) fn due(&mut self, now: Instant, peer: &Peer) -> Vec<Span> {
        let over = self.0.len().saturating_sub(limits::BATCH_SPANS_MAX);
        let count = self.0.iter().take_while(|waiting| waiting.due <= now).count().max(over);
        self.take(count, peer)
    }

    /// The spans of all.
    pub(super) fn all(&mut self, peer: &Peer) -> Vec<Span> {
        self.take(self.0.len(), peer)
    }

    fn take(&mut self, count: usize, peer: &Peer) -> Vec<Span> {
        let of_waiting = |waiting: Waiting| {
            let Waiting { batch, procedure, ids, ended, calls, .. } = waiting;
            let took = u64::try_from(batch.took.as_nanos()).unwrap_or(ended);
            Span {
                start_time_unix_nano: ended.saturating_sub(took),
                end_time_unix_nano: ended,
                links: calls,
                ..span::of_batch(ids, &procedure, batch.calls, peer)
            }
        };
        self.0.drain(..count).map(of_waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_span_of_a_batch_has_a_link_to_each_call_and_each_call_one_to_it() {
        let peer = Peer { namespace: "d".to_owned(), address: "h".to_owned(), port: Some(5432) };
        let batch = |number| Batched { number, calls: 3, took: Duration::from_micros(5) };
        let call = |id: u8| Link { trace_id: vec![id; 16], span_id: vec![id; 8], flags: 1 };
        let mut batches = Batches::default();
        let first = batches.note(batch(1), "f", 9_000, call(1));
        batches.note(batch(2), "f", 9_500, call(2));
        assert_eq!(batches.note(batch(1), "f", 9_000, call(3)), first);
        assert!(batches.due(Instant::now(), &peer).is_empty());
        let spans = batches.all(&peer);
        assert_eq!(spans.len(), 2);
        assert_eq!((&spans[0].trace_id, &spans[0].span_id), (&first.trace_id, &first.span_id));
        assert_eq!(spans[0].links, [call(1), call(3)]);
        assert_eq!((spans[0].start_time_unix_nano, spans[0].end_time_unix_nano), (4_000, 9_000));
        assert!(batches.0.is_empty());
        for number in 0..limits::BATCH_SPANS_MAX as u64 + 2 {
            batches.note(batch(number), "f", 0, call(1));
        }
        assert_eq!(batches.due(Instant::now(), &peer).len(), 2);
    }
}
