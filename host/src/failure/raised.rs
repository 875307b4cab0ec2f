//! An error that a procedure raised, and the answer to one that the handler leaves to the host: by its SQLSTATE, as
//! `wit/handler.wit` and docs/handlers.md list it. No text of Postgres reaches a client, except the message of a
//! `PTxyz`, which a procedure writes for clients.

use std::fmt;

use http::StatusCode;

use super::{Code, Failure};
use crate::contract::{DatabaseError, Outcome, Rows};

/// An error that a procedure raised. Its statement was rolled back.
#[derive(Debug, Clone)]
pub struct Raised {
    /// The procedure's name.
    pub procedure: String,
    /// What Postgres reported.
    pub error: DatabaseError,
}

/// The outcome of a call, for `respond`: its rows, or the error that the procedure raised.
///
/// # Errors
/// Every other failure.
pub fn outcome_of(called: Result<Rows, Failure>) -> Result<Outcome, Failure> {
    match called {
        Ok(rows) => Ok(Outcome::Rows(rows)),
        Err(Failure::Raised(raised)) => Ok(Outcome::Error(raised.error)),
        Err(failure) => Err(failure),
    }
}

impl Raised {
    /// The code that the client reads, unless the procedure has chosen the status.
    pub(super) fn code(&self) -> Code {
        match (self.error.sqlstate.as_str(), self.error.sqlstate.get(..2)) {
            ("23503" | "23505" | "23P01", _) => Code::Conflict,
            ("23502" | "23514", _) => Code::ConstraintViolated,
            ("42501", _) => Code::Forbidden,
            (_, Some("22")) => Code::InvalidValue,
            _ => Code::InternalError,
        }
    }

    /// The status that the procedure has chosen: `RAISE SQLSTATE 'PT404'` is a 404. As PostgREST has it, but only for
    /// statuses of errors.
    pub fn chosen(&self) -> Option<StatusCode> {
        let digits = self.error.sqlstate.strip_prefix("PT")?;
        let status = digits.parse().ok().filter(|status| (400..=599).contains(status))?;
        StatusCode::from_u16(status).ok()
    }
}

/// For the log.
impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { procedure, error: DatabaseError { sqlstate, message, .. } } = self;
        write!(f, "procedure {procedure} failed: {sqlstate}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn raised(sqlstate: &str) -> Raised {
        let (sqlstate, message) = (sqlstate.to_owned(), "secret".to_owned());
        Raised { procedure: "f".to_owned(), error: DatabaseError { sqlstate, message, detail: None, constraint: None } }
    }

    #[test]
    fn an_error_is_answered_by_its_sqlstate() {
        for (sqlstate, status, code) in [
            ("22P02", 400, Code::InvalidValue),
            ("22003", 400, Code::InvalidValue),
            ("23502", 422, Code::ConstraintViolated),
            ("23503", 409, Code::Conflict),
            ("23P01", 409, Code::Conflict),
            ("23505", 409, Code::Conflict),
            ("23514", 422, Code::ConstraintViolated),
            ("42501", 403, Code::Forbidden),
            ("42P01", 500, Code::InternalError),
            ("P0001", 500, Code::InternalError),
            ("XX000", 500, Code::InternalError),
        ] {
            let failure = Failure::Raised(Box::new(raised(sqlstate)));
            assert_eq!((failure.status().as_u16(), failure.code()), (status, code), "{sqlstate}");
        }
    }

    #[test]
    fn a_procedure_chooses_the_status_of_an_error_only() {
        for (sqlstate, status) in [
            ("PT400", Some(400)),
            ("PT404", Some(404)),
            ("PT599", Some(599)),
            ("PT200", None),
            ("PT399", None),
            ("PT600", None),
            ("PT+44", None),
            ("PTabc", None),
            ("PT", None),
            ("P0404", None),
        ] {
            let chosen = raised(sqlstate).chosen().map(|status| status.as_u16());
            assert_eq!(chosen, status, "{sqlstate}");
            let label = Failure::Raised(Box::new(raised(sqlstate))).label();
            assert_eq!(label, if status.is_some() { "raised" } else { "internal_error" }, "{sqlstate}");
            let expected = status.unwrap_or(500);
            assert_eq!(Failure::Raised(Box::new(raised(sqlstate))).status().as_u16(), expected, "{sqlstate}");
        }
    }
}
