//! Where traces go, as the standard variables of OpenTelemetry say. Nothing is exported unless one of them names an
//! endpoint. What is in the standard and not supported here is a mistake, as is what cannot be parsed.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::{Mistakes, Sampler, Variables};
use crate::limits;

/// Where traces go, and which.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The collector's URL, with the path.
    pub endpoint: Uri,
    /// Headers of each request to it. Their values are sensitive, so they are not shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the export of one batch may take, with its retries.
    pub timeout: Duration,
    /// How a batch is compressed.
    pub compression: Compression,
    /// The files for TLS.
    pub tls: TlsFiles,
    /// What the spans are about: `service.name` and others.
    pub resource: Vec<(String, String)>,
    /// Which traces.
    pub sampler: Sampler,
    /// The most spans that wait.
    pub queue_max: usize,
    /// The most spans of one request to the collector.
    pub batch_max: usize,
    /// How long a span waits for others.
    pub schedule: Duration,
}

/// How a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// The files for TLS to the collector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are trusted instead of the system's.
    pub authorities: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Traces {
    /// Reads the variables. `None` when no traces are exported, or a mistake was noted.
    pub fn read(variables: &Variables, mistakes: &mut Mistakes) -> Option<Self> {
        let read = Reader(variables);
        if read.is_off(mistakes) {
            return None;
        }
        let endpoint = noted(mistakes, read.endpoint()?);
        let (resource, sampler) = (noted(mistakes, read.resource()), noted(mistakes, read.sampler()));
        let protocol = noted(mistakes, read.protocol());
        let (headers, compression) = (noted(mistakes, read.headers()), noted(mistakes, read.compression()));
        let tls = noted(mistakes, read.tls());
        let timeout = read.number(
            &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
            limits::TRACES_TIMEOUT_MS_DEFAULT,
            limits::TRACES_MS_MAX,
            mistakes,
        );
        let schedule = read.number(
            &["OTEL_BSP_SCHEDULE_DELAY"],
            limits::TRACES_SCHEDULE_MS_DEFAULT,
            limits::TRACES_MS_MAX,
            mistakes,
        );
        let queue_max = read.number(
            &["OTEL_BSP_MAX_QUEUE_SIZE"],
            limits::TRACES_QUEUE_DEFAULT,
            limits::TRACES_QUEUE_CEILING,
            mistakes,
        );
        let batch = limits::TRACES_BATCH_DEFAULT.min(queue_max.unwrap_or(limits::TRACES_BATCH_DEFAULT));
        let most = queue_max.unwrap_or(limits::TRACES_QUEUE_CEILING);
        let batch_max = read.number(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], batch, most, mistakes);
        protocol?;
        Some(Self {
            endpoint: endpoint?,
            headers: headers?,
            timeout: Duration::from_millis(timeout? as u64),
            compression: compression?,
            tls: tls?,
            resource: resource?,
            sampler: sampler?,
            queue_max: queue_max?,
            batch_max: batch_max?,
            schedule: Duration::from_millis(schedule? as u64),
        })
    }
}

/// The name of a variable, and what is wrong with it.
type Wrong = (String, String);

fn noted<T>(mistakes: &mut Mistakes, read: Result<T, Wrong>) -> Option<T> {
    read.map_err(|(name, what)| mistakes.note(&name, what)).ok()
}

struct Reader<'a>(&'a Variables);

impl<'a> Reader<'a> {
    /// The text of a variable; an empty one counts as not set.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(super::Secret::expose).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The variable for traces, or else the one for everything. Also returns its name.
    fn of_traces(&self, what: &str) -> Option<(String, &'a str)> {
        [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")]
            .into_iter()
            .find_map(|name| self.get(&name).map(|text| (name, text)))
    }

    fn is_off(&self, mistakes: &mut Mistakes) -> bool {
        let disabled = self.get("OTEL_SDK_DISABLED").unwrap_or("false");
        if !["true", "false"].iter().any(|word| disabled.eq_ignore_ascii_case(word)) {
            mistakes.note("OTEL_SDK_DISABLED", format!("`{disabled}` is neither `true` nor `false`"));
        }
        let exporter = self.get("OTEL_TRACES_EXPORTER").unwrap_or("otlp");
        if !matches!(exporter, "otlp" | "none") {
            let what = format!("`{exporter}` is not supported: use `otlp`, or `none` for no traces");
            mistakes.note("OTEL_TRACES_EXPORTER", what);
        }
        disabled.eq_ignore_ascii_case("true") || exporter == "none"
    }

    /// The URL for traces as it is, or the one for everything with `/v1/traces` behind it.
    fn endpoint(&self) -> Option<Result<Uri, Wrong>> {
        let (name, text) = self.of_traces("ENDPOINT")?;
        let whole = match name.contains("TRACES") {
            true => text.to_owned(),
            false => format!("{}/v1/traces", text.trim_end_matches('/')),
        };
        let uri = whole.parse::<Uri>().ok().filter(|uri| {
            let is_http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
            is_http && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        // The text may hold a password.
        let what = "expected http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:4318; credentials go into \
                    OTEL_EXPORTER_OTLP_HEADERS";
        Some(uri.ok_or_else(|| (name, what.to_owned())))
    }

    fn protocol(&self) -> Result<(), Wrong> {
        match self.of_traces("PROTOCOL") {
            None | Some((_, "http/protobuf")) => Ok(()),
            Some((name, other)) => {
                let what = "is not supported: use `http/protobuf`, which collectors take on port 4318";
                Err((name, format!("`{other}` {what}")))
            }
        }
    }

    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Wrong> {
        let Some((variable, text)) = self.of_traces("HEADERS") else { return Ok(Vec::new()) };
        // The texts are credentials, so a message has none of them.
        let what = "expected NAME=VALUE,NAME=VALUE, with names of headers, and values encoded as in a URL";
        let wrong = || (variable.clone(), what.to_owned());
        let header = |(name, value): (String, String)| {
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_str(&name).ok()?, value))
        };
        let pairs = pairs(text).ok_or_else(wrong)?;
        pairs.into_iter().map(|pair| header(pair).ok_or_else(wrong)).collect()
    }

    fn resource(&self) -> Result<Vec<(String, String)>, Wrong> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let wrong = || (name.to_owned(), "expected NAME=VALUE,NAME=VALUE".to_owned());
        let mut resource = pairs(self.get(name).unwrap_or_default()).ok_or_else(wrong)?;
        if let Some(service) = self.get("OTEL_SERVICE_NAME") {
            resource.retain(|(name, _)| name != "service.name");
            resource.push(("service.name".to_owned(), service.to_owned()));
        }
        Ok(resource)
    }

    fn sampler(&self) -> Result<Sampler, Wrong> {
        let Some(name) = self.get("OTEL_TRACES_SAMPLER") else { return Ok(Sampler::default()) };
        let sampler = Sampler::parse(name, self.get("OTEL_TRACES_SAMPLER_ARG"));
        sampler.map_err(|(name, what)| (name.to_owned(), what))
    }

    fn compression(&self) -> Result<Compression, Wrong> {
        match self.of_traces("COMPRESSION") {
            None | Some((_, "none")) => Ok(Compression::None),
            Some((_, "gzip")) => Ok(Compression::Gzip),
            Some((name, other)) => Err((name, format!("`{other}` is not supported: use `gzip` or `none`"))),
        }
    }

    fn tls(&self) -> Result<TlsFiles, Wrong> {
        let path = |what| self.of_traces(what).map(|(_, text)| PathBuf::from(text));
        let client = match (path("CLIENT_CERTIFICATE"), path("CLIENT_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let what = "a certificate and its key are given together";
                return Err(("OTEL_EXPORTER_OTLP_CLIENT_KEY".to_owned(), what.to_owned()));
            }
        };
        Ok(TlsFiles { authorities: path("CERTIFICATE"), client })
    }

    /// A whole number from 1, of the first variable that is set.
    fn number(&self, names: &[&str], default: usize, most: usize, mistakes: &mut Mistakes) -> Option<usize> {
        let set = names.iter().find_map(|name| self.get(name).map(|text| (name, text)));
        match set {
            Some((name, text)) => mistakes.parse_within(name, text, 1, most),
            None => Some(default),
        }
    }
}

/// `name=value,name=value`, in which `%XX` stands for a byte.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some((decoded(name).filter(|name| !name.is_empty())?, decoded(value)?))
    };
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<Traces>, String) {
        let mut mistakes = Mistakes::default();
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let traces = Traces::read(&variables, &mut mistakes);
        (traces, mistakes.into_result().map_or_else(|mistakes| mistakes.to_string(), |()| String::new()))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_SERVICE_NAME", "a")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            let (traces, mistakes) = read(variables);
            assert!(traces.is_none() && mistakes.is_empty(), "{variables:?} {mistakes}");
        }
        assert!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")]).0.is_some());
    }

    #[test]
    fn the_endpoint_for_traces_is_used_as_it_is_and_the_one_for_everything_gets_the_path() {
        let of = |variables: &[(&str, &str)]| read(variables).0.unwrap().endpoint.to_string();
        assert_eq!(of(&[ENDPOINT]), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a.b/otlp/")]), "https://a.b/otlp/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:1/x");
        assert_eq!(of(&[ENDPOINT, own]), "http://[::1]:1/x");
    }

    #[test]
    fn the_standard_variables_are_honoured() {
        let traces = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20eDp5, x-scope = 1"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=a%2Cb"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ]);
        let traces = traces.0.expect(&traces.1);
        let headers: Vec<_> =
            traces.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Basic eDp5"), ("x-scope", "1")]);
        assert!(!format!("{traces:?}").contains("eDp5"));
        assert_eq!((traces.timeout.as_secs(), traces.compression), (3, Compression::Gzip));
        assert_eq!(traces.tls.authorities, Some(PathBuf::from("/ca.pem")));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(traces.resource, [pair("deployment.environment.name", "a,b"), pair("service.name", "shop")]);
        // A batch is no larger than the queue.
        assert_eq!((traces.queue_max, traces.batch_max, traces.schedule.as_millis()), (100, 100, 50));
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let (_, mistakes) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ]);
        assert!(mistakes.starts_with("the configuration has 4 mistakes"), "{mistakes}");
    }

    #[test]
    fn what_is_not_supported_is_refused_and_a_credential_is_never_shown() {
        for (name, value, wrong) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "`grpc` is not supported: use `http/protobuf`"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "127.0.0.1:4318", "expected http://HOST:PORT"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@h", "credentials go into OTEL_EXPORTER_OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "expected NAME=VALUE"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2", "expected NAME=VALUE"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "use `gzip` or `none`"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is not a whole number"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k", "given together"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "use `otlp`, or `none`"),
            ("OTEL_SDK_DISABLED", "yes", "neither `true` nor `false`"),
            ("OTEL_TRACES_SAMPLER", "xray", "is not supported"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "is not a whole number from 1 to 2048"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a", "expected NAME=VALUE"),
        ] {
            // Of two variables of one name, the later one counts.
            let (_, mistakes) = read(&[ENDPOINT, (name, value)]);
            assert!(mistakes.contains(name) && mistakes.contains(wrong), "{name}: {mistakes}");
            assert!(!mistakes.contains("hunter2"), "{mistakes}");
        }
    }
}
