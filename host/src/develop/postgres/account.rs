//! The user that runs Postgres: ourselves, or an unprivileged one when we are root, which Postgres refuses to run as.
//! Makes commands that run as that user, and files that it owns.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, bail};
use nix::unistd::{Uid, User};

use crate::limits;

/// The users that root may run Postgres as, the first that exists. The server packages of Debian, Fedora and Alpine
/// make the first; the second exists everywhere.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user that runs Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The user we are.
    Own,
    /// We are root: this user, by its ids.
    Other { uid: u32, gid: u32 },
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
            return Ok(Self::Other { uid: found.uid(), gid: found.gid() });
        }
        for name in UNPRIVILEGED {
            if let Some(user) = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))?
                && !user.uid.is_root()
            {
                return Ok(Self::Other { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
            }
        }
        bail!(
            "Postgres does not run as root, and there is no user {}; create one (`useradd --system postgres`), or run \
             galo as another user",
            UNPRIVILEGED.join(" or ")
        )
    }

    /// A command that runs as this user. It starts in `/`, because our folder may be closed to it. Its stdin is empty,
    /// and it does not inherit the `PG*` variables, which are meant for clients.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid); // As root, std also drops the supplementary groups.
        }
        command
    }

    /// As [`Account::command`], for a program that the kernel sends `signal` to when we end without having ended it.
    /// Where `setpriv` is missing (not Linux) or lacks the option (BusyBox) it is a plain command, and the next start
    /// clears up.
    pub(super) fn tied_command(self, program: &Path, signal: &str) -> Command {
        let setpriv = || {
            let mut command = self.command("setpriv");
            command.args(["--pdeathsig", signal, "--"]);
            command
        };
        let mut probe = setpriv();
        probe.arg("true");
        if answer(probe).is_none() {
            return self.command(program);
        }
        let mut command = setpriv();
        command.arg(program);
        command
    }

    /// Whether this user can enter the folder `path`, through all that is above it.
    pub(super) fn enters(self, path: &Path) -> bool {
        match self {
            Self::Own => path.is_dir(),
            Self::Other { .. } => {
                // The kernel decides, so that links and access lists count. initdb needs this shell as well.
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
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot change the owner of {}", path.display())),
        }
    }
}

/// What a command prints to stdout; `None` when it does not start, fails, or takes too long.
pub(super) fn answer(mut command: Command) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        // The receiver is gone when it took too long.
        let _ = sender.send(read.map(|_| text));
    });
    let answer = receiver.recv_timeout(limits::PROGRAM_ANSWER_MAX);
    if answer.is_err() {
        // It may have just ended by itself.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    answer.ok()?.ok().filter(|_| status.success())
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
    fn a_folder_that_does_not_exist_is_not_entered() {
        let account = Account::for_data(Path::new("/nowhere")).unwrap();
        assert!(account.enters(Path::new("/")));
        assert!(!account.enters(Path::new("/nowhere")));
    }
}
