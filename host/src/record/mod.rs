//! What became of a request, kept so that it can be looked at and run again: the request as the guest saw it, what was
//! planned, how the call ended, what was answered, and how long each phase took. Handlers are pure, so a record is all
//! that is needed to repeat a decision bit for bit.
//!
//! `request` hands over a [`Draft`] when a request has been answered, and is done; a thread of the [`Recorder`] takes
//! the secrets out, writes the record as one line of JSON, and keeps it in the ring of its handler. A record is the
//! data of a client: `admin` decides who may read it. The same thread makes the spans of a request whose trace is
//! exported (`spans`, `batches`), also where nothing is recorded.

mod batches;
mod blank;
mod cell;
mod convert;
mod corpus;
mod draft;
mod format;
mod observer;
mod recorder;
mod redaction;
mod ring;
mod rings;
mod slow;
mod span;
mod spans;
mod times;
mod tracing;
mod visit;

pub use self::blank::REDACTED;
pub use self::cell::{Blob, Cell};
pub use self::convert::fault_text;
pub use self::corpus::{Broken, CORPUS_NAME, Corpus};
pub use self::draft::{Answer, Draft, Ended, Planned, Traced, Unhandled};
pub use self::format::{Called, DatabaseError, FORMAT, Outcome, Plan, Record, Request, Response, Rows, Unreadable};
pub use self::observer::{Observed, Observer, Waiting};
pub use self::recorder::Recorder;
pub use self::redaction::Redaction;
pub use self::ring::{Kept, Ring};
pub use self::times::{Times, Why};
pub use self::tracing::Tracing;
