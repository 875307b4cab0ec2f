//! `galo shadow`: sends a component to a node, and shows what it decides otherwise while it runs there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::ask::{Access, ask, send};
use super::name;
use crate::log::escaped;
use crate::report::{Counts, HandlerReport, NodeReport, Reason, Shadow, ShadowState};
use crate::{file, limits, trust};

/// A shadow on a node.
pub struct Shadowing {
    access: Access,
    name: String,
    sha256: String,
    asked: Reason,
}

/// How a shadow has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request was decided alike.
    Alike,
    /// Some were decided otherwise.
    Otherwise,
    /// None was compared: nothing is shown by it.
    Nothing,
}

impl Shadowing {
    /// Sends a component to a node, to run beside one request in so many of a handler.
    ///
    /// # Errors
    /// When the file cannot be read, nobody listens there, or the node refuses it.
    pub async fn begin(
        access: &Access,
        name: &str,
        component: &Path,
        (every, span): (usize, Duration),
        asked: Reason,
    ) -> anyhow::Result<Self> {
        name::check(name)?;
        let bytes = file::read(component, limits::COMPONENT_BYTES_MAX)
            .with_context(|| format!("cannot read the component {}", component.display()))?;
        let mut path = format!("/handlers/{name}/shadow?every={every}&seconds={}&{}", span.as_secs(), query(&asked));
        if let Some(signature) = trust::beside(component)? {
            path += &format!("&signature={}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        }
        let body = ("application/wasm", Bytes::from(bytes));
        let answer = send(access, Method::POST, &path, body, limits::UPLOAD_TIMEOUT).await?;
        // Also if the node has as many as it may have: it lists them.
        if answer.status == StatusCode::CONFLICT && answer.message().starts_with(name) {
            bail!("{}; end it with {}", answer.message(), access.command(&format!("shadow {name} --stop")));
        }
        if !answer.status.is_success() {
            bail!("{}; {} lists the handlers of the node", answer.message(), access.command("handlers"));
        }
        let report: HandlerReport = answer.json(StatusCode::ACCEPTED)?;
        let shadow = report.shadow.context("the answer names no shadow")?;
        Ok(Self { access: access.clone(), name: name.to_owned(), sha256: shadow.sha256, asked })
    }

    /// Ends the shadow of a handler, if it has one.
    ///
    /// # Errors
    /// When nobody listens there, or the handler has none.
    pub async fn stop(access: &Access, name: &str, asked: &Reason) -> anyhow::Result<()> {
        name::check(name)?;
        let answer = ask(access, Method::DELETE, &format!("/handlers/{name}/shadow?{}", query(asked))).await?;
        if !answer.status.is_success() {
            bail!("{}; {} lists the handlers of the node", answer.message(), access.command("handlers"));
        }
        Ok(())
    }

    /// Shows the counts until the shadow has ended. `stopped` ends it. `rewrite` is whether the output is a terminal
    /// on which the last counts can be written over.
    ///
    /// # Errors
    /// When the node does not answer, or has refused the component.
    pub async fn follow(
        &self,
        stopped: impl Future<Output = ()>,
        rewrite: bool,
        mut print: impl FnMut(&str),
    ) -> anyhow::Result<Ended> {
        let mut stopped = std::pin::pin!(stopped);
        let (mut lines, mut printed, mut ending) = (0, None::<Instant>, false);
        loop {
            let shadow = self.now().await?;
            let is_over = matches!(shadow.state, ShadowState::Refused | ShadowState::Ended);
            let is_due = printed.is_none_or(|printed| printed.elapsed() >= limits::SHADOW_PRINT_EVERY);
            if is_over || rewrite || is_due {
                let text = shown(&self.name, &shadow);
                let up = if lines > 0 && rewrite { format!("\u{1b}[{lines}A\u{1b}[J") } else { String::new() };
                print(&format!("{up}{text}"));
                (lines, printed) = (text.lines().count(), Some(Instant::now()));
            }
            match shadow.state {
                ShadowState::Refused => bail!(
                    "{}: the component was refused and did not run: {}",
                    self.name,
                    indented(shadow.message.as_deref().unwrap_or_default())
                ),
                ShadowState::Ended if shadow.counts.differ > 0 => return Ok(Ended::Otherwise),
                ShadowState::Ended if shadow.counts.compared == 0 => return Ok(Ended::Nothing),
                ShadowState::Ended => return Ok(Ended::Alike),
                ShadowState::Verifying | ShadowState::Running => {}
            }
            let pause = tokio::time::sleep(if ending { limits::SHADOW_POLL } else { limits::SHADOW_REPORT_EVERY });
            tokio::select! {
                () = &mut stopped, if !ending => {
                    ending = true;
                    let Reason { who, why } = &self.asked;
                    let asked = Reason { who: who.clone(), why: format!("its command was interrupted ({why})") };
                    Self::stop(&self.access, &self.name, &asked).await?;
                }
                () = pause => {}
            }
        }
    }

    /// The shadow as it is now.
    async fn now(&self) -> anyhow::Result<Shadow> {
        let report: NodeReport = ask(&self.access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
        let handler = report.handlers.into_iter().find(|handler| handler.name == self.name);
        let shadow = handler.and_then(|handler| handler.shadow).filter(|shadow| shadow.sha256 == self.sha256);
        shadow
            .with_context(|| format!("the node does not know the shadow of {} any more; was it restarted?", self.name))
    }
}

fn query(Reason { who, why }: &Reason) -> String {
    let [who, why] = [who, why].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
    format!("who={who}&why={why}")
}

/// A message of several lines, fit for a terminal; the further ones are indented.
fn indented(message: &str) -> String {
    message.lines().map(escaped).collect::<Vec<_>>().join("\n    ")
}

/// The counts, in a few lines; one that has not run has none.
fn shown(name: &str, shadow: &Shadow) -> String {
    let Shadow { state, every, seconds_left, counts, dropped, .. } = shadow;
    let Counts { compared, differ, skipped, paths } = counts;
    let (minutes, seconds) = (seconds_left / 60, seconds_left % 60);
    let state = match state {
        ShadowState::Verifying => return format!("{name}: verifying the component"),
        ShadowState::Refused => return format!("{name}: refused"),
        ShadowState::Running => format!("1 in {every} requests, {minutes} min {seconds} s left"),
        ShadowState::Ended => "ended".to_owned(),
    };
    let mut text = format!("{name}: {state}: {differ} of {compared} differ, {skipped} skipped, {dropped} dropped");
    for path in paths {
        text += &format!("\n    {:>8}  {}", path.count, escaped(&path.path));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PathCount;

    #[test]
    fn the_counts_are_shown_by_path() {
        let counts = Counts {
            compared: 120,
            differ: 3,
            skipped: 1,
            paths: vec![PathCount { path: "response.body.\u{1b}total".to_owned(), count: 3 }],
        };
        let shadow = Shadow {
            sha256: String::new(),
            state: ShadowState::Running,
            message: None,
            every: 10,
            seconds_left: 580,
            counts,
            dropped: 2,
        };
        assert_eq!(
            shown("orders", &shadow),
            "orders: 1 in 10 requests, 9 min 40 s left: 3 of 120 differ, 1 skipped, 2 dropped\n           \
             3  response.body.\\u{1b}total"
        );
    }
}
