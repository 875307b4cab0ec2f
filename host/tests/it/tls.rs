//! TLS to the database: what each `sslmode` means, whom a node trusts, how it authenticates, what it sends where others
//! can listen, and that renewed files take effect.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use galo::config::Secret;
use galo::database::{self, Defaults, Source, Target};
use galo::develop::build::Profile;
use galo::serve;

use crate::cli::{Program, run};
use crate::database::until_ready_is;
use crate::encrypted::{Authority, ELSEWHERE, Encrypted, RULES, Special};
use crate::harness::{PATIENCE, TestNode, checkout, engine, galo, handlers, settings, transacao};

/// The reason why a URL cannot connect.
async fn refusal(url: &str) -> String {
    let target = match Target::parse(&Secret::new(url)) {
        Ok(target) => target,
        Err(mistake) => return mistake,
    };
    database::enter(&target).await.expect_err(url).to_string()
}

async fn enters(url: &str) {
    database::enter(&Target::parse(&Secret::new(url)).unwrap()).await.unwrap();
}

const NO_ENTRY: &str = "no pg_hba.conf entry";

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_means_what_libpq_means() {
    // Given a server with TLS that requires it (bank), leaves it open (any) and rejects it (plain), and a server
    // without TLS, then each mode encrypts, does without, or refuses.
    let server = Encrypted::shared().await;
    let none = Encrypted::start().await;
    none.turn_tls("off").await;
    let (role, trusting) = (server.role("modes").await, server.trusting());
    none.role("modes").await;
    let wants = "the server has no TLS, and sslmode requires it";
    let (tls, plain) = (Ok(true), Ok(false));
    for (mode, bank, any, only_plain, without) in [
        ("sslmode=disable", Err(NO_ENTRY), plain, plain, plain),
        ("", tls, tls, plain, plain),
        ("sslmode=prefer", tls, tls, plain, plain),
        ("sslmode=require", tls, tls, Err(NO_ENTRY), Err(wants)),
        (&format!("sslmode=require {trusting}"), tls, tls, Err(NO_ENTRY), Err(wants)),
        (&format!("sslmode=verify-ca {trusting}"), tls, tls, Err(NO_ENTRY), Err(wants)),
        (&format!("sslmode=verify-full {trusting}"), tls, tls, Err(NO_ENTRY), Err(wants)),
    ] {
        for (server, database, expected) in
            [(server, "bank", bank), (server, "any", any), (server, "plain", only_plain), (&none, "any", without)]
        {
            let found = server.is_encrypted(&server.url(&role, database, mode)).await;
            let as_expected = match (&found, expected) {
                (Ok(found), Ok(expected)) => *found == expected,
                (Err(found), Err(expected)) => found.contains(expected),
                _ => false,
            };
            assert!(as_expected, "{mode} {database}: {found:?} and not {expected:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_proves_nothing_is_refused() {
    let server = Encrypted::start().await;
    let folder = server.folder.as_path();
    let (stranger, revoked) = (folder.join("stranger.crt"), folder.join("revoked.crl"));
    Authority::new("a stranger").put(&stranger);
    let stranger = format!("sslrootcert={}", stranger.display());
    let trusting = server.trusting();
    let url = |more: &str| server.url("galo", "bank", more);
    let by_another_name = |more: &str| url(more).replace("db.test", "other.test");

    // Another name, which only verify-full rejects.
    let message = refusal(&by_another_name(&format!("sslmode=verify-full {trusting}"))).await;
    assert!(
        message.contains("the server's certificate is for another name") && message.contains("db.test"),
        "{message}"
    );
    enters(&by_another_name(&format!("sslmode=verify-ca {trusting}"))).await;

    // Another authority, which every mode with a root certificate rejects.
    for mode in ["verify-full", "verify-ca", "require"] {
        let message = refusal(&url(&format!("sslmode={mode} {stranger}"))).await;
        assert!(message.contains("is not signed by") && message.contains("stranger.crt"), "{message}");
    }
    enters(&url("sslmode=require")).await;
    // As in libpq, `prefer` guarantees nothing, and goes on without TLS.
    let message = refusal(&url(&format!("sslmode=prefer {stranger}"))).await;
    assert!(
        message.contains(NO_ENTRY) && message.contains("with TLS: the server's certificate is not signed by"),
        "{message}"
    );

    // A list of revoked certificates.
    server.authority.revoke(7, &revoked);
    let listed = format!("sslmode=verify-full {trusting} sslcrl={}", revoked.display());
    enters(&url(&listed)).await;
    server.certify(&server.authority, &Special { serial: Some(7), ..Special::default() });
    server.turn_tls("on").await;
    let message = refusal(&url(&listed)).await;
    assert!(message.contains("the server's certificate is revoked"), "{message}");

    server.certify(&server.authority, &Special { expired: true, ..Special::default() });
    server.turn_tls("on").await;
    for mode in ["verify-full", "verify-ca"] {
        let message = refusal(&url(&format!("sslmode={mode} {trusting}"))).await;
        assert!(message.contains("the server's certificate has expired: renew it"), "{message}");
    }
    enters(&url("sslmode=require")).await;
    // A node does not wait for the certificate to become valid.
    let mut command = galo();
    command
        .args(["check"])
        .arg(handlers(Profile::Release))
        .env("DATABASE_URL", url(&format!("sslmode=verify-full {trusting}")));
    let (success, _, stderr) = run(&mut command);
    assert!(!success && stderr.contains("has expired") && !stderr.contains("waiting for the database"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_signed_its_own_certificate_is_known_by_it() {
    // Given a certificate as `openssl req -x509` makes it, which is an authority's, then a client that has that file
    // trusts it, under its name, and no other.
    let server = Encrypted::start().await;
    let (own, stranger) = (Authority::of_itself(), server.folder.join("stranger.crt"));
    Authority::of_itself().put(&stranger);
    own.put(&server.root());
    server.certify_by_itself(&own);
    server.turn_tls("on").await;
    let url = |more: &str| server.url("galo", "bank", more);
    let trusting = server.trusting();
    enters(&url(&format!("sslmode=verify-full {trusting}"))).await;
    enters(&url(&format!("sslmode=verify-ca {trusting}")).replace("db.test", "other.test")).await;
    let message = refusal(&url(&format!("sslmode=verify-full {trusting}")).replace("db.test", "other.test")).await;
    assert!(message.contains("for another name"), "{message}");
    let message = refusal(&url(&format!("sslmode=verify-ca sslrootcert={}", stranger.display()))).await;
    assert!(message.contains("one that signed itself has to be in the file of sslrootcert"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_where_there_is_one() {
    let server = Encrypted::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let url = |more: &str| {
        format!("{} user=galo sslmode=verify-full {} {more}", server.place("certified"), server.trusting())
    };
    let right = server.authority.client(folder.path(), "right", "galo");
    let unknown = Authority::new("a stranger").client(folder.path(), "unknown", "galo");
    let other = server.authority.client(folder.path(), "other", "somebody");
    enters(&url(&right)).await;
    let message = refusal(&url("")).await;
    assert!(message.contains("requires a valid client certificate"), "{message}");
    let message = refusal(&url(&format!("{right} sslcertmode=disable"))).await;
    assert!(message.contains("requires a valid client certificate"), "{message}");
    // The server may close before its alert is read.
    let message = refusal(&url(&unknown)).await;
    assert!(["client certificate", "closed", "reset"].iter().any(|word| message.contains(word)), "{message}");
    let message = refusal(&url(&other)).await;
    assert!(message.contains("certificate authentication failed"), "{message}");
    // The key of another certificate, and a key that others may read.
    let message = refusal(&url(&right.replace("right.key", "other.key"))).await;
    assert!(message.contains("other.key is not the key of") && message.contains("right.crt"), "{message}");
    let key = folder.path().join("right.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let message = refusal(&url(&right)).await;
    assert!(message.contains("chmod 0600") && message.contains("right.key"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_libpq_in_the_home_folder_are_used() {
    let server = Encrypted::shared().await;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    std::fs::create_dir(&folder).unwrap();
    server.authority.client(&folder, "postgresql", "galo");
    let read = |more: &str| {
        let defaults = Defaults { variables: Vec::new(), home: Some(home.path().to_owned()) };
        Target::read(&Source::Text(Secret::new(format!("{} user=galo {more}", server.place("certified")))), &defaults)
    };
    let mistake = read("sslmode=verify-full").unwrap_err();
    assert!(mistake.contains(".postgresql/root.crt"), "{mistake}");
    server.authority.put(&folder.join("root.crt"));
    database::enter(&read("sslmode=verify-full").unwrap()).await.unwrap();
    Authority::new("a stranger").put(&folder.join("root.crt"));
    let message = database::enter(&read("sslmode=require").unwrap()).await.unwrap_err().to_string();
    assert!(message.contains("is not signed by"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_without_a_question_where_postgres_can() {
    let server = Encrypted::shared().await;
    let direct =
        server.url("galo", "bank", &format!("sslmode=verify-full sslnegotiation=direct {}", server.trusting()));
    match server.version().await {
        170_000.. => enters(&direct).await,
        // It reads the handshake as a start-up packet, and closes the connection.
        _ => assert!(!refusal(&direct).await.is_empty()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_binding_is_required_where_the_url_requires_it() {
    let server = Encrypted::shared().await;
    let url = |database: &str, more: &str| server.url("galo", database, &format!("channel_binding={more}"));
    enters(&url("bank", "require sslmode=require")).await;
    enters(&url("bank", "disable sslmode=require")).await;
    for (database, more) in [("any", "require sslmode=disable"), ("clear", "require sslmode=require")] {
        let message = refusal(&url(database, more)).await;
        assert!(message.contains("channel_binding=require: the server did not bind"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_scram_is_answered_over_a_plain_connection_to_another_machine() {
    let server = Encrypted::start().await;
    server.turn_tls("off").await;
    server.execute("postgres", "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'hunter2'").await;
    let here = |role: &str, database: &str, more: &str| server.url(role, database, more);
    let elsewhere = |role: &str, database: &str, more: &str| {
        here(role, database, more).replace("127.0.0.1", &ELSEWHERE.to_string())
    };
    enters(&elsewhere("galo", "any", "")).await;
    for (role, database, how) in [("galo", "clear", "in clear text"), ("old", "md5", "as MD5")] {
        let message = refusal(&elsewhere(role, database, "")).await;
        assert!(message.contains(how) && message.contains("sslmode=disable"), "{message}");
        // Where nobody can listen, and where the URL declares that nobody does.
        enters(&here(role, database, "")).await;
        enters(&elsewhere(role, database, "sslmode=disable")).await;
    }
    // Also when the server has TLS and a handshake fails.
    server.turn_tls("on").await;
    let stranger = server.folder.as_path().join("stranger.crt");
    Authority::new("a stranger").put(&stranger);
    let stranger = format!("sslrootcert={}", stranger.display());
    let message = refusal(&elsewhere("galo", "clear", &stranger)).await;
    assert!(
        message.contains("in clear text") && message.contains("with TLS: the server's certificate is not signed"),
        "{message}"
    );
    enters(&here("galo", "clear", &stranger)).await;
    enters(&elsewhere("galo", "clear", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_reports_once_whether_the_database_is_encrypted_and_verified() {
    let server = Encrypted::start().await;
    let node = |url: String| {
        let mut command = galo();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool-connections", "3"]);
        command.arg("--handlers").arg(handlers(Profile::Release)).env("DATABASE_URL", url);
        Program::start(command).until_ready()
    };
    let more = format!("sslmode=verify-full application_name=bank {}", server.trusting());
    let verified = node(server.url("galo", "bank", &more));
    let log = verified.log();
    assert_eq!(log.matches("connected to the database").count(), 1, "{log}");
    assert!(log.contains("encrypted=\"TLS 1.3\"") && log.contains("verified=\"authority and name, by "), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    // The name that the operator chose, for batches too.
    assert_eq!(server.names().await, ["bank"]);
    // The connections of the pool, the batches, the probe and the catalogue.
    let (encrypted, plain) = server.connections().await;
    assert!(encrypted >= 4 && plain == 0, "{encrypted} {plain}");
    drop(verified);

    let old = node(server.url("galo", "bank", "sslmode=require ssl_max_protocol_version=TLSv1.2"));
    let log = old.log();
    assert!(log.contains("encrypted=\"TLS 1.2\" verified=\"no\""), "{log}");
    drop(old);

    server.admit(&RULES.replace("hostssl bank", "host bank"));
    server.turn_tls("off").await;
    let warned = "connections to the database are not encrypted";
    for (address, more, warnings) in
        [(ELSEWHERE.to_string(), "", 1), (ELSEWHERE.to_string(), "sslmode=disable", 1), ("127.0.0.1".to_owned(), "", 0)]
    {
        let plain = node(server.url("galo", "bank", more).replace("127.0.0.1", &address));
        let log = plain.log();
        assert_eq!(log.matches(warned).count(), warnings, "{log}");
        assert_eq!(log.matches("encrypted=\"no, this machine\"").count(), 1 - warnings, "{log}");
    }
}

/// Ends a node's connections until it has none: one that was still being made is not found at first.
async fn without_connections(server: &Encrypted, node: &TestNode) {
    let begun = Instant::now();
    while node.admin("/ready").await.status != 503 {
        assert!(begun.elapsed() < PATIENCE, "the node still has connections");
        server.kill_connections().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_that_are_renewed_count_for_the_next_connection() {
    // Given a node that reads its URL from a file, when server and clients get another authority, and then the role
    // another password, then the node has connections again.
    let server = Encrypted::start().await;
    let file = server.folder.as_path().join("url");
    let write = |password: &str| {
        let url = server.url("galo", "bank", &format!("sslmode=verify-full {}", server.trusting()));
        std::fs::write(&file, format!("{}\n", url.replace("hunter2", password))).unwrap();
    };
    write("hunter2");
    let target = Target::read(&Source::File(file.clone()), &Defaults::default()).unwrap();
    let settings = settings(handlers(Profile::Release));
    let node = TestNode { running: serve::start(&settings, &target, engine()).await.unwrap() };
    let credited = async || node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status.as_u16();
    assert_eq!(credited().await, 200);

    let renewed = Authority::new("the next authority");
    server.certify(&renewed, &Special::default());
    server.turn_tls("on").await;
    // Existing connections stay; no new ones are made before the node knows the authority.
    assert_eq!(credited().await, 200);
    without_connections(&server, &node).await;
    renewed.put(&server.root());
    until_ready_is(&node, 200, PATIENCE).await;
    assert_eq!(credited().await, 200);

    server.set_password("galo", "another").await;
    without_connections(&server, &node).await;
    // A half-written file is not used as a password.
    std::fs::write(&file, "postgres://galo:an@other@").unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(node.admin("/ready").await.status.as_u16(), 503);
    write("another");
    until_ready_is(&node, 200, PATIENCE).await;
    assert_eq!(credited().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_and_check_are_encrypted_too() {
    let server = Encrypted::start().await;
    server.execute("postgres", "CREATE ROLE owner SUPERUSER LOGIN PASSWORD 'hunter2'").await;
    let verified = format!("sslmode=verify-full {}", server.trusting());
    let owner = Target::parse(&Secret::new(server.url("owner", "bank", &verified))).unwrap();
    database::apply(&owner, &checkout().sql()).await.unwrap();
    database::enter(&owner.of_role("galo")).await.unwrap();

    // The system's authorities, which here are only ours.
    let mut check = galo();
    check.arg("check").arg(handlers(Profile::Release)).env("SSL_CERT_FILE", server.root());
    check.env("SSL_CERT_DIR", server.folder.as_path().join("none"));
    check.env("DATABASE_URL", server.url("galo", "bank", "sslrootcert=system"));
    let (success, shown, stderr) = run(&mut check);
    assert!(success && shown.contains("2 handlers verified"), "{stderr}");
    assert!(stderr.contains("authority and name, by the system's authorities"), "{stderr}");
    check.env("SSL_CERT_FILE", "/dev/null");
    let (success, _, stderr) = run(&mut check);
    assert!(!success && stderr.contains("this system has no certificate authorities"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_and_the_password_file_apply_where_the_url_is_silent() {
    let server = Encrypted::shared().await;
    let home = tempfile::tempdir().unwrap();
    let pgpass = home.path().join(".pgpass");
    let port = server.place("bank").split("port=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    std::fs::write(&pgpass, format!("other.test:*:*:*:wrong\n*:{port}:bank:galo:hunter2\n")).unwrap();
    std::fs::set_permissions(&pgpass, Permissions::from_mode(0o600)).unwrap();
    let check = || {
        let mut command = galo();
        command.arg("check").arg(handlers(Profile::Release)).env("HOME", home.path());
        let variables = [("PGHOST", "db.test"), ("PGHOSTADDR", "127.0.0.1"), ("PGPORT", &port), ("PGUSER", "galo")];
        command.envs(variables).env("PGDATABASE", "bank").env("PGSSLMODE", "verify-full");
        command.env("PGSSLROOTCERT", server.root());
        command
    };
    let (success, _, stderr) = run(&mut check());
    assert!(success && stderr.contains("authority and name"), "{stderr}");
    // The URL takes precedence.
    let (success, _, stderr) = run(check().env("DATABASE_URL", "postgres://galo:wrong@db.test/bank"));
    assert!(!success && stderr.contains("password authentication failed"), "{stderr}");
    // A file that others may read is not used, and the log names the remedy.
    std::fs::set_permissions(&pgpass, Permissions::from_mode(0o640)).unwrap();
    let (success, _, stderr) = run(&mut check());
    assert!(
        !success && stderr.contains("requires a password, and none is set") && stderr.contains("chmod 0600"),
        "{stderr}"
    );
    let (success, _, stderr) = run(check().env("PGPASSWORD", "hunter2"));
    assert!(success, "{stderr}");

    let file = home.path().join("url");
    std::fs::write(&file, "postgres://galo:hunter2@db.test/bank\n").unwrap();
    let (success, _, stderr) = run(check().env("DATABASE_URL_FILE", &file));
    assert!(success, "{stderr}");
    let (success, _, stderr) = run(check().env("DATABASE_URL_FILE", &file).env("DATABASE_URL", "host=h"));
    assert!(!success && stderr.contains("DATABASE_URL: DATABASE_URL_FILE is set too"), "{stderr}");
    let (success, _, stderr) = run(check().env("PGSERVICE", "bank"));
    assert!(!success && stderr.contains("PGSERVICE: service is not honoured"), "{stderr}");
}
