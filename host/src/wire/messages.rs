//! The bodies of the answers that no handler made: a code for programs and, if the manifest has one, a text for
//! people. They are built once per manifest, and answers share them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::failure::{Code, cut};
use crate::limits;

/// A body for each code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages([Bytes; Code::COUNT]);

static PLAIN: LazyLock<Messages> = LazyLock::new(|| Messages::new(&BTreeMap::new()));

impl Messages {
    /// The bodies with these texts. A code without a text has no `message`.
    pub fn new(texts: &BTreeMap<Code, String>) -> Self {
        Self(Code::all().map(|code| {
            let message = texts.get(&code).map(|text| format!(",\"message\":{}", quoted(text))).unwrap_or_default();
            Bytes::from(format!("{{\"error\":\"{}\"{message}}}", code.as_str()))
        }))
    }

    /// The bodies without texts, used before a manifest is loaded and at the admin address.
    pub fn plain() -> &'static Self {
        &PLAIN
    }

    /// The body for a code.
    pub fn body(&self, code: Code) -> &Bytes {
        &self.0[code as usize]
    }
}

/// The body of the answer to a `PTxyz`: the procedure wrote its message for clients.
pub(super) fn raised(message: &str) -> Bytes {
    let message = serde_json::Value::from(cut(message, limits::RAISED_BYTES_MAX));
    Bytes::from(format!("{{\"error\":\"raised\",\"message\":{message}}}"))
}

/// A text as a JSON string. A `$` is written as `\u0024`, because nginx answers with the same bytes and its
/// configuration has no escape for `$`.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('$', "\\u0024")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_with_the_code_and_the_text() {
        let text = "\"no\" \\ 'such' $path; {ü} </script>";
        let messages = Messages::new(&BTreeMap::from([(Code::NotFound, text.to_owned())]));
        let body: serde_json::Value = serde_json::from_slice(messages.body(Code::NotFound)).unwrap();
        assert_eq!(body, serde_json::json!({ "error": "not_found", "message": text }));
        assert!(!messages.body(Code::NotFound).contains(&b'$'));
        assert_eq!(messages.body(Code::Unavailable), r#"{"error":"unavailable"}"#);
        assert_eq!(Messages::plain().body(Code::NotFound), r#"{"error":"not_found"}"#);
    }
}
