//! What a client does next, made up from its seed alone: timing changes what is answered, never what is asked.
//!
//! Every transaction has a descricao that no other has, so that its row is distinguishable whether or not it has a
//! key.

use crate::random::Random;

/// A transaction as its client means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transacao {
    /// Whose it is.
    pub cliente: i32,
    /// In cents.
    pub valor: i64,
    /// "c" or "d".
    pub tipo: &'static str,
    /// Ten characters: the run, the client, the number of its request.
    pub descricao: String,
    /// What its `Idempotency-Key` means; without one the proxy's `Galo-Try` is its key.
    pub key: Option<Key>,
}

/// A key of the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key itself.
    pub text: String,
    /// Sent as the quoted string of the IETF's draft, or bare.
    pub quoted: bool,
}

impl Key {
    /// As it stands in the header.
    #[must_use]
    pub fn header(&self) -> String {
        if self.quoted { format!("\"{}\"", self.text) } else { self.text.clone() }
    }
}

/// How a transaction is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Sent, and its answer awaited.
    Once,
    /// Sent, and the connection closed at once.
    Leave,
    /// Sent again after it was answered, with the same key.
    Again,
    /// Sent twice at the same time, with the same key.
    Together,
    /// Sent again after it was answered, with the same key and another valor.
    Otherwise,
}

/// One step of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An extrato of this cliente is asked for.
    Extrato(i32),
    /// A transaction is sent.
    Transacao(Transacao, Manner),
}

/// What a run is made of, in hundredths.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Steps that ask for an extrato.
    pub extratos: u64,
    /// Transactions whose client leaves right after sending.
    pub leaving: u64,
    /// Transactions with a key that are sent once more in one of the three ways.
    pub repeated: u64,
}

impl Default for Mix {
    /// Mostly transactions, and enough of everything else that a run of a second has some.
    fn default() -> Self {
        Self { extratos: 20, leaving: 4, repeated: 20 }
    }
}

/// The steps of one client.
#[derive(Debug)]
pub struct Plan {
    random: Random,
    mix: Mix,
    clientes: Vec<i32>,
    /// What the descricoes begin with.
    prefix: String,
    number: u64,
}

/// Cents of one transaction.
const VALOR_MAX: u64 = 10_000;

/// Debits of a hundred transactions: with more debits than credits clientes 1 and 2 are at their limits after a hundred
/// transactions, and 4 never is.
const DEBITS: u64 = 65;

impl Plan {
    /// The plan of a client. `run` sets this run's descricoes and keys apart from those of others against the same
    /// ledger; `clientes` is not empty.
    #[must_use]
    pub fn new(seed: u64, run: u64, client: u32, mix: Mix, clientes: &[i32]) -> Self {
        let prefix = format!("{}{}", base36(run, 4), base36(client.into(), 2));
        Self { random: Random::new(seed, client), mix, clientes: clientes.to_vec(), prefix, number: 0 }
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        let random = &mut self.random;
        let cliente = self.clientes[usize::try_from(random.below(self.clientes.len() as u64)).unwrap_or(0)];
        if random.percent(self.mix.extratos) {
            return Step::Extrato(cliente);
        }
        self.number += 1;
        let descricao = format!("{}{}", self.prefix, base36(self.number, 4));
        let text = format!("bank-{descricao}-{:016x}", random.next());
        let key = random.percent(50).then(|| Key { text, quoted: random.percent(50) });
        let valor = i64::try_from(1 + random.below(VALOR_MAX)).unwrap_or(1);
        let tipo = if random.percent(DEBITS) { "d" } else { "c" };
        let manner = match (random.percent(self.mix.leaving), &key) {
            (true, _) => Manner::Leave,
            (false, Some(_)) if random.percent(self.mix.repeated) => {
                [Manner::Again, Manner::Together, Manner::Otherwise][usize::try_from(random.below(3)).unwrap_or(0)]
            }
            _ => Manner::Once,
        };
        Step::Transacao(Transacao { cliente, valor, tipo, descricao, key }, manner)
    }

    /// Whether the client tries once more what it does not know the outcome of. Some never do: then the ledger has it
    /// or has it not.
    pub fn insists(&mut self) -> bool {
        self.random.percent(75)
    }

    /// Milliseconds until the next step, up to `most`.
    pub fn pause_ms(&mut self, most: u64) -> u64 {
        self.random.below(most + 1)
    }
}

/// The last `width` digits of a number.
fn base36(mut number: u64, width: usize) -> String {
    let mut digits = vec!['0'; width];
    for digit in digits.iter_mut().rev() {
        // Below 36, so it has a digit.
        *digit = char::from_digit(u32::try_from(number % 36).unwrap_or(0), 36).unwrap_or('0');
        number /= 36;
    }
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn steps(seed: u64, run: u64, client: u32) -> Vec<Step> {
        let mut plan = Plan::new(seed, run, client, Mix::default(), &[1, 2, 3]);
        (0..2000).map(|_| plan.step()).collect()
    }

    fn transacoes(steps: &[Step]) -> Vec<(&Transacao, Manner)> {
        let transacoes = steps.iter().filter_map(|step| match step {
            Step::Transacao(transacao, manner) => Some((transacao, *manner)),
            Step::Extrato(_) => None,
        });
        transacoes.collect()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        assert_eq!(steps(7, 0, 1), steps(7, 0, 1));
        assert_ne!(steps(7, 0, 1), steps(8, 0, 1));
    }

    #[test]
    fn no_descricao_and_no_key_is_used_twice() {
        let all: Vec<_> = [steps(7, 0, 1), steps(7, 0, 2), steps(7, 1, 1)].concat();
        let all = transacoes(&all);
        let descricoes: HashSet<_> = all.iter().map(|(transacao, _)| &transacao.descricao).collect();
        assert_eq!(descricoes.len(), all.len());
        assert!(descricoes.iter().all(|descricao| descricao.chars().count() == 10));
        let keys: Vec<_> = all.iter().filter_map(|(transacao, _)| transacao.key.as_ref()).collect();
        assert_eq!(keys.iter().map(|key| &key.text).collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn a_plan_has_something_of_everything() {
        let all = steps(7, 0, 1);
        assert!(all.contains(&Step::Extrato(1)));
        let all = transacoes(&all);
        for manner in [Manner::Once, Manner::Leave, Manner::Again, Manner::Together, Manner::Otherwise] {
            assert!(all.iter().any(|(_, found)| *found == manner), "{manner:?}");
        }
        let keyed = all.iter().filter(|(transacao, _)| transacao.key.is_some()).count();
        assert!((4..=6).contains(&(keyed * 10 / all.len())), "{keyed} of {}", all.len());
        let needs_key = [Manner::Again, Manner::Together, Manner::Otherwise];
        assert!(all.iter().all(|(transacao, manner)| transacao.key.is_some() || !needs_key.contains(manner)));
    }
}
