//! Opens one connection to one address: the socket, TLS according to `sslmode`, and the log-in.
//!
//! `prefer` works as in libpq: it connects without TLS if the server has none, if the handshake fails, or if the server
//! refuses the log-in with TLS. Stronger modes fail instead.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use rustls::{AlertDescription, CertificateError, ProtocolVersion};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::authentication::{Answered, Watched};
use super::cause::Cause;
use super::credentials::Login;
use super::encryption::{Encryption, TlsVersion};
use super::passfile::Entry;
use super::target::{Place, Target};
use super::tls::{Material, Mode};

/// The credentials and TLS files for one connection.
pub(super) struct Access {
    login: Login,
    /// `None` when TLS is not used.
    material: Option<Material>,
}

/// An open connection, with the task that drives it.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) task: JoinHandle<()>,
    pub(super) encryption: Encryption,
}

impl Target {
    /// Reads the files that a connection needs: certificates and passwords.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub(super) async fn access(&self) -> Result<Access, Cause> {
        let target = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let login = target.credentials.read();
            let encrypts = target.tls.mode != Mode::Disable && target.hosts.iter().any(Place::is_tcp);
            let material = encrypts.then(|| target.tls.read()).transpose().map_err(Cause::Unusable)?;
            Ok(Access { login, material })
        });
        reading.await.unwrap_or_else(|error| Err(Cause::Unusable(error.to_string())))
    }

    /// Connects to a host, at this address if there is one.
    ///
    /// # Errors
    /// Why the connection failed.
    pub(super) async fn handshake(
        &self,
        place: &Place,
        address: Option<IpAddr>,
        access: &Access,
    ) -> Result<Connected, Cause> {
        let config = self.config_of(place, &access.login);
        match (&place.host, address) {
            (Host::Tcp(name), Some(address)) => {
                self.connect_tcp(config, SocketAddr::new(address, place.port), name, access.material.as_ref()).await
            }
            _ => {
                let (client, connection) = config.connect(NoTls).await.map_err(|error| cause(error, self))?;
                Ok(Connected { client, task: drive(connection), encryption: Encryption::UnixSocket })
            }
        }
    }

    fn config_of(&self, place: &Place, login: &Login) -> Config {
        let mut config = self.config.clone();
        config.application_name(self.application.name());
        let user = self.role.as_deref().unwrap_or(&login.user);
        let host = match &place.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => {
                config.host_path(folder);
                folder.display().to_string()
            }
        };
        let entry = Entry { host: &host, port: place.port, dbname: &self.dbname, user };
        if let Some(password) = login.password(&entry) {
            config.password(password);
        }
        config.user(user).dbname(&self.dbname).port(place.port).ssl_mode(SslMode::Disable);
        config
    }

    async fn connect_tcp(
        &self,
        mut config: Config,
        address: SocketAddr,
        name: &str,
        material: Option<&Material>,
    ) -> Result<Connected, Cause> {
        // `::ffff:127.0.0.1` is the same address as `127.0.0.1`.
        let local = address.ip().to_canonical().is_loopback();
        let answered = if local || self.tls.mode == Mode::Disable { Answered::All } else { Answered::Scram };
        let unencrypted = if local { Encryption::Loopback } else { Encryption::None };
        let Some(material) = material else {
            return self.plain(&config, Watched::plain(self.socket(address).await?, answered), unencrypted).await;
        };
        if self.tls.mode > Mode::Prefer {
            let negotiation = if self.tls.direct { SslNegotiation::Direct } else { SslNegotiation::Postgres };
            config.ssl_mode(SslMode::Require).ssl_negotiation(negotiation);
            let stream = self.socket(address).await?;
            let encrypted = encrypted(&config, stream, name, material, unencrypted).await;
            return encrypted.map_err(|error| cause(error, self));
        }
        let stream = Watched::asking_for_tls(self.socket(address).await?, answered);
        let offered = stream.offered();
        let error = match encrypted(config.clone().ssl_mode(SslMode::Prefer), stream, name, material, unencrypted).await
        {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        // `pg_hba.conf` may accept a client only without TLS; any other refusal would be repeated without TLS.
        let code = error.code();
        let lets_some_in = code.is_none_or(|code| *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        if !offered.load(Ordering::Relaxed) || !lets_some_in {
            return Err(cause(error, self));
        }
        let watched = Watched::plain(self.socket(address).await?, answered);
        let without = self.plain(&config, watched, unencrypted).await;
        without.map_err(|without| Cause::Neither { without: Box::new(without), with: Box::new(cause(error, self)) })
    }

    async fn plain(
        &self,
        config: &Config,
        stream: Watched<TcpStream>,
        encryption: Encryption,
    ) -> Result<Connected, Cause> {
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| cause(error, self))?;
        Ok(Connected { client, task: drive(connection), encryption })
    }

    async fn socket(&self, address: SocketAddr) -> Result<TcpStream, Cause> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            // Requests are small writes, each of which Nagle's algorithm would delay.
            stream.set_nodelay(true)?;
            let socket = SockRef::from(&stream);
            socket.set_tcp_user_timeout(self.sockets.user_timeout)?;
            if let Some(keepalive) = &self.sockets.keepalive {
                socket.set_tcp_keepalive(keepalive)?;
            }
            Ok(stream)
        };
        connect.await.map_err(Cause::Socket)
    }
}

/// Connects with TLS, or without it if the configuration allows that.
async fn encrypted<S>(
    config: &Config,
    stream: S,
    name: &str,
    material: &Material,
    unencrypted: Encryption,
) -> Result<Connected, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    MakeRustlsConnect: MakeTlsConnect<S, Stream: Send + 'static, Error = Infallible>,
{
    let (tls, version) = material.for_one();
    let Ok(tls) = MakeRustlsConnect::new(tls).make_tls_connect(name);
    let (client, connection) = config.connect_raw(stream, tls).await?;
    let encryption = match version.get() {
        Some(ProtocolVersion::TLSv1_3) => Encryption::Tls(TlsVersion::V13, material.checked),
        Some(_) => Encryption::Tls(TlsVersion::V12, material.checked),
        None => unencrypted,
    };
    Ok(Connected { client, task: drive(connection), encryption })
}

/// Spawns the task that drives a connection. Nobody waits for it: the client gets the error when the connection breaks.
fn drive<S, T>(connection: Connection<S, T>) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move { drop(connection.await) })
}

/// Why the connection failed, and what to do if the next attempt would be refused too.
fn cause(error: Error, target: &Target) -> Cause {
    let Some(source) = error.source() else { return Cause::Refused(error) };
    // Errors that tokio-postgres itself creates can only be recognised by their text.
    let what = match source.to_string().as_str() {
        "server does not support TLS" => {
            "the server has no TLS, and sslmode requires it: turn it on (ssl = on), or set sslmode=prefer".to_owned()
        }
        "password missing" => "the server requires a password, and none is set: put it in the URL, in PGPASSWORD or \
                               in the password file (~/.pgpass)"
            .to_owned(),
        "server did not use channel binding" => {
            "channel_binding=require: the server did not bind the log-in to its certificate, which needs TLS and \
             scram-sha-256 in pg_hba.conf"
                .to_owned()
        }
        _ => {
            let Some(source) = source.downcast_ref::<io::Error>() else { return Cause::Refused(error) };
            let tls = source.get_ref().and_then(|inside| inside.downcast_ref::<rustls::Error>());
            match tls {
                Some(tls) => match failed_handshake(tls, target) {
                    Some(what) => what,
                    None => return Cause::Refused(error),
                },
                // The error that `authentication` returns.
                None if source.kind() == io::ErrorKind::PermissionDenied => source.to_string(),
                None => return Cause::Refused(error),
            }
        }
    };
    Cause::Unsuited(what)
}

/// What to do about a TLS error, if something can be done.
fn failed_handshake(error: &rustls::Error, target: &Target) -> Option<String> {
    let what = match error {
        rustls::Error::InvalidCertificate(wrong) => return Some(untrusted(wrong, target)),
        rustls::Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            "the server does not accept the client certificate (sslcert)"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate (sslcert, sslkey)"
        }
        _ => return None,
    };
    Some(format!("{what}: {error}"))
}

fn untrusted(wrong: &CertificateError, target: &Target) -> String {
    let what = match wrong {
        CertificateError::UnknownIssuer => format!(
            "the server's certificate is not signed by {}: name the file of its authority with sslrootcert",
            target.tls.trusted()
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another name: connect to a name that it has as subjectAltName".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it".to_owned()
        }
        CertificateError::Revoked => "the server's certificate is revoked".to_owned(),
        _ => {
            "the server's certificate cannot be verified: it has to be of X.509 version 3, with a subjectAltName; one \
              that signed itself has to be in the file of sslrootcert"
                .to_owned()
        }
    };
    format!("{what} ({wrong})")
}
