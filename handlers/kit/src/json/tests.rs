//! What the reader of bodies accepts and what it refuses, one row each.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;

fn text(text: &str) -> Member<'_> {
    Member::Text(Cow::Borrowed(text))
}

#[test]
fn a_member_is_classified_by_its_type() {
    for (value, member) in [
        ("1", Member::Integer(1)),
        ("0", Member::Integer(0)),
        ("-1", Member::Integer(-1)),
        ("9223372036854775807", Member::Integer(i64::MAX)),
        ("-9223372036854775808", Member::Integer(i64::MIN)),
        ("9223372036854775808", Member::Other),
        ("18446744073709551616", Member::Other),
        ("1.0", Member::Other),
        ("1.2", Member::Other),
        ("1e2", Member::Other),
        ("1E2", Member::Other),
        ("-0", Member::Other),
        ("true", Member::Other),
        ("false", Member::Other),
        ("null", Member::Other),
        ("[]", Member::Other),
        ("[1,[2]]", Member::Other),
        ("{}", Member::Other),
        (r#"{"a":1,"a":2}"#, Member::Other),
        (r#""1""#, text("1")),
        (r#""""#, text("")),
        (r#"" a ""#, text(" a ")),
        (r#""ü\n\u00fc\ud83d\udc13""#, text("ü\nü🐓")),
        (r#""\u0000""#, text("\0")),
    ] {
        for body in [format!(r#"{{"a":{value}}}"#), format!(" {{ \"b\" : [ ] ,\n\"a\"\t: {value} }}\r\n")] {
            assert_eq!(object(body.as_bytes(), ["a"]), Ok([member.clone()]), "{body}");
        }
    }
}

#[test]
fn members_are_returned_in_the_order_of_the_names_and_may_be_missing() {
    let members = object(br#"{"b":2,"\u0061":1,"A":3}"#, ["a", "b", "c"]);
    assert_eq!(members, Ok([Member::Integer(1), Member::Integer(2), Member::Missing]));
    assert_eq!(object(b"{}", ["a"]), Ok([Member::Missing]));
}

#[test]
fn unknown_members_are_skipped() {
    for unknown in [r#"1e999"#, r#""\ud800""#, r#"{"a":1,"a":2}"#, "[[[{}]]]", "-0.0e-0", "null"] {
        let body = format!(r#"{{"x":{unknown},"a":1,"x":{unknown}}}"#);
        assert_eq!(object(body.as_bytes(), ["a"]), Ok([Member::Integer(1)]), "{body}");
    }
}

#[test]
fn a_known_member_may_appear_once() {
    for body in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":"x"}"#, r#"{"a":null,"a":1}"#, r#"{"a":1,"a":null}"#] {
        assert_eq!(object(body.as_bytes(), ["a", "b"]), Err(Malformed::Repeated), "{body}");
    }
}

#[test]
fn what_is_not_exactly_one_object_is_refused() {
    for body in [
        "",
        " ",
        "null",
        "1",
        "\"a\"",
        "[]",
        r#"[1,"c","x"]"#,
        r#"[{"a":1}]"#,
        "{",
        "}",
        r#"{"a""#,
        r#"{"a":"#,
        r#"{"a":1"#,
        r#"{"a":1,}"#,
        r#"{"a":1}}"#,
        r#"{"a":1}{"a":1}"#,
        r#"{"a":1} x"#,
        r#"{"a":1},"#,
        "{\"a\":1}\0",
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":.5}"#,
        r#"{"a":1.}"#,
        r#"{"a":1e}"#,
        r#"{"a":1e999}"#,
        r#"{"a":NaN}"#,
        r#"{"a":nul}"#,
        r#"{"a":"x}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"a":"\u12"}"#,
        "{\"a\":\"\n\"}",
        "{\"x\":\"\n\"}",
        r#"{"x":[}"#,
        r#"{"x":[1 2]}"#,
        "{\"a\":1}/**/",
        "\u{feff}{\"a\":1}",
        "\u{a0}{\"a\":1}",
        "\u{c}{\"a\":1}",
    ] {
        assert_eq!(object(body.as_bytes(), ["a"]), Err(Malformed::NotAnObject), "{body:?}");
    }
}

#[test]
fn invalid_utf_8_is_refused_wherever_it_is() {
    for body in
        [&b"{\"a\":\"\xff\"}"[..], b"{\"x\":\"\xff\"}", b"{\"\xc3\":1}", b"{\"a\":1}\xff", b"{\"x\":\"\xed\xa0\x80\"}"]
    {
        assert_eq!(object(body, ["a"]), Err(Malformed::NotAnObject), "{body:?}");
    }
}

#[test]
fn depth_costs_no_stack() {
    const DEEP: usize = 100_000;
    let arrays = ["[".repeat(DEEP), "]".repeat(DEEP)].concat();
    let objects = [r#"{"a":"#.repeat(DEEP), "1".to_string(), "}".repeat(DEEP)].concat();
    for deep in [arrays, objects] {
        assert_eq!(object(format!(r#"{{"x":{deep},"a":1}}"#).as_bytes(), ["a"]), Ok([Member::Integer(1)]));
        assert_eq!(object(format!(r#"{{"a":{deep}}}"#).as_bytes(), ["a"]), Ok([Member::Other]));
    }
    assert_eq!(object("[".repeat(DEEP).as_bytes(), ["a"]), Err(Malformed::NotAnObject));
    assert_eq!(object(r#"{"a":"#.repeat(DEEP).as_bytes(), ["a"]), Err(Malformed::NotAnObject));
}

#[test]
fn a_body_cut_anywhere_is_refused() {
    let body = r#"{"a":12,"x":[{"y":"\u00fc"}],"b":"ü"}"#;
    let whole: Vec<u8> = String::from(body).into_bytes();
    for end in 0..whole.len() {
        assert_eq!(object(&whole[..end], ["a", "b"]), Err(Malformed::NotAnObject), "cut at {end}");
    }
}
