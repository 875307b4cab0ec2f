//! Every row of the API's table that concerns this handler, natively and on wasm.

use galo_kit::{Handler as _, Rows, Value, test};

use crate::Extrato;

const NOT_FOUND: &str = "cliente não encontrado";
const COLUMNS: [&str; 7] = ["saldo", "limite", "data_extrato", "valor", "tipo", "descricao", "realizada_em"];
/// 2024-01-17T02:34:41.217753Z
const NOW: i64 = 1_705_458_881_217_753;

fn row(valor: i64, tipo: &str, descricao: &str, micros_ago: i64) -> [Value; 7] {
    let [now, then] = [NOW, NOW - micros_ago].map(Value::Timestamp);
    [(-9098).into(), 100_000.into(), now, valor.into(), tipo.into(), descricao.into(), then]
}

fn no_transactions() -> [Value; 7] {
    let nothing = Value::Null;
    [0.into(), 80_000.into(), Value::Timestamp(NOW), nothing.clone(), nothing.clone(), nothing.clone(), nothing]
}

fn rows(rows: impl IntoIterator<Item = [Value; 7]>) -> Rows {
    test::rows(COLUMNS, rows)
}

#[test]
fn an_id_that_no_client_can_have_is_not_found() {
    for id in "abc 1.0 -1 +1 01 00 1x 0x1 1e0 2147483648 9223372036854775808 12345678901234567890"
        .split(' ')
        .chain(["", " 1", "1 "])
    {
        let plan = Extrato::prepare(&test::get("/clientes/x/extrato", &[("id", id)]));
        test::assert_error(&test::reply(plan), 404, NOT_FOUND);
    }
}

#[test]
fn an_id_that_a_client_can_have_is_passed_on() {
    for (id, cliente_id) in [("0", 0), ("1", 1), ("6", 6), ("2147483647", i32::MAX)] {
        let call = test::call(Extrato::prepare(&test::get("/clientes/x/extrato", &[("id", id)])));
        assert_eq!((call.procedure.as_str(), call.arguments), ("extrato", vec![cliente_id.into()]));
    }
}

#[test]
fn without_rows_the_client_is_not_found() {
    test::assert_error(&Extrato::respond(b"", &rows([])).unwrap(), 404, NOT_FOUND);
}

#[test]
fn transactions_keep_the_order_of_the_rows() {
    let response = Extrato::respond(b"", &rows([row(10, "c", "descricao", 2_674_723), row(1, "d", "a \"ç\"\n", NOW)]));
    test::assert_json(
        &response.unwrap(),
        200,
        concat!(
            r#"{"saldo":{"total":-9098,"data_extrato":"2024-01-17T02:34:41.217753Z","limite":100000},"#,
            r#""ultimas_transacoes":[{"valor":10,"tipo":"c","descricao":"descricao","#,
            r#""realizada_em":"2024-01-17T02:34:38.543030Z"},{"valor":1,"tipo":"d","descricao":"a \"ç\"\n","#,
            r#""realizada_em":"1970-01-01T00:00:00.000000Z"}]}"#,
        ),
    );
}

#[test]
fn a_client_without_transactions_has_an_empty_list() {
    let response = Extrato::respond(b"", &rows([no_transactions()]));
    test::assert_json(
        &response.unwrap(),
        200,
        concat!(
            r#"{"saldo":{"total":0,"data_extrato":"2024-01-17T02:34:41.217753Z","limite":80000},"#,
            r#""ultimas_transacoes":[]}"#,
        ),
    );
}

#[test]
fn all_ten_are_shown() {
    let response = Extrato::respond(b"", &rows((1..=10).map(|valor| row(valor, "d", "x", valor)))).unwrap();
    assert_eq!(test::text(&response).matches("realizada_em").count(), 10);
}

#[test]
fn a_procedure_of_another_shape_is_an_error() {
    for (rows, error) in [
        (test::rows(["saldo"], [[1.into()]]), "the procedure returned no column valor"),
        (rows([row(1, "d", "x", 0), no_transactions()]), "column valor should be integer and is null"),
    ] {
        assert_eq!(Extrato::respond(b"", &rows).unwrap_err().to_string(), error);
    }
}
