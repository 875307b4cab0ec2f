//! The claims that a handler gets of a request's token. A token that is there must be good, also where none is
//! required: a client whose token has expired is told so, and not served as somebody unknown.

use http::HeaderMap;

use crate::admission::Admission;
use crate::failure::Failure;
use crate::manifest::Claims;
use crate::token::{self, Refused, Verifier};

/// The claims of the token in these headers. `now` is in microseconds since 1970.
///
/// # Errors
/// [`Failure::Unauthorized`]: there is none and one is required, or it is not accepted. [`Failure::Shed`]: too many
/// requests are in flight to verify it.
pub(super) fn of(
    granted: Claims,
    verifier: Option<&Verifier>,
    admission: &Admission,
    headers: &HeaderMap,
    now: i64,
) -> Result<Option<String>, Failure> {
    let claims = match token::bearer(headers) {
        Ok(Some(token)) => {
            // A signature costs as much as a call of a guest. The place is free again while the body arrives.
            let _permit = admission.admit()?;
            // Unreachable for a node: its manifest is refused if it grants claims without a section [token].
            verifier.ok_or(Refused::NoKey).and_then(|verifier| verifier.claims(token, now)).map(Some)
        }
        Ok(None) if granted == Claims::Required => Err(Refused::Absent),
        Ok(None) => Ok(None),
        Err(refused) => Err(refused),
    };
    claims.map_err(|refused| Failure::Unauthorized {
        challenge: refused.challenge(),
        cause: refused.cause(),
        is_notable: refused.concerns_operator(),
    })
}
