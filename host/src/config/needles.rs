//! Finds many texts in another one at once, in a time that depends on its length and not on their number: an automaton
//! of Aho and Corasick. It is our own because a text that was cut is also searched for the beginning of one at its end,
//! and of several that end at the same place only the longest counts; the interfaces of libraries give neither.

use std::collections::HashMap;
use std::ops::Range;

/// The texts. A state is the longest end of what was read that one of them begins with; 0 is the empty one.
pub(super) struct Needles {
    /// The state after another byte, where a text goes on with it.
    next: HashMap<(u32, u8), u32>,
    /// The same of the empty state, in which most bytes are read.
    first: [u32; 256],
    states: Vec<State>,
}

#[derive(Default, Clone, Copy)]
struct State {
    /// Its bytes.
    depth: u32,
    /// Bytes of the longest text that ends here; 0 if none does.
    longest: u32,
    /// The next shorter state that is an end of it.
    shorter: u32,
}

impl Needles {
    pub(super) fn new(texts: &[String]) -> Self {
        let mut needles = Self { next: HashMap::new(), first: [0; 256], states: vec![State::default()] };
        // Each state with the one before it and the byte between them.
        let mut steps = Vec::new();
        for text in texts {
            let mut at = 0;
            for byte in text.bytes() {
                let new = u32::try_from(needles.states.len()).unwrap_or(u32::MAX);
                let state = *needles.next.entry((at, byte)).or_insert(new);
                if state == new {
                    let depth = needles.states[at as usize].depth + 1;
                    needles.states.push(State { depth, ..State::default() });
                    steps.push((state, at, byte));
                }
                at = state;
            }
            let end = &mut needles.states[at as usize];
            end.longest = end.depth;
        }
        for byte in 0..=u8::MAX {
            needles.first[usize::from(byte)] = needles.next.get(&(0, byte)).copied().unwrap_or_default();
        }
        // The shorter ones first: each is known by those before it.
        steps.sort_by_key(|(state, ..)| needles.states[*state as usize].depth);
        for (state, before, byte) in steps {
            let shorter = if before == 0 { 0 } else { needles.step(needles.states[before as usize].shorter, byte) };
            let longest = needles.states[shorter as usize].longest;
            let state = &mut needles.states[state as usize];
            state.shorter = shorter;
            state.longest = state.longest.max(longest);
        }
        needles
    }

    /// Adds where they are: of those that end at the same place, the longest.
    pub(super) fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let mut state = 0;
        for (at, byte) in text.bytes().enumerate() {
            state = self.step(state, byte);
            let longest = self.states[state as usize].longest as usize;
            if longest > 0 {
                found.push(at + 1 - longest..at + 1);
            }
        }
    }

    /// Where a text ends with the beginning of one of them, the longest if there are several.
    pub(super) fn begins_at_the_end(&self, text: &str) -> Option<usize> {
        let state = text.bytes().fold(0, |state, byte| self.step(state, byte));
        (state != 0).then(|| text.len() - self.states[state as usize].depth as usize)
    }

    fn step(&self, mut state: u32, byte: u8) -> u32 {
        while state != 0 {
            if let Some(next) = self.next.get(&(state, byte)) {
                return *next;
            }
            state = self.states[state as usize].shorter;
        }
        self.first[usize::from(byte)]
    }
}
