//! Writes the SQL of a router (`galo shards stubs`): the cluster of PL/Proxy, a stub of each procedure, the function
//! that refuses a batch of several partitions, and the grants of the service's role. It is applied again after each
//! change: what is there already is altered.
//!
//! A router may not cancel a statement: PL/Proxy would ask the shard to, and wait for one that hangs. So timeouts are
//! those of the shards, and the router ends a session whose client has left.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::catalogue::statement::quoted;
use super::catalogue::stub::{self, ONLY_READS, Place, Stub};
use super::catalogue::unusable::Unusable;
use super::connect::target::Target;
use super::grant::GrantedProcedure;
use super::onward::Cluster;
use crate::limits;

/// The schema of what a router has beside the stubs, and the clusters: of calls, and of batches.
pub(super) const SCHEMA: &str = "galo_shards";
const CALLS: &str = "galo_shards";
const BATCHES: &str = "galo_shards_batches";

/// A router, as it is to be.
pub struct Router {
    /// The role of the service.
    pub role: String,
    /// How many partitions there are, a power of two.
    pub partitions: u32,
    /// How a router connects to each shard, in libpq's `keyword=value` form. Partition n is on shard n modulo their
    /// number.
    pub shards: Vec<String>,
}

/// Why the SQL of a router cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum NoStubs {
    /// The shard cannot be reached.
    #[error("cannot connect to the shard: {0}")]
    Unreachable(String),
    /// These procedures cannot run on shards.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unusable(Vec<Unusable>),
}

/// The SQL of a router for these procedures, whose signatures the shard at `target` has.
///
/// # Errors
/// That the shard is unavailable, or every procedure that cannot run on shards.
pub async fn stubs(target: &Target, router: &Router, granted: &[GrantedProcedure]) -> Result<String, NoStubs> {
    let client = target.connect().await.map_err(|error| NoStubs::Unreachable(error.to_string()))?;
    let (mut found, mut unusable) = (Vec::new(), Vec::new());
    for granted in granted {
        match stub::stubs(&client, granted).await {
            Ok(stubs) => found.extend(stubs),
            Err(error) => unusable.push(error),
        }
    }
    if unusable.is_empty() { Ok(router.sql(&found)) } else { Err(NoStubs::Unusable(unusable)) }
}

impl Router {
    fn sql(&self, stubs: &[Stub]) -> String {
        let mut sql = format!(
            "-- The router's side of {} partitions on {} shards, written by `galo shards stubs`.\n\
             -- Apply it to the database of each router as a superuser, again after each change:\n\
             --     psql -v ON_ERROR_STOP=1 -f FILE\n\
             BEGIN;\n\
             SET LOCAL client_min_messages = warning;\n\
             CREATE EXTENSION IF NOT EXISTS plproxy;\n\
             CREATE SCHEMA IF NOT EXISTS {SCHEMA};\n",
            self.partitions,
            self.shards.len(),
        );
        self.add_role(&mut sql);
        self.add_cluster(&mut sql, CALLS, [limits::STATEMENT_TIMEOUT.as_millis(), limits::LOCK_TIMEOUT.as_millis()]);
        let timeouts = [limits::BATCH_STATEMENT_TIMEOUT.as_millis(), limits::BATCH_LOCK_TIMEOUT.as_millis()];
        self.add_cluster(&mut sql, BATCHES, timeouts);
        self.add_helpers(&mut sql, stubs);
        for schema in stubs.iter().map(|stub| &stub.schema).collect::<BTreeSet<_>>() {
            let _ = write!(
                sql,
                "\nCREATE SCHEMA IF NOT EXISTS {schema};\nGRANT USAGE ON SCHEMA {schema} TO {};\n",
                quoted(&self.role)
            );
        }
        add_removal(&mut sql, stubs);
        stubs.iter().for_each(|stub| self.add_stub(&mut sql, stub));
        sql.push_str("COMMIT;\n");
        sql
    }

    /// The role of the service. The shards end its statements: see the head of this file.
    fn add_role(&self, sql: &mut String) {
        let (role, name) = (quoted(&self.role), literal(&self.role));
        let (seconds, check) = (limits::ROUTER_STATEMENT_TIMEOUT.as_secs(), limits::ROUTER_CLIENT_CHECK.as_secs());
        let _ = write!(
            sql,
            "\nDO $galo$ BEGIN\n    \
                 IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {name}) THEN\n        \
                     CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;\n    \
                 END IF;\n\
             END $galo$;\n\
             -- Longer than the shards': a statement that is cancelled here waits for a shard that hangs.\n\
             ALTER ROLE {role} SET statement_timeout = '{seconds}s';\n\
             ALTER ROLE {role} SET client_connection_check_interval = '{check}s';\n\
             GRANT USAGE ON SCHEMA {SCHEMA} TO {role};\n",
        );
    }

    /// A cluster, with these timeouts on the shards. Options that an operator has added are kept.
    fn add_cluster(&self, sql: &mut String, name: &str, [statement, lock]: [u128; 2]) {
        let mut options = vec![("connection_lifetime".to_owned(), limits::CONNECTION_AGE_MAX.as_secs().to_string())];
        let unanswered = limits::SHARD_TCP_TIMEOUT.as_millis();
        for partition in 0..self.partitions {
            let shard = &self.shards[partition as usize % self.shards.len()];
            let timeouts = format!("options='-c statement_timeout={statement} -c lock_timeout={lock}'");
            let place = format!("{shard} application_name=galo/router tcp_user_timeout={unanswered} {timeouts}");
            options.push((format!("p{partition}"), place));
        }
        let pairs: Vec<_> =
            options.iter().map(|(key, value)| format!("        ({}, {})", literal(key), literal(value))).collect();
        let role = quoted(&self.role);
        // All of them in one statement, because a cluster must have a power of two of partitions at any time.
        let _ = write!(
            sql,
            "\nDO $galo$\nDECLARE\n    options text;\n    \
                 is_there constant boolean := EXISTS (SELECT FROM pg_catalog.pg_foreign_server WHERE srvname = '{name}');\n\
             BEGIN\n    \
                 WITH wanted (key, value) AS (VALUES\n{}\n    ),\n    \
                 present AS (SELECT pg_catalog.split_part(o, '=', 1) AS key\n        \
                     FROM pg_catalog.pg_foreign_server, unnest(srvoptions) AS o WHERE srvname = '{name}'),\n    \
                 change (verb, key, value) AS (\n        \
                     SELECT CASE WHEN NOT is_there THEN '' WHEN p.key IS NULL THEN 'ADD' ELSE 'SET' END,\n            \
                         key, pg_catalog.quote_literal(value)\n        \
                     FROM wanted LEFT JOIN present AS p USING (key)\n        \
                     UNION ALL\n        \
                     SELECT 'DROP', key, '' FROM present\n        \
                     WHERE key ~ '^p[0-9]+$' AND key NOT IN (SELECT key FROM wanted))\n    \
                 SELECT pg_catalog.string_agg(pg_catalog.format('%s %I %s', verb, key, value), ', ') INTO options FROM change;\n    \
                 EXECUTE CASE WHEN is_there THEN 'ALTER SERVER {name} OPTIONS ('\n        \
                     ELSE 'CREATE SERVER {name} FOREIGN DATA WRAPPER plproxy OPTIONS (' END || options || ')';\n\
             END $galo$;\n\
             CREATE USER MAPPING IF NOT EXISTS FOR {role} SERVER {name} OPTIONS (user {});\n\
             GRANT USAGE ON FOREIGN SERVER {name} TO {role};\n",
            pairs.join(",\n"),
            literal(&self.role),
        );
    }

    /// What nodes ask a router, and the functions that keep a batch within one partition.
    fn add_helpers(&self, sql: &mut String, stubs: &[Stub]) {
        let _ = write!(
            sql,
            "\n-- The number of partitions: a node whose manifest has another one does not start.\n\
             CREATE OR REPLACE FUNCTION {SCHEMA}.partitions() RETURNS integer\nLANGUAGE sql IMMUTABLE AS \
             'SELECT {}';\n\
             -- Whether the shard of a partition accepts writes: how a node finds out that a shard is back, and that \
             this\n-- session's connection to it is not from before.\n",
            self.partitions,
        );
        self.add_grants(sql, &format!("{SCHEMA}.partitions()"));
        for cluster in [Cluster::Calls, Cluster::Batches] {
            let (function, name) = cluster.names();
            let _ = write!(
                sql,
                "CREATE OR REPLACE FUNCTION {SCHEMA}.{function}(partition integer) RETURNS boolean\n\
                 LANGUAGE plproxy AS $galo$\n    CLUSTER '{name}';\n    RUN ON $1;\n    \
                     SELECT NOT pg_catalog.pg_is_in_recovery();\n$galo$;\n",
            );
            self.add_grants(sql, &format!("{SCHEMA}.{function}(integer)"));
        }
        let _ = write!(
            sql,
            "\n-- Where this session runs what any shard can answer: on one that is up, because the node chooses.\n\
             CREATE OR REPLACE FUNCTION {SCHEMA}.choose(partition integer) RETURNS void\nLANGUAGE sql AS \
             $$SELECT pg_catalog.set_config('{SCHEMA}.chosen', partition::text, false)$$;\n\
             CREATE OR REPLACE FUNCTION {SCHEMA}.chosen() RETURNS integer\nLANGUAGE sql AS $$\n    \
                 SELECT coalesce(nullif(pg_catalog.current_setting('{SCHEMA}.chosen', true), '')::integer,\n           \
                                 pg_catalog.floor(pg_catalog.random() * {})::integer)\n$$;\n",
            self.partitions,
        );
        self.add_grants(sql, &format!("{SCHEMA}.choose(integer)"));
        self.add_grants(sql, &format!("{SCHEMA}.chosen()"));
        let hashes = stubs.iter().filter_map(|stub| match stub.place {
            Place::Keys(hash, _) => Some(hash),
            Place::Key(..) | Place::Any => None,
        });
        let mask = self.partitions - 1;
        for (function, key) in hashes.map(stub::hashing).collect::<BTreeSet<_>>() {
            let _ = write!(
                sql,
                "\n-- The partition of a batch. It refuses one of several partitions before anything runs.\n\
                 CREATE OR REPLACE FUNCTION {SCHEMA}.partition_of(keys {key}[]) RETURNS integer\n\
                 LANGUAGE plpgsql IMMUTABLE AS $galo$\nDECLARE\n    lowest integer;\n    highest integer;\n    \
                     unknown boolean;\nBEGIN\n    \
                     SELECT min({function}(key) & {mask}), max({function}(key) & {mask}), bool_or(key IS NULL)\n    \
                     INTO lowest, highest, unknown FROM unnest(keys) AS key;\n    \
                     IF unknown OR lowest IS DISTINCT FROM highest OR lowest IS NULL THEN\n        \
                         RAISE invalid_parameter_value USING MESSAGE = 'the calls of this batch are not of one partition',\n            \
                             HINT = 'lanes must be a multiple of the partitions';\n    \
                     END IF;\n    \
                     RETURN lowest;\nEND\n$galo$;\n",
            );
            self.add_grants(sql, &format!("{SCHEMA}.partition_of({key}[])"));
        }
    }

    /// A stub, and its grants.
    fn add_stub(&self, sql: &mut String, stub: &Stub) {
        let Stub { schema, function, arguments, identity, result, reads, place } = stub;
        let name = format!("{schema}.{function}");
        let (cluster, run) = match place {
            Place::Key(hash, index) => (CALLS, format!("{}(${index})", stub::hashing(*hash).0)),
            Place::Keys(_, index) => (BATCHES, format!("{SCHEMA}.partition_of(${index})")),
            Place::Any => (CALLS, format!("{SCHEMA}.chosen()")),
        };
        let _ = write!(
            sql,
            "\n\
             CREATE OR REPLACE FUNCTION {name}({arguments})\nRETURNS {result}\nLANGUAGE plproxy AS \
             $galo$\n    CLUSTER '{cluster}';\n    RUN ON {run};\n$galo$;\n",
        );
        if *reads {
            // PL/Proxy has no STABLE functions.
            let _ = writeln!(sql, "COMMENT ON FUNCTION {name}({identity}) IS '{ONLY_READS}';");
        }
        self.add_grants(sql, &format!("{name}({identity})"));
    }

    fn add_grants(&self, sql: &mut String, function: &str) {
        let role = quoted(&self.role);
        let _ = write!(
            sql,
            "REVOKE ALL ON FUNCTION {function} FROM PUBLIC;\nGRANT EXECUTE ON FUNCTION {function} TO {role};\n"
        );
    }
}

impl Cluster {
    /// The function that asks a shard over it, and its own name.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Calls => ("accepts", CALLS),
            Self::Batches => ("accepts_batches", BATCHES),
        }
    }
}

/// SQL that asks whether the shard of a partition accepts writes, over a cluster.
pub(super) fn question(cluster: Cluster) -> String {
    format!("SELECT {SCHEMA}.{}($1)", cluster.names().0)
}

/// Removes stubs that have another signature now, or whose procedure is no longer granted.
fn add_removal(sql: &mut String, stubs: &[Stub]) {
    let kept: Vec<_> = stubs
        .iter()
        .map(|Stub { schema, function, arguments, result, .. }| {
            let [schema, function, arguments, result] =
                [&unquoted(schema), &unquoted(function), arguments, result].map(|text| literal(text));
            format!("        ({schema}, {function}, {arguments}, {result})")
        })
        .collect();
    let _ = write!(
        sql,
        "\n-- Stubs that have another signature now, or that no handler is granted any more.\n\
         DO $galo$\nDECLARE stub regprocedure;\nBEGIN\n    FOR stub IN\n    \
             SELECT p.oid FROM pg_catalog.pg_proc p\n    \
             JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'plproxy'\n    \
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname <> '{SCHEMA}'\n    \
             WHERE (n.nspname::text, p.proname::text, pg_catalog.pg_get_function_arguments(p.oid),\n           \
                    pg_catalog.pg_get_function_result(p.oid)) NOT IN (VALUES\n{}\n    )\n    \
             LOOP\n        EXECUTE pg_catalog.format('DROP FUNCTION %s', stub);\n    END LOOP;\nEND $galo$;\n",
        kept.join(",\n"),
    );
}

/// What PL/Proxy's message says of a shard, in one line: `connection to server ... failed: Connection refused`.
pub(super) fn cause(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    first.split_once("): [").and_then(|(_, rest)| rest.split_once("] ")).map_or(first, |(_, cause)| cause).to_owned()
}

/// A text as a literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name of SQL without its quotes.
fn unquoted(name: &str) -> String {
    name.trim_matches('"').replace("\"\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_what_pl_proxy_says_of_the_shard() {
        let refused =
            "PL/Proxy function public.f(1): [shop] PQconnectStart: connection to server at \"a\" failed: no\nIs it up?";
        assert_eq!(cause(refused), "PQconnectStart: connection to server at \"a\" failed: no");
        assert_eq!(cause("something else"), "something else");
    }

    #[test]
    fn names_and_texts_are_quoted() {
        let router = Router { role: "o'\"x".to_owned(), partitions: 4, shards: vec!["a=1".into(), "b='2'".into()] };
        let sql = router.sql(&[]);
        assert!(sql.contains("CREATE ROLE \"o'\"\"x\" LOGIN") && sql.contains("rolname = 'o''\"x'"), "{sql}");
        // Partition n is on shard n modulo their number.
        for expected in ["('p0', 'a=1 ", "('p1', 'b=''2'' ", "('p2', 'a=1 ", "('p3', 'b=''2'' "] {
            assert!(sql.contains(expected), "{expected}: {sql}");
        }
    }
}
