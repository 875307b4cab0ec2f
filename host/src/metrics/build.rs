//! The metric that identifies the program: its version, and the revision that it was made of.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Which program this is.
#[derive(Debug)]
pub(super) struct Build;

impl Collector for Build {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let help = "The version of this program, and the revision it was made of where that is known";
        let mut info = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
        let revision = option_env!("GALO_REVISION").unwrap_or_default();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", revision)];
        ConstGauge::new(1_i64).encode(info.encode_family(&labels)?)
    }
}
