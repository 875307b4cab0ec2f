//! Who runs a command, for the audit log of the nodes.

use clap::Args;

#[derive(Args)]
pub(super) struct WhoArgs {
    /// Who does it, for the audit log [default: user@host]
    #[arg(long, env = "GALO_WHO", value_name = "NAME")]
    who: Option<String>,
}

impl WhoArgs {
    /// The name that was given, or that of the user and the machine.
    pub(super) fn name(&self) -> String {
        if let Some(who) = &self.who {
            return who.clone();
        }
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.unwrap_or_else(|| format!("uid {}", nix::unistd::geteuid()));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{user}@{}", host.trim())
    }
}
