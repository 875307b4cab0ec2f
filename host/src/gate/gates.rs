//! The gates of a node: the last verdict of each handler, and the candidates that an operator has accepted. `state`
//! remembers the accepted ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::shadows::Shadows;
use super::verdict::Verdict;
use crate::guest::Digest;
use crate::limits;

/// The gates of a node.
#[derive(Default)]
pub struct Gates {
    verdicts: Mutex<BTreeMap<String, Arc<Verdict>>>,
    /// The accepted digests by the name of their handler, the newest last.
    accepted: Mutex<BTreeMap<String, Vec<String>>>,
    /// Has what was refused tried again.
    again: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What runs beside the live requests.
    pub shadows: Shadows,
}

/// Why nothing was accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// No candidate with such a digest decides otherwise.
    Unknown,
    /// Several do.
    Ambiguous(Vec<Digest>),
}

impl Gates {
    /// Sets how what was refused is tried again.
    pub fn when_tried_again(&self, again: impl Fn() + Send + Sync + 'static) {
        // Set once: a reloader that is restarted has the same orders.
        let _ = self.again.set(Box::new(again));
    }

    /// Keeps the verdict about the last candidate of a handler.
    pub fn note(&self, handler: &str, verdict: Verdict) -> Arc<Verdict> {
        let verdict = Arc::new(verdict);
        let mut verdicts = lock(&self.verdicts);
        verdicts.insert(handler.to_owned(), Arc::clone(&verdict));
        while verdicts.len() > limits::HANDLERS_MAX {
            verdicts.pop_first();
        }
        verdict
    }

    /// The verdict about the last candidate of a handler.
    pub fn verdict(&self, handler: &str) -> Option<Arc<Verdict>> {
        lock(&self.verdicts).get(handler).cloned()
    }

    /// Whether this candidate of a handler was accepted.
    pub fn is_accepted(&self, handler: &str, digest: Digest) -> bool {
        lock(&self.accepted).get(handler).is_some_and(|accepted| accepted.contains(&digest.to_string()))
    }

    /// What was accepted of a handler.
    pub fn accepted(&self, handler: &str) -> Vec<String> {
        lock(&self.accepted).get(handler).cloned().unwrap_or_default()
    }

    /// Takes over what an earlier run of the node accepted.
    pub fn recall(&self, handler: &str, digests: &[String]) {
        let mut accepted = lock(&self.accepted);
        if !digests.is_empty() {
            remember(accepted.entry(handler.to_owned()).or_default(), digests);
        }
    }

    /// Accepts the candidate whose digest begins like this, for each handler that it was one of. `canaries` are those
    /// that were candidates by answering requests, with the names of their handlers. Returns it and the names of the
    /// handlers.
    ///
    /// # Errors
    /// [`Unaccepted`].
    pub fn accept(&self, prefix: &str, canaries: &[(String, Digest)]) -> Result<(Digest, Vec<String>), Unaccepted> {
        let mut verdicts = lock(&self.verdicts);
        let differ = verdicts.iter().filter(|(_, verdict)| verdict.tally.differ > 0);
        let mut candidates: Vec<_> = differ.map(|(name, verdict)| (name.clone(), verdict.digest)).collect();
        candidates.extend_from_slice(canaries);
        candidates.retain(|(_, digest)| digest.to_string().starts_with(prefix));
        let mut found: Vec<_> = candidates.iter().map(|(_, digest)| *digest).collect();
        found.sort_by_key(Digest::to_string);
        found.dedup();
        let digest = match found.as_slice() {
            [] => return Err(Unaccepted::Unknown),
            [digest] => *digest,
            _ => return Err(Unaccepted::Ambiguous(found)),
        };
        let judged = verdicts.iter().filter(|(_, verdict)| verdict.digest == digest);
        let mut names: Vec<_> = judged.map(|(name, _)| name.clone()).collect();
        names.extend(candidates.into_iter().map(|(name, _)| name));
        names.sort();
        names.dedup();
        let mut accepted = lock(&self.accepted);
        for name in &names {
            remember(accepted.entry(name.clone()).or_default(), &[digest.to_string()]);
            if let Some(verdict) = verdicts.get_mut(name).filter(|verdict| verdict.digest == digest) {
                *verdict = Arc::new(Verdict { accepted: true, ..Verdict::clone(verdict) });
            }
        }
        drop((verdicts, accepted));
        self.try_again();
        Ok((digest, names))
    }

    /// Has what was refused tried again.
    pub fn try_again(&self) {
        self.again.get().into_iter().for_each(|again| again());
    }
}

/// Adds digests at the end; the oldest make room for them.
fn remember(accepted: &mut Vec<String>, digests: &[String]) {
    accepted.retain(|known| !digests.contains(known));
    accepted.extend_from_slice(digests);
    let over = accepted.len().saturating_sub(limits::ACCEPTED_MAX);
    accepted.drain(..over);
}

/// No change is half-done when a lock is released, even by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::gate::Tally;
    use crate::manifest::Gate;

    fn verdict(bytes: &[u8], differs: bool) -> Verdict {
        let mut tally = Tally::default();
        tally.add(differs.then(|| "response.status".to_owned()).into_iter().collect());
        Verdict { tally, ..Verdict::open(Digest::of(bytes), Gate::Refuse) }
    }

    #[test]
    fn a_candidate_is_accepted_by_the_beginning_of_its_digest() {
        let gates = Gates::default();
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        gates.when_tried_again(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let [one, two, same] = [&b"one"[..], b"two", b"same"].map(|bytes| Digest::of(bytes).to_string());
        gates.note("a", verdict(b"one", true));
        gates.note("b", verdict(b"one", true));
        gates.note("c", verdict(b"two", true));
        gates.note("d", verdict(b"same", false));
        // What does not differ needs no one's consent.
        assert_eq!(gates.accept(&same, &[]), Err(Unaccepted::Unknown));
        assert_eq!(gates.accept("zz", &[]), Err(Unaccepted::Unknown));
        assert!(matches!(gates.accept("", &[]), Err(Unaccepted::Ambiguous(both)) if both.len() == 2));
        let (digest, names) = gates.accept(&one[..8], &[]).unwrap();
        assert_eq!((digest.to_string(), names), (one.clone(), vec!["a".to_owned(), "b".to_owned()]));
        assert!(gates.is_accepted("a", digest) && !gates.is_accepted("c", digest));
        assert!(gates.verdict("b").unwrap().accepted && !gates.verdict("c").unwrap().accepted);
        assert_eq!(times.load(Ordering::Relaxed), 1);
        // One that answered requests as a canary needs no recorded ones.
        let canaries = [("d".to_owned(), Digest::of(b"canary"))];
        let (digest, names) = gates.accept(&canaries[0].1.to_string(), &canaries).unwrap();
        assert!(names == ["d"] && gates.is_accepted("d", digest));
        // What is remembered is bounded, and the newest stay.
        let many: Vec<_> = (0..limits::ACCEPTED_MAX).map(|number| format!("{number:064}")).collect();
        gates.recall("a", &many);
        assert!(!gates.accepted("a").contains(&one) && gates.accepted("a").len() == limits::ACCEPTED_MAX);
        gates.recall("c", std::slice::from_ref(&two));
        assert_eq!(gates.accepted("c"), [two]);
    }
}
