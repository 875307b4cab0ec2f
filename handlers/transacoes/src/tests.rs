//! Every row of the API's table that concerns this handler, natively and on wasm.

use galo_kit::{Handler as _, Plan, Response, Rows, UnexpectedRows, Value, test};

use crate::Transacoes;
use crate::rules::Rejection;

const NOT_FOUND: &str = "cliente não encontrado";
const MALFORMED_KEY: &str = "Idempotency-Key deve vir uma só vez, com 1 a 255 caracteres ASCII imprimíveis";

/// The planned call for this body, sent to client 1.
fn prepare(body: impl Into<Vec<u8>>) -> galo_kit::Call {
    let request = test::post("/clientes/1/transacoes", &[("id", "1")], body);
    test::call(Transacoes::prepare(&request))
}

#[track_caller]
fn assert_accepted(body: &str, valor: i64, tipo: &str, descricao: &str) {
    let call = prepare(body);
    assert_eq!(call.procedure, "realizar_transacao", "{body}");
    assert_eq!(call.arguments, [1.into(), Value::Integer(valor), tipo.into(), descricao.into(), Value::Null], "{body}");
}

/// A bad body is answered in two steps: 422 when the client exists, 404 when it does not.
#[track_caller]
fn assert_rejected(body: &[u8], rejection: Rejection) {
    let shown = String::from_utf8_lossy(body);
    let call = prepare(body);
    assert_eq!((call.procedure.as_str(), call.arguments), ("cliente_existe", vec![1.into()]), "{shown}");
    let [here, gone] = [true, false].map(|existe| test::rows(["existe"], [[existe.into()]]));
    test::assert_error(&Transacoes::respond(&call.carry, &here).unwrap(), 422, rejection.text());
    test::assert_error(&Transacoes::respond(&call.carry, &gone).unwrap(), 404, NOT_FOUND);
}

fn body(valor: &str, tipo: &str, descricao: &str) -> String {
    format!(r#"{{"valor":{valor},"tipo":{tipo},"descricao":{descricao}}}"#)
}

#[test]
fn a_transaction_becomes_one_call() {
    for (sent, valor, tipo, descricao) in [
        (r#"{"valor": 1000, "tipo": "c", "descricao": "descricao"}"#, 1000, "c", "descricao"),
        (r#"{"descricao":"x","tipo":"d","valor":1}"#, 1, "d", "x"),
        ("\r\n\t {\"valor\":1 , \"tipo\":\"d\",\n\"descricao\":\"x\"} \n", 1, "d", "x"),
        (r#"{"valor":1,"tipo":"c","descricao":"x","extra":[{"valor":2}],"Valor":null}"#, 1, "c", "x"),
        (r#"{"extra":1,"extra":1,"valor":1,"tipo":"c","descricao":"x"}"#, 1, "c", "x"),
        (r#"{"\u0076alor":1,"tipo":"\u0063","descricao":"\u0078"}"#, 1, "c", "x"),
    ] {
        assert_accepted(sent, valor, tipo, descricao);
    }
}

#[test]
fn valor_is_a_positive_integer_that_every_json_reader_reads_exactly() {
    for (valor, cents) in [("1", 1), ("10000", 10_000), ("9007199254740991", 9_007_199_254_740_991)] {
        assert_accepted(&body(valor, r#""c""#, r#""x""#), cents, "c", "x");
    }
    let wrong = concat!(
        r#"0 -0 -1 1.2 1.0 1e2 1E0 0.1 null true false "1" "" [] [1] {} "#,
        "9007199254740992 9223372036854775807 9223372036854775808 18446744073709551616 -9223372036854775809 ",
        "100000000000000000000000000000000000000000",
    );
    for valor in wrong.split(' ') {
        assert_rejected(body(valor, r#""c""#, r#""x""#).as_bytes(), Rejection::Valor);
    }
}

#[test]
fn tipo_is_exactly_c_or_d() {
    for tipo in [
        r#""x""#,
        r#""C""#,
        r#""D""#,
        r#""""#,
        r#"" c""#,
        r#""c ""#,
        r#""cd""#,
        r#""c\u0000""#,
        "null",
        "1",
        "true",
        "[]",
        r#"["c"]"#,
        "{}",
    ] {
        assert_rejected(body("1", tipo, r#""x""#).as_bytes(), Rejection::Tipo);
    }
}

#[test]
fn descricao_has_1_to_10_code_points() {
    for (descricao, text) in [
        (r#""x""#, "x"),
        (r#""1234567890""#, "1234567890"),
        (r#""çãoçãoçãoç""#, "çãoçãoçãoç"),
        (r#""🐓🐓🐓🐓🐓🐓🐓🐓🐓🐓""#, "🐓🐓🐓🐓🐓🐓🐓🐓🐓🐓"),
        (r#""\ud83d\udc13\u00e7\n\"\\\/\b\f\r\t""#, "🐓ç\n\"\\/\u{8}\u{c}\r\t"),
        (r#""\u0031\u0032\u0033\u0034\u0035\u0036\u0037\u0038\u0039\u0030""#, "1234567890"),
        (r#"" ""#, " "),
        (r#""  a  b  ""#, "  a  b  "),
        (r#""\u0001""#, "\u{1}"),
    ] {
        assert_accepted(&body("1", r#""d""#, descricao), 1, "d", text);
    }
    for descricao in [
        r#""""#,
        r#""12345678901""#,
        r#""123456789 e mais um pouco""#,
        r#""çãoçãoçãoçã""#,
        r#""           ""#,
        r#""e\u0301e\u0301e\u0301e\u0301e\u0301e""#,
        r#""\u0000""#,
        r#""abc\u0000""#,
        "null",
        "1",
        "true",
        "[]",
        r#"["x"]"#,
        "{}",
    ] {
        assert_rejected(body("1", r#""d""#, descricao).as_bytes(), Rejection::Descricao);
    }
}

#[test]
fn every_field_must_be_there_once() {
    for (sent, rejection) in [
        (r#"{"tipo":"c","descricao":"x"}"#, Rejection::Valor),
        (r#"{"valor":1,"descricao":"x"}"#, Rejection::Tipo),
        (r#"{"valor":1,"tipo":"c"}"#, Rejection::Descricao),
        (r#"{}"#, Rejection::Valor),
        (r#"{"Valor":1,"tipo":"c","descricao":"x"}"#, Rejection::Valor),
        (r#"{"valor":1,"valor":1,"tipo":"c","descricao":"x"}"#, Rejection::Repeated),
        (r#"{"valor":1,"tipo":"c","descricao":"x","tipo":"d"}"#, Rejection::Repeated),
        (r#"{"valor":1,"tipo":"c","descricao":"x","\u0064escricao":"y"}"#, Rejection::Repeated),
    ] {
        assert_rejected(sent.as_bytes(), rejection);
    }
}

#[test]
fn a_body_that_is_not_a_json_object_is_rejected() {
    let good = body("1", r#""c""#, r#""x""#);
    for sent in [
        "",
        " ",
        "null",
        "1",
        "\"c\"",
        "[]",
        r#"[1,"c","x"]"#,
        r#"{"valor":1,"tipo":"c","descricao":"\ud800"}"#,
        r#"{"valor":1,"tipo":"c","descricao":"x",}"#,
        "valor=1&tipo=c&descricao=x",
    ] {
        assert_rejected(sent.as_bytes(), Rejection::Body);
    }
    for end in 0..good.len() {
        assert_rejected(&good.as_bytes()[..end], Rejection::Body);
    }
    for trailing in ["x", "}", ",", "\0", "{}", "\u{feff}"] {
        assert_rejected([&good, trailing].concat().as_bytes(), Rejection::Body);
    }
    assert_rejected(["\u{feff}", &good].concat().as_bytes(), Rejection::Body);
    assert_rejected(b"{\"valor\":1,\"tipo\":\"c\",\"descricao\":\"\xff\"}", Rejection::Body);
    assert_rejected(b"{\"valor\":1,\"tipo\":\"c\",\"descricao\":\"x\",\"y\":\"\xff\"}", Rejection::Body);
}

#[test]
fn an_id_that_no_client_can_have_is_not_found_whatever_the_body() {
    for id in "abc 1.0 -1 +1 01 00 1x 0x1 1e0 2147483648 9223372036854775808 12345678901234567890"
        .split(' ')
        .chain(["", " 1", "1 "])
    {
        for sent in [body("1", r#""c""#, r#""x""#), String::new()] {
            let request = test::post("/clientes/x/transacoes", &[("id", id)], sent);
            test::assert_error(&test::reply(Transacoes::prepare(&request)), 404, NOT_FOUND);
        }
    }
}

#[test]
fn an_id_that_a_client_can_have_is_passed_on() {
    for (id, cliente_id) in [("0", 0), ("6", 6), ("2147483647", i32::MAX)] {
        let request = test::post("/clientes/x/transacoes", &[("id", id)], body("1", r#""c""#, r#""x""#));
        assert_eq!(test::call(Transacoes::prepare(&request)).arguments[0], cliente_id.into());
    }
}

/// The plan for a good transaction of client 1 with these headers.
fn with_headers(headers: &[(&str, &str)]) -> Plan {
    let mut request = test::post("/clientes/1/transacoes", &[("id", "1")], body("1", r#""c""#, r#""x""#));
    request.headers = test::fields(headers);
    Transacoes::prepare(&request)
}

/// Asserts the key that is passed to the procedure.
#[track_caller]
fn assert_chave(headers: &[(&str, &str)], chave: impl Into<Value>) {
    let call = test::call(with_headers(headers));
    assert_eq!((call.procedure.as_str(), &call.arguments[4]), ("realizar_transacao", &chave.into()), "{headers:?}");
}

#[track_caller]
fn assert_malformed(headers: &[(&str, &str)]) {
    match with_headers(headers) {
        Plan::Reply(response) => test::assert_error(&response, 400, MALFORMED_KEY),
        Plan::Call(call) => panic!("{headers:?}: {call:?}"),
    }
}

#[test]
fn the_key_of_the_client_is_taken_with_and_without_quotes() {
    let longest = "k".repeat(255);
    for (sent, chave) in [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "c:8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, "c:8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("a", "c:a"),
        (r#""a""#, "c:a"),
        ("a b, c;d=1", "c:a b, c;d=1"),
        (r#"" a ""#, "c: a "),
        ("!~", "c:!~"),
        // Only the quoted form has escapes.
        (r"a\b", r"c:a\b"),
        (r#""a\\b\"c\"""#, r#"c:a\b"c""#),
        (r#""\\""#, r"c:\"),
        ("r:a", "c:r:a"),
        (&longest, &format!("c:{longest}")),
        (&format!("\"{longest}\""), &format!("c:{longest}")),
        // The key is 255 bytes long, not its quoted form.
        (&format!("\"{}\"", r"\\".repeat(255)), &format!("c:{}", r"\".repeat(255))),
    ] {
        assert_chave(&[("idempotency-key", sent)], chave);
    }
}

#[test]
fn a_malformed_key_is_refused() {
    let long = "k".repeat(256);
    for sent in [
        "",
        r#""""#,
        r#"""#,
        r#""a"#,
        r#"a""#,
        r#"a"b"#,
        r#""a"b"#,
        r#""a"b""#,
        r#""a" "#,
        r#""a";p=1"#,
        r#""a", "b""#,
        r#""a\"#,
        r#""a\""#,
        r#""a\b""#,
        r#""\é""#,
        "a\tb",
        "\"a\tb\"",
        "a\u{7f}",
        "a\0",
        "ç",
        "\"ç\"",
        "\u{fffd}",
        &long,
        &format!("\"{long}\""),
    ] {
        assert_malformed(&[("idempotency-key", sent)]);
        // The proxy's `Galo-Try` does not replace it.
        assert_malformed(&[("idempotency-key", sent), ("galo-try", "a")]);
    }
    assert_malformed(&[("idempotency-key", "a"), ("idempotency-key", "a")]);
}

#[test]
fn without_a_key_the_try_of_the_proxy_counts_and_a_request_id_does_not() {
    for id in ["1705458881.217-444535f9378a3dfa1b8604bc9e05a303", "c:a"] {
        assert_chave(&[("galo-try", id)], &*["t:", id].concat());
        assert_chave(&[("galo-try", id), ("idempotency-key", "a")], "c:a");
    }
    assert_chave(&[("x-request-id", "a")], None::<&str>);
    assert_chave(&[("x-other", "a")], None::<&str>);
}

#[test]
fn a_malformed_key_comes_after_the_id_and_before_the_body() {
    for (id, status) in [("1", 400), ("6", 400), ("01", 404), ("2147483648", 404)] {
        for sent in [body("1", r#""c""#, r#""x""#), String::new()] {
            let mut request = test::post("/clientes/x/transacoes", &[("id", id)], sent);
            request.headers = test::fields(&[("idempotency-key", "")]);
            let error = if status == 400 { MALFORMED_KEY } else { NOT_FOUND };
            test::assert_error(&test::reply(Transacoes::prepare(&request)), status, error);
        }
    }
}

fn decided(resultado: &str) -> Rows {
    test::rows(["resultado", "limite", "saldo"], [[resultado.into(), 100_000.into(), (-9098).into()]])
}

#[test]
fn every_outcome_has_its_answer() {
    let carry = prepare(body("1", r#""c""#, r#""x""#)).carry;
    let respond = |rows| Transacoes::respond(&carry, &rows).unwrap();
    test::assert_json(&respond(decided("ok")), 200, r#"{"limite":100000,"saldo":-9098}"#);
    test::assert_error(&respond(decided("limite_excedido")), 422, "a transação passaria do limite");
    test::assert_error(&respond(decided("saldo_fora_da_faixa")), 422, "o saldo sairia da faixa permitida");
    let reused = respond(decided("chave_reutilizada"));
    test::assert_error(&reused, 422, "a chave de idempotência já foi usada em outra transação");
    // A client that does not exist has no balance.
    let nobody =
        test::rows(["resultado", "limite", "saldo"], [["cliente_inexistente".into(), Value::Null, Value::Null]]);
    test::assert_error(&respond(nobody), 404, NOT_FOUND);
}

#[test]
fn a_procedure_of_another_shape_is_an_error() {
    let respond = |rows: Rows| -> Result<Response, UnexpectedRows> { Transacoes::respond(b"", &rows) };
    for (rows, error) in [
        (test::rows(["resultado"], []), "the procedure returned no row"),
        (test::rows(["x"], [["ok".into()]]), "the procedure returned no column resultado"),
        (decided("talvez"), "column resultado has the unexpected value talvez"),
        (
            test::rows(["resultado", "limite", "saldo"], [["ok".into(), 1.into(), Value::Null]]),
            "column saldo should be integer and is null",
        ),
    ] {
        assert_eq!(respond(rows).unwrap_err().to_string(), error);
    }
}
