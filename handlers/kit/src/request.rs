//! Reading a request: its path parameters and headers by name.
//!
//! It panics when a handler asks for a parameter that its route does not have: the mistake is in the manifest, not in
//! the request.

use crate::panic::refuse;
use crate::{Field, Request};

impl Request {
    /// A parameter of the route, percent-decoded.
    ///
    /// # Panics
    /// When the route of the manifest has no parameter of this name.
    pub fn parameter(&self, name: &str) -> &str {
        match find(&self.parameters, name) {
            Some(value) => value,
            None => refuse(format_args!("the route has no parameter {name}")),
        }
    }

    /// A parameter of the route that is a plain decimal number: digits only, no leading zero, at most `i64::MAX`.
    ///
    /// # Panics
    /// When the route of the manifest has no parameter of this name.
    pub fn decimal(&self, name: &str) -> Option<i64> {
        decimal(self.parameter(name))
    }

    /// The first header of this name, which is lower case. Only headers that the manifest lists are passed on.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.name == name).map(|field| field.value.as_str())
}

fn decimal(text: &str) -> Option<i64> {
    // `parse` accepts a sign and leading zeros, which would give one client many addresses.
    match text.as_bytes() {
        b"0" => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decimal;
    use crate::test;

    #[test]
    fn a_number_has_only_one_spelling() {
        for (text, number) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("105", Some(105)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("10000000000000000000", None),
            ("", None),
            ("abc", None),
            ("1.0", None),
            ("1e2", None),
            ("-1", None),
            ("+1", None),
            ("01", None),
            ("00", None),
            (" 1", None),
            ("1 ", None),
            ("1_0", None),
            ("0x1", None),
            ("١", None),
        ] {
            assert_eq!(decimal(text), number, "{text:?}");
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        let request = test::get("/a/1/b/x", &[("a", "1"), ("b", "x")]);
        assert_eq!(request.parameter("b"), "x");
        assert_eq!(request.decimal("a"), Some(1));
    }

    #[test]
    #[should_panic(expected = "the route has no parameter id")]
    fn a_parameter_that_the_route_lacks_is_a_mistake_of_the_manifest() {
        test::get("/a", &[]).parameter("id");
    }

    #[test]
    fn the_first_header_of_a_name_counts() {
        let mut request = test::get("/", &[]);
        request.headers = test::fields(&[("x-a", "1"), ("x-a", "2")]);
        assert_eq!(request.header("x-a"), Some("1"));
        assert_eq!(request.header("x-b"), None);
    }
}
