//! The call of `products` and the answers, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, test};

use crate::Products;

#[test]
fn a_request_becomes_one_call() {
    let call = test::call(Products::prepare(&test::get("/products", &[])));
    assert_eq!((call.procedure.as_str(), call.arguments), ("products", vec![]));
}

#[test]
fn all_rows_are_the_answer() {
    let rows = test::rows(["name"], [["chair".into()], ["table".into()]]);
    let response = Products::respond(b"", &rows).unwrap();
    test::assert_json(&response, 200, r#"[{"name":"chair"},{"name":"table"}]"#);
}
