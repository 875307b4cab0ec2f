//! The classic text format, made of what the library writes, which is OpenMetrics. They differ in the names of
//! counters, which have their `_total` in `HELP` and `TYPE` too, and in two comments that the classic one does not
//! have.

/// The same series in the classic format, version 0.0.4.
pub(super) fn from(openmetrics: &str) -> String {
    let mut classic = String::with_capacity(openmetrics.len());
    let mut push = |line: &str| {
        classic.push_str(line);
        classic.push('\n');
    };
    // Only the following `TYPE` line shows whether it belongs to a counter.
    let mut help = None;
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = Some(described);
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) else {
            push(line);
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        if let Some((_, text)) = help.take().and_then(|described| described.split_once(' ')) {
            push(&format!("# HELP {name}{suffix} {text}"));
        }
        push(&format!("# TYPE {name}{suffix} {kind}"));
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::from;

    #[test]
    fn a_counter_has_its_whole_name_everywhere() {
        let openmetrics = "# HELP a_b Some text.\n# TYPE a_b counter\na_b_total{x=\"# TYPE y\"} 1\n\
                           # HELP c_seconds Time.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2.0\n# EOF\n";
        let classic = "# HELP a_b_total Some text.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE y\"} 1\n\
                       # HELP c_seconds Time.\n# TYPE c_seconds gauge\nc_seconds 2.0\n";
        assert_eq!(from(openmetrics), classic);
    }
}
