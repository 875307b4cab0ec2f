//! The signals of a process: SIGTERM and SIGINT end it, SIGHUP has a node look at its handlers folder again and ends
//! anything else, SIGUSR1 and SIGUSR2 do nothing. None of them is left to its default, which ends a process without a
//! drain.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, taken over from their defaults.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: [Signal; 2],
    /// What SIGHUP means here.
    at_hangup: Hangup,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hangup {
    /// The terminal has gone.
    Ends,
    /// The operator asks for another look.
    Looks,
}

enum Heard {
    End(&'static str),
    Look,
    Nothing(&'static str),
}

impl Signals {
    /// Those of a program that somebody started in a terminal: it ends with it.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        Self::with(Hangup::Ends)
    }

    /// Those of a node: SIGHUP has it look again.
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

    /// The name of the next one that ends the process.
    pub async fn next(&mut self) -> &'static str {
        self.end(|| {}).await
    }

    /// As above; `look` is called whenever SIGHUP asks for it.
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
