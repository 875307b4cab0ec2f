//! Cross-origin requests: the section `[cors]` of the manifest, the headers of CORS, and the refusal of requests that
//! pages of other sites send without a preflight. CORS itself is enforced only by browsers.
//!
//! `manifest` creates it and `request` uses it for every answer.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The section `[cors]` of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The origins whose pages may read answers and send requests that change something.
    pub origins: Origins,
    /// Whether they may do so with cookies and client certificates; never for any origin.
    pub credentials: bool,
    /// The request headers they may set, as the answer to a preflight has them: `content-type, idempotency-key`.
    pub headers: Option<HeaderValue>,
    /// The headers of an answer that they may read beyond those that CORS allows always.
    pub exposed_headers: Option<HeaderValue>,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// The origins of `[cors]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `*`
    Any,
    /// These, as browsers write them: `https://shop.example`.
    These(Vec<HeaderValue>),
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("access-control-request-method, access-control-request-headers");

impl Cors {
    /// Adds the headers from which a browser learns whether the requesting page may read the answer. Only the section
    /// decides: headers of this kind set by a handler are removed.
    pub fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        for decided in [&ACCESS_CONTROL_ALLOW_ORIGIN, &ACCESS_CONTROL_ALLOW_CREDENTIALS, &ACCESS_CONTROL_EXPOSE_HEADERS]
        {
            answer.remove(decided);
        }
        if matches!(self.origins, Origins::These(_)) {
            // `Vary` is also needed without an Origin, because a cache must not give this answer to a page.
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = self.answer_to(request) else { return };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(exposed) = &self.exposed_headers {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// Answers a preflight for a path with these methods, without the headers that [`Cors::mark`] adds.
    pub fn preflight(&self, request: &HeaderMap, methods: &HeaderValue, answer: &mut HeaderMap) {
        answer.append(VARY, PREFLIGHT_VARY);
        if self.answer_to(request).is_none() {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        if let Some(headers) = &self.headers {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age.as_secs()));
    }

    /// The value of `Access-Control-Allow-Origin`, when the request is of a page whose origin is allowed.
    fn answer_to(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = only(request, &ORIGIN)?;
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(origins) => origins.iter().find(|allowed| *allowed == origin).cloned(),
        }
    }

    fn invites(&self, request: &HeaderMap) -> bool {
        self.origins == Origins::Any || self.answer_to(request).is_some()
    }

    /// Directives for nginx's context `server` that set `$cors_origin` and `$cors_credentials` for its own answers:
    /// their `Access-Control-Allow-Origin` and `Access-Control-Allow-Credentials`.
    pub fn nginx(&self) -> String {
        let credentials = if self.credentials { " set $cors_credentials true;" } else { "" };
        match &self.origins {
            Origins::Any => "if ($http_origin) { set $cors_origin \"*\"; }\n".to_owned(),
            Origins::These(these) => {
                let lines = these.iter().filter_map(|origin| origin.to_str().ok()).map(|origin| {
                    // An origin has neither quotes nor `$`.
                    format!("if ($http_origin = \"{origin}\") {{ set $cors_origin $http_origin;{credentials} }}\n")
                });
                lines.collect()
            }
        }
    }
}

/// Whether a request is a preflight of a browser.
pub fn is_preflight(head: &Parts) -> bool {
    let has = |name| head.headers.contains_key(name);
    head.method == Method::OPTIONS && has(&ORIGIN) && has(&ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a request would change something and comes from a page of another origin that is not allowed, e.g. a form or
/// a fetch without a preflight. Only browsers send the headers that show this.
pub fn is_uninvited(head: &Parts, cors: Option<&Cors>) -> bool {
    let Parts { method, headers, .. } = head;
    if method.is_safe() {
        return false;
    }
    let foreign = match headers.get(SEC_FETCH_SITE) {
        // `none` means that the user started the request, not a page.
        Some(_) => !headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none"),
        // Browsers omit `Sec-Fetch-Site` when the address is neither https nor on the local machine.
        None => !headers.get_all(ORIGIN).iter().all(|origin| is_own(origin, head)),
    };
    foreign && !cors.is_some_and(|cors| cors.invites(headers))
}

/// Whether an origin is that of the requested host. The scheme is not compared, because TLS ends at the proxy.
fn is_own(origin: &HeaderValue, head: &Parts) -> bool {
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let asked = only(&head.headers, &HOST).and_then(|host| host.to_str().ok());
    host.zip(asked).is_some_and(|(host, asked)| host.eq_ignore_ascii_case(asked))
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "https://shop.example";

    type Headers<'a> = [(&'a str, &'a str)];

    fn head(method: &str, headers: &Headers) -> Parts {
        let request = http::Request::builder().method(method).uri("/a");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn cors(origins: &[&'static str], credentials: bool) -> Cors {
        let origins = match origins {
            ["*"] => Origins::Any,
            these => Origins::These(these.iter().map(|origin| HeaderValue::from_static(origin)).collect()),
        };
        let list = HeaderValue::from_static;
        Cors {
            origins,
            credentials,
            headers: Some(list("content-type")),
            exposed_headers: Some(list("x-total")),
            max_age: Duration::from_secs(600),
        }
    }

    fn marked(cors: &Cors, request: &Headers) -> HeaderMap {
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://of-the-handler.example"));
        answer.insert(VARY, HeaderValue::from_static("accept"));
        cors.mark(&head("GET", request).headers, &mut answer);
        answer
    }

    fn values(answer: &HeaderMap, name: HeaderName) -> Vec<&str> {
        answer.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn an_answer_names_the_origin_that_is_allowed_and_no_other() {
        let some = cors(&[SHOP, "http://localhost:3000"], true);
        let answer = marked(&some, &[("origin", SHOP)]);
        assert_eq!(values(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), [SHOP]);
        assert_eq!(values(&answer, ACCESS_CONTROL_ALLOW_CREDENTIALS), ["true"]);
        assert_eq!(values(&answer, ACCESS_CONTROL_EXPOSE_HEADERS), ["x-total"]);
        assert_eq!(values(&answer, VARY), ["accept", "origin"]);
        let refused: [&Headers; 8] = [
            &[],
            &[("origin", "null")],
            &[("origin", "https://shop.example.evil")],
            &[("origin", "https://shop.example:8443")],
            &[("origin", "http://shop.example")],
            &[("origin", "https://SHOP.example")],
            &[("origin", "")],
            &[("origin", SHOP), ("origin", "https://evil.example")],
        ];
        for request in refused {
            let answer = marked(&some, request);
            assert_eq!(values(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), [""; 0], "{request:?}");
            assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS), "{request:?}");
            assert_eq!(values(&answer, VARY), ["accept", "origin"], "{request:?}");
        }
        let any = cors(&["*"], false);
        let answer = marked(&any, &[("origin", "https://whoever.example")]);
        assert_eq!(values(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), ["*"]);
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        // The same for everybody.
        assert_eq!(values(&answer, VARY), ["accept"]);
        assert_eq!(values(&marked(&any, &[]), ACCESS_CONTROL_ALLOW_ORIGIN), [""; 0]);
    }

    #[test]
    fn a_preflight_is_told_methods_headers_and_for_how_long() {
        let ask = |cors: &Cors, origin| {
            let request = head("OPTIONS", &[("origin", origin), ("access-control-request-method", "POST")]);
            assert!(is_preflight(&request));
            let mut answer = HeaderMap::new();
            cors.preflight(&request.headers, &HeaderValue::from_static("POST, OPTIONS"), &mut answer);
            answer
        };
        let some = cors(&[SHOP], false);
        let answer = ask(&some, SHOP);
        assert_eq!(values(&answer, ACCESS_CONTROL_ALLOW_METHODS), ["POST, OPTIONS"]);
        assert_eq!(values(&answer, ACCESS_CONTROL_ALLOW_HEADERS), ["content-type"]);
        assert_eq!(values(&answer, ACCESS_CONTROL_MAX_AGE), ["600"]);
        let answer = ask(&some, "https://evil.example");
        assert_eq!(answer.keys().collect::<Vec<_>>(), ["vary"]);
        for (method, headers) in [
            ("OPTIONS", &[("origin", SHOP)][..]),
            ("OPTIONS", &[("access-control-request-method", "POST")]),
            ("POST", &[("origin", SHOP), ("access-control-request-method", "POST")]),
        ] {
            assert!(!is_preflight(&head(method, headers)), "{method} {headers:?}");
        }
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing_unless_it_is_allowed() {
        let (some, any) = (cors(&[SHOP], false), cors(&["*"], false));
        // Whether it is refused without a section, with the shop's, and with everybody's.
        let cases: [(&Headers, [bool; 3]); 15] = [
            (&[], [false; 3]),
            (&[("sec-fetch-site", "same-origin")], [false; 3]),
            (&[("sec-fetch-site", "none")], [false; 3]),
            (&[("sec-fetch-site", "cross-site")], [true, true, false]),
            (&[("sec-fetch-site", "same-site")], [true, true, false]),
            (&[("sec-fetch-site", "")], [true, true, false]),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], [true, true, false]),
            (&[("sec-fetch-site", "cross-site"), ("origin", SHOP)], [true, false, false]),
            (&[("sec-fetch-site", "cross-site"), ("origin", "null")], [true, true, false]),
            // A proxy that does not pass `Host` on, before a browser of today.
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://own.example"), ("host", "nodes")], [false; 3]),
            (&[("origin", "https://own.example"), ("host", "own.example")], [false; 3]),
            (&[("origin", "http://own.example:9999"), ("host", "Own.example:9999")], [false; 3]),
            (&[("origin", "https://own.example:1"), ("host", "own.example")], [true, true, false]),
            (&[("origin", SHOP), ("host", "own.example")], [true, false, false]),
            (&[("origin", "null"), ("host", "null")], [true, true, false]),
        ];
        for (headers, refused) in cases {
            for method in ["POST", "PUT", "DELETE", "PATCH", "ANY"] {
                let head = head(method, headers);
                let found = [None, Some(&some), Some(&any)].map(|cors| is_uninvited(&head, cors));
                assert_eq!(found, refused, "{method} {headers:?}");
            }
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert!(!is_uninvited(&head(method, headers), None), "{method} {headers:?}");
            }
        }
    }
}
