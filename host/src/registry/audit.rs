//! The audit log: who did what with the handlers of a node, when and why. Noting something does not wait for a disk;
//! the task that keeps the node's state writes it there. The last entries are in memory for the admin address.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::generation::Generation;
use crate::events::Kind;
use crate::failure::cut;
use crate::guest::Digest;
use crate::limits;
use crate::report::AuditEntry;

/// The audit log of a node.
#[derive(Debug)]
pub struct Audit {
    entries: Mutex<Entries>,
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Entries {
    /// The last ones, the newest at the end.
    last: VecDeque<AuditEntry>,
    /// How many of them are not on disk yet.
    unwritten: usize,
}

/// Who changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who(String);

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A canary began to answer a share of the requests.
    Canary,
    /// A canary has another share.
    Step,
    /// A canary answers everything: it is the generation that serves.
    Promoted,
    /// A canary ended because something newer serves.
    Ended,
    /// A new generation serves.
    Live,
    /// A generation or a canary was rolled back.
    RolledBack,
    /// A kept generation serves again.
    Restored,
    /// What serves was signed again, for the grants of a manifest that waits.
    Signed,
    /// A component or a manifest was refused.
    Refused,
    /// What a candidate decides otherwise was accepted.
    Accepted,
    /// A component runs beside the live requests.
    Shadow,
    /// It does not any more.
    ShadowEnded,
    /// Other requests are recorded from now on.
    Recording,
    /// What was recorded was discarded.
    Discarded,
    /// A changed manifest serves.
    Manifest,
}

/// What something was done with.
#[derive(Debug, Default)]
pub struct Subject<'a> {
    /// The handler; none if it concerns all of them.
    pub handler: Option<&'a str>,
    /// The component, if it concerns one.
    pub digest: Option<Digest>,
}

impl Audit {
    pub(super) fn new(news: Arc<Notify>) -> Self {
        Self { entries: Mutex::default(), news }
    }

    /// Notes what was done with a generation.
    pub fn note(&self, handler: &str, event: Event, generation: &Generation, who: &Who, why: &str) {
        let digest = Some(generation.component.compiled.digest);
        self.add(Subject { handler: Some(handler), digest }, event, Some(generation.number), who, why);
    }

    /// Notes what was done with something that is not a generation of the node.
    pub fn operated(&self, subject: Subject<'_>, event: Event, who: &Who, why: &str) {
        self.add(subject, event, None, who, why);
    }

    fn add(&self, subject: Subject<'_>, event: Event, generation: Option<u64>, Who(who): &Who, why: &str) {
        let Subject { handler, digest } = subject;
        let (handler, sha256) = (handler.map(str::to_owned), digest.map(|digest| digest.to_string()));
        let (why, who, at) = (cut(why, limits::FAULT_BYTES_MAX), who.clone(), format!("{:.6}", Timestamp::now()));
        let entry = AuditEntry { at, handler, event: event.to_string(), generation, sha256, who, why };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.last.len() == limits::AUDIT_ENTRIES_MAX {
            entries.last.pop_front();
        }
        entries.last.push_back(entry);
        entries.unwritten = (entries.unwritten + 1).min(limits::AUDIT_ENTRIES_MAX);
        drop(entries);
        self.news.notify_one();
    }

    /// Puts the entries of an earlier run before those of this one.
    pub fn resume(&self, earlier: Vec<AuditEntry>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limits::AUDIT_ENTRIES_MAX.saturating_sub(entries.last.len());
        for entry in earlier.into_iter().rev().take(room) {
            entries.last.push_front(entry);
        }
    }

    /// The last entries, the oldest first.
    pub fn last(&self, most: usize) -> Vec<AuditEntry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = entries.last.len().saturating_sub(most);
        entries.last.iter().skip(skipped).cloned().collect()
    }

    /// The entries that are not on disk yet.
    pub fn unwritten(&self) -> Vec<AuditEntry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = entries.last.len().saturating_sub(entries.unwritten);
        entries.last.iter().skip(skipped).cloned().collect()
    }

    /// Notes that the oldest of them are on disk now.
    pub fn written(&self, count: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.unwritten = entries.unwritten.saturating_sub(count);
    }
}

impl Who {
    /// A person, as the command or the request names them.
    pub fn person(name: &str) -> Self {
        Self(cut(name, limits::WHO_BYTES_MAX))
    }

    /// Whoever sent a request to the admin address that names nobody.
    pub fn admin() -> Self {
        Self("admin address".to_owned())
    }

    /// Whoever used the page and did not say who they are.
    pub fn page() -> Self {
        Self("page".to_owned())
    }

    /// The node itself.
    pub fn node() -> Self {
        Self("node".to_owned())
    }

    /// Whoever changed the handlers folder.
    pub fn folder() -> Self {
        Self("handlers folder".to_owned())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Event {
    /// What it is among the events of the node.
    pub fn kind(self) -> Kind {
        match self {
            Self::Canary | Self::Step | Self::Ended => Kind::Canary,
            Self::Promoted | Self::Live => Kind::Swap,
            Self::RolledBack | Self::Restored => Kind::Rollback,
            Self::Refused => Kind::Refusal,
            Self::Accepted => Kind::Accepted,
            Self::Shadow | Self::ShadowEnded => Kind::Shadow,
            Self::Recording | Self::Discarded => Kind::Recording,
            Self::Manifest | Self::Signed => Kind::Manifest,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canary => "canary",
            Self::Step => "step",
            Self::Promoted => "promoted",
            Self::Ended => "ended",
            Self::Live => "live",
            Self::RolledBack => "rolled back",
            Self::Restored => "restored",
            Self::Signed => "signed",
            Self::Refused => "refused",
            Self::Accepted => "accepted",
            Self::Shadow => "shadow",
            Self::ShadowEnded => "shadow ended",
            Self::Recording => "recording",
            Self::Discarded => "records discarded",
            Self::Manifest => "manifest",
        })
    }
}
