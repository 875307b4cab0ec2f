//! The bytes of components that are about to go live, or did, until they are in the state folder. By the time that they
//! are written, the file of the handler may hold another component. Whoever hands them over does not wait for a disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// The components, by their digests in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct Handed(Mutex<HashMap<String, Arc<[u8]>>>);

impl Handed {
    /// Takes a component, if there is room for it. What waits already is not given up for it: unlike the newest
    /// component, it may be in no file any more.
    ///
    /// # Errors
    /// The number of bytes that wait, which leave no room.
    pub(super) fn take(&self, sha256: &str, bytes: &Arc<[u8]>) -> Result<(), usize> {
        let mut waiting = self.lock();
        let held: usize = waiting.values().map(|bytes| bytes.len()).sum();
        let is_there = waiting.contains_key(sha256);
        if !is_there
            && ((held + bytes.len()) as u64 > limits::STATE_HANDED_BYTES_MAX
                || waiting.len() >= limits::STATE_HANDED_MAX)
        {
            return Err(held);
        }
        waiting.entry(sha256.to_owned()).or_insert_with(|| Arc::clone(bytes));
        Ok(())
    }

    pub(super) fn get(&self, sha256: &str) -> Option<Arc<[u8]>> {
        self.lock().get(sha256).map(Arc::clone)
    }

    pub(super) fn digests(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Gives the memory of the others back. `is_wanted` must not wait for anything.
    pub(super) fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        self.lock().retain(|sha256, _| is_wanted(sha256));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_bytes_and_in_number_and_is_not_given_up_for_what_is_newer() {
        let handed = Handed::default();
        let most = usize::try_from(limits::STATE_HANDED_BYTES_MAX).unwrap();
        let half: Arc<[u8]> = vec![0; most / 2].into();
        assert_eq!((handed.take("a", &half), handed.take("b", &half)), (Ok(()), Ok(())));
        // What is there already takes no more room.
        assert_eq!(handed.take("a", &half), Ok(()));
        assert_eq!(handed.take("c", &Arc::from(&b"c"[..])), Err(most));
        assert!(handed.get("a").is_some() && handed.get("b").is_some() && handed.get("c").is_none());
        handed.retain(|sha256| sha256 == "b");
        assert_eq!((handed.digests(), Arc::strong_count(&half)), (vec!["b".to_owned()], 2));
        handed.retain(|_| false);
        let small: Arc<[u8]> = Arc::from(&b"small"[..]);
        for number in 0..limits::STATE_HANDED_MAX {
            assert_eq!(handed.take(&number.to_string(), &small), Ok(()));
        }
        assert_eq!(handed.take("one more", &small), Err(limits::STATE_HANDED_MAX * small.len()));
    }
}
