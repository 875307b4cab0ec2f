//! TLS to the database, with libpq's semantics: `sslmode`, trusted authorities, the client certificate. The files are
//! read for each connection, so that a renewed certificate is used for the next one.
//!
//! Unix sockets never use TLS.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};

use super::parameters::Parameters;
use super::verifier::{Checked, Trust, Verifier};
use crate::{file, limits};

/// `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

const MODES: &[(&str, Mode)] = &[
    ("disable", Mode::Disable),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

/// The TLS settings of a connection string.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) mode: Mode,
    /// Whether TLS starts without asking the server first (`sslnegotiation=direct`).
    pub(super) direct: bool,
    roots: Roots,
    /// A file of revoked certificates.
    revoked: Option<PathBuf>,
    /// The client's certificate and its key.
    client: Option<(PathBuf, PathBuf)>,
    sends_name: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
}

/// The trusted authorities.
#[derive(Debug)]
enum Roots {
    /// None: the server's certificate is not verified.
    None,
    System,
    File(PathBuf),
}

impl Tls {
    /// # Errors
    /// A description of the mistake.
    pub(super) fn new(parameters: &Parameters) -> Result<Self, String> {
        let roots = match parameters.file("sslrootcert", ".postgresql/root.crt") {
            Some(path) if path.as_os_str() == "system" => Roots::System,
            Some(path) => Roots::File(path),
            None => Roots::None,
        };
        let mode = mode(parameters, &roots)?;
        let direct = parameters.choice("sslnegotiation", &[("postgres", false), ("direct", true)])?.unwrap_or(false);
        if direct && mode < Mode::Require {
            return Err(parameters.mistake("sslnegotiation", "direct needs sslmode=require or stronger"));
        }
        let tls = Self {
            mode,
            direct,
            roots,
            revoked: parameters.file("sslcrl", ".postgresql/root.crl"),
            client: client(parameters)?,
            sends_name: parameters.choice("sslsni", &[("1", true), ("0", false)])?.unwrap_or(true),
            versions: versions(parameters)?,
        };
        if mode != Mode::Disable {
            // Mistakes in the files are found before anything connects.
            tls.read()?;
        }
        Ok(tls)
    }

    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Which file cannot be used, and what to do.
    pub(super) fn read(&self) -> Result<Material, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = match &self.roots {
            Roots::None => None,
            Roots::System => Some(self.trust(rustls_native_certs::load_native_certs().certs, &provider)?),
            Roots::File(path) => Some(self.trust(certificates("sslrootcert", path)?, &provider)?),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(&provider, trust.clone(), self.checked())));
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (certificates, secret) = (certificates("sslcert", certificate)?, private_key(key)?);
                builder.with_client_auth_cert(certificates, secret).map_err(|error| {
                    format!("sslkey: {} is not the key of {}: {error}", key.display(), certificate.display())
                })?
            }
        };
        config.enable_sni = self.sends_name;
        // Each connection has a separate configuration, so no session could be resumed.
        config.resumption = Resumption::disabled();
        if self.direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Material { config, provider, trust, checked: self.checked() })
    }

    /// What is verified of a server.
    fn checked(&self) -> Checked {
        match (&self.roots, self.mode) {
            (Roots::None, _) => Checked::Nothing,
            (_, Mode::VerifyFull) => Checked::AuthorityAndName,
            // As in libpq, weaker modes verify the authority too if a root certificate is present.
            _ => Checked::Authority,
        }
    }

    /// The trusted authorities, for the log.
    pub(super) fn trusted(&self) -> String {
        match &self.roots {
            Roots::None => "nobody".to_owned(),
            Roots::System => "the system's authorities".to_owned(),
            Roots::File(path) => path.display().to_string(),
        }
    }

    fn trust(
        &self,
        certificates: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Trust>, String> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            // A system has many authorities, and some are always of kinds that rustls cannot parse.
            Roots::System => drop(roots.add_parsable_certificates(certificates.iter().cloned())),
            _ => certificates.iter().try_for_each(|certificate| {
                let added = roots.add(certificate.clone());
                added.map_err(|error| format!("sslrootcert: {}: {error}", self.trusted()))
            })?,
        }
        if roots.is_empty() {
            let remedy = "this system has no certificate authorities; install ca-certificates, or name a file";
            return Err(format!("sslrootcert=system: {remedy}"));
        }
        let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(path) = &self.revoked {
            let bytes = read("sslcrl", path)?;
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
            let lists = lists.map_err(|error| format!("sslcrl: {}: {error}", path.display()))?;
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        let chain = builder.build().map_err(|error| format!("sslcrl: {error}"))?;
        Ok(Arc::new(Trust { chain, certificates }))
    }
}

/// The TLS configuration that was read from the files.
pub(super) struct Material {
    config: ClientConfig,
    provider: Arc<CryptoProvider>,
    trust: Option<Arc<Trust>>,
    pub(super) checked: Checked,
}

impl Material {
    /// The configuration of one connection, and a cell that holds the version of TLS after the handshake.
    pub(super) fn for_one(&self) -> (ClientConfig, Arc<OnceLock<ProtocolVersion>>) {
        let verifier = Verifier::new(&self.provider, self.trust.clone(), self.checked);
        let version = verifier.version();
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        (config, version)
    }
}

fn mode(parameters: &Parameters, roots: &Roots) -> Result<Mode, String> {
    if parameters.get("sslmode") == Some("allow") {
        let instead = "allow is not honoured: write prefer to use TLS where the server has it, or disable";
        return Err(parameters.mistake("sslmode", instead));
    }
    let given = parameters.choice("sslmode", MODES)?;
    match roots {
        // Anyone can get a certificate from these authorities, so it proves nothing unless the name is verified.
        Roots::System if given.is_some_and(|mode| mode != Mode::VerifyFull) => {
            let mistake = "it is too weak for sslrootcert=system, whose authorities certify anybody: write verify-full";
            Err(parameters.mistake("sslmode", mistake))
        }
        Roots::System => Ok(Mode::VerifyFull),
        Roots::None if given >= Some(Mode::VerifyCa) => {
            let by_default = parameters.in_home(".postgresql/root.crt");
            let by_default = by_default.map(|path| format!(", or put it into {}", path.display())).unwrap_or_default();
            let mistake = format!(
                "there is nothing to verify the server's certificate with: name the file of its authority with \
                 sslrootcert{by_default}, or write sslrootcert=system"
            );
            Err(parameters.mistake("sslmode", mistake))
        }
        _ => Ok(given.unwrap_or(Mode::Prefer)),
    }
}

/// The client's certificate and key, if it is to present one.
fn client(parameters: &Parameters) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let shows = parameters.choice("sslcertmode", &[("allow", true), ("disable", false)])?.unwrap_or(true);
    let Some(certificate) = parameters.file("sslcert", ".postgresql/postgresql.crt").filter(|_| shows) else {
        return Ok(None);
    };
    match parameters.file("sslkey", ".postgresql/postgresql.key") {
        Some(key) => Ok(Some((certificate, key))),
        None => Err(parameters.mistake("sslcert", "name the file of its private key with sslkey")),
    }
}

fn versions(parameters: &Parameters) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    // Only 1.2 and 1.3 are supported. The older words are accepted, because a minimum of TLSv1 allows both.
    let words = &[("TLSv1", 0_u8), ("TLSv1.1", 1), ("TLSv1.2", 2), ("TLSv1.3", 3)];
    let least = parameters.choice("ssl_min_protocol_version", words)?.unwrap_or(2);
    let most = parameters.choice("ssl_max_protocol_version", words)?.unwrap_or(3);
    let spoken = [(2, &TLS12), (3, &TLS13)].into_iter().filter(|(version, _)| (least..=most).contains(version));
    let spoken: Vec<_> = spoken.map(|(_, version)| version).collect();
    match spoken.is_empty() {
        true => Err(parameters.mistake("ssl_max_protocol_version", "only TLSv1.2 and TLSv1.3 are supported")),
        false => Ok(spoken),
    }
}

fn read(keyword: &str, path: &Path) -> Result<Vec<u8>, String> {
    file::read(path, limits::CERTIFICATE_FILE_BYTES_MAX)
        .map_err(|error| format!("{keyword}: {}: {error}", path.display()))
}

fn certificates(keyword: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(keyword, path)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => {
            Err(format!("{keyword}: {} has no certificate in PEM (-----BEGIN CERTIFICATE-----)", path.display()))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{keyword}: {}: {error}", path.display())),
    }
}

/// The client's key. Only its owner may read it; if that is root, its group may read it too.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read("sslkey", path)?;
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| format!("sslkey: {shown}: {error}"))?;
    let others = if found.uid() == 0 { 0o037 } else { 0o077 };
    if found.mode() & others != 0 {
        return Err(format!("sslkey: others may read {shown}, which is a secret: chmod 0600 {shown}"));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        match encrypted {
            true => format!("sslkey: {shown} is encrypted; decrypt it (openssl pkey -in KEY -out NEW)"),
            false => format!("sslkey: {shown}: {error}"),
        }
    })
}
