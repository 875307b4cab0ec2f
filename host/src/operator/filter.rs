//! Which requests `galo tap` shows.

use std::str::FromStr;
use std::time::Duration;

use crate::record::Record;

/// Which requests are shown: those that fulfil everything that is given.
#[derive(Debug, Default, Clone)]
pub struct Filter {
    /// With one of these statuses.
    pub statuses: Vec<Statuses>,
    /// With one of these methods.
    pub methods: Vec<String>,
    /// With this text in their path.
    pub path: Option<String>,
    /// That took at least this long.
    pub slower: Option<Duration>,
    /// In which a guest faulted.
    pub faults: bool,
}

/// A range of statuses: `404`, `5xx` or `400-499`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Filter {
    /// Whether a request is shown.
    pub(super) fn takes(&self, record: &Record) -> bool {
        let status = record.response.status;
        let within = |statuses: &Statuses| (statuses.first..=statuses.last).contains(&status);
        let micros = u128::from(record.times.whole);
        (self.statuses.is_empty() || self.statuses.iter().any(within))
            && (self.methods.is_empty()
                || self.methods.iter().any(|it| it.eq_ignore_ascii_case(&record.request.method)))
            && self.path.as_ref().is_none_or(|path| record.request.path.contains(path))
            && self.slower.is_none_or(|slower| micros >= slower.as_micros())
            && (!self.faults || record.fault.is_some())
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        let range = match (class, text.split_once('-')) {
            (Some(class), _) => status(&format!("{class}00")).map(|first| (first, first + 99)),
            (None, Some((first, last))) => status(first).zip(status(last)),
            (None, None) => status(text).map(|status| (status, status)),
        };
        let range = range.filter(|(first, last)| first <= last);
        let (first, last) = range
            .ok_or_else(|| format!("`{text}` is not a status: write 404, 5xx or 400-499, or several with commas"))?;
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_a_class_or_a_range() {
        for (text, first, last) in [("404", 404, 404), ("5xx", 500, 599), ("4XX", 400, 499), ("400-404", 400, 404)] {
            assert_eq!(text.parse(), Ok(Statuses { first, last }), "{text}");
        }
        for text in ["", "xx", "6xx", "99", "600", "5x", "404-400", "a-b", "-", "40xx"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}
