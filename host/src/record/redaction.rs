//! What is taken out of a record before it is kept: claims and credentials always, secrets of the `config` wherever
//! their text appears, and what the manifest names. A text that was taken out is also taken out where it is repeated,
//! so that a name that is passed on as an argument is not kept there. A record notes what was taken out of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::blank::{self, REDACTED, Texts};
use super::cell::Blob;
use super::format::{DatabaseError, Outcome, Pairs, Plan, Record};
use super::visit;
use crate::config::Secrets;
use crate::limits;
use crate::manifest::{ConfigValue, Entry, JsonPath, Redact, Text};
use crate::members::Members;

/// Headers that are credentials, or that set one.
const CREDENTIALS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];

/// Parameters of a query that are credentials (RFC 6750).
const QUERY_CREDENTIALS: [&str; 1] = ["access_token"];

/// What must not be kept of the requests of a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    /// The names of the values of `config` that are secrets.
    secrets: Vec<String>,
    /// What the manifest names.
    redact: Redact,
}

impl Redaction {
    /// As the manifest has it for a handler.
    pub fn of(entry: &Entry) -> Self {
        let is_secret = |value: &&ConfigValue| matches!(value.value, Text::Secret(_));
        let secrets = entry.config.iter().filter(is_secret).map(|value| value.name.clone()).collect();
        Self { secrets, redact: entry.record.redact.clone() }
    }

    /// Takes it out, and notes what was. `parameters` are the names of the procedure's parameters, `secrets` what the
    /// generations knew that may have answered, and `members` the names of members that are no client's data.
    pub(super) fn apply(
        &self,
        record: &mut Record,
        parameters: &[String],
        secrets: &[Secrets],
        members: &Arc<Members>,
    ) {
        let mut taken = Taken::default();
        taken.claims(&mut record.request.claims);
        taken.texts.members = Some(Arc::clone(members));
        for (name, value) in record.request.config.iter_mut().filter(|(name, _)| self.secrets.contains(name)) {
            REDACTED.clone_into(value);
            taken.note(format!("request.config.{name}"));
        }
        taken.headers("request", &mut record.request.headers, &self.redact.headers);
        taken.headers("response", &mut record.response.headers, &self.redact.headers);
        taken.query(&mut record.request.query, &self.redact.query);
        taken.parameters(record, &self.redact.parameters);
        taken.body("request.body", &mut record.request.body, &self.redact.body);
        taken.body("response.body", &mut record.response.body, &self.redact.response);
        if let Some(Plan::Call(called)) = &mut record.plan {
            taken.each("call.arguments", &self.redact.arguments, |path, texts| {
                blank::named(parameters, &mut called.arguments, &path.steps, texts)
            });
        }
        match &mut record.outcome {
            Some(Outcome::Rows(rows)) => taken.each("outcome.rows", &self.redact.rows, |path, texts| {
                blank::rows(&rows.columns, &mut rows.values, &path.steps, texts)
            }),
            Some(Outcome::Error(error)) => taken.detail(error, &self.redact),
            None => {}
        }
        taken.repeated(record, secrets);
        record.redacted = taken.paths;
    }
}

/// What has been taken out so far.
#[derive(Default)]
struct Taken {
    paths: Vec<String>,
    texts: Texts,
}

impl Taken {
    fn note(&mut self, path: String) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    /// The claims keep their names: a component that reads them can still be run.
    fn claims(&mut self, claims: &mut Option<String>) {
        let Some(claims) = claims else { return };
        let mut body = Blob::Text(std::mem::take(claims));
        blank::blob(&mut body, &[], &mut self.texts);
        if let Blob::Text(text) = body {
            *claims = if text == REDACTED { "{}".to_owned() } else { text };
        }
        self.note("request.claims".to_owned());
    }

    fn headers(&mut self, part: &str, headers: &mut Pairs, named: &[String]) {
        for (name, value) in headers {
            if CREDENTIALS.contains(&name.as_str()) || named.contains(name) {
                let value = std::mem::replace(value, REDACTED.to_owned());
                // What follows `Bearer`, and the values of cookies, may be passed on alone.
                for part in value.split([' ', ';']) {
                    let its = part.split_once('=').map(|(_, its)| its.to_owned());
                    self.texts.all.extend([part.to_owned()].into_iter().chain(its));
                }
                self.texts.all.push(value);
                self.note(format!("{part}.headers.{name}"));
            }
        }
    }

    fn query(&mut self, query: &mut Option<String>, named: &[String]) {
        let Some(query) = query else { return };
        let pairs: Vec<_> = query.split('&').map(|pair| (pair, pair.split_once('='))).collect();
        let mut written = Vec::with_capacity(pairs.len());
        for (pair, parts) in pairs {
            let found = parts.map(|(name, value)| (name, decoded(name), value));
            match found.filter(|(_, name, _)| QUERY_CREDENTIALS.contains(&name.as_str()) || named.contains(name)) {
                Some((name, decoded_name, value)) => {
                    written.push(format!("{name}={REDACTED}"));
                    self.texts.all.push(decoded(value));
                    self.note(format!("request.query.{decoded_name}"));
                }
                None => written.push(pair.to_owned()),
            }
        }
        *query = written.join("&");
    }

    /// The parameters of the route, also in the path.
    fn parameters(&mut self, record: &mut Record, named: &[String]) {
        for (name, value) in record.request.parameters.iter_mut().filter(|(name, _)| named.contains(name)) {
            self.texts.all.push(std::mem::replace(value, REDACTED.to_owned()));
            self.note(format!("request.parameters.{name}"));
        }
        let route = record.request.route.split_once(' ').map_or("", |(_, path)| path);
        let parameter = |segment: &str| Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned());
        let is_named = |segment: &str| parameter(segment).is_some_and(|name| named.contains(&name));
        if route.split('/').any(is_named) {
            let segments = route.split('/').zip(record.request.path.split('/'));
            let written = segments.map(|(route, its)| if is_named(route) { REDACTED } else { its });
            record.request.path = written.collect::<Vec<_>>().join("/");
        }
    }

    fn body(&mut self, part: &str, body: &mut Blob, paths: &[JsonPath]) {
        self.each(part, paths, |path, texts| blank::blob(body, &path.steps, texts));
    }

    fn each(&mut self, part: &str, paths: &[JsonPath], mut blank: impl FnMut(&JsonPath, &mut Texts) -> bool) {
        for path in paths {
            if blank(path, &mut self.texts) {
                self.note(format!("{part}{}", path.inside()));
            }
        }
    }

    /// The detail of an error quotes values, such as a key that exists already.
    fn detail(&mut self, error: &mut DatabaseError, redact: &Redact) {
        if let Some(detail) = error.detail.as_mut().filter(|_| !redact.arguments.is_empty() || !redact.rows.is_empty())
        {
            REDACTED.clone_into(detail);
            self.note("outcome.error.detail".to_owned());
        }
    }

    /// Takes every text out: one of very many that were taken out may be in it.
    fn everything(&mut self, record: &mut Record) {
        visit::texts(record, &mut |place, text| {
            // Claims have been blanked, and an empty text has nothing.
            if text.is_empty() || text == REDACTED || place == "request.claims" {
                return;
            }
            let is_cell = matches!(place, "call.arguments" | "outcome.rows");
            let is_json = is_cell && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            *text = if is_json { format!("\"{REDACTED}\"") } else { REDACTED.to_owned() };
            self.note(place.to_owned());
        });
    }

    /// Takes secrets out of every text, and what was taken out elsewhere. What `prepare` carries over to `respond` has
    /// a form of its own, which nobody can search: where anything was taken out, it is as well.
    fn repeated(&mut self, record: &mut Record, secrets: &[Secrets]) {
        let texts = std::mem::take(&mut self.texts.all);
        let is_long = |text: &&str| text.len() >= limits::REDACTED_TEXT_BYTES_MIN && *text != REDACTED;
        let texts: BTreeSet<&str> = texts.iter().map(String::as_str).filter(is_long).collect();
        if Secrets::are_too_many(texts.iter().copied()) {
            self.everything(record);
        }
        let repeated = Secrets::new(texts, REDACTED);
        let all: Vec<_> = secrets.iter().chain([&repeated]).filter(|secrets| !secrets.is_empty()).collect();
        if !all.is_empty() {
            visit::texts(record, &mut |place, text| {
                for secrets in &all {
                    if let std::borrow::Cow::Owned(without) = secrets.redacted(text) {
                        *text = without;
                        self.note(place.to_owned());
                    }
                }
            });
        }
        if let Some(Plan::Call(called)) = &mut record.plan
            && !self.paths.is_empty()
            && called.carry != Blob::Text(String::new())
        {
            called.carry = Blob::Text(REDACTED.to_owned());
            self.note("call.carry".to_owned());
        }
    }
}

/// A name or value of a query without its encoding, as a form writes it.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Called, Cell, Rows};

    const LINE: &str = r#"{"format":1,"contract":"2.0","handler":"a","generation":1,"sha256":"","why":"sampled",
        "request":{"method":"POST","path":"/p/maria-silva/x","route":"POST /p/{who}/x","parameters":[["who","maria-silva"]],
        "query":"a=1&access_token=t0k3n-t0k3n&who=x","headers":[["cookie","sid=s3ss10n-1; b=2"],["accept","*/*"]],
        "body":"{\"card\":\"4111-1111\",\"n\":1}","id":"i","now":1,"config":[["key","hunter2"],["currency","BRL"]],
        "claims":"{\"sub\":\"customer-0001\",\"exp\":99,\"roles\":[\"admin\"]}"},
        "response":{"status":200,"headers":[["set-cookie","sid=s3ss10n-2"]],"body":"ok"},
        "times":{"read":0,"prepare":0,"wait":0,"database":0,"respond":0,"whole":0}}"#;

    fn record() -> Record {
        Record::parse(LINE).unwrap()
    }

    fn redaction(toml: &str) -> Redaction {
        let text = format!(
            "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"POST /p/{{who}}/x\"\n\
             config = {{ key = {{ file = \"key\" }}, currency = \"BRL\" }}\nrecord = {{ {toml} }}"
        );
        Redaction::of(&crate::manifest::parse(std::path::Path::new("galo.toml"), &text).unwrap().handlers[0])
    }

    fn applied(toml: &str, mut record: Record) -> Record {
        let mut members = Members::default();
        members.add("street");
        let secrets = [Secrets::new(["hunter2"], "(secret)")];
        redaction(toml).apply(&mut record, &["p_card".to_owned()], &secrets, &Arc::new(members));
        record
    }

    #[test]
    fn claims_credentials_and_secrets_are_taken_out_without_being_named() {
        let record = applied("", record());
        let expected = [
            "request.claims",
            "request.config.key",
            "request.headers.cookie",
            "response.headers.set-cookie",
            "request.query.access_token",
        ];
        assert_eq!(record.redacted, expected);
        // Claims keep their names and types.
        let claims: serde_json::Value = serde_json::from_str(record.request.claims.as_deref().unwrap()).unwrap();
        assert_eq!(claims, serde_json::json!({ "sub": "(redacted)", "exp": 0, "roles": ["(redacted)"] }));
        assert_eq!(record.request.query.as_deref(), Some("a=1&access_token=(redacted)&who=x"));
        assert_eq!(record.request.config[1].1, "BRL");
        let line = record.line();
        for secret in ["customer-0001", "hunter2", "s3ss10n", "t0k3n"] {
            assert!(!line.contains(secret), "{line}");
        }
        let twice = applied("", record.clone());
        assert_eq!(twice.request, record.request);
    }

    #[test]
    fn nothing_is_marked_where_nothing_was_taken_out() {
        let mut plain = record();
        plain.request.claims = None;
        plain.request.config.clear();
        plain.request.headers.clear();
        plain.request.query = None;
        plain.response.headers.clear();
        let before = plain.clone();
        assert_eq!(applied("query = [\"none\"], body = [\"$.none\"]", plain), before);
    }

    #[test]
    fn a_parameter_of_the_route_is_also_taken_out_of_the_path() {
        let record = applied("parameters = [\"who\"], query = [\"who\"]", record());
        assert_eq!(record.request.path, "/p/(redacted)/x");
        assert_eq!(record.request.parameters[0].1, "(redacted)");
        assert!(record.request.query.as_deref().unwrap().ends_with("&who=(redacted)"));
        assert!(record.redacted.contains(&"request.parameters.who".to_owned()), "{:?}", record.redacted);
        // One that is too short to be looked for elsewhere.
        let mut given = self::record();
        given.request.path = "/p/42/x".to_owned();
        given.request.parameters[0].1 = "42".to_owned();
        let record = applied("parameters = [\"who\"]", given);
        assert_eq!(record.request.path, "/p/(redacted)/x");
    }

    #[test]
    fn what_a_header_or_the_query_holds_is_taken_out_where_it_is_passed_on() {
        let mut given = record();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        given.request.headers.push(header("authorization", "Bearer t0k3n-0001"));
        given.request.headers.push(header("x-customer", "Maria"));
        given.response.headers.push(header("x-customer", "Maria da Silva"));
        given.request.query = Some("name=J%C3%BCrgen+Maier&n=1".to_owned());
        given.response.body = Blob::Text("t0k3n-0001 s3ss10n-1 Maria da Silva".to_owned());
        given.response.log = vec![("info".to_owned(), "Jürgen Maier paid".to_owned())];
        let record = applied("headers = [\"x-customer\"], query = [\"name\"]", given);
        assert_eq!(record.request.query.as_deref(), Some("name=(redacted)&n=1"));
        assert_eq!(record.response.log[0].1, "(redacted) paid");
        assert_eq!(record.response.body, Blob::Text("(redacted) (redacted) (redacted)".to_owned()));
        let values: Vec<_> = record.request.headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["(redacted)", "*/*", "(redacted)", "(redacted)"]);
        assert_eq!(record.response.headers[1].1, "(redacted)");
    }

    #[test]
    fn what_was_taken_out_is_taken_out_where_it_is_repeated() {
        let mut given = record();
        let text = |text: &str| Cell::Text(text.to_owned());
        let arguments = vec![text("4111-1111"), Cell::Integer(1)];
        let carry = Blob::Text("4111-1111".to_owned());
        given.plan = Some(Plan::Call(Called { procedure: "pay".to_owned(), arguments, carry }));
        let values =
            vec![Cell::Json("{\"card\":\"4111-1111\"}".to_owned()), Cell::Bytes(Blob::of(b"\xffhunter2".to_vec()))];
        given.outcome = Some(Outcome::Rows(Rows { columns: vec!["a".to_owned(), "b".to_owned()], values }));
        given.fault = Some("trap: no card 4111-11…".to_owned());
        let log = ["paid by customer-0001", "the key is hunter2"];
        given.response.log = log.map(|text| ("info".to_owned(), text.to_owned())).to_vec();
        let record = applied("body = [\"$.card\"]", given);
        let line = record.line();
        for secret in ["4111", "hunter2", "customer-0001"] {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
        for place in ["request.body.card", "call.arguments", "outcome.rows", "fault", "response.log", "call.carry"] {
            assert!(record.redacted.contains(&place.to_owned()), "{place}: {:?}", record.redacted);
        }
        assert_eq!(record.response.log[1].1, "the key is (secret)");
        // In base64 nobody would see it.
        let Some(Outcome::Rows(rows)) = &record.outcome else { panic!("{record:?}") };
        assert_eq!(rows.values[1], Cell::Bytes(Blob::Text("\u{fffd}(secret)".to_owned())));
    }

    #[test]
    fn rows_and_answers_lose_what_the_manifest_names_and_nothing_else() {
        let mut given = record();
        let text = |text: &str| Cell::Text(text.to_owned());
        let values = vec![text("ana"), Cell::Integer(7), text("rui"), Cell::Integer(8)];
        given.outcome = Some(Outcome::Rows(Rows { columns: vec!["name".to_owned(), "id".to_owned()], values }));
        given.response.body = Blob::Text(r#"{"total":12,"street":"Long Street"}"#.to_owned());
        let record = applied("rows = [\"$[*].name\"], response = [\"$.total\"]", given);
        let Some(Outcome::Rows(rows)) = &record.outcome else { panic!("{record:?}") };
        let taken = || text(REDACTED);
        assert_eq!(rows.values, [taken(), Cell::Integer(7), taken(), Cell::Integer(8)]);
        assert_eq!(record.response.body, Blob::Text(r#"{"street":"Long Street","total":0}"#.to_owned()));
        for place in ["outcome.rows[*].name", "response.body.total"] {
            assert!(record.redacted.contains(&place.to_owned()), "{place}: {:?}", record.redacted);
        }
    }

    #[test]
    fn names_of_members_that_clients_choose_are_taken_out_with_an_object() {
        let mut given = record();
        given.request.body =
            Blob::Text(r#"{"to":{"maria-silva":5,"street":"Long Street","x":{"other":1}}}"#.to_owned());
        given.response.log = vec![("info".to_owned(), "paid maria-silva".to_owned())];
        let record = applied("body = [\"$.to\"]", given);
        assert_eq!(
            record.request.body,
            Blob::Text(r#"{"to":{"*1":0,"*2":{"*1":0},"street":"(redacted)"}}"#.to_owned())
        );
        assert_eq!(record.response.log[0].1, "paid (redacted)");
        let twice = applied("body = [\"$.to\"]", record.clone());
        assert_eq!(twice.request.body, record.request.body);
    }

    #[test]
    fn a_body_full_of_texts_is_redacted_in_a_time_that_its_size_allows() {
        let texts = |count: usize| (0..count).map(|number| format!("text {number:08}")).collect::<Vec<_>>();
        let mut given = record();
        given.request.body = Blob::Text(serde_json::json!({ "texts": texts(60_000) }).to_string());
        given.response.body = Blob::Text("a text 00059999 b".to_owned());
        given.outcome = Some(Outcome::Rows(Rows {
            columns: vec!["a".to_owned()],
            values: vec![Cell::Json("{\"a\":\"text 00059998\"}".to_owned()), Cell::Text("t text 00059997".to_owned())],
        }));
        let begun = std::time::Instant::now();
        let record = applied("body = [\"$.texts\"]", given.clone());
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(!record.line().contains("text 000"), "{}", record.redacted.join(", "));
        let Some(Outcome::Rows(rows)) = &record.outcome else { panic!("{record:?}") };
        assert_eq!(rows.values[0], Cell::Json("\"(redacted)\"".to_owned()));
        // As many as are searched.
        let most = limits::REDACTED_TEXTS_MAX / 2;
        given.request.body = Blob::Text(serde_json::json!({ "texts": texts(most) }).to_string());
        given.response.body = Blob::Text("c text 00000000 d ".repeat(60_000));
        let begun = std::time::Instant::now();
        let record = applied("body = [\"$.texts\"]", given);
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(record.response.body, Blob::Text("c (redacted) d ".repeat(60_000)));
    }

    #[test]
    fn arguments_are_named_as_parameters_and_the_detail_of_an_error_goes_with_them() {
        let mut given = record();
        let arguments = vec![Cell::Integer(42)];
        given.plan =
            Some(Plan::Call(Called { procedure: "pay".to_owned(), arguments, carry: Blob::Text(String::new()) }));
        given.outcome = Some(Outcome::Error(DatabaseError {
            sqlstate: "23505".to_owned(),
            message: "duplicate key".to_owned(),
            detail: Some("Key (card)=(42) already exists.".to_owned()),
            constraint: None,
        }));
        let record = applied("arguments = [\"$.p_card\"]", given);
        let Some(Plan::Call(called)) = &record.plan else { panic!("{record:?}") };
        assert_eq!((called.arguments[0].clone(), called.carry.clone()), (Cell::Integer(0), Blob::Text(String::new())));
        assert!(!record.line().contains("42"), "{}", record.line());
        assert!(record.redacted.contains(&"call.arguments.p_card".to_owned()), "{:?}", record.redacted);
    }
}
