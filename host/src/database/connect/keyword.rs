//! All keywords of libpq's connection strings: which are honoured, and for the others why not and what to write
//! instead. None is ignored silently, because somebody may rely on it.
//!
//! The environment variables that stand for keywords are listed here, and read by `cli`.

/// Keywords that are honoured.
const HONOURED: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Keywords that have no effect with these values; an empty list means any value.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    ("client_encoding", &["utf8", "UTF8", "utf-8", "UTF-8", "auto"]),
    ("gssencmode", &["disable", "prefer"]),
    ("max_protocol_version", &[]),
    ("min_protocol_version", &["3.0"]),
    ("replication", &["false", "off", "no", "0"]),
    ("sslcompression", &["0"]),
];

/// Keywords that are not honoured, and what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("client_encoding", "text travels as UTF-8; remove it"),
    ("gssdelegation", KERBEROS),
    ("gssencmode", KERBEROS),
    ("gsslib", KERBEROS),
    ("krbsrvname", KERBEROS),
    ("min_protocol_version", "only version 3.0 of the protocol is supported; remove it"),
    ("oauth_client_id", OAUTH),
    ("oauth_client_secret", OAUTH),
    ("oauth_issuer", OAUTH),
    ("oauth_scope", OAUTH),
    ("replication", "replication connections are not supported; remove it"),
    ("require_auth", "write channel_binding=require, which asks for SCRAM over TLS and nothing else"),
    ("requirepeer", "have the socket in a folder that only its owner can write to"),
    ("scram_client_key", "give the password"),
    ("scram_server_key", "give the password"),
    ("service", "service files are not read; write what it stands for"),
    ("servicefile", "service files are not read; write what the service stands for"),
    ("sslcompression", "TLS compression is not supported; remove it"),
    ("sslcrldir", "write the lists into one file and name it with sslcrl"),
    ("sslkeylogfile", "TLS keys are not logged; remove it"),
    ("sslpassword", "encrypted keys are not read; decrypt it (openssl pkey -in KEY -out NEW) for its owner alone"),
];

const KERBEROS: &str = "Kerberos is not supported; use a password or a client certificate";
const OAUTH: &str = "OAuth is not supported; use a password or a client certificate";

/// Environment variables that supply what a connection string leaves out, with their keywords.
pub const VARIABLES: &[(&str, &str)] = &[
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCLIENTENCODING", "client_encoding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGSERVICE", "service"),
    ("PGSERVICEFILE", "servicefile"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLCOMPRESSION", "sslcompression"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLSNI", "sslsni"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGUSER", "user"),
];

/// How a keyword is handled.
pub(super) enum Use {
    Honoured(&'static str),
    /// It has no effect, and ignoring it is harmless.
    WithoutEffect,
    /// The keyword, and what to write instead.
    Refused(&'static str, &'static str),
    /// It is not a keyword of libpq.
    Unknown,
}

/// How a keyword with this value is handled.
pub(super) fn of(keyword: &str, value: &str) -> Use {
    // The name that tokio-postgres uses, which was the one to write in earlier versions.
    let keyword = if keyword == "keepalives_retries" { "keepalives_count" } else { keyword };
    if let Some(honoured) = HONOURED.iter().find(|honoured| **honoured == keyword) {
        return Use::Honoured(honoured);
    }
    let without_effect = WITHOUT_EFFECT.iter().find(|(name, _)| *name == keyword);
    if without_effect.is_some_and(|(_, values)| values.is_empty() || values.contains(&value) || value.is_empty()) {
        return Use::WithoutEffect;
    }
    match REFUSED.iter().find(|(name, _)| *name == keyword) {
        Some((name, instead)) => Use::Refused(name, instead),
        None => Use::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_stands_for_a_keyword() {
        for (variable, keyword) in VARIABLES {
            assert!(!matches!(of(keyword, "x"), Use::Unknown), "{variable}");
        }
    }

    #[test]
    fn every_keyword_of_libpq_is_known() {
        // https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
        for keyword in "host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout \
                        client_encoding options application_name fallback_application_name keepalives keepalives_idle \
                        keepalives_interval keepalives_count tcp_user_timeout replication gssencmode sslmode \
                        sslnegotiation sslcompression sslcert sslkey sslkeylogfile sslpassword sslcertmode sslrootcert \
                        sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version \
                        min_protocol_version max_protocol_version krbsrvname gsslib gssdelegation scram_client_key \
                        scram_server_key service servicefile target_session_attrs load_balance_hosts oauth_issuer \
                        oauth_client_id oauth_client_secret oauth_scope"
            .split_whitespace()
        {
            assert!(!matches!(of(keyword, "x"), Use::Unknown), "{keyword}");
        }
        assert!(matches!(of("sslmod", "require"), Use::Unknown));
        assert!(matches!(of("gssencmode", "prefer"), Use::WithoutEffect));
        assert!(matches!(of("gssencmode", "require"), Use::Refused(..)));
    }
}
