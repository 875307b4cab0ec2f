//! What JSON is read as, and what is said about what is refused.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;

use super::passing::DEPTH_MAX;
use super::*;
use crate::{Date, Decimal, Timestamp, Uuid};

#[derive(Deserialize, Debug, PartialEq)]
struct Order {
    customer: Uuid,
    day: Date,
    at: Option<Timestamp>,
    #[serde(default)]
    paid: bool,
    items: Vec<Item>,
    payment: Payment,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Item {
    name: String,
    quantity: u32,
    price: Decimal,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Payment {
    Cash,
    Card { number: String },
    Voucher(u8),
}

const ORDER: &str = r#"{"customer":"8e03978e-40d5-43dd-bc93-6894a57f9324","day":"2024-02-29","at":null,"paid":true,
    "items":[{"name":"pen","quantity":2,"price":0.10},{"name":"ink","quantity":1,"price":"7"}],"payment":"cash","x":[{}]}"#;

/// The path and the expectation of the problem.
#[track_caller]
fn problem<'a, T: Deserialize<'a>>(text: &'a str) -> (String, String) {
    let Err(problem) = read::<T>(text.as_bytes()) else { panic!("{text} was accepted") };
    let (path, expected) = problem.into_parts();
    (path, expected.into_owned())
}

/// The problem of the order with one piece replaced.
#[track_caller]
fn with(piece: &str, other: &str) -> (String, String) {
    assert!(ORDER.contains(piece), "{piece}");
    problem::<Order>(&ORDER.replacen(piece, other, 1))
}

#[test]
fn a_struct_is_read() {
    let order: Order = read(ORDER.as_bytes()).unwrap();
    assert_eq!(order.items[0].price.as_str(), "0.10");
    assert_eq!((order.items[1].name.as_str(), order.paid, order.at, order.payment), ("ink", true, None, Payment::Cash));
    for (payment, read_as) in [
        (r#"{"card":{"number":"1"}}"#, Payment::Card { number: "1".into() }),
        (r#"{"voucher":7}"#, Payment::Voucher(7)),
        (r#"{"cash":null}"#, Payment::Cash),
    ] {
        let order: Order = read(ORDER.replace("\"cash\"", payment).as_bytes()).unwrap();
        assert_eq!(order.payment, read_as);
    }
}

#[test]
fn a_problem_has_a_path_and_what_was_expected() {
    for ((piece, other), (path, expected)) in [
        (("\"quantity\":1", "\"quantity\":-1"), ("items[1].quantity", "an integer from 0 to 4294967295")),
        (("\"quantity\":1", "\"quantity\":1.5"), ("items[1].quantity", "an integer from 0 to 4294967295")),
        (("\"quantity\":1", "\"quantity\":4294967296"), ("items[1].quantity", "an integer from 0 to 4294967295")),
        (("\"quantity\":1", "\"quantity\":\"1\""), ("items[1].quantity", "an integer from 0 to 4294967295")),
        (("\"quantity\":1,", ""), ("items[1].quantity", "a value, and it is missing")),
        (("\"quantity\":1", "\"name\":\"x\""), ("items[1].name", "one value, and there are several")),
        (("\"ink\"", "7"), ("items[1].name", "a string")),
        (("\"ink\"", "null"), ("items[1].name", "a string")),
        (("\"ink\"", r#""\u0000""#), ("items[1].name", "a string without U+0000")),
        (("0.10", "1e3"), ("items[0].price", "a decimal number such as 12.50")),
        (("0.10", "{}"), ("items[0].price", "a decimal number such as 12.50")),
        (("2024-02-29", "2023-02-29"), ("day", "a date such as 2024-02-29")),
        (("\"at\":null", "\"at\":0"), ("at", "a timestamp such as 2024-01-17T02:34:41Z")),
        (("8e03978e-", ""), ("customer", "a UUID")),
        (("true", "1"), ("paid", "true or false")),
        (("\"items\":[{", "\"items\":[[],{"), ("items[0]", "an object")),
        (("\"items\":[", "\"items\":{\"a\":1},\"other\":["), ("items", "an array")),
        (("\"cash\"", "\"check\""), ("payment", "one of cash, card, voucher")),
        (("\"cash\"", "7"), ("payment", "a string, or an object with one member")),
        (("\"cash\"", "{}"), ("payment", "a string, or an object with one member")),
        (("\"cash\"", "\"voucher\""), ("payment", "an object")),
        (("\"cash\"", r#"{"voucher":256}"#), ("payment.voucher", "an integer from 0 to 255")),
        (("\"cash\"", r#"{"card":{"number":1}}"#), ("payment.card.number", "a string")),
    ] {
        assert_eq!(with(piece, other), (path.into(), expected.into()), "{other}");
    }
}

#[test]
fn types_are_described_in_words_of_json() {
    assert_eq!(problem::<i64>("1.5").1, "an integer");
    assert_eq!(problem::<f64>("\"1\"").1, "a number");
    assert_eq!(problem::<()>("1").1, "null");
    assert_eq!(problem::<char>("\"ab\"").1, "one character");
    assert_eq!(problem::<(u8, u8)>("[1]").1, "a tuple of size 2");
    assert_eq!(problem::<core::num::NonZeroU8>("0").1, "an integer from 1");
    assert_eq!(problem::<BTreeMap<String, u8>>("[]").1, "an object");
    assert_eq!(problem::<Order>("[]").1, "an object");
    assert_eq!(problem::<Order>("1").1, "an object");
}

#[test]
fn names_of_members_can_be_numbers_and_are_part_of_the_path() {
    let read_as: BTreeMap<i64, bool> = read(br#"{"-7":true,"\u0031":false}"#).unwrap();
    assert_eq!(read_as, BTreeMap::from([(-7, true), (1, false)]));
    assert_eq!(problem::<BTreeMap<i64, bool>>(r#"{"1":true,"x":true}"#), ("x".into(), "an integer".into()));
    assert_eq!(problem::<BTreeMap<String, bool>>(r#"{"\u0061":1}"#), ("a".into(), "true or false".into()));
}

#[test]
fn unknown_members_are_skipped_or_named() {
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[expect(dead_code, reason = "only its name matters")]
        a: u8,
    }
    assert_eq!(problem::<Strict>(r#"{"a":1,"b":2}"#), ("b".into(), "no field but a".into()));
}

#[test]
fn what_is_not_json_is_malformed() {
    for text in ["", "{", r#"{"a":1,}"#, r#"{"a":1} x"#, "nul", "'a'", "1 2", "\u{feff}1"] {
        let problem = read::<IgnoredAny>(text.as_bytes()).unwrap_err();
        assert!(problem.malformed, "{text}");
        let (path, expected) = problem.into_parts();
        assert!(path.is_empty() && expected.starts_with("JSON: "), "{path} {expected}");
    }
    assert!(read::<IgnoredAny>(b"\"\xff\"").unwrap_err().malformed);
    assert!(read::<String>(br#""\ud800""#).unwrap_err().malformed);
    for end in 0..ORDER.len() {
        assert!(read::<Order>(&ORDER.as_bytes()[..end]).unwrap_err().malformed, "cut at {end}");
    }
    assert_eq!(problem::<u8>("[1"), (String::new(), "an integer from 0 to 255".into()));
    assert_eq!(problem::<Vec<u8>>("[1"), (String::new(), "JSON: EOF while parsing a list at line 1 column 2".into()));
}

#[test]
fn a_text_is_borrowed_and_a_part_can_stay_json() {
    #[derive(Deserialize)]
    struct Event<'a> {
        name: &'a str,
        #[serde(borrow)]
        data: &'a RawValue,
        numbers: Box<RawValue>,
    }
    let event: Event<'_> = read(br#"{"name":"x","data":{ "a": [1.10] },"numbers":[]}"#).unwrap();
    assert_eq!((event.name, event.data.get(), event.numbers.get()), ("x", r#"{ "a": [1.10] }"#, "[]"));
}

#[test]
fn types_that_buffer_are_read_too() {
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(tag = "kind")]
    enum Shape {
        Circle { radius: u32 },
    }
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, Either>,
    }
    assert_eq!(read::<Shape>(br#"{"radius":1,"kind":"Circle"}"#).unwrap(), Shape::Circle { radius: 1 });
    let flat: Flat = read(br#"{"a":1,"b":"x","c":2}"#).unwrap();
    assert_eq!(flat.rest["b"], Either::Text("x".into()));
    assert_eq!(flat.rest["c"], Either::Number(2));
    assert_eq!(problem::<Shape>(r#"{"radius":1,"kind":"Square"}"#).1, "one of Circle");
}

#[test]
fn what_is_skipped_may_be_deep_and_what_is_read_may_not() {
    const DEEP: usize = 100_000;
    let deep = ["[".repeat(DEEP), "]".repeat(DEEP)].concat();
    #[derive(Deserialize)]
    struct Shallow {
        a: u8,
    }
    assert_eq!(read::<Shallow>(format!(r#"{{"x":{deep},"a":1}}"#).as_bytes()).unwrap().a, 1);
    #[derive(Deserialize)]
    struct Nested(#[expect(dead_code, reason = "only its depth matters")] Vec<Nested>);
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(read::<Nested>(nested(DEPTH_MAX).as_bytes()).is_ok());
    let (path, expected) = problem::<Nested>(&nested(DEPTH_MAX + 1));
    assert_eq!((path.len(), expected), (DEPTH_MAX * 3, "at most 16 levels".to_string()));
}
