//! The signals of a process. SIGTERM and SIGINT end it. SIGHUP makes a node scan its handlers folder again and ends any
//! other command. SIGUSR1 and SIGUSR2 are ignored. None of them keeps its default action, which ends a process without
//! a drain.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, with handlers installed in place of the default actions.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: [Signal; 2],
    /// The meaning of SIGHUP for this process.
    at_hangup: Hangup,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hangup {
    /// The terminal was closed.
    Ends,
    /// The operator requests another scan.
    Looks,
}

enum Heard {
    End(&'static str),
    Look,
    Nothing(&'static str),
}

impl Signals {
    /// The signals of a program started in a terminal, which ends with the terminal.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        Self::with(Hangup::Ends)
    }

    /// The signals of a node. SIGHUP makes it scan its folder again.
    ///
    /// # Errors
    /// As [`Signals::new`].
    pub fn of_a_node() -> std::io::Result<Self> {
        Self::with(Hangup::Looks)
    }

    fn with(at_hangup: Hangup) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            at_hangup,
        })
    }

    /// Waits for the next signal that ends the process and returns its name.
    pub async fn next(&mut self) -> &'static str {
        self.end(|| {}).await
    }

    /// As above, but calls `look` on each SIGHUP that requests a scan.
    pub async fn end(&mut self, look: impl Fn()) -> &'static str {
        loop {
            match self.heard().await {
                Heard::End(name) => return name,
                Heard::Look => {
                    tracing::info!("SIGHUP: scanning the handlers folder again");
                    look();
                }
                Heard::Nothing(name) => tracing::info!("{name} means nothing here"),
            }
        }
    }

    async fn heard(&mut self) -> Heard {
        let [one, two] = &mut self.user;
        tokio::select! {
            _ = self.terminate.recv() => Heard::End("SIGTERM"),
            _ = self.interrupt.recv() => Heard::End("SIGINT"),
            _ = self.hangup.recv() => match self.at_hangup {
                Hangup::Ends => Heard::End("SIGHUP"),
                Hangup::Looks => Heard::Look,
            },
            _ = one.recv() => Heard::Nothing("SIGUSR1"),
            _ = two.recv() => Heard::Nothing("SIGUSR2"),
        }
    }
}
