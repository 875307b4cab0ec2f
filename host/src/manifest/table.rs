//! The tables of the file as serde reads them, and their conversion. Every mistake is noted with its position, and none
//! is silently replaced by a default. The parent uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::HeaderName;
use serde::Deserialize;
use toml::Spanned;

use super::build::BuildTable;
use super::built::BuiltTable;
use super::config::{self, ConfigTable};
use super::cors::CorsTable;
use super::entry::{Claims, Entry, GALO_TRY, Gate, IDEMPOTENCY_KEY, Retry};
use super::limits::LimitsTable;
use super::messages::MessagesTable;
use super::project::ProjectTable;
use super::record::{RecordEntry, RecordTable};
use super::shards::ShardsTable;
use super::token::TokenTable;
use crate::database::{Batch, GrantedProcedure};
use crate::limits::ROUTES_MAX;
use crate::route::Route;
use crate::wire::MediaType;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) project: Option<ProjectTable>,
    pub(super) cors: Option<CorsTable>,
    #[serde(default)]
    pub(super) messages: MessagesTable,
    pub(super) token: Option<Spanned<TokenTable>>,
    pub(super) record: Option<RecordTable>,
    pub(super) shards: Option<Spanned<ShardsTable>>,
    #[serde(default)]
    pub(super) handler: Vec<Spanned<HandlerTable>>,
    pub(super) built: Option<BuiltTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandlerTable {
    name: Spanned<String>,
    component: PathBuf,
    build: Option<BuildTable>,
    route: Option<Spanned<String>>,
    routes: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    content_type: Option<Spanned<String>>,
    pub(super) claims: Option<Spanned<ClaimsWord>>,
    #[serde(default)]
    config: ConfigTable,
    #[serde(default)]
    procedures: Vec<Spanned<String>>,
    #[serde(default)]
    batch: BTreeMap<Spanned<String>, Spanned<Batch>>,
    explain: Option<Spanned<String>>,
    #[serde(default)]
    remote: Vec<Spanned<String>>,
    retry: Option<Spanned<RetryWord>>,
    gate: Option<GateWord>,
    record: Option<RecordTable>,
    #[serde(default)]
    wasi: bool,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RetryWord {
    Key,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum GateWord {
    Report,
    Refuse,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClaimsWord {
    Optional,
    Required,
}

impl HandlerTable {
    /// The entry of the table, which begins at `start`.
    pub(super) fn entry(
        &self,
        manifest: &Path,
        (start, line): (usize, usize),
        mistake: &mut dyn FnMut(usize, String),
    ) -> Entry {
        let name = self.name.get_ref();
        let folder = manifest.parent().unwrap_or(Path::new(""));
        let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(well_formed) {
            let text = format!("`{name}` is not a handler name: use letters, digits, `-` and `_`");
            mistake(self.name.span().start, text);
        }
        let routes = self.routes(start, mistake);
        let headers = self.headers.iter().filter_map(|header| {
            let parsed = header.get_ref().parse::<HeaderName>();
            if parsed.is_err() {
                mistake(header.span().start, format!("`{}` is not a header name", header.get_ref()));
            }
            parsed.ok()
        });
        let headers: Vec<_> = headers.collect();
        let content_type = self.content_type.as_ref().and_then(|text| {
            let parsed = text.get_ref().parse::<MediaType>();
            let told = |error| format!("content_type = \"{}\": {error}", text.get_ref());
            parsed.map_err(|error| mistake(text.span().start, told(error))).ok()
        });
        let retry = self.retry(&routes, &headers, mistake);
        self.check_procedures(mistake);
        let record = self.record(&routes, mistake);
        let granted = |name: &Spanned<String>| GrantedProcedure {
            name: name.get_ref().clone(),
            batch: self.batch.get(name).map(|batch| batch.get_ref().clone()),
            remote: self.remote.contains(name),
            partition: None,
        };
        Entry {
            name: name.clone(),
            folder: folder.to_owned(),
            component: folder.join(&self.component),
            build: self.build.as_ref().map(|build| build.build(mistake)),
            sources: None,
            routes,
            headers,
            content_type,
            claims: match self.claims.as_ref().map(Spanned::get_ref) {
                None => Claims::Never,
                Some(ClaimsWord::Optional) => Claims::Optional,
                Some(ClaimsWord::Required) => Claims::Required,
            },
            config: config::config(&self.config, folder, mistake),
            procedures: self.procedures.iter().map(granted).collect(),
            explain: self.explain.as_ref().map(|name| name.get_ref().clone()),
            retry,
            gate: self.gate.map(|gate| match gate {
                GateWord::Report => Gate::Report,
                GateWord::Refuse => Gate::Refuse,
            }),
            record,
            wasi: self.wasi,
            limits: self.limits.limits(mistake),
            line,
        }
    }

    /// The routes, of `route` or of `routes`.
    fn routes(&self, start: usize, mistake: &mut dyn FnMut(usize, String)) -> Vec<Route> {
        let given: Vec<_> = match (&self.route, &self.routes) {
            (Some(route), None) => vec![route],
            (None, Some(routes)) => {
                let count = routes.get_ref().len();
                if count == 0 || count > ROUTES_MAX {
                    mistake(routes.span().start, format!("{count} routes: 1 to {ROUTES_MAX} are allowed"));
                }
                routes.get_ref().iter().collect()
            }
            (None, None) => {
                mistake(start, "missing field `route`: write `route = \"GET /path\"`, or `routes = [...]`".to_owned());
                Vec::new()
            }
            (Some(route), Some(_)) => {
                mistake(route.span().start, "`route` and `routes`: write all of them into `routes`".to_owned());
                Vec::new()
            }
        };
        let parsed = given.into_iter().filter_map(|text| {
            let parsed = text.get_ref().parse::<Route>();
            parsed.map_err(|error| mistake(text.span().start, format!("route `{}`: {error}", text.get_ref()))).ok()
        });
        parsed.collect()
    }

    /// What is recorded of its requests, apart from what holds for all handlers.
    fn record(&self, routes: &[Route], mistake: &mut dyn FnMut(usize, String)) -> RecordEntry {
        let Some(record) = &self.record else { return RecordEntry::default() };
        let known: Vec<_> = routes.iter().flat_map(Route::parameters).collect();
        record.check_parameters(&known, mistake);
        record.entry(mistake)
    }

    fn check_procedures(&self, mistake: &mut dyn FnMut(usize, String)) {
        let procedures = self.procedures.iter().map(|name| (name.get_ref(), name.span()));
        let forms = self.batch.values().map(|batch| (&batch.get_ref().form, batch.span()));
        let explain = self.explain.iter().map(|name| (name.get_ref(), name.span()));
        for (_, span) in procedures.chain(forms).chain(explain).filter(|(name, _)| name.is_empty()) {
            mistake(span.start, "a procedure has a name".to_owned());
        }
        for batched in self.batch.keys().filter(|batched| !self.procedures.iter().any(|one| one == *batched)) {
            let text = format!("`{}` has a batch form, and is not among the procedures", batched.get_ref());
            mistake(batched.span().start, text);
        }
        for remote in &self.remote {
            let (name, start) = (remote.get_ref(), remote.span().start);
            if !self.procedures.contains(remote) {
                mistake(start, format!("remote: `{name}` is not among the procedures; add it to `procedures`"));
            } else if self.batch.get(remote).is_some_and(|batch| batch.get_ref().lanes.is_none()) {
                let remedy = "remove it from `remote`, or state in `batch` how many `lanes` there are if all calls of a \
                              lane work in the same database";
                mistake(
                    start,
                    format!("remote: `{name}` has a batch form, and a batch must be one transaction: {remedy}"),
                );
            }
        }
        for batch in self.batch.values() {
            let Batch { by, key, .. } = batch.get_ref();
            if key.as_ref() == Some(by) {
                let text =
                    format!("batch: `by` and `key` are both `{by}`; `key` makes two tries of a call one transaction");
                mistake(batch.span().start, text);
            }
        }
    }

    /// Whether a proxy may repeat the route's requests. Both keys are granted then, so that neither a client's second
    /// try nor the proxy's is recorded again.
    fn retry(&self, routes: &[Route], headers: &[HeaderName], mistake: &mut dyn FnMut(usize, String)) -> Retry {
        let Some(word) = &self.retry else {
            let place = self.headers.iter().find(|header| header.get_ref().eq_ignore_ascii_case(GALO_TRY.as_str()));
            if let Some(place) = place {
                let text = format!("`{GALO_TRY}` is only set for a route with retry = \"key\"");
                mistake(place.span().start, text);
            }
            return Retry::Never;
        };
        let (RetryWord::Key, place) = (word.get_ref(), word.span().start);
        if let Some(route) = routes.first().filter(|_| routes.iter().all(|route| route.method().is_safe())) {
            mistake(place, format!("retry = \"key\": a {} is repeated without it", route.method()));
        }
        for key in [&IDEMPOTENCY_KEY, &GALO_TRY].into_iter().filter(|key| !headers.contains(key)) {
            mistake(place, format!("retry = \"key\": the header `{key}` is not granted; add it to `headers`"));
        }
        Retry::Key
    }
}
