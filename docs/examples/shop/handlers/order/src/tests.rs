//! The call of `order_by_id` and the answers, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, test};

use crate::Order;

const NOT_FOUND: &str = "not found";

#[test]
fn a_request_becomes_one_call() {
    let request = test::request("GET", "/orders/1", &[("id", "1")], "");
    let call = test::call(Order::prepare(&request));
    assert_eq!((call.procedure.as_str(), call.arguments), ("order_by_id", vec![1.into()]));
}

#[test]
fn a_parameter_that_is_not_an_integer_is_not_found() {
    for parameter in ["x", "-1", "01", "2147483648"] {
        let request = test::request("GET", "/orders/1", &[("id", parameter)], "");
        test::assert_error(&test::reply(Order::prepare(&request)), 404, NOT_FOUND);
    }
}

#[test]
fn the_first_row_is_the_answer() {
    let rows = test::rows(["name", "total"], [["a".into(), 1.into()], ["b".into(), 2.into()]]);
    let response = Order::respond(b"", &rows).unwrap();
    assert_eq!((response.status, test::text(&response)), (200, r#"{"name":"a","total":1}"#));
}

#[test]
fn no_row_is_not_found() {
    test::assert_error(&Order::respond(b"", &test::rows(["total"], [])).unwrap(), 404, NOT_FOUND);
}
