//! The token of a request, where the handler checks it itself, or has its procedure check it: an API key, a session.
//! Tokens that are signed are checked by the host, see `Request::claims`.

use crate::{Part, Rejection, Request};

impl Request {
    /// The token of `Authorization: Bearer …`. The manifest must list the header `authorization`.
    ///
    /// ```
    /// use galo_kit::{Plan, Request, Response, test};
    ///
    /// fn plan(request: &Request) -> Result<Plan, Response> {
    ///     Ok(Plan::call("orders_of", [request.bearer()?.into()], ""))
    /// }
    ///
    /// let request = test::get("/orders", &[]);
    /// assert_eq!(plan(&request).unwrap_err().status, 401);
    /// let call = test::call(plan(&request.with_header("authorization", "Bearer k-123")).into());
    /// assert_eq!(call.arguments, ["k-123".into()]);
    /// ```
    ///
    /// # Errors
    /// When there is none, or another scheme (401).
    pub fn bearer(&self) -> Result<&str, Rejection> {
        let header = self.header("authorization").unwrap_or_default();
        let (scheme, token) = header.split_once(' ').unwrap_or_default();
        let token = token.trim_start_matches(' ');
        // RFC 6750, section 2.1.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(is_token) {
            return Ok(token);
        }
        Err(Rejection::new(Part::Token, "", "Authorization: Bearer and a token"))
    }
}

#[cfg(test)]
mod tests {
    use crate::test;

    #[test]
    fn only_a_bearer_token_counts() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  a.b-c_d~e+f/g==", Some("a.b-c_d~e+f/g==")),
            ("BEARER x", Some("x")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer a b", None),
            ("Bearer a,Bearer b", None),
            ("Basic abc", None),
            ("Bearerabc", None),
            ("", None),
        ] {
            let request = test::get("/", &[]).with_header("authorization", header);
            assert_eq!(request.bearer().ok(), token, "{header}");
        }
        assert_eq!(test::get("/", &[]).bearer().unwrap_err().status, 401);
    }
}
