//! The call and the answers, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, test};

use crate::Greeting;

#[test]
fn a_request_becomes_one_call() {
    let call = test::call(Greeting::prepare(&test::get("/greetings/1", &[("id", "1")])));
    assert_eq!((call.procedure.as_str(), call.arguments), ("greeting", vec![1.into()]));
}

#[test]
fn what_is_not_a_number_is_not_found() {
    for id in ["x", "-1", "01", "2147483648"] {
        let reply = test::reply(Greeting::prepare(&test::get("/greetings/1", &[("id", id)])));
        test::assert_error(&reply, 404, "no such greeting");
    }
}

#[test]
fn the_row_is_the_answer() {
    let rows = test::rows(["text"], [["hello".into()]]);
    let response = Greeting::respond(b"", &rows).unwrap();
    assert_eq!((response.status, test::text(&response)), (200, r#"{"text":"hello"}"#));
}
