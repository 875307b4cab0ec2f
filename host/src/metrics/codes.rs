//! Counts answers by their exact status. Only the first distinct statuses are counted separately, further ones by their
//! class, so that the statuses of guests cannot make the text grow without limit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

use crate::limits;

/// How often each status was answered.
#[derive(Debug, Default)]
pub struct Codes {
    /// Filled from the first on; a request that was counted before finds its status after a few comparisons.
    exact: [OnceLock<(u16, AtomicU64)>; limits::STATUSES_COUNTED_MAX],
    /// By the first digit, for all others.
    classes: [AtomicU64; CLASSES.len()],
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Codes {
    /// Counts an answer.
    pub fn count(&self, status: StatusCode) {
        let code = status.as_u16();
        for slot in &self.exact {
            let (counted, count) = slot.get_or_init(|| (code, AtomicU64::new(0)));
            if *counted == code {
                count.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let class = usize::from(code / 100).clamp(1, CLASSES.len()) - 1;
        self.classes[class].fetch_add(1, Ordering::Relaxed);
    }

    /// A series for each status, with the given labels and `code`.
    pub(super) fn encode(&self, family: &mut MetricEncoder, labels: &[(&str, &str)]) -> std::fmt::Result {
        for (code, count) in self.counted() {
            let labels: Vec<_> = labels.iter().copied().chain([("code", code.as_str())]).collect();
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn counted(&self) -> Vec<(String, u64)> {
        let exact = self.exact.iter().filter_map(OnceLock::get);
        let exact = exact.map(|(code, count)| (code.to_string(), count.load(Ordering::Relaxed)));
        let classes = CLASSES.iter().zip(&self.classes);
        let classes = classes.map(|(class, count)| ((*class).to_owned(), count.load(Ordering::Relaxed)));
        exact.chain(classes.filter(|(_, count)| *count > 0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_answers_with_every_status_does_not_make_a_series_of_each() {
        let codes = Codes::default();
        for code in (200..600).chain([200, 404, 599]) {
            codes.count(StatusCode::from_u16(code).unwrap());
        }
        let counted = codes.counted();
        assert!(counted.len() <= limits::STATUSES_COUNTED_MAX + CLASSES.len(), "{counted:?}");
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 403);
        assert!(counted.contains(&("200".to_owned(), 2)) && counted.contains(&("4xx".to_owned(), 101)), "{counted:?}");
    }

    #[test]
    fn threads_that_meet_a_status_at_once_count_it_in_one_place() {
        let codes = Codes::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n| codes.count(StatusCode::from_u16(200 + n % 5).unwrap())));
            }
        });
        let mut counted = codes.counted();
        counted.sort();
        let all: Vec<_> = (200..205).map(|code: u16| (code.to_string(), 800)).collect();
        assert_eq!(counted, all);
    }
}
