//! Everything that one rendering of the page shows: gathered first, then only written.

use crate::admin::Admin;
use crate::admin::api::denied::Denied;
use crate::admin::api::events::{self, Happened};
use crate::admin::api::procedures::{self, Granted};
use crate::admin::api::replay::{On, Replayed, Runnable};
use crate::admin::api::requests::{self, Summary, Wanted};
use crate::admin::api::routes::{self, RouteForm};
use crate::admin::api::save::{self, Saved};
use crate::admin::api::send::{Send, Sent};
use crate::admin::api::status::{self, Status};
use crate::admin::api::traffic::RouteTraffic;
use crate::admin::api::{handlers, wanted};
use crate::admin::body::Fields;
use crate::limits;
use crate::record::Record;
use crate::report::NodeReport;

/// What the address of the page asks for.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The requests to list.
    pub(super) wanted: Wanted,
    /// The record to show: its handler and number.
    pub(super) open: Option<(String, u64)>,
    /// The handler and the route of the form to show.
    pub(super) form: Option<(String, String)>,
    /// The example to fill it from.
    pub(super) example: Option<String>,
}

impl Place {
    pub(super) fn of(query: &Fields) -> Result<Self, Denied> {
        let text = |name: &str| query.get(name).map(str::to_owned);
        let open = query.get("record").map(|record| {
            let (handler, number) = record.split_once('/')?;
            Some((handler.to_owned(), number.parse().ok()?))
        });
        let open =
            open.map(|open| open.ok_or_else(|| Denied::bad("a record is `record=HANDLER/NUMBER`"))).transpose()?;
        let mut wanted = wanted(query)?;
        if query.get("last").is_none() {
            wanted.last = limits::PAGE_REQUESTS;
        }
        Ok(Self { wanted, open, form: text("of").zip(text("route")), example: text("example") })
    }

    /// The address of the page with this record open; the filter stays.
    pub(super) fn with(&self, open: Option<(&str, u64)>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(handler) = &self.wanted.handler {
            query.append_pair("handler", handler);
        }
        if self.wanted.errors {
            query.append_pair("only", "errors");
        }
        if self.wanted.last > limits::PAGE_REQUESTS {
            query.append_pair("last", &self.wanted.last.to_string());
        }
        if let Some((handler, number)) = open {
            query.append_pair("record", &format!("{handler}/{number}"));
        }
        format!("/?{}", query.finish())
    }

    /// The address of the page with another filter.
    pub(super) fn filtered(handler: Option<&str>, errors: bool, last: usize) -> String {
        let wanted = Wanted { handler: handler.map(str::to_owned), errors, last };
        Self { wanted, ..Self::default() }.with(None) + "#requests"
    }
}

/// What a form of the page has done.
#[derive(Debug)]
pub(super) enum Done {
    Nothing,
    Replayed(Result<Replayed, Denied>),
    Saved(Result<Saved, Denied>),
    RolledBack(Result<String, Denied>),
    Sent { handler: String, route: String, asked: Send, sent: Result<Sent, Denied> },
}

impl Done {
    pub(super) fn replayed(replayed: Result<Replayed, Denied>) -> Self {
        Self::Replayed(replayed)
    }

    pub(super) fn saved(saved: Result<Saved, Denied>) -> Self {
        Self::Saved(saved)
    }
}

/// A record that is shown whole.
pub(super) struct Open {
    pub(super) handler: String,
    pub(super) number: u64,
    pub(super) record: Result<Record, Denied>,
    /// The names of the components that it can be run on.
    pub(super) current: Option<String>,
    pub(super) candidate: Option<String>,
    /// Why the candidate cannot be one of them.
    pub(super) refused: Option<String>,
    pub(super) may_save: bool,
}

/// Everything that is shown.
pub(super) struct View {
    pub(super) status: Status,
    pub(super) handlers: NodeReport,
    pub(super) traffic: Vec<RouteTraffic>,
    pub(super) requests: Result<Vec<Summary>, Denied>,
    pub(super) open: Option<Open>,
    pub(super) forms: Vec<RouteForm>,
    pub(super) procedures: Vec<Granted>,
    pub(super) events: Vec<Happened>,
    pub(super) place: Place,
    pub(super) done: Done,
}

impl View {
    pub(super) fn of(admin: &Admin, place: Place, done: Done) -> Self {
        let table = admin.node.get().map(|node| node.registry.table());
        Self {
            status: status::status(admin),
            handlers: handlers(admin),
            traffic: table.map(|table| admin.console.traffic(|traffic| traffic.report(&table))).unwrap_or_default(),
            requests: requests::last(admin, &place.wanted),
            open: place.open.as_ref().map(|(handler, number)| open(admin, handler, *number)),
            forms: routes::first(admin, limits::PAGE_ROWS_MAX),
            procedures: procedures::all(admin),
            events: events::after(admin, 0),
            place,
            done,
        }
    }
}

fn open(admin: &Admin, name: &str, number: u64) -> Open {
    let table = admin.node.get().map(|node| node.registry.table());
    let handler = table.as_ref().and_then(|table| table.handler(name));
    let runnable = |on| handler.and_then(|handler| Runnable::find(handler, on)).map(|runnable| runnable.name());
    Open {
        handler: name.to_owned(),
        number,
        record: requests::one(admin, name, number),
        current: runnable(On::Current),
        candidate: runnable(On::Candidate),
        refused: handler.and_then(|handler| Runnable::refused(handler)),
        may_save: handler.is_some_and(|handler| save::may(admin, handler)),
    }
}
