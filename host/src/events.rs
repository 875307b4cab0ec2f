//! What happened to a node: the last events, bounded in number and size, for the page and `/api/events`. The log has
//! the same, and more; this is what is still known when nobody kept the log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::limits;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another generation of a handler serves.
    Swap,
    /// A candidate or a manifest was not taken.
    Refusal,
    /// A handler went back to its previous generation.
    Rollback,
    /// A canary began, has another share, or ended without being rolled back.
    Canary,
    /// A shadow runs or has ended.
    Shadow,
    /// What a candidate decides otherwise was accepted.
    Accepted,
    /// Recording was switched, or records were discarded.
    Recording,
    /// A new manifest serves.
    Manifest,
    /// The database became unavailable.
    Outage,
    /// It is available again.
    Recovery,
}

impl Kind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Refusal => "refusal",
            Self::Rollback => "rollback",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
            Self::Accepted => "accepted",
            Self::Recording => "recording",
            Self::Manifest => "manifest",
            Self::Outage => "outage",
            Self::Recovery => "recovery",
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub kind: Kind,
    /// The handler, unless it concerns the whole node.
    pub handler: Option<String>,
    /// The generation that serves afterwards.
    pub generation: Option<u64>,
    /// The circumstances, in words.
    pub text: String,
}

/// The last events of a node.
#[derive(Debug, Default)]
pub struct Events(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    last: u64,
}

impl Events {
    /// Notes an event; the oldest make room for it.
    pub fn note(&self, kind: Kind, handler: Option<&str>, generation: Option<u64>, text: impl Into<String>) {
        let mut text = text.into();
        if text.len() > limits::EVENT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(limits::EVENT_BYTES_MAX));
            text.push_str(" …");
        }
        let (at, handler) = (SystemTime::now(), handler.map(str::to_owned));
        let mut kept = self.kept();
        kept.last += 1;
        let number = kept.last;
        kept.events.push_back(Event { number, at, kind, handler, generation, text });
        if kept.events.len() > limits::EVENTS_MAX {
            kept.events.pop_front();
        }
    }

    /// The events after a number, the oldest first.
    pub fn after(&self, number: u64) -> Vec<Event> {
        self.kept().events.iter().filter(|event| event.number > number).cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_in_number_and_bytes() {
        let events = Events::default();
        for _ in 0..limits::EVENTS_MAX + 5 {
            events.note(Kind::Refusal, Some("orders"), Some(1), "ü".repeat(limits::EVENT_BYTES_MAX));
        }
        let kept = events.after(0);
        assert_eq!((kept.len(), kept[0].number), (limits::EVENTS_MAX, 6));
        assert!(kept.iter().all(|event| event.text.len() <= limits::EVENT_BYTES_MAX + " …".len()));
        assert_eq!(events.after(limits::EVENTS_MAX as u64 + 4).len(), 1);
    }
}
