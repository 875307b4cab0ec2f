//! The bank test can fail: procedures that are wrong in one way each, and the invariant that must be found broken. They
//! are wrong in one call of ten, as a race would be.

use galo_bank::proof::Invariant;

use crate::postgres::Database;
use crate::stack::{Stack, block_on};

/// In place of `realizar_transacao`, a procedure that asks the honest one and then does `body`.
fn transacao(body: &str) -> String {
    format!(
        "CREATE SCHEMA honesto;
         ALTER FUNCTION public.realizar_transacao(integer, bigint, text, text, text) SET SCHEMA honesto;
         CREATE FUNCTION public.realizar_transacao(
             cliente_id integer, valor bigint, tipo text, descricao text, chave text,
             OUT resultado text, OUT limite bigint, OUT saldo bigint
         )
         LANGUAGE plpgsql SECURITY DEFINER
         AS $$
         DECLARE
             wrong boolean := random() < 0.1;
         BEGIN
             {body}
         END
         $$;
         GRANT EXECUTE ON FUNCTION public.realizar_transacao(integer, bigint, text, text, text) TO galo;"
    )
}

/// In place of `extrato`, a procedure that has a row of the honest one for each that `select` makes of `e`.
fn extrato(select: &str) -> String {
    format!(
        "CREATE SCHEMA honesto;
         ALTER FUNCTION public.extrato(integer) SET SCHEMA honesto;
         CREATE FUNCTION public.extrato(cliente_id integer)
         RETURNS TABLE (
             saldo bigint, limite bigint, data_extrato timestamptz,
             valor bigint, tipo text, descricao text, realizada_em timestamptz
         )
         LANGUAGE sql SECURITY DEFINER
         AS $$ {select} $$;
         GRANT EXECUTE ON FUNCTION public.extrato(integer) TO galo;"
    )
}

/// Which invariants a stack with these procedures breaks.
async fn invariants_broken(sql: &str) -> Vec<Invariant> {
    let database = Database::shared().await;
    database.execute(sql).await;
    Stack::direct(database).await.invariants_broken().await
}

#[track_caller]
fn assert_found(sql: &str, invariant: Invariant) {
    block_on(async {
        let broken = invariants_broken(sql).await;
        assert!(broken.contains(&invariant), "{invariant:?} is not among {broken:?}");
    });
}

/// In place of `realizar_transacao`, one that ignores keys.
pub fn without_keys() -> String {
    transacao(&format!("chave := NULL; {HONEST}"))
}

const HONEST: &str = "SELECT h.resultado, h.limite, h.saldo INTO resultado, limite, saldo
                      FROM honesto.realizar_transacao(cliente_id, valor, tipo, descricao, chave) AS h;";

pub fn an_honest_procedure_has_no_violation() {
    // In the same disguise, so that it is not the disguise that is found.
    block_on(async { assert_eq!(invariants_broken(&transacao(HONEST)).await, []) });
}

pub fn a_procedure_that_records_twice() {
    let again = "IF wrong THEN PERFORM honesto.realizar_transacao(cliente_id, valor, tipo, descricao, NULL); END IF;";
    assert_found(&transacao(&format!("{HONEST} {again}")), Invariant::NothingTwice);
}

pub fn a_procedure_that_says_ok_and_records_nothing() {
    let lie = "IF wrong THEN
                   SELECT 'ok', c.limite, c.saldo INTO resultado, limite, saldo
                   FROM rinha.clientes AS c WHERE c.id = cliente_id;
                   RETURN;
               END IF;";
    assert_found(&transacao(&format!("{lie} {HONEST}")), Invariant::NothingLost);
}

pub fn a_procedure_that_ignores_the_key() {
    assert_found(&without_keys(), Invariant::NothingTwice);
}

pub fn a_procedure_that_records_what_it_refuses() {
    let refused = "IF wrong AND tipo = 'd' THEN resultado := 'limite_excedido'; END IF;";
    assert_found(&transacao(&format!("{HONEST} {refused}")), Invariant::RefusedLeavesNoTrace);
}

pub fn a_procedure_that_refuses_for_no_reason() {
    let refused = "IF wrong THEN resultado := 'limite_excedido'; limite := 0; saldo := 0; RETURN; END IF;";
    assert_found(&transacao(&format!("{refused} {HONEST}")), Invariant::RefusalHasAReason);
}

pub fn a_procedure_that_answers_a_later_saldo() {
    // As it would be if the balance were read in a statement of its own, and somebody came between.
    let later = "IF wrong THEN saldo := saldo + 1; END IF;";
    assert_found(&transacao(&format!("{HONEST} {later}")), Invariant::SaldoOfItsRow);
}

pub fn a_procedure_that_takes_another_payload() {
    // The key alone decides: any request with it gets the stored answer.
    let any = "SELECT 'ok', c.limite, t.saldo_apos INTO resultado, limite, saldo
               FROM rinha.transacoes AS t JOIN rinha.clientes AS c ON c.id = t.cliente_id
               WHERE t.cliente_id = realizar_transacao.cliente_id AND t.chave = realizar_transacao.chave;
               IF FOUND THEN RETURN; END IF;";
    assert_found(&transacao(&format!("{any} {HONEST}")), Invariant::AnotherPayloadIsRefused);
}

pub fn an_extrato_that_misses_the_newest() {
    // As one that is read from a replica, or from a cache.
    let select = "SELECT anterior.saldo_apos, c.limite, clock_timestamp(), t.valor, t.tipo, t.descricao, t.realizada_em
                  FROM rinha.clientes AS c
                  LEFT JOIN rinha.transacoes AS anterior ON anterior.cliente_id = c.id AND anterior.seq = c.seq - 1
                  LEFT JOIN rinha.transacoes AS t
                         ON t.cliente_id = c.id AND t.seq BETWEEN c.seq - 10 AND c.seq - 1
                  WHERE c.id = $1 AND c.seq > 1 ORDER BY t.seq DESC";
    let none_yet = "UNION ALL SELECT e.* FROM honesto.extrato($1) AS e
                    WHERE (SELECT c.seq FROM rinha.clientes AS c WHERE c.id = $1) <= 1";
    assert_found(&extrato(&format!("({select}) {none_yet}")), Invariant::ExtratoIsOfItsTime);
}

pub fn an_extrato_whose_saldo_is_of_another_moment() {
    let select = "SELECT e.saldo + 1, e.limite, e.data_extrato, e.valor, e.tipo, e.descricao, e.realizada_em
                  FROM honesto.extrato($1) AS e";
    assert_found(&extrato(select), Invariant::ExtratoIsAMoment);
}
