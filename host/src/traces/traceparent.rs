//! W3C Trace Context: the `traceparent` that a request came with, read strictly, and new ids where there is none.
//!
//! A `traceparent` that is malformed counts as absent, as do two of them; its `tracestate` is then ignored too.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName};

use crate::limits;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of a trace: 32 hexadecimal digits, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The id of a span: 16 hexadecimal digits, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// The place of a request in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its trace.
    pub trace: TraceId,
    /// The span of its caller; `None` where the trace begins here.
    pub parent: Option<SpanId>,
    /// Whether the caller decided to record the trace, if there is a caller that decides.
    pub decided: Option<bool>,
}

/// The keys of a new `RandomState` are random, so what it makes of a counter is too.
static RANDOM: LazyLock<RandomState> = LazyLock::new(RandomState::new);

static NEXT: AtomicU64 = AtomicU64::new(0);

fn random() -> u64 {
    RANDOM.hash_one(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self((u128::from(random()) << 64 | u128::from(random())).max(1))
    }

    /// The bits that every standard takes for random.
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub fn low(self) -> u64 {
        self.0 as u64
    }

    /// As it is sent.
    pub fn bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(random().max(1))
    }

    /// As it is sent.
    pub fn bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl Place {
    /// The place that a request came with.
    pub fn given(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// The place that a request came with, or that of a trace that begins here.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::given(headers).unwrap_or_else(|| Self { trace: TraceId::random(), parent: None, decided: None })
    }

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; a later version may have more behind it.
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, more) = text.split_at_checked("00-".len() + 32 + "-".len() + 16 + "-01".len())?;
        let [version, trace, parent, flags] = [&head[..2], &head[3..35], &head[36..52], &head[53..]];
        let dashes = [head[2], head[35], head[52]];
        let may_have_more = version != b"00" && more.first() == Some(&b'-');
        if dashes != [b'-'; 3] || version == b"ff" || !(more.is_empty() || may_have_more) {
            return None;
        }
        number(version)?;
        let (trace, parent, flags) = (number(trace)?, number(parent)?, number(flags)?);
        if trace == 0 || parent == 0 {
            return None;
        }
        // The nginx of `galo proxy` begins traces, but makes no spans: its traceparent has the first half of the trace
        // as the span. What it leads to is the root, and nobody has decided yet.
        if trace >> 64 == parent {
            return Some(Self { trace: TraceId(trace), parent: None, decided: None });
        }
        let parent = u64::try_from(parent).ok()?;
        Some(Self { trace: TraceId(trace), parent: Some(SpanId(parent)), decided: Some(flags & 1 == 1) })
    }
}

/// The `tracestate` of a request whose `traceparent` is valid, to be passed on as it is.
pub fn state(headers: &HeaderMap) -> String {
    let values: Option<Vec<_>> = headers.get_all(&TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let state = values.unwrap_or_default().join(",");
    if state.len() <= limits::TRACESTATE_BYTES_MAX { state } else { String::new() }
}

/// The value of each hexadecimal digit in lower case, and for everything else a value that no digit has. With a branch
/// for each digit, every other one would be mispredicted: the digits are random.
const DIGITS: [u8; 256] = {
    let (mut digits, mut value) = ([u8::MAX; 256], 0);
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

/// Digits in lower case as a number. Nothing else is valid in a `traceparent`.
fn number(digits: &[u8]) -> Option<u128> {
    let values = digits.iter().map(|digit| DIGITS[usize::from(*digit)]);
    let (number, seen) = values.fold((0, 0), |(number, seen), value| (number << 4 | u128::from(value), seen | value));
    (seen < 16).then_some(number)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn given(values: &[&str]) -> Option<Place> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&TRACEPARENT, value.parse().unwrap());
        }
        Place::given(&headers)
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        for (text, decided) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            (format!("cc-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), true),
        ] {
            let place = given(&[&text]).unwrap();
            assert_eq!((place.trace.to_string(), place.parent.unwrap().to_string()), (TRACE.into(), SPAN.into()));
            assert_eq!(place.decided, Some(decided), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_counts_as_absent() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01."),
            format!("cc-{TRACE}-{SPAN}-01."),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-.1"),
            format!(" {good}"),
        ] {
            assert_eq!(given(&[&text]), None, "{text:?}");
        }
        assert_eq!(given(&[&good, &good]), None);
        assert!(given(&[&good]).is_some());
    }

    #[test]
    fn what_nginx_begins_has_its_root_here() {
        let place = given(&[&format!("00-{TRACE}-{}-00", &TRACE[..16])]).unwrap();
        assert_eq!((place.trace.to_string().as_str(), place.parent, place.decided), (TRACE, None, None));
    }

    #[test]
    fn a_trace_state_is_passed_on_as_it_is_unless_it_is_too_long() {
        let mut headers = HeaderMap::new();
        assert_eq!(state(&headers), "");
        headers.append(&TRACESTATE, "a=1".parse().unwrap());
        headers.append(&TRACESTATE, "b=2".parse().unwrap());
        assert_eq!(state(&headers), "a=1,b=2");
        headers.append(&TRACESTATE, "x".repeat(limits::TRACESTATE_BYTES_MAX).parse().unwrap());
        assert_eq!(state(&headers), "");
    }

    #[test]
    fn new_ids_are_of_the_right_length_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| TraceId::random().to_string()).collect();
        assert!(ids.len() == 1000 && ids.iter().all(|id| id.len() == 32));
        assert_eq!((SpanId::random().bytes().len(), SpanId::random().to_string().len()), (8, 16));
    }
}
