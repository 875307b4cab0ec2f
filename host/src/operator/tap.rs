//! `galo tap`: follows the requests of nodes, one line each. A node that cannot be reached any more is waited for, and
//! one that was restarted is followed from its first record on.

use anyhow::Context as _;
use futures_util::future::try_join_all;
use http::{Method, StatusCode};

use super::filter::Filter;
use super::line::{Colour, line};
use super::{Access, ask, names, nothing};
use crate::record::Record;
use crate::{limits, log};

/// What is followed, and how it is shown.
pub struct Tap {
    /// The nodes.
    pub nodes: Vec<Access>,
    /// The handler, if only one is followed.
    pub handler: Option<String>,
    /// Which requests are shown.
    pub filter: Filter,
    /// How many earlier requests are shown first.
    pub last: usize,
    /// The colours of a line; `None` for the records themselves, as JSON lines.
    pub colour: Option<Colour>,
}

/// Follows nodes until stdout is closed.
///
/// # Errors
/// When no node can be reached at the beginning, one refuses the request or has no such handler, or the output fails.
pub async fn tap(tap: &Tap) -> anyhow::Result<()> {
    let (mut followers, mut away) = (Vec::new(), None);
    for access in &tap.nodes {
        let mut follower = Follower::new(tap, access);
        match names(access, tap.handler.as_deref()).await {
            Ok(_) => {}
            // It is waited for, if there is another one to follow.
            Err(error) if is_away(&error) => {
                follower.is_awaited = true;
                away.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        followers.push(follower);
    }
    if let Some(error) = away
        && followers.iter().all(|follower| follower.is_awaited)
    {
        return Err(error);
    }
    match try_join_all(followers.into_iter().map(Follower::follow)).await {
        Err(Ended::Closed) => Ok(()),
        Err(Ended::Failed(error)) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Whether a node cannot be reached, or does not answer.
fn is_away(error: &anyhow::Error) -> bool {
    error.is::<std::io::Error>() || error.chain().any(|it| it.is::<hyper::Error>())
}

/// Why a node is followed no longer.
enum Ended {
    /// Nobody reads any more.
    Closed,
    Failed(anyhow::Error),
}

/// One node that is followed.
struct Follower<'a> {
    tap: &'a Tap,
    access: &'a Access,
    /// Where the last answer ended, and the run of the node that it was of.
    seen: Option<Seen>,
    /// As the node had it last: one request in so many.
    recording: String,
    is_lost: bool,
    /// It could not be reached at the beginning.
    is_awaited: bool,
}

struct Seen {
    cursor: String,
    run: String,
}

/// Records that came since the last answer.
struct News {
    records: Vec<(Record, String)>,
    missed: u64,
    recording: String,
}

impl<'a> Follower<'a> {
    fn new(tap: &'a Tap, access: &'a Access) -> Self {
        Self { tap, access, seen: None, recording: String::new(), is_lost: false, is_awaited: false }
    }

    async fn follow(mut self) -> Result<(), Ended> {
        let admin = &self.access.admin;
        loop {
            match self.news().await {
                Ok(Some(news)) => {
                    if std::mem::take(&mut self.is_lost) {
                        log::line(&format!("{admin} answers again"));
                    }
                    self.show(news)?;
                }
                Ok(None) => self.lost("it is starting"),
                Err(error) if (self.is_awaited || self.seen.is_some()) && is_away(&error) => {
                    let is_refused = error.is::<std::io::Error>();
                    self.lost(if is_refused { "it cannot be reached" } else { "it does not answer" });
                }
                Err(error) => return Err(Ended::Failed(error)),
            }
            tokio::time::sleep(limits::TAP_PAUSE).await;
            if log::is_closed() {
                return Err(Ended::Closed);
            }
        }
    }

    fn lost(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_lost, true) {
            log::line(&format!("{}: {why}; waiting for it, Ctrl-C ends", self.access.admin));
        }
    }

    /// What came since the last time; `None` from a node that is starting.
    async fn news(&mut self) -> anyhow::Result<Option<News>> {
        let mut path = format!("/api/records?last={}", self.tap.last);
        if let Some(Seen { cursor, .. }) = &self.seen {
            path = format!("/api/records?last={}&after={cursor}", limits::TAP_RECORDS_MAX);
            anyhow::ensure!(
                path.len() <= limits::TAP_CURSOR_BYTES_MAX,
                "too many handlers to follow at once: name one"
            );
        }
        if let Some(handler) = &self.tap.handler {
            path += &format!("&handler={handler}");
        }
        let answer = ask(self.access, Method::GET, &path).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        let lines = answer.lines()?;
        let (run, cursor) = (answer.header("galo-run").to_owned(), answer.header("galo-cursor").to_owned());
        if self.seen.as_ref().is_some_and(|seen| seen.run != run) {
            // The numbers of a new run begin again: the next answer has all of its records.
            self.seen = Some(Seen { cursor: "0".to_owned(), run });
            return Ok(Some(News { records: Vec::new(), missed: 0, recording: self.recording.clone() }));
        }
        let parsed = |line: &str| Record::parse(line).map(|record| (record, line.to_owned()));
        let records = lines.lines().map(parsed).collect::<Result<Vec<_>, _>>();
        let mut records = records.with_context(|| format!("the answer of {}", self.access.admin))?;
        // Of several handlers; each has its own order.
        records.sort_by_key(|(record, _)| record.request.now);
        if self.seen.is_none() {
            records.drain(..records.len().saturating_sub(self.tap.last));
        }
        self.seen = Some(Seen { cursor, run });
        let missed = answer.header("galo-missed").parse().unwrap_or(0);
        Ok(Some(News { records, missed, recording: answer.header("galo-recording").to_owned() }))
    }

    fn show(&mut self, News { records, missed, recording }: News) -> Result<(), Ended> {
        let Self { tap, access, .. } = *self;
        if recording != self.recording {
            match recording.as_str() {
                "0" => log::line(&nothing(&access.admin, &recording)),
                "1" => {}
                every => log::line(&format!(
                    "{} records one request in {every}, and every fault, 5xx and slow one: no other is shown",
                    access.admin
                )),
            }
            self.recording = recording;
        }
        if missed > 0 {
            log::line(&format!(
                "{}: {missed} requests are not shown: they came faster than they are kept",
                access.admin
            ));
        }
        let node = (tap.nodes.len() > 1).then(|| access.admin.to_string());
        for (record, json) in records.iter().filter(|(record, _)| tap.filter.takes(record)) {
            let text = match tap.colour {
                Some(colour) => line(record, node.as_deref(), colour),
                None => log::escaped_json(json),
            };
            log::write(format!("{text}\n").as_bytes()).map_err(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ended::Closed,
                _ => Ended::Failed(anyhow::Error::from(error).context("cannot write to stdout")),
            })?;
        }
        Ok(())
    }
}
