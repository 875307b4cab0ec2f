//! What comes with a request to the admin address: its body, within its bound, and the fields of a query or a form.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

use super::api::denied::Denied;
use crate::limits;
use crate::log::escaped;
use crate::registry::Who;
use crate::report::Reason;
use crate::wire::Incoming;

/// Reads the body.
pub(super) async fn read(incoming: Incoming) -> Result<Bytes, Denied> {
    let body = incoming.into_body();
    let (patience, most) = (body.timeout(), limits::ADMIN_BODY_BYTES_MAX);
    let late = |_| Denied::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let read = timeout(patience, Limited::new(body, most).collect()).await.map_err(late)?;
    let broken = |error| {
        Denied::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body broke off or has over {most} bytes: {error}"))
    };
    Ok(read.map_err(broken)?.to_bytes())
}

/// A request that does not say who asks, or why.
pub(super) fn unnamed() -> Reason {
    Reason { who: Who::admin().to_string(), why: "requested at the admin address".to_owned() }
}

/// Names with values, as a query or a form has them.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Of a query, or of the body of a form.
    pub(super) fn of_query(text: &str) -> Self {
        Self::of_form(text.as_bytes())
    }

    pub(super) fn of_form(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The first value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }

    /// All names with their values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Refuses names that are not among these: a misspelled one would be ignored, and the answer another one.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Denied> {
        match self.pairs().find(|(name, _)| !names.contains(name)) {
            None => Ok(()),
            Some((unknown, _)) if names.is_empty() => {
                Err(Denied::bad(format!("unknown parameter `{}`: there are none", escaped(unknown))))
            }
            Some((unknown, _)) => {
                let known = names.join("`, `");
                Err(Denied::bad(format!("unknown parameter `{}`: use `{known}`", escaped(unknown))))
            }
        }
    }

    /// Who asks, and why: `who` and `why`.
    pub(super) fn reason(&self) -> Reason {
        let given = |name| self.get(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let unnamed = unnamed();
        Reason { who: given("who").unwrap_or(unnamed.who), why: given("why").unwrap_or(unnamed.why) }
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Denied> {
        let wrong = |text: &str| Denied::bad(format!("`{name}`: `{}` is not a whole number", escaped(text)));
        self.get(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }
}
