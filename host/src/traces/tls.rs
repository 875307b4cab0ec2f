//! TLS to the collector. The files are read once, when the node starts, so that a mistake in one is found there.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::TlsFiles;

/// The configuration of every connection to the collector.
pub(super) fn configure(files: &TlsFiles) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match &files.authorities {
        Some(path) => {
            for certificate in certificates("OTEL_EXPORTER_OTLP_CERTIFICATE", path)? {
                roots.add(certificate).with_context(|| format!("{}: not an authority", path.display()))?;
            }
        }
        // A system has many authorities, and some are always of kinds that rustls cannot parse.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let remedy = "there are no certificate authorities: install ca-certificates, or set OTEL_EXPORTER_OTLP_CERTIFICATE";
    ensure!(!roots.is_empty(), "{remedy}");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key);
            let secret =
                secret.with_context(|| format!("OTEL_EXPORTER_OTLP_CLIENT_KEY: {}: not a key", key.display()))?;
            let chain = certificates("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)?;
            builder
                .with_client_auth_cert(chain, secret)
                .with_context(|| format!("{} is not the key of {}", key.display(), certificate.display()))?
        }
    };
    Ok(Arc::new(config))
}

/// The certificates of a file that a variable names.
fn certificates(variable: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path).with_context(|| format!("{variable}: cannot read {}", path.display()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.with_context(|| format!("{variable}: {}: not certificates in PEM", path.display()))?;
    ensure!(!found.is_empty(), "{variable}: {} has no certificate", path.display());
    Ok(found)
}
