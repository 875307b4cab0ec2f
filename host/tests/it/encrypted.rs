//! A Postgres with TLS and its own certificate authority: its certificates, its access rules, and URLs for each.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use galo::config::Secret;
use galo::database::{self, Database, Target};
use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use galo::metrics::Metrics;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use tokio::sync::OnceCell;

use crate::harness::{GALO, checkout, connect};

/// The name in the server's certificate.
pub const NAME: &str = "db.test";

/// An address of this machine that `galo` takes for another machine's.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// The access rules (`pg_hba.conf`), by database.
pub const RULES: &str = "\
local all all trust
hostssl bank all all scram-sha-256
host any all all scram-sha-256
hostnossl plain all all scram-sha-256
host md5 all all md5
host clear all all password
hostssl certified all all cert
";

/// An authority and the certificates it signs, each in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The unusual properties of a certificate.
#[derive(Default)]
pub struct Special {
    pub expired: bool,
    pub serial: Option<u64>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// An authority whose own certificate is a server's certificate as well.
    pub fn of_itself() -> Self {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Its own certificate and its key, as PEM.
    fn own(&self) -> [String; 2] {
        [self.issuer.pem(), self.issuer.key().serialize_pem()]
    }

    /// Puts its own certificate into a file.
    pub fn put(&self, path: &Path) {
        std::fs::write(path, self.issuer.pem()).unwrap();
    }

    /// The certificate of a server of this name and its key, as PEM.
    pub fn server(&self, name: &str) -> [String; 2] {
        self.sign(name, &[name], ExtendedKeyUsagePurpose::ServerAuth, &Special::default())
    }

    /// A certificate and its key, as PEM.
    fn sign(
        &self,
        common_name: &str,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        special: &Special,
    ) -> [String; 2] {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        params.serial_number = special.serial.map(SerialNumber::from);
        if special.expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }

    /// Puts a client's certificate and key into `NAME.crt` and `NAME.key` of a folder; returns their URL parameters.
    pub fn client(&self, folder: &Path, name: &str, role: &str) -> String {
        let [certificate, key] = self.sign(role, &[], ExtendedKeyUsagePurpose::ClientAuth, &Special::default());
        let (crt, path) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&crt, certificate).unwrap();
        std::fs::write(&path, key).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        format!("sslcert={} sslkey={}", crt.display(), path.display())
    }

    /// Puts a list of one revoked certificate into a file.
    pub fn revoke(&self, serial: u64, path: &Path) {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(path, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }
}

/// A Postgres that speaks TLS on the loopback address.
pub struct Encrypted {
    pub authority: Authority,
    /// The data folder, and files that tests add to it; deleted with the server.
    pub folder: PathBuf,
    socket: PathBuf,
    port: u16,
    _cluster: Mutex<Cluster>,
}

impl Encrypted {
    /// The server of this run, for tests that do not change it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Encrypted> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A server for one test.
    pub async fn start() -> Self {
        let (cluster, port) = tokio::task::block_in_place(|| {
            let mut tries = 0;
            loop {
                // The port is free now, and perhaps not when Postgres binds it.
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                let settings = ["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
                tries += 1;
                match Cluster::start_with(Path::new(GALO), Data::Throwaway, &settings) {
                    Ok(cluster) => return (cluster, port),
                    Err(error) => assert!(tries < 5, "{error:#}"),
                }
            }
        });
        let url = format!("host={} port={port} user={SUPERUSER} dbname=postgres", cluster.socket.display());
        let row = connect(&url).await.query_one("SHOW data_directory", &[]).await.unwrap();
        let (folder, socket) = (PathBuf::from(row.get::<_, &str>(0)), cluster.socket.clone());
        let authority = Authority::new("the authority");
        let encrypted = Self { authority, folder, socket, port, _cluster: Mutex::new(cluster) };
        encrypted.authority.put(&encrypted.root());
        encrypted.certify(&encrypted.authority, &Special::default());
        std::fs::write(encrypted.folder.join("clients.crt"), encrypted.authority.issuer.pem()).unwrap();
        encrypted.give_to_postgres("clients.crt");
        for name in ["ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'clients.crt'"] {
            encrypted.execute("postgres", &format!("ALTER SYSTEM SET {name}")).await;
        }
        encrypted.admit(RULES);
        encrypted.turn_tls("on").await;
        for name in ["bank", "any", "plain", "md5", "clear", "certified"] {
            encrypted.execute("postgres", &format!("CREATE DATABASE \"{name}\"")).await;
        }
        database::apply(&encrypted.owner("bank"), &checkout().sql()).await.unwrap();
        encrypted.set_password("galo", "hunter2").await;
        encrypted
    }

    /// The file of its authority, for clients.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.crt")
    }

    /// Gives the server another certificate, which it uses once it is reloaded.
    pub fn certify(&self, authority: &Authority, special: &Special) {
        self.show(authority.sign("server", &[NAME], ExtendedKeyUsagePurpose::ServerAuth, special));
    }

    /// Gives the server an authority's own certificate.
    pub fn certify_by_itself(&self, authority: &Authority) {
        self.show(authority.own());
    }

    fn show(&self, [certificate, key]: [String; 2]) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            std::fs::write(self.folder.join(name), text).unwrap();
            self.give_to_postgres(name);
        }
    }

    fn give_to_postgres(&self, name: &str) {
        let owner = std::fs::metadata(&self.folder).unwrap();
        let path = self.folder.join(name);
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    /// Replaces the access rules, which apply once they are reloaded.
    pub fn admit(&self, rules: &str) {
        std::fs::write(self.folder.join("pg_hba.conf"), rules).unwrap();
    }

    /// Turns TLS on or off, and makes the server read its certificates again.
    pub async fn turn_tls(&self, on: &str) {
        self.execute("postgres", &format!("ALTER SYSTEM SET ssl = {on}")).await;
        let log = || std::fs::read_to_string(self.folder.join("../log")).unwrap();
        let reloads = || log().matches("received SIGHUP").count();
        let before = reloads();
        self.execute("postgres", "SELECT pg_reload_conf()").await;
        crate::harness::until("Postgres has reloaded", String::new, || reloads() > before).await;
        // The postmaster has read them when a backend that it starts afterwards has.
        let shown = || async {
            let row = connect(&self.owner_url("postgres")).await.query_one("SHOW ssl", &[]).await.unwrap();
            row.get::<_, String>(0)
        };
        while shown().await != on {}
    }

    pub async fn execute(&self, database: &str, sql: &str) {
        connect(&self.owner_url(database)).await.batch_execute(sql).await.unwrap();
    }

    pub async fn set_password(&self, role: &str, password: &str) {
        self.execute("postgres", &format!("ALTER ROLE {role} PASSWORD '{password}'")).await;
    }

    /// A role for one test, with the password `hunter2`.
    pub async fn role(&self, name: &str) -> String {
        self.execute("postgres", &format!("CREATE ROLE {name} LOGIN PASSWORD 'hunter2'")).await;
        name.to_owned()
    }

    fn owner_url(&self, database: &str) -> String {
        format!("host={} port={} user={SUPERUSER} dbname={database}", self.socket.display(), self.port)
    }

    pub fn owner(&self, database: &str) -> Target {
        Target::parse(&Secret::new(self.owner_url(database))).unwrap()
    }

    /// Its address on the network, by the name in its certificate, without a password.
    pub fn place(&self, database: &str) -> String {
        format!("host={NAME} hostaddr=127.0.0.1 port={} dbname={database}", self.port)
    }

    /// `place` with a role that has the password `hunter2`.
    pub fn url(&self, role: &str, database: &str, more: &str) -> String {
        format!("{} user={role} password=hunter2 {more}", self.place(database))
    }

    /// `sslrootcert=` with the file of its authority.
    pub fn trusting(&self) -> String {
        format!("sslrootcert={}", self.root().display())
    }

    /// Whether a connection of a pool is encrypted, or the reason why it cannot connect.
    pub async fn is_encrypted(&self, url: &str) -> Result<bool, String> {
        let target = Target::parse(&Secret::new(url))?;
        database::enter(&target).await.map_err(|error| error.to_string())?;
        let pool = Database::new(&target, 1, &Metrics::new());
        pool.start(Vec::new()).await.unwrap();
        let role = url.split("user=").nth(1).unwrap().split(' ').next().unwrap();
        let owner = connect(&self.owner_url("postgres")).await;
        let sql = "SELECT count(*) FILTER (WHERE ssl) > 0, count(*) FILTER (WHERE NOT ssl) > 0
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = $1";
        let row = owner.query_one(sql, &[&role]).await.unwrap();
        match (row.get(0), row.get(1)) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            seen => panic!("{url}: {seen:?}"),
        }
    }

    /// The server's version, as `server_version_num` has it.
    pub async fn version(&self) -> i32 {
        let row = connect(&self.owner_url("postgres")).await.query_one("SHOW server_version_num", &[]).await.unwrap();
        row.get::<_, &str>(0).parse().unwrap()
    }

    /// How many connections of the service's role are encrypted, and how many are not.
    pub async fn connections(&self) -> (i64, i64) {
        let owner = connect(&self.owner_url("postgres")).await;
        let sql = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'galo'";
        let row = owner.query_one(sql, &[]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// What the connections of the service's role are called.
    pub async fn names(&self) -> Vec<String> {
        let owner = connect(&self.owner_url("postgres")).await;
        let sql = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = 'galo' ORDER BY 1";
        owner.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Ends every connection of the service's role.
    pub async fn kill_connections(&self) {
        self.execute("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'galo'").await;
    }
}
