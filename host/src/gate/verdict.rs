//! The gate's verdict about a candidate: on how many recorded requests it decides otherwise than the generation that
//! serves, where, and whether that is accepted.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::compare::Sides;
use super::corpus::{ACCEPTED_NAME, Deployed};
use super::cpu::spent;
use super::intended::Intended;
use super::tally::{Tally, places};
use crate::example::Example;
use crate::guest::Digest;
use crate::limits;
use crate::manifest::{Entry, Gate};
use crate::record::Record;
use crate::replay::{Difference, is_redacted};

/// Digits of a digest that name a candidate in a message.
const DIGEST_SHOWN: usize = 12;

/// What a candidate is compared on.
pub struct Material {
    /// The corpus of its handler; or why it cannot be read.
    pub corpus: Result<Deployed, String>,
    /// The last requests, as the lines of the handler's ring.
    pub last: Vec<Arc<str>>,
}

/// What the gate found.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The candidate.
    pub digest: Digest,
    /// What follows from a difference.
    pub policy: Gate,
    /// The counts.
    pub tally: Tally,
    /// Requests that differ as changed examples state it.
    pub intended: u64,
    /// An operator has accepted the candidate.
    pub accepted: bool,
    /// The corpus has records that could have been compared, and none was.
    pub uncompared: bool,
    /// Why the corpus could not be read.
    pub unreadable: Option<String>,
    /// The last requests that it answers otherwise, the newest first.
    pub otherwise: Vec<Otherwise>,
    /// CPU time of the comparison.
    pub took: Duration,
}

/// A recorded request that the candidate answers otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Otherwise {
    /// Its method and path.
    pub request: String,
    /// Where, and how.
    pub differences: Vec<Difference>,
}

/// Compares a candidate that has passed its examples. Takes a core for at most `GATE_CPU_MAX` and one deadline.
pub fn judge(material: &Material, sides: &Sides<'_>, entry: &Entry, examples: &[Example]) -> Verdict {
    let begun = spent();
    let until = begun + limits::GATE_CPU_MAX;
    let mut verdict = Verdict::open(sides.candidate.compiled.digest, entry.gate.unwrap_or(Gate::Report));
    verdict.unreadable = material.corpus.as_ref().err().cloned();
    let empty = Deployed::default();
    let corpus = material.corpus.as_ref().unwrap_or(&empty);
    let last = material.last.iter().map(|line| Record::parse(line).map(Cow::Owned).map_err(|error| error.to_string()));
    let skipped = (0..corpus.others).map(|_| Err("of another handler".to_owned()));
    let records = corpus.records.iter().map(|record| Ok(Cow::Borrowed(record)));
    verdict.accepted = corpus.accepts(verdict.digest);
    let mut intended = None;
    // What was redacted is compared with what the serving generation decides.
    verdict.uncompared = corpus.records.iter().any(|record| sides.serving.is_some() || !is_redacted(record));
    let of_corpus = corpus.others + corpus.records.len();
    for (place, record) in skipped.chain(records).chain(last).enumerate() {
        let compared = record.and_then(|record| match spent() > until {
            true => Err(format!("not run: the others took over {} s of CPU", limits::GATE_CPU_MAX.as_secs())),
            false => sides.kept(&record).map(|differences| (record, differences)),
        });
        let (record, differences) = match compared {
            Ok(compared) => compared,
            Err(why) => {
                verdict.tally.skip(why);
                continue;
            }
        };
        let places = places(&differences);
        if !differences.is_empty() {
            let intended = intended.get_or_insert_with(|| Intended::of(examples, entry, sides, until));
            verdict.intended += u64::from(intended.covers(&record.request.route, &differences));
            verdict.note(&record, differences);
        }
        verdict.tally.add(places);
        verdict.uncompared &= place >= of_corpus;
    }
    verdict.otherwise.reverse();
    verdict.took = spent().saturating_sub(begun);
    verdict
}

impl Verdict {
    /// The verdict before anything was compared.
    pub(super) fn open(digest: Digest, policy: Gate) -> Self {
        Self {
            digest,
            policy,
            tally: Tally::default(),
            intended: 0,
            accepted: false,
            uncompared: false,
            unreadable: None,
            otherwise: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Whether the candidate does not pass.
    pub fn refuses(&self) -> bool {
        let unexplained = self.tally.differ > self.intended || self.uncompared || self.unreadable.is_some();
        self.policy == Gate::Refuse && unexplained && !self.accepted
    }

    /// Why it does not pass, with the remedies.
    pub fn refusal(&self) -> String {
        let mut text = format!("{self}");
        for (path, count) in self.tally.paths() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "\n    {path} ({count})");
        }
        let digest: String = self.digest.to_string().chars().take(DIGEST_SHOWN).collect();
        if self.uncompared {
            text += &format!(
                "\nrecord the corpus again with `galo record`, or accept the candidate without it, with \
                 `galo accept {digest} -m WHY` or in {ACCEPTED_NAME}"
            );
        }
        if self.tally.differ > self.intended {
            text += &format!(
                "\naccept the change: where a node runs that has refused it, with `galo accept {digest} -m WHY`; for any \
                 other, with a line that begins with {digest} in {ACCEPTED_NAME} beside the corpus; or state it in an \
                 example that the serving generation fails"
            );
        }
        text
    }

    /// The paths that differ, in one line.
    pub fn places(&self) -> String {
        let places: Vec<_> = self.tally.paths().iter().map(|(path, count)| format!("{path} ({count})")).collect();
        places.join(", ")
    }

    /// Keeps a request for people, the last few.
    fn note(&mut self, record: &Record, mut differences: Vec<Difference>) {
        differences.truncate(limits::GATE_REQUESTS_SHOWN);
        let request = format!("{} {}", record.request.method, record.request.path);
        let otherwise = Otherwise { request, differences };
        // The same request with the same difference is shown once.
        self.otherwise.retain(|known| *known != otherwise);
        if self.otherwise.len() == limits::GATE_REQUESTS_SHOWN {
            self.otherwise.remove(0);
        }
        self.otherwise.push(otherwise);
    }
}

/// `0 recorded`, `0 of 256 differ`, `3 of 256 differ, 1 as a changed example states; 2 skipped (redacted)`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { compared, differ, skipped, .. } = &self.tally;
        match compared {
            0 => f.write_str("0 recorded")?,
            compared => write!(f, "{differ} of {compared} differ")?,
        }
        match self.intended {
            0 => {}
            1 => f.write_str(", 1 as a changed example states")?,
            intended => write!(f, ", {intended} as changed examples state")?,
        }
        if self.accepted && *differ > 0 {
            f.write_str(", accepted")?;
        }
        for (why, count) in skipped {
            write!(f, "; {count} skipped ({why})")?;
        }
        if self.uncompared {
            f.write_str("; no record of the corpus could be compared")?;
        }
        match &self.unreadable {
            Some(why) => write!(f, "; the corpus cannot be read: {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn verdict(policy: Gate) -> Verdict {
        Verdict::open(Digest::of(b"x"), policy)
    }

    #[test]
    fn a_verdict_says_how_many_were_compared_and_never_that_it_passed() {
        let mut verdict = verdict(Gate::Refuse);
        assert_eq!((verdict.to_string().as_str(), verdict.refuses()), ("0 recorded", false));
        verdict.tally.add(BTreeSet::new());
        assert_eq!((verdict.to_string().as_str(), verdict.refuses()), ("0 of 1 differ", false));
        verdict.tally.add(["response.status".to_owned()].into());
        verdict.tally.skip("redacted".to_owned());
        assert_eq!(verdict.to_string(), "1 of 2 differ; 1 skipped (redacted)");
        assert!(verdict.refuses());
        let refusal = verdict.refusal();
        assert!(refusal.contains("\n    response.status (1)\naccept the change: "), "{refusal}");
        assert!(!Verdict { policy: Gate::Report, ..verdict.clone() }.refuses());
        let accepted = Verdict { accepted: true, ..verdict.clone() };
        assert_eq!(accepted.to_string(), "1 of 2 differ, accepted; 1 skipped (redacted)");
        assert!(!accepted.refuses());
        verdict.intended = 1;
        assert_eq!(verdict.to_string(), "1 of 2 differ, 1 as a changed example states; 1 skipped (redacted)");
        assert!(!verdict.refuses());
        let uncompared = Verdict { uncompared: true, tally: Tally::default(), intended: 0, ..verdict.clone() };
        assert_eq!(uncompared.to_string(), "0 recorded; no record of the corpus could be compared");
        assert!(uncompared.refuses() && uncompared.refusal().contains("galo record"));
        assert!(!Verdict { accepted: true, ..uncompared }.refuses());
        verdict.unreadable = Some("corpus.jsonl:2: not a record".to_owned());
        assert!(verdict.refuses() && !verdict.refusal().contains("galo accept"));
    }
}
