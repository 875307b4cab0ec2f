//! Newcomers with a mistake, each put live as a canary by `galo deploy` on two nodes behind nginx, under load: how far
//! each gets, what clients see of it, and what the audit log has afterwards.

use std::collections::HashMap;
use std::time::Duration;

use galo::guest::Digest;
use galo_bank::faults::{Stack as _, proved};
use galo_bank::history::{Answer, History, Record};
use galo_bank::ledger::Ledger;
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::proof::Invariant;
use galo_bank::verdict;
use jiff::Timestamp;

use crate::newcomers::{self, Mistake};
use crate::operator::{self, Deploy, HANDLER, WHO, story};
use crate::postgres::Database;
use crate::stack::{Stack, block_on};

/// Acknowledged between two deployments.
const BETWEEN: u64 = 50;

/// Acknowledged while a canary answers otherwise, as announced: enough for its share to be told from another one.
const ANNOUNCED: u64 = 1500;

/// The requests within which a canary that takes twice as long must be found.
const SLOW_REQUESTS_MAX: u64 = 500;

/// What each of them is taken back for.
const CASES: [(Mistake, &str, &str); 5] = [
    (Mistake::Traps, "20%", "trap in prepare: "),
    (Mistake::AnswersACent, "20%", "worse in respond: it decides otherwise than generation 1: response.body.saldo"),
    (Mistake::RecordsACent, "20%", "worse in prepare: it decides otherwise than generation 1: call.arguments[1]"),
    (Mistake::RefusesAKey, "20%", "worse in prepare: it decides otherwise than generation 1: "),
    (Mistake::IsSlow, "50%", "worse in prepare: its guest calls take "),
];

/// Two nodes behind nginx, whose handler `transacoes` only a deployment changes.
async fn stack() -> Stack {
    // Built before there is a load beside it.
    newcomers::component(Mistake::None);
    let mut stack = Stack::start(Database::shared().await).await;
    stack.spared = Some("transacoes.wasm");
    stack
}

pub fn bad_newcomers_are_taken_back_before_they_harm_a_client() {
    block_on(async {
        let mut stack = stack().await;
        let deploy_all = async |stack: &mut Stack, progress: &Progress| {
            for (mistake, share, cause) in CASES {
                progress.until(BETWEEN).await?;
                taken_back(stack, mistake, share, cause).await;
            }
            // It was their mistakes: the same component without one goes through all of its steps.
            progress.until(BETWEEN).await?;
            promoted(stack).await;
            progress.until(BETWEEN).await
        };
        verdict::unnoticed(&proved(&mut stack, Mix::default(), deploy_all).await.unwrap()).unwrap();
    });
}

/// Deploys a newcomer, which is taken back on every node for this cause.
async fn taken_back(stack: &Stack, mistake: Mistake, share: &str, cause: &str) {
    let component = newcomers::component(mistake);
    let (sha256, why, begun) = (Digest::of(&component).to_string(), format!("{mistake:?}"), Timestamp::now());
    let serving = stack.nodes[0].handler(HANDLER).await.sha256;
    let steps = format!("{share},100%");
    let deploy = Deploy { component: &component, steps: &steps, hold: "60s", differences: "refuse", why: &why };
    let ended = deploy.run(stack).await;
    println!("{mistake:?}: {}", ended.text.lines().nth(1).unwrap_or_default());
    assert!(!ended.success && ended.text.contains(cause), "{mistake:?}: {}", ended.text);
    assert!(ended.text.contains("rolled back, all nodes serve the old generation"), "{mistake:?}: {}", ended.text);
    let mut decided = 0;
    for node in &stack.nodes {
        let handler = node.handler(HANDLER).await;
        assert_eq!((&handler.sha256, handler.canary), (&serving, None), "{mistake:?}");
        // The audit log tells the story: who did what, when and why, with which component.
        let entries = story(node, &sha256).await;
        let [canary, back] = &entries[..] else { panic!("{mistake:?}: {entries:#?}") };
        assert_eq!((canary.event.as_str(), canary.who.as_str()), ("canary", WHO));
        assert_eq!(canary.why, format!("{share} by request: {why}"));
        assert_eq!((back.event.as_str(), back.generation), ("rolled back", canary.generation));
        assert!(back.why.contains(cause), "{mistake:?}: {}", back.why);
        let at = [begun, moment(&canary.at), moment(&back.at), Timestamp::now()];
        assert!(at.is_sorted(), "{mistake:?}: {at:?}");
        // A node that did not find out by itself follows the command.
        assert!(["node", WHO].contains(&back.who.as_str()), "{}", back.who);
        if back.who == "node" {
            decided += 1;
            assert!(back.why.starts_with(cause), "{mistake:?}: {}", back.why);
        }
    }
    assert!(decided > 0, "{mistake:?}: no node found out by itself");
    if mistake == Mistake::IsSlow {
        let (_, over) = ended.text.split_once(", over ").unwrap();
        let requests: u64 = over.split(' ').next().unwrap().parse().unwrap();
        assert!(requests <= SLOW_REQUESTS_MAX, "{}", ended.text);
    }
}

/// Deploys a newcomer without a mistake, which serves in the end.
async fn promoted(stack: &Stack) {
    let component = newcomers::component(Mistake::None);
    let sha256 = Digest::of(&component).to_string();
    let (steps, why) = ("20%,100%", "nothing wrong with it");
    let ended = Deploy { component: &component, steps, hold: "1s", differences: "refuse", why }.run(stack).await;
    assert!(ended.success && ended.text.contains("transacoes: deployed"), "{}", ended.text);
    for node in &stack.nodes {
        assert_eq!(node.handler(HANDLER).await.sha256, sha256);
        let events: Vec<_> = story(node, &sha256).await.into_iter().map(|entry| (entry.event, entry.why)).collect();
        let expected = [
            ("canary", "20% by request: nothing wrong with it"),
            ("step", "100%: nothing wrong with it"),
            ("promoted", why),
        ];
        assert_eq!(events, expected.map(|(event, why)| (event.to_owned(), why.to_owned())));
    }
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The test above can fail: a balance of one cent more is noticed. A difference that was announced is answered to the
/// canary's share, and to nobody after the rollback.
pub fn an_announced_difference_reaches_its_share_until_it_is_rolled_back() {
    block_on(async {
        let mut stack = stack().await;
        let (mut taken, mut all, mut back) = (0, 0, Duration::ZERO);
        let announced = async |stack: &mut Stack, progress: &Progress| {
            let component = newcomers::component(Mistake::AnswersACent);
            let deploy = Deploy { component: &component, steps: "20%", hold: "0s", differences: "report", why: "new" };
            let ended = deploy.run(stack).await;
            assert!(ended.success && ended.text.contains("stays at 20%"), "{}", ended.text);
            let before = requests(stack).await;
            progress.until(ANNOUNCED).await?;
            let after = requests(stack).await;
            (taken, all) = (after.0 - before.0, after.1 - before.1);
            for node in &stack.nodes {
                operator::run(node, &["rollback", HANDLER, "--who", WHO, "-m", "wrong totals"]).await;
                let entry = story(node, &Digest::of(&component).to_string()).await.pop().unwrap();
                assert_eq!((&*entry.event, &*entry.who, &*entry.why), ("rolled back", WHO, "wrong totals"));
            }
            back = progress.elapsed();
            progress.until(BETWEEN).await
        };
        let (history, violations) = stack.run(Mix::default(), announced).await.unwrap();
        verdict::unnoticed(&history).unwrap();
        for violation in &violations {
            assert_eq!(violation.invariant, Invariant::SaldoOfItsRow, "{violation}");
        }
        let (wrong, answered) = wrong(&history, &Ledger::read(&stack.source()).await.unwrap());
        println!("{} of {answered} answers were wrong; the canary took {taken} of {all} requests", wrong.len());
        assert!(!wrong.is_empty() && wrong.len() == violations.len(), "{} {}", wrong.len(), violations.len());
        assert!(wrong.iter().all(|sent| *sent < back), "{back:?} {wrong:?}");
        // The requests are chosen by a hash: five standard deviations of a fifth of so many.
        let slack = 5.0 * (0.2 * 0.8 / all as f64).sqrt();
        let share = taken as f64 / all as f64;
        assert!((share - 0.2).abs() <= slack, "{share}");
        assert!(wrong.len() as f64 <= (0.2 + slack) * answered as f64);
    });
}

/// The requests of the canaries of all nodes, and those of either generation.
async fn requests(stack: &Stack) -> (u64, u64) {
    let mut found = (0, 0);
    for node in &stack.nodes {
        let handler = node.handler(HANDLER).await;
        let canary = handler.canary.unwrap().calls;
        found = (found.0 + canary, found.1 + handler.calls + canary);
    }
    found
}

/// When the transactions were sent whose answer has another balance than their row, and how many were answered 200.
fn wrong(history: &History, ledger: &Ledger) -> (Vec<Duration>, usize) {
    let rows = ledger.clientes.values().flat_map(|cliente| &cliente.rows);
    let balances: HashMap<_, _> = rows.map(|row| (row.descricao.as_str(), row.saldo_apos)).collect();
    let (mut wrong, mut answered) = (Vec::new(), 0);
    for Record { transacao, tries } in &history.transacoes {
        for each in tries {
            let Answer::Ok { saldo, .. } = each.answer else { continue };
            answered += 1;
            if balances[transacao.descricao.as_str()] != saldo {
                wrong.push(each.sent);
            }
        }
    }
    (wrong, answered)
}
