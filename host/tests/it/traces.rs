//! Traces: what a collector gets, decoded with the official definitions of OTLP; which traces it gets; that a collector
//! that is dead, slow or refuses has no effect on requests; and the `traceparent` that nginx passes on or makes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use galo::config::{Mistakes, Recording, Settings, Traces};
use galo::develop::build::Profile;
use galo::{manifest, proxy};
use galo_testing::nginx::{Front, Listen, Nginx};
use galo_testing::program;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::cli::Program;
use crate::encrypted::Authority;
use crate::fixture::{Guest, answers, calling, replying};
use crate::harness::{
    Guests, PATIENCE, TestDatabase, TestNode, checkout, galo, handlers, request_with, settings, transacao, until,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// What a collector does with a request.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    Answers(u16),
    /// 503 with this `Retry-After`.
    Later(&'static str),
    Hangs,
}

/// A collector, with all that it got.
#[derive(Clone)]
struct Collector {
    endpoint: String,
    manner: Arc<Mutex<Manner>>,
    got: Arc<Mutex<Vec<(HeaderMap, String, ExportTraceServiceRequest)>>>,
}

impl Collector {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { endpoint, manner: Arc::new(Mutex::new(manner)), got: Arc::default() };
        let serving = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.serve(stream);
            }
        });
        collector
    }

    /// One that is reached by TLS, with this certificate.
    async fn encrypted(authority: &Authority) -> Self {
        let [certificate, key] = authority.server("localhost");
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let collector = Self { endpoint, manner: Arc::new(Mutex::new(Manner::Takes)), got: Arc::default() };
        let serving = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    serving.serve(stream);
                }
            }
        });
        collector
    }

    fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let serving = self.clone();
        let service = service_fn(move |request| {
            let serving = serving.clone();
            async move { Ok::<_, Infallible>(serving.answer(request).await) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }

    async fn answer(&self, request: http::Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let manner = *self.manner.lock().unwrap();
        let status = match manner {
            Manner::Takes => 200,
            Manner::Answers(status) => status,
            Manner::Later(_) => 503,
            Manner::Hangs => std::future::pending().await,
        };
        if status == 200 {
            assert_eq!(
                (head.method, &head.headers["content-type"]),
                (Method::POST, &"application/x-protobuf".parse().unwrap())
            );
            let body = match head.headers.get("content-encoding").map(|coding| coding.to_str().unwrap()) {
                Some("gzip") => {
                    let mut plain = Vec::new();
                    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                    plain
                }
                _ => body.to_vec(),
            };
            let decoded = ExportTraceServiceRequest::decode(&*body).unwrap();
            // With the definitions of the standard, encoded again, it is the same: nothing is unknown to them.
            assert_eq!(decoded.encoded_len(), body.len());
            self.got.lock().unwrap().push((head.headers, head.uri.path().to_owned(), decoded));
        }
        let body = ExportTraceServiceResponse::default().encode_to_vec();
        let mut response = Response::builder().status(status);
        if let Manner::Later(after) = manner {
            response = response.header("retry-after", after);
        }
        response.body(Full::new(Bytes::from(body))).unwrap()
    }

    fn resources(&self) -> Vec<ResourceSpans> {
        self.got.lock().unwrap().iter().flat_map(|(_, _, request)| request.resource_spans.clone()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        self.resources().into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans, once these hold of them.
    async fn until(&self, what: &str, holds: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        until(what, || format!("{:#?}", names(&self.spans())), || holds(&self.spans())).await;
        self.spans()
    }
}

/// The settings of traces that these variables give.
fn traces(endpoint: &str, more: &[(&str, &str)]) -> Option<Arc<Traces>> {
    let all = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let variables = all.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut mistakes = Mistakes::default();
    let traces = Traces::read(&variables, &mut mistakes);
    mistakes.into_result().unwrap();
    traces.map(Arc::new)
}

const NONE: &[(&str, &str)] = &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];

fn names(spans: &[Span]) -> Vec<String> {
    spans.iter().map(|span| span.name.clone()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &any_value::Value| match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |each: &KeyValue| {
        let value = each.value.as_ref().and_then(|value| value.value.as_ref()).map(text);
        (each.key.clone(), value.unwrap_or_default())
    };
    attributes.iter().map(pair).collect()
}

fn of<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}: {:?}", names(spans)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_spans_of_a_request_in_the_trace_of_its_caller() {
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    let more = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-scope-orgid=a%20b"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "bank"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let traces = traces(&collector.endpoint, &more);
    // Nothing is recorded: traces need no ring.
    let node = Settings { traces, recording: Recording::OFF, ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, node).await;
    let named = [("traceparent", SAMPLED), ("tracestate", "a=1,b=2")];
    let begun = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    assert_eq!(request_with(&node.address(), Method::GET, "/clientes/1/extrato?x=hunter2", &named).await.status, 200);
    let spans = collector.until("five spans", |spans| spans.len() == 5).await;
    let server = of(&spans, "GET /clientes/{id}/extrato");
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!((server.kind(), server.trace_state.as_str(), server.flags), (SpanKind::Server, "a=1,b=2", 0x301));
    let its = attributes(&server.attributes);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/clientes/{id}/extrato"),
        ("url.path", "/clientes/1/extrato"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("galo.handler", "extrato"),
        ("galo.generation", "1"),
    ] {
        assert_eq!(its[name], value, "{name}");
    }
    assert!(server.status.is_none() && !format!("{spans:?}").contains("hunter2"));
    // One after the other, within the request.
    let phases = ["prepare", "wait for a connection", "SELECT extrato", "respond"].map(|name| of(&spans, name));
    let mut at = server.start_time_unix_nano;
    assert!(u128::from(at) >= begun);
    for phase in phases {
        assert_eq!((&phase.trace_id, &phase.parent_span_id), (&server.trace_id, &server.span_id), "{}", phase.name);
        assert!(phase.start_time_unix_nano >= at && phase.end_time_unix_nano >= phase.start_time_unix_nano);
        at = phase.end_time_unix_nano;
    }
    assert!(at <= server.end_time_unix_nano && server.end_time_unix_nano > server.start_time_unix_nano);
    let call = of(&spans, "SELECT extrato");
    let its = attributes(&call.attributes);
    assert_eq!((call.kind(), its["db.system.name"].as_str()), (SpanKind::Client, "postgresql"));
    assert_eq!((its["db.stored_procedure.name"].as_str(), its["db.operation.name"].as_str()), ("extrato", "SELECT"));
    assert!(!its["db.namespace"].is_empty() && !its["server.address"].is_empty(), "{its:?}");
    let (headers, path, _) = collector.got.lock().unwrap()[0].clone();
    assert_eq!((&headers["x-scope-orgid"], path.as_str()), (&"a b".parse().unwrap(), "/v1/traces"));
    let resource = attributes(&collector.resources()[0].resource.as_ref().unwrap().attributes);
    assert_eq!((resource["service.name"].as_str(), resource["deployment.environment.name"].as_str()), ("bank", "test"));
    assert_eq!((resource["service.instance.id"].as_str(), resource["telemetry.sdk.name"].as_str()), ("node", "galo"));
    node.stop().await;
    assert_eq!(collector.spans().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_has_its_trace_whatever_the_sampler_and_the_rest_is_sampled() {
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION falha() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'").await;
    let guests = Guests::new()
        .add("trap", &Guest::default().component(), "")
        .add("falha", &calling("falha"), "procedures = [\"falha\"]")
        .add("error", &answers(502), "")
        .add("fine", &answers(200), "");
    let traces = traces(&collector.endpoint, NONE);
    let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
    for path in ["/fine", "/nowhere", "/trap", "/falha", "/error"] {
        node.get(path).await;
        request_with(&node.address(), Method::GET, path, &[("traceparent", UNSAMPLED)]).await;
    }
    request_with(&node.address(), Method::GET, "/fine", &[("traceparent", SAMPLED)]).await;
    request_with(&node.address(), Method::GET, "/nowhere", &[("traceparent", SAMPLED)]).await;
    let servers = |spans: &[Span]| {
        let servers = spans.iter().filter(|span| span.kind() == SpanKind::Server);
        servers.map(|span| (span.name.clone(), hex(&span.parent_span_id))).collect::<Vec<_>>()
    };
    let spans = collector.until("eight requests", |spans| servers(spans).len() >= 8).await;
    let mut got = servers(&spans);
    got.sort();
    let expected =
        ["GET", "GET /error", "GET /error", "GET /falha", "GET /falha", "GET /fine", "GET /trap", "GET /trap"];
    assert_eq!(got.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
    // Of two alike, one came without a caller and is a root.
    assert_eq!(
        got.iter().map(|(_, parent)| parent.is_empty()).collect::<Vec<_>>(),
        [false, true, false, true, false, false, true, false]
    );
    let trap = of(&spans, "GET /trap");
    assert_eq!(trap.status.as_ref().unwrap().code, 2);
    assert!(attributes(&trap.events[0].attributes)["exception.message"].starts_with("trap in prepare: "), "{trap:?}");
    assert_eq!(attributes(&trap.attributes)["error.type"], "fault");
    let falha = of(&spans, "SELECT falha");
    let its = attributes(&falha.attributes);
    assert_eq!((its["db.response.status_code"].as_str(), its["error.type"].as_str()), ("P0001", "P0001"));
    assert_eq!(falha.status.as_ref().unwrap().code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_has_its_trace() {
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE SEQUENCE count;
             GRANT USAGE ON SEQUENCE count TO PUBLIC;
             CREATE FUNCTION sometimes() RETURNS int LANGUAGE sql VOLATILE AS
                 'SELECT CASE WHEN nextval(''count'') % 200 = 0 THEN length(pg_sleep(0.4)::text) ELSE 0 END'",
        )
        .await;
    let guests = Guests::new().add("sometimes", &calling("sometimes"), "procedures = [\"sometimes\"]");
    let traces = traces(&collector.endpoint, NONE);
    let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
    let is_slow = |span: &Span| {
        span.name == "SELECT sometimes" && span.end_time_unix_nano - span.start_time_unix_nano > 300_000_000
    };
    // What is slow is known when a hundred requests were seen and a second has passed.
    let (deadline, mut requests) = (Instant::now() + PATIENCE, 0);
    while !collector.spans().iter().any(is_slow) {
        assert!(Instant::now() < deadline, "{:?}", names(&collector.spans()));
        assert_eq!(node.get("/sometimes").await.status, 200);
        requests += 1;
    }
    let servers = collector.spans().iter().filter(|span| span.kind() == SpanKind::Server).count();
    assert!(servers <= 1 + requests / 5, "{servers} of {requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_a_span_with_links_to_its_calls() {
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    let traces = traces(&collector.endpoint, &[]);
    let node = Settings { traces, ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, node).await;
    let is_batch = |span: &Span| span.name.starts_with("BATCH ");
    for _ in 0..5 {
        let posts = (1..=40).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x")));
        assert!(futures_util::future::join_all(posts).await.iter().all(|answer| answer.status == 200));
    }
    let spans = collector.until("a batch", |spans| spans.iter().any(is_batch)).await;
    let batch = spans.iter().find(|span| is_batch(span)).unwrap();
    let its = attributes(&batch.attributes);
    assert_eq!((batch.kind(), its["db.operation.batch.size"].parse()), (SpanKind::Client, Ok(batch.links.len())));
    assert!(batch.parent_span_id.is_empty() && batch.links.len() > 1);
    for link in &batch.links {
        let call = spans.iter().find(|span| span.span_id == link.span_id).expect("the span of a call");
        assert!(call.trace_id == link.trace_id && call.name == "SELECT realizar_transacao", "{}", call.name);
        assert_eq!((&call.links[0].trace_id, &call.links[0].span_id), (&batch.trace_id, &batch.span_id));
        assert_eq!(attributes(&call.attributes)["galo.batch.calls"], its["db.operation.batch.size"]);
        assert!(spans.iter().any(|span| span.span_id == call.parent_span_id && span.kind() == SpanKind::Server));
    }
    assert!(spans.iter().any(|span| span.name == "wait for the lane"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_dead_or_hangs_or_refuses_has_no_effect_on_requests() {
    let database = TestDatabase::new().await;
    let hangs = Collector::start(Manner::Hangs).await;
    let refuses = Collector::start(Manner::Answers(503)).await;
    let rejects = Collector::start(Manner::Answers(400)).await;
    // Nothing listens there.
    let dead = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let guests = Guests::new().add("fine", &answers(200), "");
    for (endpoint, what) in
        [(&dead, "dead"), (&hangs.endpoint, "hangs"), (&refuses.endpoint, "503"), (&rejects.endpoint, "400")]
    {
        let small = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "20"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
        ];
        let traces = traces(endpoint, &small);
        let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
        let begun = Instant::now();
        for _ in 0..200 {
            assert_eq!(node.get("/fine").await.status, 200, "{what}");
        }
        assert!(begun.elapsed() < PATIENCE / 2, "{what}: {:?}", begun.elapsed());
        let dropped = |metrics: &str, reason: &str| {
            let series = format!("galo_spans_dropped_total{{reason=\"{reason}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = node.admin("/metrics").await.text().to_owned();
            assert!(metrics.contains("galo_spans_exported_total 0"), "{what}");
            let all = dropped(&metrics, "queue_full") + dropped(&metrics, "not_sent");
            // Of each request there are two spans.
            if all == 400 && (what == "400" || dropped(&metrics, "queue_full") > 0) {
                break;
            }
            assert!(Instant::now() < deadline, "{what}: {all} of 400 were dropped\n{metrics}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The end of a node does not wait for it for long.
        node.get("/fine").await;
        let begun = Instant::now();
        node.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{what}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_asks_to_wait_for_ever_costs_a_batch_and_not_the_exporter() {
    let collector = Collector::start(Manner::Later("18446744073709551615")).await;
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("fine", &answers(200), "");
    let traces = traces(&collector.endpoint, &[]);
    let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
    node.get("/fine").await;
    let lost = "galo_spans_dropped_total{reason=\"not_sent\"} 2\n";
    let deadline = Instant::now() + PATIENCE;
    while !node.admin("/metrics").await.text().contains(lost) {
        assert!(Instant::now() < deadline, "the batch is not counted as lost");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    *collector.manner.lock().unwrap() = Manner::Takes;
    node.get("/fine").await;
    collector.until("the spans of the next request", |spans| spans.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_of_a_request_without_a_handler_has_no_parameter_that_is_redacted() {
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    let guests =
        Guests::new().add("secret", &answers(200), "record = { parameters = [\"id\"] }").add("fine", &answers(200), "");
    let manifest = guests.manifest().replace("GET /secret", "GET /people/{id}/card/{part}");
    guests.put_file("galo.toml", manifest.as_bytes());
    let traces = traces(&collector.endpoint, &[]);
    let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
    let address = node.address();
    let hosts = [("host", "a"), ("host", "b")];
    for (method, path, more) in [
        (Method::GET, "/people/maria-silva/card/front", &[][..]),
        (Method::POST, "/people/maria-silva/card/front", &[]),
        (Method::GET, "/people/maria-silva/card/front/", &[]),
        (Method::GET, "/people/maria-silva/card/%ff", &[]),
        (Method::GET, "/people/maria-silva", &[]),
        (Method::OPTIONS, "/people/maria-silva/card/front", &[]),
        (Method::GET, "/people/maria-silva/card/front", &hosts),
        (Method::GET, "/fine/maria-silva", &[]),
        (Method::GET, "/maria-silva/fine", &[]),
    ] {
        request_with(&address, method, path, more).await;
    }
    let spans =
        collector.until("nine requests", |spans| spans.iter().filter(|it| it.kind() == SpanKind::Server).count() >= 9);
    let spans = spans.await;
    assert!(!format!("{spans:?}").contains("maria"), "{spans:#?}");
    let paths: std::collections::BTreeSet<_> =
        spans.iter().filter_map(|span| attributes(&span.attributes).remove("url.path")).collect();
    let expected = [
        "/(redacted)",
        "/fine/(redacted)",
        "/people/(redacted)",
        "/people/(redacted)/card/%ff",
        "/people/(redacted)/card/front",
    ];
    assert_eq!(paths.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_recovers_gets_the_batch_that_it_refused() {
    let collector = Collector::start(Manner::Answers(503)).await;
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("fine", &answers(200), "");
    let traces = traces(&collector.endpoint, &[]);
    let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
    node.get("/fine").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    *collector.manner.lock().unwrap() = Manner::Takes;
    collector.until("the first spans", |spans| spans.len() == 2).await;
    // A node that ends leaves nothing behind.
    node.get("/fine").await;
    node.stop().await;
    assert_eq!(collector.spans().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_reached_by_tls_and_its_certificate_is_verified() {
    let authority = Authority::new("ours");
    let collector = Collector::encrypted(&authority).await;
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("fine", &answers(200), "");
    let (ours, other) = (guests.folder.path().join("ours.pem"), guests.folder.path().join("other.pem"));
    authority.put(&ours);
    Authority::new("other").put(&other);
    for (file, taken) in [(other, 0), (ours, 2)] {
        let files = [("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap())];
        let traces = traces(&collector.endpoint, &files);
        let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
        node.get("/fine").await;
        node.stop().await;
        assert_eq!(collector.spans().len(), taken, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_log_names_the_trace_that_was_made_for_its_request() {
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("trap", &Guest::default().component(), "").add("fine", &answers(200), "");
    let node = tokio::task::block_in_place(|| {
        let mut command = galo();
        command.args(["serve", "--access-log", "all", "--node", "n1"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "20");
        Program::serve_with(command, &database, guests.folder.path())
    });
    let malformed = [("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")];
    request_with(&node.listen, Method::GET, "/trap", &malformed).await;
    request_with(&node.listen, Method::GET, "/fine", &[("traceparent", SAMPLED)]).await;
    let spans = collector.until("both requests", |spans| spans.len() >= 4).await;
    let trace = hex(&of(&spans, "GET /trap").trace_id);
    let line = |text: &str| tokio::task::block_in_place(|| node.wait_for(text));
    assert!(line("guest faulted").contains(&format!("trace_id=\"{trace}\"")), "{}", node.log());
    assert!(line("path=\"/trap\"").contains(&format!("trace_id=\"{trace}\"")), "{}", node.log());
    assert!(line("path=\"/fine\"").contains(&format!("trace_id=\"{TRACE}\"")), "{}", node.log());
    let resource = attributes(&collector.resources()[0].resource.as_ref().unwrap().attributes);
    assert_eq!((resource["service.name"].as_str(), resource["service.instance.id"].as_str()), ("galo", "n1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_told_who_calls_and_never_the_trace() {
    let database = TestDatabase::new().await;
    let collector = Collector::start(Manner::Takes).await;
    let traces = traces(&collector.endpoint, &[]);
    let node = Settings { traces, node: "n1".to_owned(), ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, node).await;
    let named = [("traceparent", SAMPLED)];
    assert_eq!(request_with(&node.address(), Method::GET, "/clientes/1/extrato", &named).await.status, 200);
    assert_eq!(node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status, 200);
    let owner = crate::harness::connect(&database.owner_url()).await;
    let sql = "SELECT application_name, query FROM pg_stat_activity
               WHERE datname = current_database() AND usename = 'galo' ORDER BY 1, 2";
    let rows = owner.query(sql, &[]).await.unwrap();
    let rows: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let has = |name: &str, comment: &str| rows.iter().any(|(its, query)| its == name && query.ends_with(comment));
    assert!(has("galo/n1", " /*handler='extrato',procedure='extrato'*/"), "{rows:#?}");
    assert!(has("galo/n1 batches", " /*handler='transacoes',procedure='realizar_transacao'*/"), "{rows:#?}");
    assert!(rows.iter().all(|(_, query)| !query.contains(TRACE)), "{rows:#?}");
}

/// Answers each request on a socket with the heads that it got.
fn echo(socket: &std::path::Path) -> Arc<Mutex<Vec<String>>> {
    let (listener, heads) = (UnixListener::bind(socket).unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let noted = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let mut bytes = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    noted.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).to_lowercase());
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    });
    heads
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_a_traceparent_on_and_makes_one_where_it_is_missing_or_malformed() {
    let guests = Guests::new().add("fine", &replying(200, None, 0).component(), "");
    let (folder, deployed) = (guests.folder.path().join("nginx"), checkout().root.join("deploy/nginx"));
    std::fs::create_dir_all(&folder).unwrap();
    let (socket, listen) = (folder.join("node.sock"), folder.join("front.sock"));
    let heads = echo(&socket);
    let front = Front {
        program: &program::find("nginx").expect("nginx is not installed: apt-get install nginx"),
        deployed: &deployed,
        nodes: &deployed.join("upstream/nodes.conf"),
        sockets: &[socket.clone(), socket.clone()],
        routes: &proxy::nginx(&manifest::read(guests.folder.path()).unwrap(), "nodes"),
        workers: None,
        listen: Listen::Socket(listen),
        folder: &folder,
    };
    let nginx = Nginx::start(front).await.unwrap();
    let address = nginx.listen.to_string();
    let get = async |named: &[(&str, &str)]| {
        let before = heads.lock().unwrap().len();
        assert_eq!(request_with(&address, Method::GET, "/fine", named).await.status, 200, "{}", nginx.log());
        heads.lock().unwrap()[before].clone()
    };
    let value = |head: &str, name: &str| {
        let mut values = head.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()));
        let value = values.next().unwrap_or_default();
        assert_eq!(values.next(), None, "{head}");
        value
    };
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
    for good in [SAMPLED, UNSAMPLED, later] {
        let head = get(&[("traceparent", good), ("tracestate", "a=1")]).await;
        assert_eq!((value(&head, "traceparent").as_str(), value(&head, "tracestate").as_str()), (good, "a=1"));
    }
    let mut made = Vec::new();
    let upper = SAMPLED.to_uppercase();
    let zeros = SAMPLED.replace(TRACE, &"0".repeat(32));
    let no_span = SAMPLED.replace(CALLER, &"0".repeat(16));
    let more = format!("{SAMPLED}-more");
    let invalid = SAMPLED.replace("00-4", "ff-4");
    for bad in ["", "x", &upper, &zeros, &no_span, &more, &invalid, &SAMPLED[..54]] {
        let head = get(&[("traceparent", bad), ("tracestate", "a=1")]).await;
        assert_eq!(value(&head, "tracestate"), "", "{bad}");
        made.push(value(&head, "traceparent"));
    }
    made.push(value(&get(&[]).await, "traceparent"));
    for made in &made {
        let parts: Vec<_> = made.split('-').collect();
        assert_eq!((parts.len(), made.len(), parts[0], parts[3]), (4, 55, "00", "00"), "{made}");
        assert_eq!(parts[1][..16], *parts[2], "{made}");
    }
    let different: std::collections::BTreeSet<_> = made.iter().collect();
    assert_eq!(different.len(), made.len());
    drop(nginx);

    // A node takes what nginx made for the root: its sampler decides.
    let collector = Collector::start(Manner::Takes).await;
    let database = TestDatabase::new().await;
    let traces = traces(&collector.endpoint, &[]);
    let node = TestNode::with(&database, Settings { traces, ..settings(guests.folder.path()) }).await;
    request_with(&node.address(), Method::GET, "/fine", &[("traceparent", &made[0])]).await;
    let spans = collector.until("the request", |spans| spans.len() == 2).await;
    let server = of(&spans, "GET /fine");
    assert_eq!((hex(&server.trace_id).as_str(), server.parent_span_id.len()), (&made[0][3..35], 0));
}
