//! Each invariant is seen to fail: a small run that holds, changed in one place.

use std::time::Duration;

use super::*;
use crate::extrato::{Extrato, Saldo, Ultima};
use crate::history::Reading;
use crate::ledger::Cliente;
use crate::plan::{Key, Transacao};

const LIMITE: i64 = 100;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A run of three transactions of cliente 1, each a second after the other, and an extrato in the end: a credit of 10
/// without a key, a debit of 50 under one, and a debit of 1,000 that was refused.
fn run() -> (History, Ledger) {
    let mut history = History::begin();
    let ok = |saldo| Answer::Ok { limite: LIMITE, saldo };
    history.transacoes = vec![
        record("a", "c", 10, None, vec![attempt(1000, ok(10))]),
        record("b", "d", 50, Some("key"), vec![attempt(2000, ok(-40))]),
        record("x", "d", 1000, Some("other"), vec![attempt(3000, Answer::Refused)]),
    ];
    history.begun_micros = 0;
    let rows = vec![row(1, "a", "c", 10, 10, "t:1"), row(2, "b", "d", 50, -40, "c:key")];
    let ultimas_transacoes = rows.iter().rev().map(ultima).collect();
    let extrato = Extrato { saldo: Saldo { total: -40, limite: LIMITE }, ultimas_transacoes };
    history.extratos = vec![Reading { cliente: 1, sent: at(4000), ended: at(4001), extrato }];
    let clientes = [(1, Cliente { limite: LIMITE, rows })].into();
    (history, Ledger { clientes, violations: Vec::new() })
}

fn record(descricao: &str, tipo: &'static str, valor: i64, key: Option<&str>, tries: Vec<Try>) -> Record {
    let key = key.map(|text| Key { text: text.to_owned(), quoted: false });
    Record { transacao: Transacao { cliente: 1, valor, tipo, descricao: descricao.to_owned(), key }, tries }
}

fn attempt(ms: u64, answer: Answer) -> Try {
    Try { payload: Payload::Own, sent: at(ms), ended: at(ms + 1), answer }
}

/// Recorded half a millisecond after it was sent.
fn row(seq: i64, descricao: &str, tipo: &str, valor: i64, saldo_apos: i64, chave: &str) -> Row {
    Row {
        seq,
        valor,
        tipo: tipo.to_owned(),
        descricao: descricao.to_owned(),
        realizada_em: format!("second {seq}"),
        realizada_micros: seq * 1_000_000 + 500,
        saldo_apos,
        chave: Some(chave.to_owned()),
    }
}

fn ultima(row: &Row) -> Ultima {
    let Row { valor, tipo, descricao, realizada_em, .. } = row.clone();
    Ultima { valor, tipo, descricao, realizada_em }
}

fn rows(ledger: &mut Ledger) -> &mut Vec<Row> {
    &mut ledger.clientes.get_mut(&1).unwrap().rows
}

/// The invariants that do not hold after a change, each once.
fn broken(change: impl FnOnce(&mut History, &mut Ledger)) -> Vec<Invariant> {
    let (mut history, mut ledger) = run();
    change(&mut history, &mut ledger);
    let mut invariants: Vec<_> =
        prove(&history, &Ledger::default(), &ledger).into_iter().map(|violation| violation.invariant).collect();
    invariants.sort();
    invariants.dedup();
    invariants
}

#[test]
fn a_run_that_holds_has_no_violation() {
    assert_eq!(broken(|_, _| {}), []);
}

#[test]
fn an_acknowledged_transaction_without_a_row_is_lost() {
    assert_eq!(broken(|_, ledger| drop(rows(ledger).pop())), [Invariant::NothingLost, Invariant::ExtratoIsAMoment]);
}

#[test]
fn a_row_too_many_is_found_whether_or_not_the_outcome_is_known() {
    let twice = |ledger: &mut Ledger| rows(ledger).push(row(3, "b", "d", 50, -90, "c:key"));
    assert!(broken(|_, ledger| twice(ledger)).contains(&Invariant::NothingTwice));
    let invariants = broken(|history, ledger| {
        twice(ledger);
        history.transacoes[1].tries[0].answer = Answer::Left;
    });
    assert!(invariants.contains(&Invariant::NothingTwice));
}

#[test]
fn a_refused_transaction_with_a_row_is_found() {
    let refused = |history: &mut History, _: &mut Ledger| history.transacoes[1].tries[0].answer = Answer::Refused;
    assert!(broken(refused).contains(&Invariant::RefusedLeavesNoTrace));
}

#[test]
fn a_transaction_of_unknown_outcome_may_have_a_row_or_none() {
    let unknown = |history: &mut History| history.transacoes[1].tries[0].answer = Answer::Failed("503".to_owned());
    assert_eq!(broken(|history, _| unknown(history)), []);
    let gone = broken(|history, ledger| {
        unknown(history);
        rows(ledger).pop();
        history.extratos.clear();
    });
    assert_eq!(gone, []);
}

#[test]
fn a_row_that_nobody_sent_is_found() {
    let stranger = |_: &mut History, ledger: &mut Ledger| rows(ledger).insert(0, row(0, "z", "c", 1, 0, "r:9"));
    assert!(broken(stranger).contains(&Invariant::EveryRowWasSent));
}

#[test]
fn a_row_that_differs_from_what_was_sent_is_found() {
    let changes: [fn(&mut Row); 5] = [
        |row| row.valor = 51,
        |row| row.tipo = "c".to_owned(),
        |row| row.chave = None,
        |row| row.chave = Some("c:another".to_owned()),
        |row| row.chave = Some("t:key".to_owned()),
    ];
    for change in changes {
        assert!(broken(|_, ledger| change(&mut rows(ledger)[1])).contains(&Invariant::EveryRowWasSent));
    }
    // A client's key under a request that had none.
    assert_eq!(broken(|_, ledger| rows(ledger)[0].chave = Some("c:1".to_owned())), [Invariant::EveryRowWasSent]);
    // Without a proxy there is none.
    assert_eq!(broken(|_, ledger| rows(ledger)[0].chave = None), []);
}

#[test]
fn a_saldo_or_limite_that_is_not_its_rows_is_found() {
    for answer in [Answer::Ok { limite: LIMITE, saldo: -41 }, Answer::Ok { limite: LIMITE + 1, saldo: -40 }] {
        let wrong = |history: &mut History, _: &mut Ledger| history.transacoes[1].tries.push(attempt(2500, answer));
        assert_eq!(broken(wrong), [Invariant::SaldoOfItsRow]);
    }
}

#[test]
fn another_payload_under_the_same_key_must_be_refused() {
    let other = |answer| {
        move |history: &mut History, _: &mut Ledger| {
            history.transacoes[1].tries.push(Try { payload: Payload::Other, ..attempt(2500, answer) });
        }
    };
    assert_eq!(broken(other(Answer::Ok { limite: LIMITE, saldo: -40 })), [Invariant::AnotherPayloadIsRefused]);
    assert_eq!(broken(other(Answer::Refused)), []);
}

#[test]
fn what_is_recorded_is_not_refused_later() {
    // Known to be recorded, then refused.
    let invariants = broken(|history, _| history.transacoes[1].tries.push(attempt(2500, Answer::Refused)));
    assert!(invariants.contains(&Invariant::RecordedIsNotRefused));
    // Recorded without anybody knowing, then refused.
    let unknown_first = |refused_at| {
        move |history: &mut History, _: &mut Ledger| {
            history.transacoes[1].tries = vec![attempt(2000, Answer::Left), attempt(refused_at, Answer::Refused)];
        }
    };
    assert!(broken(unknown_first(2100)).contains(&Invariant::RecordedIsNotRefused));
    // Refused first: then the try before it came late.
    assert!(!broken(unknown_first(2000)).contains(&Invariant::RecordedIsNotRefused));
}

#[test]
fn a_refusal_needs_a_reason() {
    // At −40 a debit of 60 lands on the limit.
    for (valor, invariants) in [(61, vec![]), (60, vec![Invariant::RefusalHasAReason])] {
        assert_eq!(broken(|history, _| history.transacoes[2].transacao.valor = valor), invariants, "{valor}");
    }
    assert_eq!(broken(|history, _| history.transacoes[2].transacao.tipo = "c"), [Invariant::RefusalHasAReason]);
}

#[test]
fn a_row_before_one_that_was_acknowledged_earlier_is_out_of_order() {
    let later = |history: &mut History, _: &mut Ledger| {
        history.transacoes[0].tries = vec![attempt(2500, Answer::Ok { limite: LIMITE, saldo: 10 })];
    };
    assert_eq!(broken(later), [Invariant::InOrder]);
}

#[test]
fn an_extrato_of_no_moment_is_found() {
    let changes: [fn(&mut Extrato); 5] = [
        |extrato| extrato.saldo.total = 10,
        |extrato| extrato.saldo.limite = 1,
        |extrato| extrato.ultimas_transacoes.reverse(),
        |extrato| drop(extrato.ultimas_transacoes.pop()),
        |extrato| extrato.ultimas_transacoes[0].realizada_em.push('0'),
    ];
    for change in changes {
        assert_eq!(broken(|history, _| change(&mut history.extratos[0].extrato)), [Invariant::ExtratoIsAMoment]);
    }
}

#[test]
fn an_extrato_of_another_time_is_found() {
    // Empty after both were acknowledged.
    let stale = Extrato { saldo: Saldo { total: 0, limite: LIMITE }, ultimas_transacoes: Vec::new() };
    let invariants = broken(|history, _| history.extratos[0].extrato = stale);
    assert_eq!(invariants, [Invariant::ExtratoIsOfItsTime]);
    // It shows what was sent only after it was answered.
    let early = broken(|history, _| (history.extratos[0].sent, history.extratos[0].ended) = (at(100), at(200)));
    assert_eq!(early, [Invariant::ExtratoIsOfItsTime]);
    // Between sending and acknowledgement it may show the last one or not.
    assert_eq!(broken(|history, _| history.extratos[0].sent = at(2000)), []);
}

#[test]
fn what_the_check_finds_and_what_nobody_expects_is_reported() {
    assert_eq!(broken(|_, ledger| ledger.violations.push("gap in seq".to_owned())), [Invariant::LedgerHolds]);
    let strange = Answer::Unexpected("404".to_owned());
    assert_eq!(broken(|history, _| history.transacoes[2].tries[0].answer = strange), [Invariant::OnlyKnownAnswers]);
}

#[test]
fn rows_of_an_earlier_run_are_left_alone() {
    let (mut history, ledger) = run();
    history.transacoes.remove(0);
    let mut before = ledger.clone();
    rows(&mut before).truncate(1);
    assert_eq!(prove(&history, &before, &ledger), []);
    rows(&mut before)[0].valor = 11;
    assert_eq!(
        prove(&history, &before, &ledger).into_iter().map(|found| found.invariant).collect::<Vec<_>>(),
        [Invariant::ThePastStays]
    );
}
