//! The format of a record: one JSON object, version [`FORMAT`]. Records of earlier versions stay readable; there is a
//! golden file for each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cell::{Blob, Cell};
use super::times::{Times, Why};

/// The version that is written.
pub const FORMAT: u32 = 1;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this format.
    pub format: u32,
    /// The version of the contract that the guest was called by, such as `2.0`.
    pub contract: String,
    /// The handler.
    pub handler: String,
    /// The generation that decided.
    pub generation: u64,
    /// The sha256 of its component.
    pub sha256: String,
    /// The digest of the signature of the procedure that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Why it was kept.
    pub why: Why,
    /// The trace that the request belongs to: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What was taken out, such as `request.claims`. Where this is not empty, a component cannot be compared with the
    /// stored answer, only with another component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// The request, as the guest saw it.
    pub request: Request,
    /// What `prepare` decided; absent when it faulted or was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// How the call ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The first fault of a guest, also if another generation finished the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What was answered.
    pub response: Response,
    /// The stable code of the failure that the host answered, such as `unavailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How long the phases took.
    pub times: Times,
    /// How many calls went in the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
}

/// Names with values, in order.
pub(super) type Pairs = Vec<(String, String)>;

/// A request of the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the WIT file documents every field")]
pub struct Request {
    pub method: String,
    pub path: String,
    pub route: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Pairs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Pairs,
    pub body: Blob,
    pub id: String,
    pub now: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Pairs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
}

/// What `prepare` decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// To reply without a call: with the response of the record.
    Reply,
    /// To call a procedure.
    Call(Called),
}

/// A call of a procedure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// Its name.
    pub procedure: String,
    /// Its arguments.
    pub arguments: Vec<Cell>,
    /// What `respond` got of `prepare`.
    pub carry: Blob,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With rows.
    Rows(Rows),
    /// With the error that the procedure raised.
    Error(DatabaseError),
}

/// The rows of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The values, row by row.
    pub values: Vec<Cell>,
}

/// An error that a procedure raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the WIT file documents every field")]
pub struct DatabaseError {
    pub sqlstate: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
}

/// A response as it was sent, and the lines for the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the WIT file documents every field")]
pub struct Response {
    pub status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Pairs,
    pub body: Blob,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Pairs,
}

/// Why a line is not a record that can be used.
#[derive(Debug)]
pub enum Unreadable {
    /// It is of a later version than this program knows.
    Later {
        /// The version.
        format: u32,
    },
    /// It is not a record.
    Malformed(serde_json::Error),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later { format } => {
                write!(f, "the record has format {format}, this program reads up to {FORMAT}: use a later galo")
            }
            // It is one line, whose number in its file is known elsewhere.
            Self::Malformed(error) => {
                write!(f, "not a record: {}", error.to_string().replace(" at line 1 column ", " at column "))
            }
        }
    }
}

impl std::error::Error for Unreadable {}

impl Record {
    /// Reads one line.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn parse(line: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_str(line).map_err(Unreadable::Malformed)?;
        if format > FORMAT {
            return Err(Unreadable::Later { format });
        }
        serde_json::from_str(line).map_err(Unreadable::Malformed)
    }

    /// One line, without its end.
    pub fn line(&self) -> String {
        // No map with keys other than texts, and no number that JSON lacks: writing does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
