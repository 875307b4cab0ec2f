//! Decides who may use the admin address: a person with curl, `galo` itself, a load balancer; not a web page in a
//! browser on this machine. It reads the head of a request only.
//!
//! A page of another origin is recognized by the headers that its browser adds (`Sec-Fetch-Site`, `Origin`), and one
//! whose own name points at this address (DNS rebinding) by that name in `Host`. No response has a CORS header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderName, Request};

use crate::config::{Address, Readers, Token};

/// What a request must fulfil.
#[derive(Debug)]
pub struct Gate {
    /// The admin address. A unix socket has no name that could be rebound.
    pub address: Address,
    /// The token that a request must have, if any.
    pub token: Option<Token>,
    /// Who may read records besides.
    pub readers: Readers,
    /// What the node serves.
    pub components: Components,
}

/// What a node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Components {
    /// Only what a key of `--trust` has signed.
    Signed,
    /// Any.
    Any,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Denial {
    /// It comes from a web page of another origin: 403.
    Foreign(&'static str),
    /// The token is missing or wrong: 401.
    Unauthorized,
}

/// For load balancers, without a token; the answer is one word.
const OPEN: [&str; 2] = ["/live", "/ready"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Gate {
    /// Whether those who pass may read records, which are the data of clients: they have shown the token, or may open
    /// the socket, or the node is a developer's on their own machine.
    pub fn may_read_records(&self) -> bool {
        let own = self.readers == Readers::Loopback && self.address.is_local();
        own || self.token.is_some() || matches!(self.address, Address::Unix(_))
    }

    /// Whether those who pass may bring components, and change which of them serve: a component reads the requests and
    /// the config of its handler. They have shown the token, or may open the socket, or the node is a developer's on
    /// their own machine; or what they bring has to be signed.
    ///
    /// # Errors
    /// They may not; with the remedy.
    pub fn may_operate(&self) -> Result<(), &'static str> {
        match self.may_read_records() || self.components == Components::Signed {
            true => Ok(()),
            false => Err(
                "everybody on this machine can reach this address, and components read clients' data: start the node \
                 with --admin-token-file FILE, with --admin unix:PATH, or with --trust FILE for signed components",
            ),
        }
    }

    /// Lets a request pass, or returns why not.
    ///
    /// # Errors
    /// The [`Denial`]; that of a page comes first, so that no page learns whether there is a token.
    pub fn pass<B>(&self, request: &Request<B>) -> Result<(), Denial> {
        if !values(request, &SEC_FETCH_SITE).all(|site| matches!(site, "none" | "same-origin")) {
            return Err(Denial::Foreign("requests from pages of another site are refused (Sec-Fetch-Site)"));
        }
        if !values(request, &ORIGIN).all(|origin| is_own(origin, request)) {
            return Err(Denial::Foreign("requests from pages of another origin are refused (Origin)"));
        }
        // A page behind a rebound name does not know the token; a probe in a network of containers uses a name.
        let guarded = self.token.is_some() || matches!(self.address, Address::Unix(_));
        if !guarded && !hosts(request).all(is_plain) {
            return Err(Denial::Foreign("use the IP address of the node or localhost, not another name (Host)"));
        }
        match &self.token {
            Some(token) if !OPEN.contains(&request.uri().path()) && !shows(request, token) => Err(Denial::Unauthorized),
            _ => Ok(()),
        }
    }
}

/// Every value of a header; one that is not text becomes an empty one, which nothing accepts.
fn values<'a, B>(request: &'a Request<B>, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    request.headers().get_all(name).iter().map(|value| value.to_str().unwrap_or_default())
}

/// Every name that the request is addressed to: `Host`, and the target when it is a whole URL. Browsers always send
/// one; a probe with HTTP/1.0 may not.
fn hosts<B>(request: &Request<B>) -> impl Iterator<Item = &str> {
    request.uri().authority().map(http::uri::Authority::as_str).into_iter().chain(values(request, &HOST))
}

/// Whether an origin is the admin address itself. There is no TLS, so its scheme is `http`.
fn is_own<B>(origin: &str, request: &Request<B>) -> bool {
    let Some(host) = origin.strip_prefix("http://") else { return false };
    let mut named = hosts(request).peekable();
    named.peek().is_some() && named.all(|name| name.eq_ignore_ascii_case(host))
}

/// Whether a host is `localhost` or an IP literal, with or without a port: nobody can rebind these. A tunnel may have
/// another port than the node.
fn is_plain(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    match name.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')) {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

/// Whether the request has exactly one `Authorization`, and it is `Bearer TOKEN`, or what a browser sends when its user
/// has entered the token as a password: `Basic`, with any name of a user.
fn shows<B>(request: &Request<B>, token: &Token) -> bool {
    let mut given = values(request, &AUTHORIZATION);
    let (Some(given), None) = (given.next(), given.next()) else { return false };
    let Some((scheme, shown)) = given.split_once(' ') else { return false };
    match scheme {
        bearer if bearer.eq_ignore_ascii_case("bearer") => token.is(shown),
        basic if basic.eq_ignore_ascii_case("basic") => password(shown).is_some_and(|password| token.is(&password)),
        _ => false,
    }
}

/// The name that a browser's user has entered beside the token, if any.
pub(super) fn user<B>(request: &Request<B>) -> Option<String> {
    let credentials = values(request, &AUTHORIZATION).next()?.split_once(' ')?.1;
    let text = String::from_utf8(BASE64.decode(credentials).ok()?).ok()?;
    text.split_once(':').map(|(name, _)| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The password of Basic credentials (RFC 7617).
fn password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(credentials).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn gate(address: &str, token: Option<&str>) -> Gate {
        let token = token.map(|token| Token::new(token).unwrap());
        let (readers, components) = (Readers::Guarded, Components::Any);
        Gate { address: address.parse().unwrap(), token, readers, components }
    }

    fn pass(gate: &Gate, target: &str, headers: &[(&str, &str)]) -> Result<(), Denial> {
        let request = headers.iter().fold(Request::get(target), |request, (name, value)| request.header(*name, *value));
        gate.pass(&request.body(()).unwrap())
    }

    fn is_foreign(gate: &Gate, target: &str, headers: &[(&str, &str)]) -> bool {
        matches!(pass(gate, target, headers), Err(Denial::Foreign(_)))
    }

    #[test]
    fn a_host_is_a_literal_or_localhost_on_tcp() {
        let tcp = gate("127.0.0.1:9998", None);
        for host in ["127.0.0.1:9998", "localhost", "LocalHost:80", "10.1.2.3", "[::1]", "[fe80::1]:9998"] {
            assert_eq!(pass(&tcp, "/handlers", &[("host", host)]), Ok(()), "{host}");
        }
        let evil =
            ["evil.example", "evil.example:9998", "localhost.evil", "a@127.0.0.1", "127.0.0.1.evil", "", "\u{ff}"];
        for host in evil.into_iter().chain(["::1", "[evil]", "127.1:80"]) {
            assert!(is_foreign(&tcp, "/handlers", &[("host", host)]), "{host}");
            assert_eq!(pass(&gate("unix:/x", None), "/handlers", &[("host", host)]), Ok(()), "{host}");
        }
        assert!(is_foreign(&tcp, "/handlers", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(is_foreign(&tcp, "http://evil.example/handlers", &[("host", "localhost")]));
        assert_eq!(pass(&tcp, "/handlers", &[]), Ok(()));
    }

    #[test]
    fn an_origin_is_the_own_one_everywhere() {
        for gate in [gate("127.0.0.1:9998", None), gate("unix:/x", None)] {
            let own = [("host", "localhost:9998"), ("origin", "http://localhost:9998")];
            assert_eq!(pass(&gate, "/handlers", &own), Ok(()));
            for origin in ["http://localhost:3000", "https://localhost:9998", "null", "", "http://evil.example"] {
                assert!(is_foreign(&gate, "/live", &[("host", "localhost:9998"), ("origin", origin)]), "{origin}");
            }
            assert!(is_foreign(&gate, "/live", &[own[0], own[1], ("origin", "http://evil.example")]));
            assert!(is_foreign(&gate, "/live", &[own[1]]));
            for (site, passes) in [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false)] {
                let passed = pass(&gate, "/ready", &[("host", "localhost"), ("sec-fetch-site", site)]).is_ok();
                assert_eq!(passed, passes, "{site}");
            }
        }
    }

    #[test]
    fn records_are_for_who_shows_the_token_or_opens_the_socket_and_for_a_developer_on_loopback() {
        for (address, token, readers, may) in [
            ("127.0.0.1:9998", None, Readers::Guarded, false),
            ("127.0.0.1:9998", None, Readers::Loopback, true),
            ("10.0.0.1:9998", None, Readers::Loopback, false),
            ("10.0.0.1:9998", Some(TOKEN), Readers::Guarded, true),
            ("unix:/x", None, Readers::Guarded, true),
        ] {
            let gate = Gate { readers, ..gate(address, token) };
            assert_eq!((gate.may_read_records(), gate.may_operate().is_ok()), (may, may), "{address} {readers:?}");
            let gate = Gate { components: Components::Signed, ..gate };
            assert_eq!((gate.may_read_records(), gate.may_operate()), (may, Ok(())), "{address} {readers:?}");
        }
    }

    #[test]
    fn a_token_is_required_for_everything_but_the_probes() {
        for gate in [gate("127.0.0.1:9998", Some(TOKEN)), gate("unix:/x", Some(TOKEN))] {
            let with = |value: &str| pass(&gate, "/handlers", &[("authorization", value)]);
            assert_eq!(with(&format!("Bearer {TOKEN}")), Ok(()));
            assert_eq!(with(&format!("bearer {TOKEN}")), Ok(()));
            assert_eq!(with(&format!("Basic {}", BASE64.encode(format!("me:{TOKEN}")))), Ok(()));
            assert_eq!(with(&format!("Basic {}", BASE64.encode(TOKEN))), Err(Denial::Unauthorized));
            assert_eq!(with(&format!("Basic {}", BASE64.encode("me:0"))), Err(Denial::Unauthorized));
            for wrong in ["", "Bearer", "Bearer ", TOKEN, "Basic 0123456789abcdef", "Bearer 0123456789abcdeF"] {
                assert_eq!(with(wrong), Err(Denial::Unauthorized), "{wrong}");
            }
            assert_eq!(with(&format!("Bearer {TOKEN}0")), Err(Denial::Unauthorized));
            let right = format!("Bearer {TOKEN}");
            let twice = [("authorization", right.as_str()), ("authorization", right.as_str())];
            assert_eq!(pass(&gate, "/handlers", &twice), Err(Denial::Unauthorized));
            for path in ["/metrics", "/handlers/x/rollback", "/", "/live/", "/nowhere"] {
                assert_eq!(pass(&gate, path, &[]), Err(Denial::Unauthorized), "{path}");
            }
            for path in OPEN {
                assert_eq!(pass(&gate, path, &[]), Ok(()));
            }
        }
    }
}
