//! The invariants of an extrato: it shows one moment of the ledger, and that moment lies between question and answer.

use super::{Invariant, Proof};
use crate::extrato::{Extrato, Ultima};
use crate::history::Reading;
use crate::ledger::Row;
use crate::timeline::Timeline;

/// Transactions in an extrato.
const ULTIMAS: usize = 10;

impl Proof {
    /// One extrato that was answered.
    pub(super) fn extrato(&mut self, reading: &Reading, timeline: &Timeline<'_>) {
        // Without a transaction it shows the empty prefix; otherwise the newest decides which prefixes it may show.
        let lengths: Vec<usize> = match reading.extrato.ultimas_transacoes.first() {
            None => vec![0],
            Some(newest) => {
                let rows = (1..).zip(timeline.rows);
                rows.filter(|(_, row)| row.descricao == newest.descricao).map(|(length, _)| length).collect()
            }
        };
        let Some(length) = lengths.into_iter().find(|length| shows(&reading.extrato, *length, timeline)) else {
            return self.fail(Invariant::ExtratoIsAMoment, format!("{reading:?}"));
        };
        let (least, most) = (timeline.least(reading.sent), timeline.most(reading.ended));
        if !(least..=most).contains(&length) {
            let detail = format!("it shows {length} rows, of {least} to {most} that it may show: {reading:?}");
            self.fail(Invariant::ExtratoIsOfItsTime, detail);
        }
    }
}

/// Whether an extrato shows the prefix of this length.
fn shows(extrato: &Extrato, length: usize, timeline: &Timeline<'_>) -> bool {
    let last_ten = timeline.rows[..length].iter().rev().take(ULTIMAS);
    let shown = &extrato.ultimas_transacoes;
    let same = |(row, shown): (&Row, &Ultima)| {
        (row.valor, &row.tipo, &row.descricao, &row.realizada_em)
            == (shown.valor, &shown.tipo, &shown.descricao, &shown.realizada_em)
    };
    shown.len() == length.min(ULTIMAS)
        && last_ten.zip(shown).all(same)
        && (extrato.saldo.total, extrato.saldo.limite) == (timeline.saldo(length), timeline.limite)
}
