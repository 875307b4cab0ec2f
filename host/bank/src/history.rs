//! What the clients know: every request, when it was sent, when and how it was answered. Written by `load`, read by
//! `proof` and `verdict`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::extrato::Extrato;
use crate::plan::Transacao;

/// The record of a run.
#[derive(Debug)]
pub struct History {
    /// What all moments are counted from.
    pub begun: Instant,
    /// The same moment by the clock on the wall, in microseconds since 1970: the ledger's times are of that clock.
    pub begun_micros: i64,
    /// Every transaction that was sent.
    pub transacoes: Vec<Record>,
    /// Every extrato that was answered.
    pub extratos: Vec<Reading>,
    /// Every extrato that was not, and why.
    pub extratos_failed: Vec<Failed>,
}

/// One transaction and all that was tried with it, in the order of sending.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was meant.
    pub transacao: Transacao,
    /// At least one.
    pub tries: Vec<Try>,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Try {
    /// The transaction's own payload, or another under the same key.
    pub payload: Payload,
    /// When its first byte may have left.
    pub sent: Duration,
    /// When its answer was there, or was given up.
    pub ended: Duration,
    /// What came.
    pub answer: Answer,
}

/// Which payload a try carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The transaction's.
    Own,
    /// The same with another valor, which must be refused.
    Other,
}

/// What a client knows after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, with the limite and the saldo after the transaction.
    Ok {
        /// The client's limit.
        limite: i64,
        /// Its balance after this transaction.
        saldo: i64,
    },
    /// 422.
    Refused,
    /// No answer, or one that leaves open whether it is recorded: a broken connection, a timeout, a 5xx.
    Failed(String),
    /// The client did not wait.
    Left,
    /// An answer that this request cannot have.
    Unexpected(String),
}

/// What is known of a transaction after all tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At least one try was acknowledged.
    Ok,
    /// Every try was answered, and refused.
    Refused,
    /// Some try may have recorded it.
    Unknown,
}

/// An extrato that was answered.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Whose it is.
    pub cliente: i32,
    /// When it was asked for.
    pub sent: Duration,
    /// When it was there.
    pub ended: Duration,
    /// Its content.
    pub extrato: Extrato,
}

/// A request that was not answered while its client waited.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Whose it was.
    pub cliente: i32,
    /// When it was sent.
    pub sent: Duration,
    /// When that was known.
    pub ended: Duration,
    /// The status, or what broke.
    pub why: String,
}

impl History {
    /// An empty one that begins now.
    #[must_use]
    pub fn begin() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            begun: Instant::now(),
            begun_micros: i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX),
            transacoes: Vec::new(),
            extratos: Vec::new(),
            extratos_failed: Vec::new(),
        }
    }

    /// Everything that a client waited for and that was not answered with 200 or 422. A client that left does not
    /// know, and that is not a failure.
    #[must_use]
    pub fn failed(&self) -> Vec<Failed> {
        let transacoes =
            self.transacoes.iter().flat_map(|record| record.tries.iter().map(move |each| (record, each))).filter_map(
                |(record, each)| match &each.answer {
                    Answer::Failed(why) => Some(Failed {
                        cliente: record.transacao.cliente,
                        sent: each.sent,
                        ended: each.ended,
                        why: why.clone(),
                    }),
                    _ => None,
                },
            );
        let mut failed: Vec<_> = transacoes.chain(self.extratos_failed.iter().cloned()).collect();
        failed.sort_by_key(|failed| failed.sent);
        failed
    }

    /// Every try and every extrato that was answered well: when it was sent and when it was answered.
    #[must_use]
    pub fn answered(&self) -> Vec<(Duration, Duration)> {
        let known = |each: &&Try| matches!(each.answer, Answer::Ok { .. } | Answer::Refused);
        let tries = self.transacoes.iter().flat_map(|record| &record.tries).filter(known);
        let mut answered: Vec<_> = tries.map(|each| (each.sent, each.ended)).collect();
        answered.extend(self.extratos.iter().map(|reading| (reading.sent, reading.ended)));
        answered.sort();
        answered
    }

    /// How many transactions ended like this.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.transacoes.iter().filter(|record| record.outcome() == outcome).count()
    }

    /// One line for a log.
    #[must_use]
    pub fn summary(&self) -> String {
        let [ok, refused, unknown] = [Outcome::Ok, Outcome::Refused, Outcome::Unknown].map(|one| self.count(one));
        let tries: usize = self.transacoes.iter().map(|record| record.tries.len()).sum();
        format!(
            "{} transactions in {tries} tries: {ok} ok, {refused} refused, {unknown} unknown; {} extratos; {} requests \
             failed",
            self.transacoes.len(),
            self.extratos.len(),
            self.failed().len(),
        )
    }
}

impl Record {
    /// What is known in the end.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let mut own = self.tries.iter().filter(|each| each.payload == Payload::Own);
        if own.clone().any(|each| matches!(each.answer, Answer::Ok { .. })) {
            Outcome::Ok
        } else if own.all(|each| each.answer == Answer::Refused) {
            Outcome::Refused
        } else {
            Outcome::Unknown
        }
    }

    /// When it may have been recorded at the earliest.
    #[must_use]
    pub fn sent(&self) -> Duration {
        self.tries.iter().map(|each| each.sent).min().unwrap_or_default()
    }

    /// When a client first knew that it was recorded.
    #[must_use]
    pub fn acknowledged(&self) -> Option<Duration> {
        let ok = self.tries.iter().filter(|each| matches!(each.answer, Answer::Ok { .. }));
        ok.map(|each| each.ended).min()
    }
}
