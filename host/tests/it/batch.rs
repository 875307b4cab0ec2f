//! Request batching: which calls share a statement, in which order, and what each returns on success and on failure.
//! The procedures here are made up; `batch_form` has those of the ledger.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::poll;
use galo::contract::Value;
use galo::database::{Batch, Database, Procedure};
use galo::failure::Failure;
use galo::limits;
use galo::metrics::{Format, Metrics};

use crate::harness::{TestDatabase, granted, until};

/// `um` returns too many bytes for 99; both raise an error for 13.
const PROCEDURES: &str = "
    CREATE TABLE vistos (ordem bigint GENERATED ALWAYS AS IDENTITY, x integer);
    CREATE FUNCTION um(x integer, OUT y integer, OUT por text) LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF x = 13 THEN RAISE 'thirteen'; END IF;
        INSERT INTO vistos (x) VALUES (um.x);
        y := x * 2;
        por := CASE x WHEN 99 THEN repeat('x', 2000000) ELSE 'um' END;
    END $$;
    CREATE FUNCTION muitos(ordinals integer[], x integer[]) RETURNS TABLE (ordinal integer, y integer, por text)
    LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO vistos (x) SELECT unnest(muitos.x);
        IF 13 = ANY (muitos.x) THEN RAISE 'thirteen'; END IF;
        RETURN QUERY SELECT u.o, u.e * 2, 'muitos' FROM unnest(muitos.ordinals, muitos.x) AS u (o, e);
    END $$;
    GRANT EXECUTE ON FUNCTION um, muitos TO galo";

struct Lane {
    database: TestDatabase,
    pool: Arc<Database>,
    um: Arc<Procedure>,
    metrics: Metrics,
}

impl Lane {
    async fn new(procedures: &str) -> Self {
        Self::by("x", procedures).await
    }

    async fn by(key: &str, procedures: &str) -> Self {
        Self::with(&Batch::new("muitos", key), procedures).await
    }

    async fn with(batch: &Batch, procedures: &str) -> Self {
        let (database, metrics) = (TestDatabase::new().await, Metrics::new());
        database.execute(procedures).await;
        let pool = Arc::new(Database::new(&database.target(), 2, &metrics));
        let um = Arc::new(pool.describe(&granted("um", Some(batch))).await.unwrap());
        pool.start(vec![Arc::clone(&um)]).await.unwrap();
        Self { database, pool, um, metrics }
    }

    /// Returns twice `x` and the procedure that was called: `um` for a call alone, `muitos` for a call in a batch.
    async fn call(&self, x: i64) -> Result<String, Failure> {
        let rows = self.pool.call(&self.um, vec![Value::Integer(x)]).await?;
        match rows.values.as_slice() {
            [Value::Integer(y), Value::Text(por)] if rows.columns == ["y", "por"] => Ok(format!("{y} {por}")),
            other => panic!("{other:?}"),
        }
    }

    /// Makes these calls while call 0 holds the lane. `then` runs before call 0 continues.
    async fn behind_call_0(&self, calls: &[i64], then: impl AsyncFnOnce()) -> Vec<Result<String, Failure>> {
        let rest = join_all(calls.iter().map(|x| self.call(*x)));
        let (first, rest) = self.behind(self.call(0), rest, then).await;
        [first].into_iter().chain(rest).collect()
    }

    /// The outcomes of one call that is held, and of those that are made while it is.
    async fn behind<T, U>(
        &self,
        first: impl Future<Output = T>,
        rest: impl Future<Output = U>,
        then: impl AsyncFnOnce(),
    ) -> (T, U) {
        let held = self.database.hold_batches().await;
        let (mut first, mut rest) = (pin!(first), pin!(rest));
        let sent = self.sent();
        assert!(poll!(&mut first).is_pending());
        until("it is sent", String::new, || self.sent() > sent).await;
        // Each joins the lane when it is polled for the first time.
        assert!(poll!(&mut rest).is_pending());
        let go_on = async {
            then().await;
            drop(held);
        };
        let (first, rest, ()) = tokio::join!(first, rest, go_on);
        (first, rest)
    }

    /// How many statements left the lane.
    fn sent(&self) -> u64 {
        self.figure("galo_batch_calls_count").parse().unwrap()
    }

    /// The recorded values, in the order in which they were recorded.
    async fn seen(&self) -> Vec<i32> {
        let rows = self.database.owner().await.query("SELECT x FROM vistos ORDER BY ordem", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A figure of `/metrics`.
    fn figure(&self, name: &str) -> String {
        let text = self.metrics.text(Format::Classic);
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    }
}

/// A batch form of `um`.
fn muitos(form: &str) -> Batch {
    Batch::new(form, "x")
}

fn shown(outcomes: &[Result<String, Failure>]) -> Vec<String> {
    outcomes.iter().map(|outcome| outcome.clone().unwrap_or_else(|failure| failure.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_the_lane_free_goes_alone() {
    let lane = Lane::new(PROCEDURES).await;
    for x in 1..=3 {
        assert_eq!(lane.call(x).await.unwrap(), format!("{} um", x * 2));
    }
    assert_eq!(lane.figure("galo_batch_calls_count"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_a_busy_lane_go_together_in_their_order() {
    let lane = Lane::new(PROCEDURES).await;
    let outcomes = lane.behind_call_0(&[5, 3, 9, 1], async || {}).await;
    assert_eq!(shown(&outcomes), ["0 um", "10 muitos", "6 muitos", "18 muitos", "2 muitos"]);
    assert_eq!(lane.seen().await, [0, 5, 3, 9, 1]);
    assert_eq!(
        (lane.figure("galo_batch_calls_count"), lane.figure("galo_batch_calls_sum")),
        ("2".into(), "5.0".into())
    );
    // The lane is free again.
    assert_eq!(lane.call(1).await.unwrap(), "2 um");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_takes_no_more_calls_than_it_may() {
    let lane = Lane::new(PROCEDURES).await;
    let most = i64::try_from(limits::BATCH_CALLS_MAX).unwrap();
    let calls: Vec<_> = (100..100 + 2 * most + 1).collect();
    let outcomes = lane.behind_call_0(&calls, async || {}).await;
    assert!(outcomes.iter().all(Result::is_ok));
    // Call 0, two full batches, and the last call, which goes alone.
    assert_eq!(lane.figure("galo_batch_calls_count"), "4");
    assert_eq!(outcomes.last().unwrap().as_ref().unwrap(), &format!("{} um", calls.last().unwrap() * 2));
    assert_eq!(lane.seen().await.len(), calls.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_takes_no_more_bytes_than_it_may() {
    // Given calls of a little more than a third of what a batch may have, then two of them go together.
    let lane = Lane::new(
        "CREATE FUNCTION um(x text, OUT bytes integer, OUT por text) LANGUAGE plpgsql AS $$
         BEGIN
             bytes := length(x);
             por := 'um';
         END $$;
         CREATE FUNCTION muitos(ordinals integer[], x text[]) RETURNS TABLE (ordinal integer, bytes integer, por text)
         LANGUAGE sql AS $$
             SELECT u.o, length(u.e), 'muitos ' || cardinality(x) FROM unnest(ordinals, x) AS u (o, e) $$;
         GRANT EXECUTE ON FUNCTION um, muitos TO galo",
    )
    .await;
    let third = "x".repeat(limits::BATCH_BYTES_MAX / 3 + 1);
    let call = |text: &str| lane.pool.call(&lane.um, vec![Value::Text(text.to_owned())]);
    let rest = join_all([&third, &third, &third, "y"].map(call));
    let (first, rest) = lane.behind(call(""), rest, async || {}).await;
    let rows = [first].into_iter().chain(rest);
    let ways: Vec<_> = rows.map(|rows| format!("{:?}", rows.unwrap().values[1])).collect();
    let [alone, two] = ["um", "muitos 2"].map(|text| format!("{:?}", Value::Text(text.to_owned())));
    assert_eq!(ways, [&alone, &two, &two, &two, &two].map(String::as_str));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_carried_out_fails_alone() {
    let lane = Lane::new(PROCEDURES).await;
    let outcomes = lane.behind_call_0(&[5, 13, 9], async || {}).await;
    assert_eq!(shown(&outcomes[..2]), ["0 um", "10 um"]);
    assert!(
        matches!(&outcomes[2], Err(Failure::Raised(raised)) if raised.error.message.contains("thirteen")),
        "{outcomes:?}"
    );
    assert_eq!(shown(&outcomes[3..]), ["18 um"]);
    // The batch itself recorded nothing.
    assert_eq!(lane.seen().await, [0, 5, 9]);
    assert_eq!(lane.figure("galo_batches_broken_total"), "1");
    assert_eq!(shown(&lane.behind_call_0(&[2, 4], async || {}).await), ["0 um", "4 muitos", "8 muitos"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_costs_its_connection_costs_no_other_call() {
    let lane = Lane::new(PROCEDURES).await;
    let outcomes = lane.behind_call_0(&[13, 99, 5], async || {}).await;
    let expected = format!(
        "procedure um failed: it returned more than {} bytes; return fewer rows at once",
        limits::ROWS_BYTES_MAX
    );
    assert_eq!(shown(&outcomes[2..]), [expected.as_str(), "10 um"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_form_that_is_gone_leaves_the_procedure() {
    let lane = Lane::new(PROCEDURES).await;
    let drop = async || lane.database.execute("DROP FUNCTION muitos").await;
    let outcomes = lane.behind_call_0(&[5, 9], drop).await;
    assert_eq!(shown(&outcomes), ["0 um", "10 um", "18 um"]);
    let other =
        "CREATE FUNCTION muitos(ordinals integer[], x text[]) RETURNS TABLE (ordinal integer, y integer, por text)
                 LANGUAGE sql AS 'SELECT 1, 1, x[1]';
                 GRANT EXECUTE ON FUNCTION muitos TO galo";
    lane.database.execute(other).await;
    assert_eq!(shown(&lane.behind_call_0(&[5, 9], async || {}).await), ["0 um", "10 um", "18 um"]);
}

/// `muitos` with these ordinals, in the form of a query over the `o` that it was given.
fn with_ordinals(query: &str) -> String {
    let all = "SELECT u.o, u.e * 2, 'muitos' FROM unnest(muitos.ordinals, muitos.x) AS u (o, e)";
    assert!(PROCEDURES.contains(all));
    PROCEDURES.replace(all, query)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_another_order_are_matched_to_their_calls() {
    let all = "SELECT u.o, u.e * 2, 'muitos' FROM unnest(muitos.ordinals, muitos.x) AS u (o, e) ORDER BY";
    for order in ["u.o DESC", "u.o % 2, u.o", "hashint4(u.o)"] {
        let lane = Lane::new(&with_ordinals(&format!("{all} {order}"))).await;
        let calls: Vec<_> = (100..100 + 30).collect();
        let outcomes = lane.behind_call_0(&calls, async || {}).await;
        let expected: Vec<_> = calls.iter().map(|x| format!("{} muitos", x * 2)).collect();
        assert_eq!(shown(&outcomes)[1..], expected, "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_form_whose_rows_do_not_match_costs_its_calls_a_failure_and_none_is_sent_again() {
    let all = "unnest(muitos.ordinals, muitos.x) AS u (o, e)";
    for (query, told) in [
        (format!("SELECT u.o, u.e * 2, 'muitos' FROM {all} WHERE u.o > 1"), "1 rows for 2 calls"),
        (format!("SELECT u.o, u.e * 2, 'muitos' FROM {all}, generate_series(1, 2)"), "4 rows for 2 calls"),
        (format!("SELECT 1, u.e * 2, 'muitos' FROM {all}"), "two rows with `ordinal` 1"),
        (format!("SELECT u.o + 1, u.e * 2, 'muitos' FROM {all} ORDER BY u.o"), "a row with `ordinal` 3 for 2 calls"),
        (format!("SELECT NULL::integer, u.e * 2, 'muitos' FROM {all}"), "a row whose `ordinal` is null"),
    ] {
        let lane = Lane::new(&with_ordinals(&query)).await;
        let outcomes = lane.behind_call_0(&[5, 9], async || {}).await;
        let expected = format!(
            "procedure um failed: its batch form returned {told}, so that no row was used; what it recorded remains"
        );
        assert_eq!(shown(&outcomes), ["0 um", &expected, &expected]);
        // The batch recorded them once.
        assert_eq!(lane.seen().await, [0, 5, 9]);
        assert_eq!(lane.figure("galo_batches_broken_total"), "1");
        assert_eq!(lane.call(1).await.unwrap(), "2 um");
    }
}

/// A key makes two tries of a call one. What `muitos` does wrong follows.
const KEYED: &str = "
    CREATE TABLE vistos (ordem bigint GENERATED ALWAYS AS IDENTITY, x integer, chave text UNIQUE);
    CREATE FUNCTION um(x integer, chave text, OUT y integer, OUT por text) LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO vistos (x, chave) VALUES (um.x, um.chave) ON CONFLICT DO NOTHING;
        SELECT x * 2, 'um' INTO y, por;
    END $$;
    CREATE FUNCTION muitos(ordinals integer[], x integer[], chave text[])
    RETURNS TABLE (ordinal integer, y integer, por text) LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO vistos (x, chave) SELECT * FROM unnest(muitos.x, muitos.chave);
        WRONG
    END $$;
    GRANT EXECUTE ON FUNCTION um, muitos TO galo";

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_a_key_are_sent_again_also_when_nothing_proves_that_the_batch_was_rolled_back() {
    for (wrong, told, recorded) in [
        ("RETURN QUERY SELECT 1, 2, 'muitos' FROM unnest(muitos.x);", "two rows with `ordinal` 1", 5),
        ("PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1);", "unavailable", 3),
        ("RETURN QUERY SELECT o, 1, repeat('x', 300000) FROM unnest(ordinals) AS o;", "more than", 5),
    ] {
        let batch = Batch { key: Some("chave".to_owned()), ..Batch::new("muitos", "x") };
        let lane = Lane::with(&batch, &KEYED.replace("WRONG", wrong)).await;
        let call = async |x: i64, key: Option<&str>| {
            let key = key.map_or(Value::Null, |key| Value::Text(key.to_owned()));
            let rows = lane.pool.call(&lane.um, vec![Value::Integer(x), key]).await;
            rows.map(|rows| rows.values[0].clone()).map_err(|failure| failure.to_string())
        };
        let calls = [(1, Some("a")), (2, None), (3, Some("b")), (4, None)];
        let rest = join_all(calls.map(|(x, key)| call(x, key)));
        let (first, rest) = lane.behind(call(0, None), rest, async || {}).await;
        assert_eq!(first, Ok(Value::Integer(0)), "{wrong}");
        for ((x, key), outcome) in calls.iter().zip(rest) {
            match key {
                Some(_) => assert_eq!(outcome, Ok(Value::Integer(x * 2)), "{wrong}"),
                None => assert!(outcome.as_ref().is_err_and(|failure| failure.contains(told)), "{wrong}: {outcome:?}"),
            }
        }
        let mut seen = lane.seen().await;
        assert_eq!(seen.len(), recorded, "{wrong}: {seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), recorded, "{wrong}: {seen:?}");
        assert_eq!(lane.figure("galo_batches_broken_total"), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_too_long_is_not_sent() {
    let lane = Lane::new(PROCEDURES).await;
    let begun = Instant::now();
    let outcomes = lane.behind_call_0(&[5], async || tokio::time::sleep(limits::ACQUIRE_TIMEOUT).await).await;
    assert!(begun.elapsed() < limits::CALL_TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!(outcomes[0].as_deref().unwrap(), "0 um");
    assert!(matches!(&outcomes[1], Err(Failure::Unavailable { cause }) if cause.contains("not sent")), "{outcomes:?}");
    assert_eq!(lane.call(7).await.unwrap(), "14 um");
    assert_eq!(lane.seen().await, [0, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_has_gone_is_awaited_if_it_was_sent_and_dropped_if_not() {
    let lane = Lane::new(PROCEDURES).await;
    let held = lane.database.hold_batches().await;
    let mut sent = Box::pin(lane.call(0));
    assert!(poll!(&mut sent).is_pending());
    until("it is sent", String::new, || lane.sent() > 0).await;
    let mut waiting = Box::pin(lane.call(5));
    assert!(poll!(&mut waiting).is_pending());
    drop((sent, waiting));
    drop(held);
    lane.pool.drain().await;
    assert_eq!(lane.seen().await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_may_wait_are_shed() {
    let lane = Lane::new(PROCEDURES).await;
    let most = i64::try_from(limits::LANE_CALLS_MAX).unwrap();
    let calls: Vec<_> = (100..100 + most + 1).collect();
    let outcomes = lane.behind_call_0(&calls, async || {}).await;
    let shed = outcomes.iter().filter(|outcome| matches!(outcome, Err(Failure::Shed))).count();
    assert_eq!(shed, 1);
    assert_eq!(lane.seen().await.len(), calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_batch_is_answered_when_its_connection_is_lost() {
    let lane = Lane::new(PROCEDURES).await;
    let kill = async || assert!(lane.database.kill_connections().await > 0);
    let begun = Instant::now();
    let outcomes = lane.behind_call_0(&[5, 9], kill).await;
    // Call 0 was under way. The others went on another connection, or failed because there was none.
    assert!(matches!(outcomes[0], Err(Failure::Unavailable { .. })), "{outcomes:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(lane.seen().await.len(), outcomes.iter().filter(|outcome| outcome.is_ok()).count());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_from_a_batch_as_they_went_out() {
    let lane = Lane::by(
        "g",
        "CREATE FUNCTION um(a boolean, b smallint, c integer, d bigint, e real, f double precision, g text, h varchar,
             i bytea, j timestamptz, k timestamp, OUT a2 boolean, OUT b2 smallint, OUT c2 integer, OUT d2 bigint,
             OUT e2 real, OUT f2 double precision, OUT g2 text, OUT h2 varchar, OUT i2 bytea, OUT j2 timestamptz,
             OUT k2 timestamp)
         LANGUAGE sql AS 'SELECT a, b, c, d, e, f, g, h, i, j, k';
         CREATE FUNCTION muitos(ordinals integer[], a boolean[], b smallint[], c integer[], d bigint[], e real[], f double precision[],
             g text[], h varchar[], i bytea[], j timestamptz[], k timestamp[])
         RETURNS TABLE (ordinal integer, a2 boolean, b2 smallint, c2 integer, d2 bigint, e2 real, f2 double precision, g2 text,
             h2 varchar, i2 bytea, j2 timestamptz, k2 timestamp)
         LANGUAGE sql AS 'SELECT * FROM unnest(ordinals, a, b, c, d, e, f, g, h, i, j, k)';
         GRANT EXECUTE ON FUNCTION um, muitos TO galo",
    )
    .await;
    let values = |n: i64| {
        vec![
            Value::Boolean(n % 2 == 0),
            Value::Integer(-n),
            Value::Integer(i32::MAX.into()),
            Value::Integer(i64::MIN + n),
            Value::Float(0.5),
            Value::Float(-1.0e300),
            Value::Text(format!("çã😀,\"{{}} NULL {n}")),
            Value::Text(String::new()),
            Value::Bytes(vec![0, 255]),
            Value::Timestamp(1_705_458_881_217_753 + n),
            Value::Timestamp(-1),
        ]
    };
    let nulls = || (0..11).map(|_| Value::Null).collect::<Vec<_>>();
    let sent = || (0..6).map(values).chain([nulls()]).collect::<Vec<_>>();
    let rows = join_all(sent().into_iter().map(|values| lane.pool.call(&lane.um, values))).await;
    let returned: Vec<_> = rows.into_iter().map(|rows| rows.unwrap().values).collect();
    assert_eq!(format!("{returned:?}"), format!("{:?}", sent()));
    // The first call may have gone before the others came, on another thread.
    assert!(["1", "2"].contains(&&*lane.figure("galo_batch_calls_count")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_is_not_a_batch_form_is_refused() {
    let lane = Lane::new(PROCEDURES).await;
    let create = "
        CREATE FUNCTION velho(x integer[]) RETURNS TABLE (y integer, por text) LANGUAGE sql AS 'SELECT 1, ''''';
        CREATE FUNCTION sem(numeros integer[], x integer[]) RETURNS TABLE (ordinal integer, y integer, por text)
            LANGUAGE sql AS 'SELECT 1, 1, ''''';
        CREATE FUNCTION curto(ordinals smallint[], x integer[]) RETURNS TABLE (ordinal integer, y integer, por text)
            LANGUAGE sql AS 'SELECT 1, 1, ''''';
        CREATE FUNCTION longo(ordinals integer[], x integer[]) RETURNS TABLE (ordinal bigint, y integer, por text)
            LANGUAGE sql AS 'SELECT 1::bigint, 1, ''''';
        CREATE FUNCTION mais(ordinals integer[], x integer[], z integer[])
            RETURNS TABLE (ordinal integer, y integer, por text) LANGUAGE sql AS 'SELECT 1, 1, ''''';
        CREATE FUNCTION largo(ordinals integer[], x bigint[]) RETURNS TABLE (ordinal integer, y integer, por text)
            LANGUAGE sql AS 'SELECT 1, 1, ''''';
        CREATE FUNCTION solto(ordinals integer[], x integer) RETURNS TABLE (ordinal integer, y integer, por text)
            LANGUAGE sql AS 'SELECT 1, 1, ''''';
        CREATE FUNCTION outro(ordinals integer[], x integer[]) RETURNS TABLE (ordinal integer, por text, y integer)
            LANGUAGE sql AS 'SELECT 1, '''', 1';
        CREATE FUNCTION um_so(x integer[], OUT y integer, OUT por text) LANGUAGE sql AS 'SELECT 1, ''''';
        CREATE FUNCTION de_lista(x uuid[], OUT y integer) LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION de_listas(ordinals integer[], x uuid[]) RETURNS TABLE (ordinal integer, y integer)
            LANGUAGE sql AS 'SELECT 1, 1';
        CREATE LANGUAGE distante HANDLER plpgsql_call_handler VALIDATOR plpgsql_validator;
        CREATE FUNCTION longe(ordinals integer[], x integer[]) RETURNS TABLE (ordinal integer, y integer, por text)
            LANGUAGE distante AS 'BEGIN END';
        CREATE FUNCTION de_longe(x integer, OUT y integer, OUT por text) LANGUAGE distante AS 'BEGIN END';
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO galo";
    lane.database.execute(create).await;
    for (procedure, batch, expected) in [
        ("um", "nada", "the database has no procedure `nada`"),
        (
            "um",
            "velho",
            "`velho` is not a batch form of `um`: its first parameter is not `ordinals integer[]`, nor its first column \
             `ordinal integer`: a row is matched to its call by the ordinal that the call was given; declare it as \
             velho(ordinals integer[], x int4[]) RETURNS TABLE (ordinal integer, y int4, por text)",
        ),
        ("um", "sem", "its first parameter is not `ordinals integer[]`: a row"),
        ("um", "curto", "its first parameter is not `ordinals integer[]`: a row"),
        ("um", "longo", "its first column is not `ordinal integer`: a row"),
        ("um", "mais", "`mais` is not a batch form of `um`: it takes 2 arguments beside `ordinals`, not 1"),
        ("um", "largo", "its parameter 1 `x` is of type int8[], not an array of int4"),
        ("um", "solto", "its parameter 1 `x` is of type int4, not an array of int4"),
        ("um", "outro", "beside `ordinal` it returns other columns"),
        ("um", "um_so", "it does not return a set"),
        ("muitos", "muitos", "what returns a set has no batch form"),
        ("velho", "muitos", "what returns a set has no batch form"),
        ("um", "longe", "`longe` is not a batch form of `um`: it may work in another database, by its language or"),
        ("de_longe", "muitos", "the procedure may work in another database, by its language or by `remote`"),
        ("de_lista", "de_listas", "parameter 1 `x` is of type uuid[], which does not travel in an array"),
    ] {
        let refused = lane.pool.describe(&granted(procedure, Some(&muitos(batch)))).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{procedure}, {batch}: {refused}");
    }
    let forbid = "REVOKE EXECUTE ON FUNCTION muitos FROM galo, PUBLIC";
    lane.database.execute(forbid).await;
    let refused = lane.pool.describe(&granted("um", Some(&muitos("muitos")))).await.unwrap_err().to_string();
    assert!(refused.contains("may not execute `muitos`"), "{refused}");
}
