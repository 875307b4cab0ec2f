//! The proof: the ledger against everything that the clients know. It trusts neither. Pure, so that each invariant can
//! be seen to fail.

mod extratos;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::history::{Answer, History, Payload, Record, Try};
use crate::ledger::{Ledger, Row};
use crate::timeline::Timeline;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What was acknowledged is in the ledger.
    NothingLost,
    /// No transaction is in the ledger more than once.
    NothingTwice,
    /// What was refused is not in the ledger.
    RefusedLeavesNoTrace,
    /// A row is of a request that was sent, as it was sent, under its key.
    EveryRowWasSent,
    /// The limite and saldo of every 200 are those of its row.
    SaldoOfItsRow,
    /// The same key with another payload is refused.
    AnotherPayloadIsRefused,
    /// What is recorded under a key is not refused under it.
    RecordedIsNotRefused,
    /// A refusal has a reason: at some moment of the request the balance did not allow it.
    RefusalHasAReason,
    /// A row comes after everything that was acknowledged before it was sent.
    InOrder,
    /// An extrato is a moment of the ledger: its last ten, its saldo, in order.
    ExtratoIsAMoment,
    /// An extrato has all that was acknowledged before it was asked for, and nothing that was sent after its answer.
    ExtratoIsOfItsTime,
    /// Every answer is one that the contract has for such a request.
    OnlyKnownAnswers,
    /// The rows of earlier runs are as they were.
    ThePastStays,
    /// `sql/check/ledger.sql` finds nothing.
    LedgerHolds,
}

/// An invariant that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The request and the row in question.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

/// A row's time is read from the clock just before its lock is certain; a node that is not scheduled between the two
/// may show a refusal that began this much later and still came first.
const CLOCK_SLACK_MICROS: i64 = 5_000;

/// Everything that does not hold of `ledger`, given what it was `before` the run and what the clients know.
#[must_use]
pub fn prove(history: &History, before: &Ledger, ledger: &Ledger) -> Vec<Violation> {
    let mut proof = Proof { found: Vec::new(), begun_micros: history.begun_micros };
    for violation in &ledger.violations {
        proof.fail(Invariant::LedgerHolds, violation);
    }
    let requests: HashMap<&str, &Record> =
        history.transacoes.iter().map(|record| (record.transacao.descricao.as_str(), record)).collect();
    let mut rows_of: HashMap<&str, Vec<&Row>> = HashMap::new();
    let mut timelines = BTreeMap::new();
    for (&id, cliente) in &ledger.clientes {
        let old = before.clientes.get(&id).map_or(&[][..], |cliente| &cliente.rows);
        if !cliente.rows.starts_with(old) {
            proof.fail(Invariant::ThePastStays, format!("the first {} rows of cliente {id}", old.len()));
        }
        let timeline = Timeline::new(cliente, old.len(), &requests);
        for (length, row) in (1..).zip(&cliente.rows).skip(old.len()) {
            rows_of.entry(&row.descricao).or_default().push(row);
            proof.row(id, row, length, requests.get(row.descricao.as_str()).copied(), &timeline);
        }
        timelines.insert(id, timeline);
    }
    for record in &history.transacoes {
        let rows = rows_of.get(record.transacao.descricao.as_str()).map_or(&[][..], Vec::as_slice);
        match timelines.get(&record.transacao.cliente) {
            Some(timeline) => proof.record(record, rows, timeline),
            None => proof.fail(Invariant::ThePastStays, format!("cliente {} is gone", record.transacao.cliente)),
        }
    }
    for reading in &history.extratos {
        match timelines.get(&reading.cliente) {
            Some(timeline) => proof.extrato(reading, timeline),
            None => proof.fail(Invariant::ThePastStays, format!("cliente {} is gone", reading.cliente)),
        }
    }
    proof.found
}

struct Proof {
    found: Vec<Violation>,
    begun_micros: i64,
}

impl Proof {
    fn fail(&mut self, invariant: Invariant, detail: impl fmt::Display) {
        self.found.push(Violation { invariant, detail: detail.to_string() });
    }

    /// One row of this run: whose it is, and whether it stands where it may.
    fn row(&mut self, id: i32, row: &Row, length: usize, record: Option<&Record>, timeline: &Timeline<'_>) {
        let Some(record) = record else {
            return self.fail(Invariant::EveryRowWasSent, format!("cliente {id}: no client sent {row:?}"));
        };
        let sent = &record.transacao;
        if (sent.cliente, sent.valor, sent.tipo) != (id, row.valor, row.tipo.as_str()) {
            self.fail(Invariant::EveryRowWasSent, format!("cliente {id}: {row:?} was sent as {sent:?}"));
        }
        let under_its_key = match (&sent.key, &row.chave) {
            (Some(key), Some(chave)) => chave.strip_prefix("c:") == Some(&key.text),
            // Without a proxy in front a transaction has no key.
            (None, chave) => chave.as_ref().is_none_or(|chave| chave.starts_with("t:")),
            (Some(_), None) => false,
        };
        if !under_its_key {
            self.fail(Invariant::EveryRowWasSent, format!("cliente {id}: {row:?} was sent under {:?}", sent.key));
        }
        if timeline.least(record.sent()) >= length {
            let detail = format!("cliente {id}: {row:?} stands before what was acknowledged when it was sent");
            self.fail(Invariant::InOrder, detail);
        }
    }

    /// One transaction and its rows, of which there should be one at most.
    fn record(&mut self, record: &Record, rows: &[&Row], timeline: &Timeline<'_>) {
        let transacao = &record.transacao;
        if rows.len() > 1 {
            self.fail(Invariant::NothingTwice, format!("{transacao:?} is in {} rows", rows.len()));
        }
        for each in &record.tries {
            match (&each.answer, each.payload, rows.first()) {
                (Answer::Ok { .. }, Payload::Other, _) => {
                    self.fail(Invariant::AnotherPayloadIsRefused, format!("{transacao:?}, {each:?}"));
                }
                (Answer::Ok { .. }, Payload::Own, None) => {
                    self.fail(Invariant::NothingLost, format!("{transacao:?}, {each:?}"));
                }
                (answer @ Answer::Ok { .. }, Payload::Own, Some(row)) => {
                    if *answer != (Answer::Ok { limite: timeline.limite, saldo: row.saldo_apos }) {
                        self.fail(Invariant::SaldoOfItsRow, format!("{transacao:?}, {each:?}, {row:?}"));
                    }
                }
                (Answer::Refused, Payload::Own, row) => self.refusal(record, each, row.copied(), timeline),
                (Answer::Unexpected(_), ..) => {
                    self.fail(Invariant::OnlyKnownAnswers, format!("{transacao:?}, {each:?}"));
                }
                (Answer::Refused, Payload::Other, _) | (Answer::Failed(_) | Answer::Left, ..) => {}
            }
        }
    }

    /// A 422 to the transaction's own payload.
    fn refusal(&mut self, record: &Record, refused: &Try, row: Option<&Row>, timeline: &Timeline<'_>) {
        let transacao = &record.transacao;
        let all_refused = record.tries.iter().all(|each| each.answer == Answer::Refused);
        match row {
            Some(row) if all_refused => {
                self.fail(Invariant::RefusedLeavesNoTrace, format!("{transacao:?}, {refused:?}, {row:?}"));
            }
            // A try before this one may also be recorded after it; not if it was known, or was there, when this began.
            Some(row) => {
                let known = record.acknowledged().is_some_and(|at| at < refused.sent);
                let there = row.realizada_micros + CLOCK_SLACK_MICROS < self.begun_micros + micros(refused.sent);
                if known || there {
                    self.fail(Invariant::RecordedIsNotRefused, format!("{transacao:?}, {refused:?}, {row:?}"));
                }
            }
            None => {}
        }
        let mut moments = timeline.least(refused.sent)..=timeline.most(refused.ended);
        let refuses = |saldo: i64| transacao.tipo == "d" && saldo.saturating_sub(transacao.valor) < -timeline.limite;
        if !moments.any(|length| refuses(timeline.saldo(length))) {
            self.fail(Invariant::RefusalHasAReason, format!("{transacao:?}, {refused:?}"));
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
