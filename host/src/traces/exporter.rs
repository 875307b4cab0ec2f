//! The queue of spans, and the thread that sends them to the collector in batches. Adding spans never waits and never
//! fails: what does not fit is dropped and counted, as is what the collector does not take in time.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::otlp::{
    ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
};
use super::post::{Answer, Post};
use crate::config::{Sampler, Traces};
use crate::limits;
use crate::metrics::SpanMetrics;
use crate::supervise;

/// Sends spans to the collector.
pub struct Exporter {
    /// Which traces are exported.
    pub sampler: Sampler,
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// A batch is full, or somebody waits until all are sent.
    news: Notify,
    /// The node ends: nothing is sent a second time.
    closing: AtomicBool,
    queue_max: usize,
    batch_max: usize,
    counted: SpanMetrics,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<Span>,
    /// Who waits until all spans are sent.
    flushes: Vec<oneshot::Sender<()>>,
}

impl Exporter {
    /// Starts the thread. It ends when it was closed.
    ///
    /// # Errors
    /// What is wrong with a file for TLS, or that there can be no thread.
    pub fn start(settings: &Arc<Traces>, node: &str, counted: SpanMetrics) -> anyhow::Result<Self> {
        let sampler = settings.sampler;
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            news: Notify::new(),
            closing: AtomicBool::new(false),
            queue_max: settings.queue_max,
            batch_max: settings.batch_max,
            counted,
        });
        let (schedule, timeout) = (settings.schedule, settings.timeout);
        let (resource, endpoint) = (resource(settings, node), settings.endpoint.to_string());
        let post = Post::new(Arc::clone(settings)).context("cannot export traces")?;
        let mut sender =
            Sender { shared: Arc::clone(&shared), post, resource, endpoint, schedule, timeout, failing: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            supervise::unending("traces", || runtime.block_on(sender.run()));
        })?;
        Ok(Self { sampler, shared })
    }

    /// Adds the spans of one trace, all or none.
    pub fn offer(&self, spans: Vec<Span>) {
        let mut waiting = self.shared.waiting();
        if waiting.spans.len() + spans.len() > self.shared.queue_max {
            drop(waiting);
            return self.shared.counted.dropped("queue_full", spans.len() as u64);
        }
        waiting.spans.extend(spans);
        if waiting.spans.len() >= self.shared.batch_max {
            self.shared.news.notify_one();
        }
    }

    /// Sends what waits, once, reports that it did, and ends.
    pub fn close(&self, sent: oneshot::Sender<()>) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.waiting().flushes.push(sent);
        self.shared.news.notify_one();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all spans are about.
fn resource(settings: &Traces, node: &str) -> Resource {
    let defaults = [
        ("service.name", "galo"),
        ("service.instance.id", node),
        ("telemetry.sdk.name", "galo"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let given = settings.resource.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let missing = defaults.into_iter().filter(|(name, _)| settings.resource.iter().all(|(given, _)| given != name));
    Resource { attributes: given.chain(missing).map(|(name, value)| KeyValue::text(name, value)).collect() }
}

/// What the thread has.
struct Sender {
    shared: Arc<Shared>,
    post: Post,
    resource: Resource,
    endpoint: String,
    schedule: Duration,
    timeout: Duration,
    /// The last batch was not taken; only changes are logged.
    failing: bool,
}

impl Sender {
    async fn run(&mut self) {
        loop {
            tokio::select! {
                () = self.shared.news.notified() => {}
                () = sleep(self.schedule) => {}
            }
            // What arrives during the last batch is sent when its time has come.
            let mut left = self.shared.waiting().spans.len();
            while left > 0 {
                let batch: Vec<_> = {
                    let mut waiting = self.shared.waiting();
                    let size = self.shared.batch_max.min(waiting.spans.len());
                    waiting.spans.drain(..size).collect()
                };
                left = left.saturating_sub(batch.len());
                self.guarded(batch).await;
            }
            let flushes = std::mem::take(&mut self.shared.waiting().flushes);
            let is_closing = !flushes.is_empty();
            for sent in flushes {
                // Its receiver may have given up.
                let _ = sent.send(());
            }
            if is_closing {
                return;
            }
        }
    }

    /// Sends a batch. A panic costs this batch: it is counted as lost. Unwind safe: `post` connects again.
    async fn guarded(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if AssertUnwindSafe(self.export(spans)).catch_unwind().await.is_err() {
            self.shared.counted.dropped("not_sent", count);
            tracing::error!(spans = count, "the exporter of traces panicked; the spans that it was sending are lost");
        }
    }

    /// Sends a batch, until it is taken, refused, or too old.
    async fn export(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let scope = InstrumentationScope { name: "galo".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource_spans = vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }];
        let deadline = Instant::now() + self.timeout;
        let outcome = match self.post.encode(&ExportTraceServiceRequest { resource_spans }) {
            Ok(body) => self.send_until(deadline, body).await,
            Err(error) => Err(error.into()),
        };
        let counted = &self.shared.counted;
        match outcome {
            Ok((rejected, why)) => {
                counted.exported(count.saturating_sub(rejected));
                counted.dropped("rejected", rejected);
                if rejected > 0 || !why.is_empty() {
                    tracing::warn!(endpoint = self.endpoint, rejected, why, "the collector did not take all spans");
                }
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!(endpoint = self.endpoint, "traces are exported again");
                }
            }
            Err(error) => {
                counted.dropped("not_sent", count);
                if !std::mem::replace(&mut self.failing, true) {
                    let cause = format!("{error:#}");
                    tracing::warn!(endpoint = self.endpoint, cause, "traces cannot be exported; spans are dropped");
                }
            }
        }
    }

    /// Sends a body until it is taken. Returns how many spans were rejected, and why.
    async fn send_until(&mut self, deadline: Instant, body: bytes::Bytes) -> anyhow::Result<(u64, String)> {
        let mut pause = limits::TRACES_RETRY_PAUSE;
        loop {
            let answer = timeout_at(deadline, self.post.send(body.clone())).await.context("no answer in time")?;
            let (error, wait) = match answer {
                Ok(Answer::Taken { rejected, why }) => return Ok((rejected, why)),
                Ok(Answer::Refused(status)) => anyhow::bail!("it answered {status}"),
                Ok(Answer::Later(status, wait)) => (anyhow::anyhow!("it answered {status}"), wait),
                Err(error) => (error, None),
            };
            // What the collector asks for may be any number of seconds.
            let (left, wait) = (deadline.saturating_duration_since(Instant::now()), wait.unwrap_or(pause).max(pause));
            if wait >= left || self.shared.closing.load(Ordering::Relaxed) {
                return Err(error);
            }
            pause *= 2;
            sleep(wait).await;
        }
    }
}
