//! A newcomer that fails without faulting: its calls are rejected, or it answers 5xx, where the generation before it
//! does better. Requests are compared one by one, so that no client can undo a deployment.

use std::time::Duration;

use futures_util::future::join_all;

use crate::fixture::{Guest, calling, calling_then, marked, replying};
use crate::harness::{Guests, TestDatabase, TestNode};

/// `um` works, `falha` and `repetido` are rejected; each counts its calls in a sequence, which no rollback undoes.
const PROCEDURES: &str = "
    CREATE SEQUENCE chamadas; GRANT USAGE ON SEQUENCE chamadas TO PUBLIC;
    CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''public.chamadas'')';
    CREATE FUNCTION falha() RETURNS bigint LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('public.chamadas'); RAISE EXCEPTION 'no'; END $$;
    CREATE FUNCTION repetido() RETURNS bigint LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('public.chamadas'); RAISE unique_violation; END $$";

async fn node_with(component: &[u8]) -> (TestDatabase, Guests, TestNode) {
    let database = TestDatabase::new().await;
    database.execute(PROCEDURES).await;
    let guests = Guests::new().add("x", component, "procedures = [\"um\", \"falha\", \"repetido\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    (database, guests, node)
}

async fn calls(database: &TestDatabase) -> i64 {
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.chamadas";
    database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
}

fn worse(node: &TestNode) -> (u64, String) {
    let lineage = node.handler("x").lineage();
    (lineage.current.number, lineage.rolled_back.as_ref().map(|back| back.cause.clone()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_whose_calls_are_all_rejected_is_rolled_back_on_its_first_request() {
    let (database, guests, node) = node_with(&calling("um")).await;
    guests.put("x", &calling("falha"));
    node.until_generation("x", 2).await;
    // The other generation's call is not made: a request makes only one.
    assert_eq!(node.get("/x").await.status, 500);
    assert_eq!(calls(&database).await, 1);
    let (generation, cause) = worse(&node);
    assert_eq!(generation, 1);
    assert!(cause.starts_with("worse in prepare: `falha` rejected its call with P0001, generation 1"), "{cause}");
    assert_eq!(node.get("/x").await.status, 200);
    let metrics = node.admin("/metrics").await;
    assert!(metrics.text().contains(r#"galo_faults_total{handler="x",kind="worse"} 1"#), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_proved_generation_replies_its_reply_is_sent() {
    let (database, guests, node) = node_with(&replying(422, None, 0).component()).await;
    guests.put("x", &calling("falha"));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 422);
    assert_eq!((worse(&node).0, calls(&database).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_client_cannot_roll_back_a_clean_newcomer() {
    // Given a newcomer that plans the same call as the generation before it, when a client repeatedly sends what the
    // procedure rejects, then it stays, and each request made one call.
    let (database, guests, node) = node_with(&calling("falha")).await;
    guests.put("x", &marked(&calling("falha"), 1));
    node.until_generation("x", 2).await;
    for _ in 0..100 {
        assert_eq!(node.get("/x").await.status, 500);
    }
    assert_eq!(node.generation("x"), 2);
    assert_eq!(calls(&database).await, 100);
    assert_eq!(node.handler("x").lineage().current.faults(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_answers_5xx_where_the_proved_one_does_not_is_rolled_back() {
    let (database, guests, node) = node_with(&calling("um")).await;
    guests.put("x", &calling_then("um", 503).component());
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 200);
    let (generation, cause) = worse(&node);
    assert_eq!((generation, calls(&database).await), (1, 1));
    assert!(cause.starts_with("worse in respond: it answered 503 Service Unavailable, generation 1"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_fails_at_an_error_is_rolled_back_where_the_proved_one_does_not() {
    // Given a call that raises what is a 409, when a newcomer traps at it or answers it with 503, then it is
    // rolled back and the client gets the 409. One that answers it with another 4xx stays.
    let traps = Guest { respond: "unreachable", ..calling_then("repetido", 200) }.component();
    let busy = Guest { respond: "i32.const 4096", ..calling_then("repetido", 503) }.component();
    let gone = Guest { respond: "i32.const 4096", ..calling_then("repetido", 410) }.component();
    for (newcomer, status, stays, cause) in [
        (traps, 409, false, "trap in respond"),
        (busy, 409, false, "worse in respond: it answered 503 Service Unavailable, generation 1 answers 409 Conflict"),
        (gone, 410, true, ""),
    ] {
        let (database, guests, node) = node_with(&calling("repetido")).await;
        guests.put("x", &newcomer);
        node.until_generation("x", 2).await;
        assert_eq!(node.get("/x").await.status.as_u16(), status);
        let (generation, found) = worse(&node);
        assert_eq!((generation, calls(&database).await), (if stays { 2 } else { 1 }, 1));
        assert!(found.starts_with(cause), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_5xx_that_both_answer_or_that_is_of_another_call_rolls_nothing_back() {
    let (_database, guests, node) = node_with(&calling_then("um", 500).component()).await;
    guests.put("x", &calling_then("um", 501).component());
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 501);
    assert_eq!(node.generation("x"), 2);
    let (_database, guests, node) = node_with(&replying(200, None, 0).component()).await;
    guests.put("x", &calling_then("um", 500).component());
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 500);
    assert_eq!(node.generation("x"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_a_client_causes_rolls_nothing_back_where_it_is_left_to_the_host() {
    // Given a newcomer that plans what the generation before it does not, when its call is rejected with what is a 4xx,
    // then it stays: the client may have caused that, and the newcomer may leave a check to a constraint.
    for before in [calling("um"), replying(422, None, 0).component()] {
        let (database, guests, node) = node_with(&before).await;
        guests.put("x", &calling("repetido"));
        node.until_generation("x", 2).await;
        assert_eq!(node.get("/x").await.status, 409);
        assert_eq!((worse(&node).0, calls(&database).await), (2, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_config_is_not_rolled_back_for_what_its_call_raises() {
    // Given a component that calls what its config names, when another config makes it call what is rejected, then the
    // config stays, because the other plan is what the operator wanted.
    let by_config = Guest {
        prepare: "(select (i32.const 1536) (i32.const 1024)
                   (i32.eq (i32.load offset=12 (i32.load offset=80 (local.get 0))) (i32.const 5)))",
        ..calling_then("um", 200)
    };
    // A plan as at 1024.
    let rest = "\\00".repeat(16);
    let falha = format!(
        r#"(data (i32.const 1536) "\01\00\00\00\80\0c\00\00\05\00\00\00{rest}") (data (i32.const 3200) "falha")"#
    );
    let component = Guest { items: format!("{}{falha}", by_config.items).into(), ..by_config }.component();
    let database = TestDatabase::new().await;
    database.execute(PROCEDURES).await;
    let guests = Guests::new().add("x", &component, "procedures = [\"um\", \"falha\"]\nconfig = { a = \"um\" }\n");
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/x").await.status, 200);
    guests.put_file("galo.toml", guests.manifest().replace("a = \"um\"", "a = \"falha\"").as_bytes());
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 500);
    assert_eq!((worse(&node).0, calls(&database).await), (2, 2));
    assert_eq!(node.handler("x").lineage().current.faults(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_rolls_no_newcomer_back_for_too_many_slow_calls() {
    // Given a newcomer that plans and fails like the generation before it, when its answer fails while its slow calls
    // keep new requests out, then it stays.
    let component = Guest {
        // Whether there is a query.
        prepare: "(if (i32.load8_u offset=32 (local.get 0)) (then (loop (br 0)))) i32.const 1024",
        respond: "unreachable",
        ..calling_then("lenta", 200)
    }
    .component();
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION lenta() RETURNS text LANGUAGE sql AS 'SELECT pg_sleep(1)::text'").await;
    let more = "procedures = [\"lenta\"]\nlimits = { deadline_ms = 2000 }";
    let guests = Guests::new().add("x", &component, more);
    let node = TestNode::guests(&database, &guests).await;
    guests.put("x", &marked(&component, 1));
    node.until_generation("x", 2).await;
    let answer = node.get("/x");
    let slow = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        join_all((0..4).map(|_| node.get("/x?slow"))).await
    };
    let status = tokio::select! {
        answer = answer => answer.status,
        _ = slow => panic!("the slow calls end first"),
    };
    assert_eq!((status.as_u16(), node.generation("x")), (500, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_probation_nothing_is_compared() {
    let (_database, guests, node) = node_with(&calling("um")).await;
    let manifest = guests.manifest() + "limits = { probation_calls = 1, probation_seconds = 1 }\n";
    guests.put_file("galo.toml", manifest.as_bytes());
    crate::harness::until("it is taken", String::new, || {
        node.handler("x").entry.limits.probation == Duration::from_secs(1)
    })
    .await;
    guests.put("x", &calling("falha"));
    node.until_generation("x", 2).await;
    let handler = node.handler("x");
    handler.lineage().current.called();
    crate::harness::until("it is proved", String::new, || handler.fallback(&handler.lineage()).is_none()).await;
    assert_eq!(node.get("/x").await.status, 500);
    assert_eq!(node.generation("x"), 2);
}
