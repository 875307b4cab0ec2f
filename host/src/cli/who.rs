//! Who runs a command, for the audit log of the nodes.

use clap::Args;

#[derive(Args)]
pub(super) struct WhoArgs {
    /// Who does it, for the audit log [default: user@host]
    #[arg(long, env = "GALO_WHO", value_name = "NAME")]
    who: Option<String>,
}

/// Parses a reason: the audit log is read when it is too late to ask for one.
pub(super) fn reason(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("give a reason: the audit log keeps it".to_owned()),
        false => Ok(text.to_owned()),
    }
}

impl WhoArgs {
    /// The name that was given, or that of the user and the machine.
    pub(super) fn name(&self) -> String {
        if let Some(who) = self.who.as_deref().map(str::trim).filter(|who| !who.is_empty()) {
            return who.to_owned();
        }
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.unwrap_or_else(|| format!("uid {}", nix::unistd::geteuid()));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{user}@{}", host.trim())
    }
}
