//! What is asked of the server's certificate: nothing, that an authority signed it, or that it is also for the name
//! that was connected to. That the server has the key of the certificate it shows is asked in any case: without that
//! `channel_binding` is worth nothing.
//!
//! Remembers the version of TLS, which tokio-postgres does not hand out. Used by `tls`.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};

/// What is proved of a server before anything else is sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// Verifies the certificate of one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    checked: Checked,
    version: Arc<OnceLock<ProtocolVersion>>,
}

impl Verifier {
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        chain: Option<Arc<WebPkiServerVerifier>>,
        checked: Checked,
    ) -> Self {
        Self { provider: Arc::clone(provider), chain, checked, version: Arc::default() }
    }

    /// The version of TLS, once the server has shown its certificate.
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
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, when everything else is proved.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
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
