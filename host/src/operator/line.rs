//! A request as one line for a terminal, and the words for its parts that `galo tap` and `galo explain` share.

use std::fmt::Write as _;

use crate::log::escaped;
use crate::record::{Record, Times};

/// Whether a line has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// The status has one: a terminal shows it.
    On,
    /// For a file or another program.
    Off,
}

/// `12:00:00.123Z 200 POST /orders  orders#3  1.21 ms (prepare 0.02, ...)  ID`. `node` is named if there are several.
pub(super) fn line(record: &Record, node: Option<&str>, colour: Colour) -> String {
    let Record { handler, generation, request, response, times, .. } = record;
    let mut text = moment(request.now);
    if let Some(node) = node {
        text.extend([" ", node]);
    }
    let status = painted(response.status, colour);
    let path = escaped(&request.path);
    // Writing to a text does not fail.
    let _ = write!(text, " {status} {} {path}", escaped(&request.method));
    if let Some(query) = &request.query {
        let _ = write!(text, "?{}", escaped(query));
    }
    let _ = write!(text, "  {}#{generation}  {}", escaped(handler), took(*times));
    if let Some(calls) = record.batch {
        let _ = write!(text, ", batch of {calls}");
    }
    if let Some(fault) = &record.fault {
        let _ = write!(text, "  {}", escaped(fault));
    } else if let Some(failure) = &record.failure {
        let _ = write!(text, "  {}", escaped(failure));
    }
    let _ = write!(text, "  {}", escaped(&request.id));
    text
}

/// `1.21 ms (prepare 0.02, wait 0.10, database 1.05, respond 0.03)`, with the phases that were reached.
pub(super) fn took(times: Times) -> String {
    let ms = |micros: u32| f64::from(micros) / 1000.0;
    let phases = [
        ("read", times.read),
        ("prepare", times.prepare),
        ("wait", times.wait),
        ("database", times.database),
        ("respond", times.respond),
    ];
    let phases =
        phases.iter().filter(|(_, micros)| *micros > 0).map(|(name, micros)| format!("{name} {:.2}", ms(*micros)));
    let phases: Vec<_> = phases.collect();
    let phases = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
    format!("{:.2} ms{phases}", ms(times.whole))
}

/// The time of day, in UTC.
fn moment(micros: i64) -> String {
    const DAY: i64 = 24 * 60 * 60;
    let (second, ms) = (micros.div_euclid(1_000_000).rem_euclid(DAY), micros.rem_euclid(1_000_000) / 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", second / 3600, second / 60 % 60, second % 60)
}

fn painted(status: u16, colour: Colour) -> String {
    let code = match status / 100 {
        2 | 3 => 32,
        4 => 33,
        _ => 31,
    };
    match colour {
        Colour::On => format!("\u{1b}[{code}m{status}\u{1b}[0m"),
        Colour::Off => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_that_of_utc() {
        assert_eq!(moment(1_768_617_281_123_456), "02:34:41.123Z");
        assert_eq!(moment(-1), "23:59:59.999Z");
    }

    #[test]
    fn phases_that_were_not_reached_are_not_shown() {
        let times = Times { prepare: 20, whole: 1210, ..Times::default() };
        assert_eq!(took(times), "1.21 ms (prepare 0.02)");
        assert_eq!(took(Times { prepare: 0, ..times }), "1.21 ms");
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert_eq!(painted(503, Colour::Off), "503");
        assert_eq!(painted(503, Colour::On), "\u{1b}[31m503\u{1b}[0m");
    }
}
