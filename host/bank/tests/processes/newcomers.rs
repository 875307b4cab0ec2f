//! Newcomers: the handler `transacoes` of the checkout with one mistake. They are built once; which mistake a component
//! makes is a letter that is written into it. Most requests meet the mistake, and none of the examples: those would
//! refuse the component before it answers anybody.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use galo::develop::build::{self, Cancel, Profile, Project};
use galo_testing::folder::one_build_at_a_time;
use galo_testing::program::checkout;

use crate::stack::copy;

/// What a newcomer does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Nothing.
    None,
    /// It traps.
    Traps,
    /// It answers a balance of one cent more.
    AnswersACent,
    /// It records one cent more.
    RecordsACent,
    /// Each of its calls takes longer.
    IsSlow,
    /// It refuses a valid key.
    RefusesAKey,
}

/// The name of the handler that is built: another one than the checkout's, of which Cargo would mistake it for a build.
const NAME: &str = "newcomer";

/// The letter that decides, in the source and in the component.
const MARK: &str = "mistake=-";

/// Turns of a loop that take about as long as the rest of a guest call on a host that is not optimised.
const TURNS: u32 = 1_000_000;

/// The component with a mistake.
pub fn component(mistake: Mistake) -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let mut bytes = BUILT.get_or_init(built).clone();
    let places = bytes.windows(MARK.len()).enumerate().filter(|(_, found)| *found == MARK.as_bytes());
    let [place] = places.map(|(place, _)| place).collect::<Vec<_>>()[..] else { panic!("{MARK} is not there once") };
    bytes[place + MARK.len() - 1] = letter(mistake);
    bytes
}

fn letter(mistake: Mistake) -> u8 {
    match mistake {
        Mistake::None => b'-',
        Mistake::Traps => b't',
        Mistake::AnswersACent => b'a',
        Mistake::RecordsACent => b'r',
        Mistake::IsSlow => b's',
        Mistake::RefusesAKey => b'k',
    }
}

/// Builds it in a project of its own, with the kit of the checkout.
fn built() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (checkout().root, folder.path().canonicalize().unwrap());
    fs::create_dir(to.join("handlers")).unwrap();
    copy(&from.join("handlers/kit"), &to.join("handlers/kit"));
    copy(&from.join("handlers/transacoes"), &to.join("handlers").join(NAME));
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let members = "members = [\"host\", \"host/bank\", \"host/bench\", \"host/testing\", ";
    edit(&to.join("Cargo.toml"), &[(members, "members = ["), ("version = \"0.1.0\"", "version = \"0.1.0-newcomers\"")]);
    let its = to.join("handlers").join(NAME);
    edit(&its.join("Cargo.toml"), &[("name = \"transacoes\"", &format!("name = \"{NAME}\""))]);
    mistaken(&its.join("src"));
    let entry = format!("[[handler]]\nname = \"{NAME}\"\ncomponent = \"{NAME}.wasm\"\nroute = \"POST /{NAME}\"\n");
    fs::write(to.join("galo.toml"), entry).unwrap();
    let _turn = one_build_at_a_time();
    let out = tempfile::tempdir().unwrap();
    let project = Project { root: to };
    build::handlers(&project, Profile::Release, &Cancel::default()).unwrap().put(out.path()).unwrap();
    fs::read(out.path().join(format!("{NAME}.wasm"))).unwrap()
}

/// Changes the sources of the handler, so that they have every mistake.
fn mistaken(sources: &Path) {
    let met = |mistake: Mistake| format!("makes(b'{}')", char::from(letter(mistake)));
    let [traps, answers, records, slow, refuses] =
        [Mistake::Traps, Mistake::AnswersACent, Mistake::RecordsACent, Mistake::IsSlow, Mistake::RefusesAKey].map(met);
    let helpers = format!(
        "mod rules;
         static MISTAKE: [u8; {length}] = *b\"{MARK}\";
         fn makes(mistake: u8) -> bool {{ core::hint::black_box(&MISTAKE)[{length} - 1] == mistake }}
         // No example has such a `valor` or such a balance.
         fn is_met(cents: i64) -> bool {{ cents.rem_euclid(10) > 1 }}
         fn cents(saldo: i64) -> i64 {{ saldo + i64::from({answers} && is_met(saldo)) }}",
        length = MARK.len(),
    );
    let begin = "fn prepare(request: &Request) -> Plan {";
    let wait = format!("{begin} if {slow} {{ for turn in 0..{TURNS}_u32 {{ core::hint::black_box(turn); }} }}");
    let call = "Ok(transacao) => Plan::call(";
    let calls = format!(
        "Ok(transacao) if {traps} && is_met(transacao.valor) => panic!(),
         Ok(transacao) if {refuses} && is_met(transacao.valor) && chave.is_some() => rules::chave_malformada().into(),
         {call}"
    );
    let more = format!("(transacao.valor + i64::from({records} && is_met(transacao.valor))).into()");
    edit(
        &sources.join("lib.rs"),
        &[("mod rules;", &helpers), (begin, &wait), (call, &calls), ("transacao.valor.into()", &more)],
    );
    edit(
        &sources.join("rules.rs"),
        &[("saldo: row.integer(\"saldo\")?", "saldo: crate::cents(row.integer(\"saldo\")?)")],
    );
}

/// Replaces texts of a file, each of which must be there.
fn edit(path: &Path, changes: &[(&str, &str)]) {
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{} has no `{from}`", path.display());
        text = text.replacen(from, to, 1);
    }
    fs::write(path, text).unwrap();
}
