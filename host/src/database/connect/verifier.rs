//! Verifies the server's certificate: not at all, that an authority signed it, or that it is also for the name that was
//! connected to. That the server has the private key of its certificate is always verified: without that,
//! `channel_binding` proves nothing.
//!
//! The verifier also records the version of TLS, which tokio-postgres does not expose.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};

/// What is verified of a server before anything else is sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// The trusted certificates.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    /// The certificates themselves: a server may present one of them.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Whether a certificate was refused only because it is an authority's, and is itself one of the trusted ones: a
    /// self-signed certificate made with `openssl req -x509`, as the documentation of Postgres describes.
    fn is_own(&self, certificate: &CertificateDer<'_>, error: &Error) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
        // Only its text identifies this error. The dates were verified before it.
        other.0.to_string() == "CaUsedAsEndEntity" && self.certificates.contains(certificate)
    }
}

/// Verifies the certificate of one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Arc<Trust>>,
    checked: Checked,
    version: Arc<OnceLock<ProtocolVersion>>,
}

impl Verifier {
    pub(super) fn new(provider: &Arc<CryptoProvider>, trust: Option<Arc<Trust>>, checked: Checked) -> Self {
        Self { provider: Arc::clone(provider), trust, checked, version: Arc::default() }
    }

    /// The version of TLS, set once the server has presented its certificate.
    pub(super) fn version(&self) -> Arc<OnceLock<ProtocolVersion>> {
        Arc::clone(&self.version)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        // The name is verified last, so a wrong name means that everything else was verified.
        match trust.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if trust.is_own(end_entity, &error) => {
                if self.checked == Checked::AuthorityAndName {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.checked == Checked::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.version.get_or_init(|| ProtocolVersion::TLSv1_2);
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.version.get_or_init(|| ProtocolVersion::TLSv1_3);
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
