//! The section `[cors]` of a manifest. An origin that no browser can match is refused, with a suggestion.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use crate::cors::{Cors, Origins};
use crate::limits;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CorsTable {
    origins: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    #[serde(default)]
    exposed_headers: Vec<Spanned<String>>,
    #[serde(default)]
    credentials: bool,
    max_age_seconds: Option<Spanned<u64>>,
}

impl CorsTable {
    /// The section; each mistake is noted with its place in the text.
    pub(super) fn cors(&self, mistake: &mut dyn FnMut(usize, String)) -> Cors {
        let ceiling = limits::CORS_MAX_AGE_CEILING.as_secs();
        let max_age = match &self.max_age_seconds {
            None => limits::CORS_MAX_AGE_DEFAULT,
            Some(seconds) if *seconds.get_ref() <= ceiling => Duration::from_secs(*seconds.get_ref()),
            Some(seconds) => {
                let text = format!("max_age_seconds = {}: 0 to {ceiling} are allowed", seconds.get_ref());
                mistake(seconds.span().start, text);
                Duration::ZERO
            }
        };
        let cors = Cors {
            origins: self.origins(mistake),
            credentials: self.credentials,
            headers: list("headers", &self.headers, mistake),
            exposed_headers: list("exposed_headers", &self.exposed_headers, mistake),
            max_age,
        };
        let origin_bytes = self.origins.get_ref().iter().map(|origin| origin.get_ref().len()).max().unwrap_or_default();
        let bytes = origin_bytes + cors.exposed_headers.as_ref().map_or(0, HeaderValue::len);
        if bytes > limits::CORS_BYTES_MAX {
            let most = limits::CORS_BYTES_MAX;
            let text =
                format!("the longest origin and exposed_headers have {bytes} bytes together: {most} are allowed");
            mistake(self.origins.span().start, text);
        }
        cors
    }

    fn origins(&self, mistake: &mut dyn FnMut(usize, String)) -> Origins {
        let (place, origins) = (self.origins.span().start, self.origins.get_ref());
        let most = limits::CORS_ORIGINS_MAX;
        if origins.is_empty() || origins.len() > most {
            let text = format!("{} origins: name 1 to {most}, or \"*\" for any, or leave [cors] out", origins.len());
            mistake(place, text);
        }
        if let Some(any) = origins.iter().find(|origin| origin.get_ref() == "*") {
            if origins.len() > 1 {
                mistake(any.span().start, "\"*\" allows any origin: leave the others out, or it".to_owned());
            }
            if self.credentials {
                let text = "browsers take no \"*\" with credentials: name the origins, or set credentials = false";
                mistake(any.span().start, text.to_owned());
            }
            return Origins::Any;
        }
        let parsed = origins.iter().filter_map(|origin| {
            let parsed = parse(origin.get_ref());
            parsed.map_err(|text| mistake(origin.span().start, format!("origin `{}`: {text}", origin.get_ref()))).ok()
        });
        Origins::These(parsed.collect())
    }
}

/// An origin as browsers write it (RFC 6454, 6.2): small letters, no path, no port that is the scheme's own.
fn parse(text: &str) -> Result<HeaderValue, String> {
    let shape = || "expected SCHEME://HOST or SCHEME://HOST:PORT, e.g. https://shop.example".to_owned();
    let (scheme, host) = text.split_once("://").ok_or_else(shape)?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || host.is_empty() || !scheme.bytes().all(letters) {
        return Err(shape());
    }
    if let Some(at) = host.find(['/', '?', '#']) {
        return Err(format!("an origin has no path: write {scheme}://{}", &host[..at]));
    }
    if !host.is_ascii() {
        return Err("a browser sends a name beyond ASCII in its xn-- form: write that".to_owned());
    }
    let small = text.to_ascii_lowercase();
    if text != small {
        return Err(format!("a browser sends small letters: write {small}"));
    }
    for (own, port) in [("http", ":80"), ("https", ":443")] {
        if let Some(name) = host.strip_suffix(port).filter(|_| scheme == own) {
            return Err(format!("a browser leaves out the port that is the scheme's own: write {scheme}://{name}"));
        }
    }
    let authority = host.parse::<http::uri::Authority>().map_err(|_| shape())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    // A name with a star would match itself only, and a user is not a part of an origin.
    if authority.host().is_empty() || !host.bytes().all(plain) || host.ends_with(':') {
        return Err(shape());
    }
    HeaderValue::from_str(text).map_err(|_| shape())
}

/// Header names as one value, separated by commas.
fn list(key: &str, names: &[Spanned<String>], mistake: &mut dyn FnMut(usize, String)) -> Option<HeaderValue> {
    let (most, first) = (limits::CORS_BYTES_MAX, names.first()?.span().start);
    let named = names.iter().filter_map(|name| {
        let parsed = name.get_ref().parse::<HeaderName>().ok().filter(|_| name.get_ref() != "*");
        if parsed.is_none() {
            mistake(name.span().start, format!("{key}: `{}` is not a header name", name.get_ref()));
        }
        parsed.map(|name| name.as_str().to_owned())
    });
    let joined = named.collect::<Vec<_>>().join(", ");
    if joined.len() > most {
        mistake(first, format!("{key} has {} bytes: {most} are allowed", joined.len()));
        return None;
    }
    HeaderValue::try_from(joined).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::parse as parse_manifest;

    const HANDLER: &str = "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n";

    fn parsed(section: &str) -> Result<Cors, String> {
        let manifest = parse_manifest(Path::new("galo.toml"), &format!("[cors]\n{section}\n{HANDLER}"));
        manifest.map(|manifest| manifest.cors.unwrap()).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_section_is_read_whole_and_has_defaults() {
        let cors = parsed(
            "origins = [\"https://shop.example\", \"http://localhost:3000\", \"http://[::1]:1\", \"capacitor://localhost\"]
             headers = [\"Content-Type\", \"idempotency-key\"]\nexposed_headers = [\"x-total\"]\ncredentials = true
             max_age_seconds = 5",
        );
        let cors = cors.unwrap();
        let value = HeaderValue::from_static;
        let origins = ["https://shop.example", "http://localhost:3000", "http://[::1]:1", "capacitor://localhost"];
        assert_eq!(cors.origins, Origins::These(origins.map(value).into()));
        assert_eq!(cors.headers, Some(value("content-type, idempotency-key")));
        assert_eq!((cors.exposed_headers, cors.credentials), (Some(value("x-total")), true));
        assert_eq!(cors.max_age, Duration::from_secs(5));
        let any = parsed("origins = [\"*\"]").unwrap();
        assert_eq!((any.origins, any.credentials, any.headers), (Origins::Any, false, None));
        assert_eq!(any.max_age, limits::CORS_MAX_AGE_DEFAULT);
        assert_eq!(parse_manifest(Path::new("galo.toml"), HANDLER).unwrap().cors, None);
    }

    #[test]
    fn what_no_browser_would_match_is_refused_with_what_was_meant() {
        for (section, told) in [
            ("", "galo.toml:1: missing field `origins`"),
            ("origins = []", "galo.toml:2: 0 origins: name 1 to"),
            ("origins = \"*\"", "galo.toml:2: invalid type: string"),
            ("origin = [\"*\"]", "galo.toml:2: unknown field `origin`"),
            ("origins = [\"*\"]\ncredentials = true", "galo.toml:2: browsers take no \"*\" with credentials"),
            ("origins = [\"*\", \"https://a.example\"]", "galo.toml:2: \"*\" allows any origin"),
            ("origins = [\"shop.example\"]", "galo.toml:2: origin `shop.example`: expected SCHEME://HOST"),
            ("origins = [\"null\"]", "galo.toml:2: origin `null`: expected"),
            ("origins = [\"https://*.example\"]", "galo.toml:2: origin `https://*.example`: expected"),
            ("origins = [\"https://u@shop.example\"]", "galo.toml:2: origin `https://u@shop.example`: expected"),
            ("origins = [\"https://a.example:\"]", "galo.toml:2: origin `https://a.example:`: expected"),
            (
                "origins = [\"https://shop.example/\"]",
                "galo.toml:2: origin `https://shop.example/`: an origin has no path",
            ),
            (
                "origins = [\"https://Shop.example\"]",
                "galo.toml:2: origin `https://Shop.example`: a browser sends small",
            ),
            (
                "origins = [\"https://a.example:443\"]",
                "galo.toml:2: origin `https://a.example:443`: a browser leaves out",
            ),
            ("origins = [\"http://für.example\"]", "galo.toml:2: origin `http://für.example`: a browser sends a name"),
            ("origins = [\"*\"]\nheaders = [\"*\"]", "galo.toml:3: headers: `*` is not a header name"),
            ("origins = [\"*\"]\nexposed_headers = [\"a b\"]", "galo.toml:3: exposed_headers: `a b` is not"),
            ("origins = [\"*\"]\nmax_age_seconds = 86401", "galo.toml:3: max_age_seconds = 86401: 0 to 86400"),
        ] {
            let found = parsed(section).unwrap_err();
            assert!(found.starts_with(told), "{section}: {found}");
        }
        let long = format!("origins = [\"https://{}.example\"]", "a".repeat(limits::CORS_BYTES_MAX));
        assert!(parsed(&long).unwrap_err().contains("together: "), "{long}");
        let many = vec!["\"x-header\""; limits::CORS_BYTES_MAX].join(", ");
        assert!(parsed(&format!("origins = [\"*\"]\nheaders = [{many}]")).unwrap_err().contains("bytes: "));
    }
}
