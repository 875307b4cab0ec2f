//! Small drawings: how the time of a request is divided, and how many requests there were in each second. Widths are
//! attributes of SVG, because the page's policy allows no style in an element.

use maud::{Markup, html};

use super::text;
use crate::limits;
use crate::record::Times;

/// The phases that a bar shows, in their order.
pub(super) const PHASES: [&str; 4] = ["prepare", "wait", "database", "respond"];

/// How long each phase took, and what is left of the whole: reading the request, and what is between the phases.
pub(super) fn phases(times: &Times) -> [(&'static str, u64); 5] {
    let phases = [times.prepare, times.wait, times.database, times.respond].map(u64::from);
    let rest = u64::from(times.whole).saturating_sub(phases.iter().sum());
    [(PHASES[0], phases[0]), (PHASES[1], phases[1]), (PHASES[2], phases[2]), (PHASES[3], phases[3]), ("rest", rest)]
}

/// The bar of a request: `prepare | wait | database | respond`.
pub(super) fn phases_bar(times: &Times) -> Markup {
    let phases = phases(times);
    let label: Vec<_> = phases.iter().map(|(name, took)| format!("{name} {}", text::micros(*took))).collect();
    let whole = phases.iter().map(|(_, took)| took).sum::<u64>().max(1);
    let mut begin = 0;
    let parts = phases.map(|(name, took)| {
        let from = begin;
        begin += took;
        (name, per_mille(from, whole), per_mille(took, whole))
    });
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(label.join(", ")) {
            title { (label.join(" · ")) }
            @for (name, from, width) in parts {
                @if width > 0 {
                    rect class=(name) x=(from) y="0" width=(width) height="10" {}
                }
            }
        }
    }
}

/// Requests in each second, the errors among them apart.
pub(super) fn seconds(intervals: &[[u64; 2]]) -> Markup {
    let most = intervals.iter().map(|[all, _]| *all).max().unwrap_or(0).max(1);
    let first = limits::TRAFFIC_SAMPLES.saturating_sub(intervals.len());
    let label = format!("requests in each of the last {} seconds, at most {most}", limits::TRAFFIC_SAMPLES);
    html! {
        svg.seconds viewBox=(format!("0 0 {} 100", limits::TRAFFIC_SAMPLES * 10)) preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            @for (index, [all, errors]) in intervals.iter().enumerate() {
                @let (height, wrong) = (per_mille(*all, most) / 10, per_mille(*errors, most) / 10);
                @if *all > 0 {
                    rect.fine x=((first + index) * 10) y=(100 - height.max(4)) width="8" height=(height.max(4)) {}
                }
                @if *errors > 0 {
                    rect.wrong x=((first + index) * 10) y=(100 - wrong.max(4)) width="8" height=(wrong.max(4)) {}
                }
            }
        }
    }
}

fn per_mille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000) / whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_bar_are_the_whole() {
        let times = Times { read: 5, prepare: 10, wait: 20, database: 60, respond: 5, whole: 100 };
        assert_eq!(phases(&times).iter().map(|(_, took)| took).sum::<u64>(), 100);
        let bar = phases_bar(&times).into_string();
        assert!(bar.contains(r#"<rect class="database" x="300" y="0" width="600""#), "{bar}");
        // A clock that was read between the phases makes no bar longer than itself.
        assert_eq!(phases(&Times { whole: 90, ..times })[4], ("rest", 0));
        assert!(!phases_bar(&Times::default()).into_string().contains("<rect"));
    }
}
