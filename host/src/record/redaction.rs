//! What is taken out of a record before it is kept: claims and credentials always, secrets of the `config`, and what
//! the manifest names.

use super::format::Record;

/// What stands for something that was taken out.
const REDACTED: &str = "(redacted)";

/// Headers that are credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// What must not be kept of the requests of a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    /// The names of the values of `config` that are secrets.
    pub secrets: Vec<String>,
    /// The names of further headers, in lower case.
    pub headers: Vec<String>,
}

impl Redaction {
    /// Takes it out, and notes what was.
    pub(super) fn apply(&self, record: &mut Record) {
        let mut redacted = Vec::new();
        if let Some(claims) = &mut record.request.claims {
            *claims = "{}".to_owned();
            redacted.push("request.claims".to_owned());
        }
        for (name, value) in &mut record.request.config {
            if self.secrets.contains(name) {
                *value = REDACTED.to_owned();
                redacted.push(format!("request.config.{name}"));
            }
        }
        for (part, headers) in [("request", &mut record.request.headers), ("response", &mut record.response.headers)] {
            for (name, value) in headers {
                if CREDENTIALS.contains(&name.as_str()) || self.headers.contains(name) {
                    *value = REDACTED.to_owned();
                    redacted.push(format!("{part}.headers.{name}"));
                }
            }
        }
        record.redacted = redacted;
    }
}
