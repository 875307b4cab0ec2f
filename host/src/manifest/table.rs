//! The tables of the file as serde reads them, and their conversion. Every mistake is noted with its position, and none
//! is silently replaced by a default. The parent uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::HeaderName;
use serde::Deserialize;
use toml::Spanned;

use super::cors::CorsTable;
use super::entry::{Entry, GALO_TRY, GrantedProcedure, IDEMPOTENCY_KEY, Retry};
use super::limits::LimitsTable;
use super::messages::MessagesTable;
use super::project::ProjectTable;
use crate::database::Batch;
use crate::route::Route;
use crate::wire::MediaType;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) project: Option<ProjectTable>,
    pub(super) cors: Option<CorsTable>,
    #[serde(default)]
    pub(super) messages: MessagesTable,
    #[serde(default)]
    pub(super) handler: Vec<Spanned<HandlerTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandlerTable {
    name: Spanned<String>,
    component: PathBuf,
    route: Spanned<String>,
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    content_type: Option<Spanned<String>>,
    #[serde(default)]
    procedures: Vec<Spanned<String>>,
    #[serde(default)]
    batch: BTreeMap<Spanned<String>, Spanned<Batch>>,
    retry: Option<Spanned<RetryWord>>,
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

impl HandlerTable {
    pub(super) fn entry(&self, manifest: &Path, line: usize, mistake: &mut dyn FnMut(usize, String)) -> Entry {
        let name = self.name.get_ref();
        let folder = manifest.parent().unwrap_or(Path::new(""));
        let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(well_formed) {
            mistake(self.name.span().start, format!("`{name}` is no name: letters, digits, `-` and `_` make one"));
        }
        let route = self.route.get_ref().parse::<Route>().unwrap_or_else(|error| {
            mistake(self.route.span().start, format!("route `{}`: {error}", self.route.get_ref()));
            Route::unmatchable()
        });
        let headers = self.headers.iter().filter_map(|header| {
            let parsed = header.get_ref().parse::<HeaderName>();
            if parsed.is_err() {
                mistake(header.span().start, format!("`{}` is no header name", header.get_ref()));
            }
            parsed.ok()
        });
        let headers: Vec<_> = headers.collect();
        let content_type = self.content_type.as_ref().and_then(|text| {
            let parsed = text.get_ref().parse::<MediaType>();
            let told = |error| format!("content_type = \"{}\": {error}", text.get_ref());
            parsed.map_err(|error| mistake(text.span().start, told(error))).ok()
        });
        let retry = self.retry(&route, &headers, mistake);
        let procedures = self.procedures.iter().map(|name| (name.get_ref(), name.span()));
        let forms = self.batch.values().map(|batch| (&batch.get_ref().form, batch.span()));
        for (_, span) in procedures.chain(forms).filter(|(name, _)| name.is_empty()) {
            mistake(span.start, "a procedure has a name".to_owned());
        }
        for batched in self.batch.keys().filter(|batched| !self.procedures.iter().any(|one| one == *batched)) {
            let text = format!("`{}` has a batch form, and is not among the procedures", batched.get_ref());
            mistake(batched.span().start, text);
        }
        let granted = |name: &Spanned<String>| GrantedProcedure {
            name: name.get_ref().clone(),
            batch: self.batch.get(name).map(|batch| batch.get_ref().clone()),
        };
        Entry {
            name: name.clone(),
            folder: folder.to_owned(),
            component: folder.join(&self.component),
            route,
            headers,
            content_type,
            procedures: self.procedures.iter().map(granted).collect(),
            retry,
            wasi: self.wasi,
            limits: self.limits.limits(mistake),
            line,
        }
    }

    /// Whether a proxy may repeat the route's requests. Both keys are granted then, so that neither a client's second
    /// try nor the proxy's is recorded again.
    fn retry(&self, route: &Route, headers: &[HeaderName], mistake: &mut dyn FnMut(usize, String)) -> Retry {
        let Some(word) = &self.retry else {
            let place = self.headers.iter().find(|header| header.get_ref().eq_ignore_ascii_case(GALO_TRY.as_str()));
            if let Some(place) = place {
                let text = format!("`{GALO_TRY}` is only set for a route with retry = \"key\"");
                mistake(place.span().start, text);
            }
            return Retry::Never;
        };
        let (RetryWord::Key, place) = (word.get_ref(), word.span().start);
        if route.method().is_safe() {
            mistake(place, format!("retry = \"key\": a {} is repeated without it", route.method()));
        }
        for key in [&IDEMPOTENCY_KEY, &GALO_TRY].into_iter().filter(|key| !headers.contains(key)) {
            mistake(place, format!("retry = \"key\": the header `{key}` is not granted; add it to `headers`"));
        }
        Retry::Key
    }
}
