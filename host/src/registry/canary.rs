//! A canary: a new generation that answers a share of the requests, while the old one answers the others. Which ones is
//! decided by a hash of something in the request, so that nodes that do not know of each other choose alike, and a
//! client stays with its generation as the share grows.
//!
//! `request` runs both generations on the canary's requests and reports here; `Handler` ends it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderName;
use http::request::Parts;
use jiff::Timestamp;

use super::compared::{Compared, Counts};
use super::generation::Generation;
use super::sequential::Evidence;
use crate::contract::Request;
use crate::gate::Intended;
use crate::guest::Digest;
use crate::manifest::{Claims, Entry, Gate};

/// A generation that answers a share of the requests.
pub struct Canary {
    /// The new generation.
    pub generation: Arc<Generation>,
    /// The old generation, loaded once more. Only the canary's requests run on it, so its code is as cold as that of
    /// the canary, and their times can be compared.
    pub baseline: Arc<Generation>,
    /// Which requests it answers.
    pub share: Share,
    /// What an answer that differs from that of the old generation means.
    pub differences: Differences,
    /// The differences that are intended, because a changed example states them.
    pub intended: Arc<Intended>,
    /// When it began.
    pub since: Timestamp,
    /// Shared by its steps.
    pub(super) counts: Arc<Counts>,
    /// Guest times of this step.
    pub(super) evidence: Arc<Mutex<Evidence>>,
}

/// Which requests a canary answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub percent: Percent,
    /// By what they are chosen.
    pub by: By,
}

/// A share, in hundredths of a percent: from 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

/// What decides which generation answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The id of the request: each one is chosen by itself.
    Request,
    /// A parameter of the route.
    Parameter(String),
    /// A header.
    Header(HeaderName),
    /// A claim of the client's token.
    Claim(String),
}

/// What an answer that differs from that of the old generation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differences {
    /// The client gets the old generation's answer, and the canary is rolled back.
    Refuse,
    /// It is counted: the difference is what the deployment is for.
    Report,
}

impl Canary {
    /// Whether it answers this request.
    pub fn takes(&self, head: &Parts, request: &Request) -> bool {
        let Share { percent, by } = &self.share;
        if *percent == Percent::ALL {
            return true;
        }
        // A request without the value stays with the old generation until the last step.
        let Some(value) = by.value(head, request) else { return false };
        is_chosen(self.generation.component.compiled.digest, &value, *percent)
    }

    /// Whether the old generation runs first. It alternates, so that neither always finds the request's data in the
    /// caches.
    pub fn old_first(&self) -> bool {
        self.generation.calls().is_multiple_of(2)
    }

    /// Notes that both generations ran, and whether they decided otherwise.
    pub fn compared(&self, differed: bool) {
        self.counts.compared(differed);
    }

    /// Notes how long both took on one request. Returns how many times as long as the old generation the canary takes,
    /// and over how many requests, if it has been shown to be slower.
    pub fn took(&self, old: Duration, canary: Duration) -> Option<(f64, u64)> {
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        let slower = evidence.add(old, canary);
        evidence.ratio().filter(|_| slower).map(|ratio| (ratio, evidence.pairs))
    }

    /// Notes that they decided otherwise as a changed example states it.
    pub fn differed_as_intended(&self) {
        self.counts.intended();
    }

    /// What was compared.
    pub fn counts(&self) -> Compared {
        self.counts.read()
    }

    /// How many times as long as the old generation it takes, on average over the requests of this step.
    pub fn ratio(&self) -> Option<f64> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).ratio()
    }

    /// The same with another share.
    pub(super) fn at(&self, percent: Percent) -> Self {
        let next = self.evidence.lock().unwrap_or_else(PoisonError::into_inner).next_step();
        Self {
            generation: Arc::clone(&self.generation),
            baseline: Arc::clone(&self.baseline),
            share: Share { percent, by: self.share.by.clone() },
            differences: self.differences,
            intended: Arc::clone(&self.intended),
            since: self.since,
            counts: Arc::clone(&self.counts),
            evidence: Arc::new(Mutex::new(next)),
        }
    }
}

/// Whether a value is among the chosen ones. The digest is part of the hash: not always the same clients are the first
/// that a new generation answers.
fn is_chosen(digest: Digest, value: &str, percent: Percent) -> bool {
    let hash = Digest::of(format!("{digest}\n{value}").as_bytes()).leading();
    // The remainder is biased by 2^-50, which nobody can count.
    hash % u64::from(Percent::ALL.0) < u64::from(percent.0)
}

impl By {
    /// The value in a request, if it has one.
    fn value(&self, head: &Parts, request: &Request) -> Option<String> {
        match self {
            Self::Request => Some(request.id.clone()),
            Self::Parameter(name) => {
                request.parameters.iter().find(|field| field.name == *name).map(|field| field.value.clone())
            }
            Self::Header(name) => Some(String::from_utf8_lossy(head.headers.get(name)?.as_bytes()).into_owned()),
            Self::Claim(name) => {
                let claims: serde_json::Value = serde_json::from_str(request.claims.as_deref()?).ok()?;
                match claims.get(name)? {
                    serde_json::Value::Null => None,
                    serde_json::Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                }
            }
        }
    }

    /// Checks that requests of a handler can have the value.
    ///
    /// # Errors
    /// Why none can.
    pub fn check(&self, entry: &Entry) -> Result<(), String> {
        match self {
            Self::Parameter(name) => {
                let mut names: Vec<_> = entry.routes.iter().flat_map(|route| route.parameters()).collect();
                names.sort_unstable();
                names.dedup();
                let Entry { name: handler, .. } = entry;
                match names.contains(&name.as_str()) {
                    true => Ok(()),
                    false if names.is_empty() => {
                        Err(format!("no route of `{handler}` has a parameter: use header:NAME or claim:NAME"))
                    }
                    false => {
                        Err(format!("no route of `{handler}` has the parameter `{name}`, but {}", names.join(", ")))
                    }
                }
            }
            Self::Claim(_) if entry.claims == Claims::Never => {
                Err(format!("`{}` is not granted the claims of tokens, so nothing verifies them", entry.name))
            }
            Self::Claim(_) | Self::Header(_) | Self::Request => Ok(()),
        }
    }
}

impl Percent {
    /// Every request.
    pub const ALL: Self = Self(10_000);
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share: use 0.01% to 100%, with at most two decimals");
        let number = text.trim().strip_suffix('%').unwrap_or(text.trim());
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || rest.len() > 2 || !digits(whole) || !digits(rest) {
            return Err(wrong());
        }
        let hundredths = format!("{whole}{rest:0<2}").parse().map_err(|_| wrong())?;
        if (1..=Self::ALL.0).contains(&hundredths) { Ok(Self(hundredths)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named =
            |name: &str| if name.is_empty() { Err(format!("`{text}` has no name")) } else { Ok(name.to_owned()) };
        match text.split_once(':') {
            Some(("header", name)) => {
                name.parse().map(Self::Header).map_err(|_| format!("`{name}` is not the name of a header"))
            }
            Some(("claim", name)) => named(name).map(Self::Claim),
            Some((kind, _)) => Err(format!("`{kind}:` is neither `header:` nor `claim:`")),
            None if text == "request" => Ok(Self::Request),
            None => named(text).map(Self::Parameter),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::Parameter(name) => f.write_str(name),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Claim(name) => write!(f, "claim:{name}"),
        }
    }
}

impl Differences {
    /// As the manifest has it, for a component that an operator has accepted or not. A manifest that says nothing
    /// refuses: a canary answers clients.
    pub fn of(gate: Option<Gate>, is_accepted: bool) -> Self {
        match gate {
            Some(Gate::Report) => Self::Report,
            Some(Gate::Refuse) | None if is_accepted => Self::Report,
            Some(Gate::Refuse) | None => Self::Refuse,
        }
    }
}

impl FromStr for Differences {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "report" => Ok(Self::Report),
            _ => Err(format!("`{text}` is neither `refuse` nor `report`")),
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Report => "report",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Field;

    #[test]
    fn a_share_is_chosen_alike_everywhere_and_only_grows() {
        let digest = Digest::of(b"component");
        let percent = |text: &str| text.parse::<Percent>().unwrap();
        let chosen = |percent| (0..20_000).filter(move |n: &u32| is_chosen(digest, &n.to_string(), percent));
        let (one, ten) = (chosen(percent("1%")).collect::<Vec<_>>(), chosen(percent("10%")).collect::<Vec<_>>());
        assert!((150..250).contains(&one.len()) && (1850..2150).contains(&ten.len()), "{} {}", one.len(), ten.len());
        assert!(one.iter().all(|n| ten.contains(n)));
        assert_eq!(chosen(percent("100%")).count(), 20_000);
        // The choice is part of what nodes of different versions must agree on.
        assert_eq!(one[..3], [231, 297, 449]);
        let other = Digest::of(b"another component");
        assert!(one.iter().any(|n| !is_chosen(other, &n.to_string(), percent("1%"))));
    }

    #[test]
    fn shares_and_what_they_are_chosen_by_are_parsed_strictly() {
        for (text, shown) in [("1%", "1%"), ("0.5", "0.5%"), ("100%", "100%"), ("12.25%", "12.25%"), ("0.01%", "0.01%")]
        {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), shown);
        }
        for wrong in ["", "%", "0", "0%", "101%", "1.005%", "-1%", "1e2", "1000", "a", ".5"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
        for text in ["id", "request", "header:x-tenant", "claim:sub"] {
            assert_eq!(text.parse::<By>().unwrap().to_string(), text);
        }
        for wrong in ["", "header:", "header:a b", "claim:", "cookie:a"] {
            assert!(wrong.parse::<By>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_value_of_a_request_is_its_parameter_header_claim_or_id() {
        let head = http::Request::get("/").header("x-tenant", "t1").body(()).unwrap().into_parts().0;
        let request = Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            route: "GET /".into(),
            parameters: vec![Field { name: "id".to_owned(), value: "7".to_owned() }],
            query: None,
            headers: Vec::new(),
            body: Vec::new(),
            id: "r1".to_owned(),
            now: 0,
            config: [].into(),
            claims: Some(r#"{"sub":"u1","n":5,"none":null}"#.to_owned()),
        };
        let value = |by: &str| by.parse::<By>().unwrap().value(&head, &request);
        for (by, expected) in [("id", "7"), ("header:X-Tenant", "t1"), ("claim:sub", "u1"), ("claim:n", "5")] {
            assert_eq!(value(by).as_deref(), Some(expected), "{by}");
        }
        assert_eq!(value("request").as_deref(), Some("r1"));
        for absent in ["other", "header:x-other", "claim:other", "claim:none"] {
            assert_eq!(value(absent), None, "{absent}");
        }
    }
}
