//! The variables of the environment that belong to Galo. An unknown `GALO_*` variable is almost certainly a typo, so it
//! is a mistake.

use galo::config::Mistakes;

use super::{access, sign};

/// How their names begin.
const PREFIX: &str = "GALO_";

/// How similar an unknown name must be to a known one to be taken for a typo of it, from 0 to 1. One wrong letter of
/// three is 0.67.
const SIMILARITY_MIN: f64 = 0.6;

/// Notes every variable that no option of `command` or its subcommands reads.
pub(super) fn check(command: &clap::Command, mistakes: &mut Mistakes) {
    let known = known(command);
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let is_known = known.iter().any(|known| *known == name);
        if name.starts_with(PREFIX) && !is_known && !is_service_link(&name, &value) {
            mistakes.note(&name, unknown(&name, &known));
        }
    }
}

fn known(command: &clap::Command) -> Vec<String> {
    let arguments = command.get_subcommands().chain([command]).flat_map(clap::Command::get_arguments);
    let variables = arguments
        .filter_map(|argument| argument.get_env()?.to_str())
        .chain([access::TOKEN_VARIABLE, sign::PASSWORD_VARIABLE]);
    let mut known: Vec<_> = variables.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect();
    known.sort();
    known.dedup();
    known
}

fn unknown(name: &str, known: &[String]) -> String {
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let similar = known.iter().map(|known| (strsim::normalized_damerau_levenshtein(&rest(name), &rest(known)), known));
    match similar.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((similarity, closest)) if similarity >= SIMILARITY_MIN => {
            format!("unknown variable; did you mean {closest}?")
        }
        _ => format!("unknown variable; the known ones are {}", known.join(", ")),
    }
}

/// Whether Kubernetes sets it for a service whose name begins with `galo`: `GALO_SERVICE_HOST`, `GALO_SERVICE_PORT`,
/// `GALO_PORT=tcp://10.0.0.1:80`, `GALO_PORT_80_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let of_port = || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && value.contains("://")
        || of_port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_gets_the_closest_name_and_anything_else_gets_them_all() {
        let known = ["GALO_LISTEN", "GALO_LINGER", "GALO_LOG"].map(str::to_owned);
        for typo in ["GALO_LISTN", "GALO_LISTENS", "GALO_LSITEN", "GALO_LISTEM"] {
            assert_eq!(unknown(typo, &known), "unknown variable; did you mean GALO_LISTEN?", "{typo}");
        }
        let all = "unknown variable; the known ones are GALO_LISTEN, GALO_LINGER, GALO_LOG";
        for name in ["GALO_", "GALO_DATABASE_URL"] {
            assert_eq!(unknown(name, &known), all, "{name}");
        }
    }

    #[test]
    fn the_variables_of_a_kubernetes_service_are_not_typos() {
        for (name, value) in [
            ("GALO_SERVICE_HOST", "10.0.0.1"),
            ("GALO_SERVICE_PORT_HTTP", "80"),
            ("GALO_PORT", "tcp://10.0.0.1:80"),
            ("GALO_PORT_80_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        assert!(!is_service_link("GALO_PORT", "9999"));
    }
}
