//! A feature of Galo that works on a sample of the requests, and is off unless it is asked for.

use std::net::SocketAddr;

use clap::ValueEnum;

/// A feature that works on a sample of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Feature {
    /// A component that runs beside `transacoes`.
    Shadow,
    /// The recorder.
    Records,
    /// Traces, sent to a collector.
    Traces,
}

impl Feature {
    /// One request in so many, unless the command says otherwise.
    pub fn every(self) -> usize {
        match self {
            Self::Shadow => 10,
            Self::Records | Self::Traces => 100,
        }
    }

    /// The least of the throughput with it to that without.
    pub fn throughput_min(self) -> f64 {
        match self {
            Self::Shadow => 0.95,
            Self::Records | Self::Traces => 0.98,
        }
    }
}

/// A feature that is on.
#[derive(Debug, Clone, Copy)]
pub struct Sampled {
    pub feature: Feature,
    /// It works on one request in so many.
    pub every: usize,
    /// Where traces go.
    pub collector: SocketAddr,
}

impl Sampled {
    /// What a node is started with for it. A shadow begins later.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self.feature {
            Feature::Shadow => Vec::new(),
            Feature::Records => vec![("GALO_RECORD", self.every.to_string())],
            Feature::Traces => {
                let part = u32::try_from(self.every).map_or(0.0, |every| 1.0 / f64::from(every));
                vec![
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.collector)),
                    ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
                    ("OTEL_TRACES_SAMPLER_ARG", part.to_string()),
                ]
            }
        }
    }
}
