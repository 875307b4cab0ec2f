//! Who runs postgres: ourselves, or, when we are root (which postgres refuses to be), an unprivileged user. Hands out
//! commands that run as that user. Called by everything here that starts a process or makes a folder.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::{Uid, User};

/// Who lends its name when root starts a cluster, in this order. Debian, Fedora and Alpine make the first with their
/// server packages; the second is everywhere.
const LENDERS: [&str; 2] = ["postgres", "nobody"];

/// For a command that only says something about itself or a path: a thousand times what it takes.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The user that postgres runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The user we are.
    Own,
    /// We are root: this one, by its ids.
    Lent { uid: u32, gid: u32 },
}

impl Account {
    /// The user for a cluster whose data is, or will be, in `data`. As root, data that exists stays with its owner.
    pub(super) fn for_data(data: &Path) -> anyhow::Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self::Own);
        }
        if let Ok(found) = fs::symlink_metadata(data)
            && found.uid() != 0
        {
            return Ok(Self::Lent { uid: found.uid(), gid: found.gid() });
        }
        for name in LENDERS {
            if let Some(user) = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))?
                && !user.uid.is_root()
            {
                return Ok(Self::Lent { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
            }
        }
        bail!("postgres does not run as root, and there is no user {} to run it as", LENDERS.join(" or "))
    }

    /// A command that runs as this user. It starts in `/`, because our folder may be closed to it; it hears nothing,
    /// and nothing in our environment that is meant for a Postgres client changes what it does.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if let Self::Lent { uid, gid } = self {
            command.uid(uid).gid(gid); // As root, std also drops the supplementary groups.
        }
        command
    }

    /// Whether this user can enter the folder `path`, through all that is above it.
    pub(super) fn enters(self, path: &Path) -> bool {
        match self {
            Self::Own => path.is_dir(),
            Self::Lent { .. } => {
                // Asked of the kernel, so that links and access lists count. initdb needs this shell as well.
                let mut command = self.command("/bin/sh");
                command.args(["-c", r#"[ -d "$1" ] && [ -x "$1" ]"#, "sh"]).arg(path);
                answer(command).is_some()
            }
        }
    }

    /// Makes this user the owner of the file or folder `path`.
    pub(super) fn own(self, path: &Path) -> anyhow::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Lent { uid, gid } => {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} away", path.display()))
            }
        }
    }
}

/// What a command that ends at once and well says on stdout; `None` when it does not start, fails, or takes too long.
pub(super) fn answer(mut command: Command) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (said, hear) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        // Nobody listens any more when it took too long.
        let _ = said.send(read.map(|_| text));
    });
    let heard = hear.recv_timeout(ANSWER_MAX);
    if heard.is_err() {
        // It may have just ended by itself.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    heard.ok()?.ok().filter(|_| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_has_no_answer() {
        assert_eq!(answer(Command::new("false")), None);
        assert_eq!(answer(Command::new("/no/such/program")), None);
        let mut echo = Command::new("echo");
        echo.arg("galo");
        assert_eq!(answer(echo).as_deref(), Some("galo\n"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_entered() {
        let account = Account::for_data(Path::new("/nowhere")).unwrap();
        assert!(account.enters(Path::new("/")));
        assert!(!account.enters(Path::new("/nowhere")));
    }
}
