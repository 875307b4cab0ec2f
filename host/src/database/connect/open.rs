//! Opens a connection: picks the host and the address, checks that it is the kind of database wanted, and sets up the
//! session. Only this module connects and sets up sessions; it does not set up a session behind a pooler, which may
//! share it with other clients (`pooler`).
//!
//! Nothing is cached: each connection resolves names again, and tries the hosts in order.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, SimpleQueryMessage};

pub(in crate::database) use super::cause::{Cause, Unreachable};
use super::encryption::Encryption;
use super::handshake::{Access, Connected};
use super::pooler::{Survey, Way, survey};
use super::session::{Application, Session};
use super::target::{Place, Target, Wanted};
use crate::limits;

/// Whether the connection is read only: on a standby, or for a role whose transactions are read only by default.
const IS_READ_ONLY: &str = "SELECT pg_catalog.current_setting('transaction_read_only')";

impl Target {
    /// Opens one connection outside the pool. Its task ends with the client.
    ///
    /// # Errors
    /// When no host accepts the connection, or none is what the URL asks for.
    pub(in crate::database) async fn connect(&self) -> Result<Client, Unreachable> {
        Ok(self.reach(self.wanted, None).await?.client)
    }

    /// As [`Target::connect`], for work that needs a private session: settings made by an SQL file must not remain on a
    /// server process that a pooler then gives to another client.
    ///
    /// # Errors
    /// As [`Target::connect`], and when the connection goes through a pooler.
    pub(in crate::database) async fn connect_directly(&self) -> Result<Client, Unreachable> {
        let opened = self.reach(self.wanted, None).await?;
        match opened.survey.direct {
            true => Ok(opened.client),
            false => Err(Unreachable::broken(Cause::Pooled)),
        }
    }

    /// Opens one connection for calls or probes and sets up its session.
    ///
    /// # Errors
    /// As [`Target::connect`], and when calls write and no host accepts writes.
    pub(in crate::database) async fn open(&self, calls: Wanted, session: &Session) -> Result<Opened, Unreachable> {
        self.reach(self.asks(calls), Some(session)).await
    }

    /// The kind of database that the URL asks for, or else the kind that calls need.
    pub(in crate::database) fn asks(&self, calls: Wanted) -> Wanted {
        if self.wanted == Wanted::Anything { calls } else { self.wanted }
    }

    /// Connects to the first host of the kind wanted. A host that does not answer delays the next one only briefly.
    async fn reach(&self, wanted: Wanted, session: Option<&Session>) -> Result<Opened, Unreachable> {
        let mut places: Vec<_> = self.hosts.iter().collect();
        if self.balanced {
            let first = usize::from(random()) % places.len();
            places.rotate_left(first);
        }
        let access = self.access().await.map_err(Unreachable::broken)?;
        let tries = places.into_iter().map(|place| self.reach_host(place, &access, wanted, session)).collect();
        race(tries).await
    }

    /// Connects to the first address of a host that is of the kind wanted.
    async fn reach_host(
        &self,
        place: &Place,
        access: &Access,
        wanted: Wanted,
        session: Option<&Session>,
    ) -> Result<Opened, Unreachable> {
        let failed = |cause| Unreachable::one(place, cause);
        let addresses = match (&place.host, place.address) {
            (Host::Unix(_), _) => vec![None],
            (Host::Tcp(_), Some(address)) => vec![Some(address)],
            (Host::Tcp(name), None) => {
                let found = timeout(self.connect_timeout, lookup_host((name.as_str(), place.port))).await;
                let found = found.map_err(|_| failed(Cause::Silent(self.connect_timeout)))?;
                found.map_err(|error| failed(Cause::Unknown(error)))?.map(|found| Some(found.ip())).collect()
            }
        };
        let one = async |address| {
            let session = session.map(|session| (session, &self.application));
            let greeted = async { greet(self.handshake(place, address, access).await?, wanted, session).await };
            let greeted = timeout(self.connect_timeout, greeted).await;
            let greeted = greeted.unwrap_or(Err(Cause::Silent(self.connect_timeout)));
            let (opened, encryption) = greeted.map_err(|cause| Unreachable::one(place, cause))?;
            self.logged.note(self, &self.tls, encryption);
            Ok(opened)
        };
        race(addresses.into_iter().map(one).collect()).await
    }
}

/// An open connection.
pub(in crate::database) struct Opened {
    pub(in crate::database) client: Client,
    /// The task that drives the connection.
    pub(in crate::database) task: JoinHandle<()>,
    /// How calls are sent on it.
    pub(in crate::database) way: Way,
    /// What was found out about the connection.
    pub(in crate::database) survey: Survey,
}

/// Surveys a new connection and checks it, then sets up the session if one is wanted and no pooler is in between.
async fn greet(
    connected: Connected,
    wanted: Wanted,
    session: Option<(&Session, &Application)>,
) -> Result<(Opened, Encryption), Cause> {
    let Connected { client, task, encryption } = connected;
    let survey = survey(&client).await.map_err(Cause::Refused)?;
    wanted.check(survey.read_only)?;
    let way = session.map_or(Way::Direct, |(session, _)| session.way(&survey));
    if let (Some((session, application)), Way::Direct) = (session, &way) {
        client.batch_execute(&session.sql(application)).await.map_err(Cause::Refused)?;
    }
    Ok((Opened { client, task, way, survey }, encryption))
}

/// Checks that a database is still of the kind wanted, in one round trip.
pub(in crate::database) async fn check(client: &Client, wanted: Wanted) -> Result<(), Cause> {
    let answer = client.simple_query(IS_READ_ONLY).await.map_err(Cause::Refused)?;
    let read_only = answer.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("on"),
        _ => false,
    });
    wanted.check(read_only)
}

impl Wanted {
    fn check(self, read_only: bool) -> Result<(), Cause> {
        match self {
            Self::Writable if read_only => Err(Cause::ReadOnly),
            Self::ReadOnly if !read_only => Err(Cause::TakesWrites),
            _ => Ok(()),
        }
    }
}

/// Returns the first attempt that succeeds. The next one starts when an earlier one failed or has taken a while.
async fn race(tries: Vec<impl Future<Output = Result<Opened, Unreachable>>>) -> Result<Opened, Unreachable> {
    let mut waiting = tries.into_iter();
    let mut under_way: FuturesUnordered<_> = waiting.next().into_iter().collect();
    let mut failed = Unreachable::default();
    loop {
        match timeout(limits::CONNECT_STAGGER, under_way.next()).await {
            Ok(Some(Ok(opened))) => return Ok(opened),
            Ok(Some(Err(error))) => failed.extend(error),
            Ok(None) => return Err(failed),
            Err(_) => {}
        }
        under_way.extend(waiting.next());
    }
}

/// A random byte, different from process to process and from call to call.
pub(in crate::database) fn random() -> u8 {
    RandomState::new().build_hasher().finish().to_be_bytes()[7]
}
