//! A handler without a key: clients that send each request once, and what may have become of it. Nothing between a
//! client and the database may carry out a request twice, whatever happens to the stack.
//!
//! Each request carries a mark of its own, and the procedure behind it records the mark and counts on.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::{Base, Client, Reuse};

/// Between two requests of a client. A handful of clients is enough: every fault meets some of their requests.
const PAUSE: Duration = Duration::from_millis(10);

/// Clients that run.
pub struct Keyless {
    stop: CancellationToken,
    clients: JoinSet<Vec<Sent>>,
}

/// One request, sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What no other request has.
    pub mark: String,
    /// The status of its answer; none when there was no answer.
    pub status: Option<u16>,
}

/// What the database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The marks, one for each time that the procedure ran to its end.
    pub marks: Vec<String>,
    /// How far it counted.
    pub counted: u64,
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A request was carried out more than once.
    Twice(String),
    /// A request was answered 200, and is not recorded.
    Lost(String),
    /// A request was answered with what the handler never answers.
    Unexpected(Sent),
    /// What is recorded was never sent.
    NeverSent(String),
    /// The count is not the number of the marks.
    Count(u64),
}

impl Keyless {
    /// Sends marks to `path` until it is stopped.
    #[must_use]
    pub fn start(base: &Base, path: &'static str, clients: u32) -> Self {
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        for number in 0..clients {
            let reuse = if number % 2 == 0 { Reuse::Always } else { Reuse::Never };
            running.spawn(session(Client::new(base.clone(), reuse), path, number, stop.clone()));
        }
        Self { stop, clients: running }
    }

    /// Ends it, and returns all that was sent.
    pub async fn stop(self) -> Vec<Sent> {
        self.stop.cancel();
        self.clients.join_all().await.concat()
    }
}

async fn session(mut client: Client, path: &'static str, number: u32, stop: CancellationToken) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !stop.is_cancelled() {
        let mark = format!("{number}-{}", sent.len());
        let status = client.send_to(path, &mark).await.map(|(status, _)| status).ok();
        sent.push(Sent { mark, status });
        sleep(PAUSE).await;
    }
    sent
}

/// Everything that does not hold of what was recorded, given what was sent.
#[must_use]
pub fn broken(sent: &[Sent], recorded: &Recorded) -> Vec<Broken> {
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for mark in &recorded.marks {
        *times.entry(mark).or_default() += 1;
    }
    let mut found = Vec::new();
    for each in sent {
        let recorded = times.remove(each.mark.as_str()).unwrap_or_default();
        if recorded > 1 {
            found.push(Broken::Twice(each.mark.clone()));
        }
        match each.status {
            Some(200) if recorded == 0 => found.push(Broken::Lost(each.mark.clone())),
            None | Some(200 | 500..) => {}
            Some(_) => found.push(Broken::Unexpected(each.clone())),
        }
    }
    found.extend(times.into_keys().map(|mark| Broken::NeverSent(mark.to_owned())));
    if recorded.counted != recorded.marks.len() as u64 {
        found.push(Broken::Count(recorded.counted));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mark: &str, status: impl Into<Option<u16>>) -> Sent {
        Sent { mark: mark.to_owned(), status: status.into() }
    }

    fn recorded(marks: &[&str], counted: u64) -> Recorded {
        Recorded { marks: marks.iter().map(|mark| (*mark).to_owned()).collect(), counted }
    }

    #[test]
    fn what_is_acknowledged_is_recorded_and_nothing_is_recorded_twice() {
        let all = [sent("a", 200), sent("b", 503), sent("c", None), sent("d", 503)];
        assert_eq!(broken(&all, &recorded(&["a", "b"], 2)), []);
        assert_eq!(broken(&all, &recorded(&["c", "a", "d"], 3)), []);
        assert_eq!(broken(&all, &recorded(&["b"], 1)), [Broken::Lost("a".to_owned())]);
        assert_eq!(broken(&all, &recorded(&["a", "b", "b"], 3)), [Broken::Twice("b".to_owned())]);
        assert_eq!(broken(&all, &recorded(&["a", "x"], 2)), [Broken::NeverSent("x".to_owned())]);
        assert_eq!(broken(&all, &recorded(&["a"], 2)), [Broken::Count(2)]);
        assert_eq!(broken(&[sent("a", 404)], &recorded(&[], 0)), [Broken::Unexpected(sent("a", 404))]);
    }
}
