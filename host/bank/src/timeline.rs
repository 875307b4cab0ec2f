//! The ledger of one cliente in time: how many of its rows must have been there at a moment, and how many can have
//! been. Whatever was answered between two moments was read from one of the prefixes between the two.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::Record;
use crate::ledger::{Cliente, Row};

/// The rows of one cliente, and when its requests were sent and acknowledged.
pub(crate) struct Timeline<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) limite: i64,
    /// Rows by the moment of their acknowledgement, each with the length of the shortest prefix that has it and all
    /// before it.
    acknowledged: Vec<(Duration, usize)>,
    /// Rows by the moment they were sent, each with the length of the longest prefix without any that were sent later.
    sent: Vec<(Duration, usize)>,
    /// Rows that were there before the run.
    before: usize,
}

impl<'a> Timeline<'a> {
    /// `requests` holds the run's requests by their descricao; the first `before` rows are older than the run.
    pub(crate) fn new(cliente: &'a Cliente, before: usize, requests: &HashMap<&str, &Record>) -> Self {
        let rows = cliente.rows.as_slice();
        let of_rows = || {
            let lengths = rows.iter().zip(1..).skip(before);
            lengths.filter_map(|(row, length)| Some((requests.get(row.descricao.as_str())?, length)))
        };
        let by_time = |mut moments: Vec<(Duration, usize)>| {
            moments.sort_unstable();
            let mut longest = before;
            for (_, length) in &mut moments {
                longest = longest.max(*length);
                *length = longest;
            }
            moments
        };
        let acknowledged = of_rows().filter_map(|(record, length)| Some((record.acknowledged()?, length))).collect();
        let sent = of_rows().map(|(record, length)| (record.sent(), length)).collect();
        Self { rows, limite: cliente.limite, acknowledged: by_time(acknowledged), sent: by_time(sent), before }
    }

    /// The shortest prefix that holds everything that was acknowledged before `at`.
    pub(crate) fn least(&self, at: Duration) -> usize {
        last_before(&self.acknowledged, at).unwrap_or(self.before)
    }

    /// The longest prefix that ends in something that was sent before `at`.
    pub(crate) fn most(&self, at: Duration) -> usize {
        last_before(&self.sent, at).unwrap_or(self.before)
    }

    /// The balance after a prefix.
    pub(crate) fn saldo(&self, length: usize) -> i64 {
        length.checked_sub(1).and_then(|last| self.rows.get(last)).map_or(0, |row| row.saldo_apos)
    }
}

fn last_before(moments: &[(Duration, usize)], at: Duration) -> Option<usize> {
    let later = moments.partition_point(|(moment, _)| *moment < at);
    later.checked_sub(1).map(|last| moments[last].1)
}
