//! The lines for the log in a guest's response, cut to their limits. They travel with the outgoing response, so that
//! only the lines of a response that is sent are logged.

use super::Outgoing;
use crate::contract::Line;
use crate::failure::cut;
use crate::limits;

/// The lines of one response.
#[derive(Debug, Clone)]
pub struct Lines {
    /// Those within the limits.
    pub kept: Vec<Line>,
    /// How many were dropped.
    pub dropped: usize,
}

impl Lines {
    /// Adds the lines of a guest's response to what is sent to the client.
    pub(super) fn attach(lines: Vec<Line>, outgoing: &mut Outgoing) {
        if !lines.is_empty() {
            outgoing.extensions_mut().insert(Self::new(lines));
        }
    }

    /// Takes the lines off a response that is sent, if it has any.
    pub fn take(outgoing: &mut Outgoing) -> Option<Self> {
        outgoing.extensions_mut().remove()
    }

    /// The lines of a response that is about to be sent, if it has any.
    pub fn of(outgoing: &Outgoing) -> Option<&Self> {
        outgoing.extensions().get()
    }

    fn new(mut lines: Vec<Line>) -> Self {
        let all = lines.len();
        lines.truncate(limits::RESPONSE_LINES_MAX);
        let mut left = limits::RESPONSE_LINES_BYTES_MAX;
        let mut kept = Vec::with_capacity(lines.len());
        for Line { level, text } in lines {
            let whole = text.len() <= left;
            kept.push(Line { level, text: cut(&text, left) });
            left = left.saturating_sub(text.len());
            if !whole {
                break;
            }
        }
        let dropped = all - kept.len();
        Self { kept, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Level;

    fn lines(texts: impl IntoIterator<Item = String>) -> Lines {
        Lines::new(texts.into_iter().map(|text| Line { level: Level::Info, text }).collect())
    }

    #[test]
    fn lines_beyond_the_limits_are_dropped_and_counted() {
        let few = lines(["a".to_owned(), "b\u{1b}[2J".to_owned()]);
        assert_eq!((few.kept.len(), few.kept[1].text.as_str(), few.dropped), (2, "b?[2J", 0));
        let many = lines((0..limits::RESPONSE_LINES_MAX + 5).map(|n| n.to_string()));
        assert_eq!((many.kept.len(), many.dropped), (limits::RESPONSE_LINES_MAX, 5));
        let most = limits::RESPONSE_LINES_BYTES_MAX;
        let long = lines(["x".repeat(most - 1), "y".repeat(9), "z".to_owned()]);
        assert_eq!((long.kept.len(), long.kept[1].text.as_str(), long.dropped), (2, "y…", 1));
        let full = lines(["x".repeat(most), String::new()]);
        assert_eq!((full.kept.len(), full.dropped), (2, 0));
    }
}
