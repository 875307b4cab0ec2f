//! `galo shadow`: its arguments, and what it prints.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use galo::config::{Mistakes, Period};
use galo::operator::{Ended, Shadowing};
use galo::report::Reason;
use galo::serve::Signals;
use galo::{limits, log};

use super::access::AccessArgs;
use super::runtime::{Task, block_on};
use super::who::{WhoArgs, reason};

#[derive(Args)]
pub(super) struct ShadowArgs {
    /// Name of the handler in the manifest
    #[arg(value_name = "NAME")]
    name: String,
    /// File of the component, as `galo build` writes it
    #[arg(long, value_name = "FILE", required_unless_present = "stop")]
    component: Option<PathBuf>,
    /// How long it runs: `90s`, `10m`, `2h`
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    span: String,
    /// Run one request in N on it
    #[arg(long, value_name = "N", default_value_t = limits::SHADOW_EVERY_DEFAULT.to_string())]
    every: String,
    /// End the handler's shadow instead
    #[arg(long, conflicts_with_all = ["component", "span", "every"])]
    stop: bool,
    /// Why, for the audit log
    #[arg(short = 'm', long = "why", value_name = "WHY", default_value = "no reason given", value_parser = reason)]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    access: AccessArgs,
}

impl ShadowArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let access = self.access.parse_one(mistakes);
        let every = mistakes.parse_within("--every", &self.every, 1, limits::RECORD_EVERY_MAX);
        let span = mistakes.parse::<Period>("--for", &self.span).map(|Period(span)| span);
        let span = span.filter(|span| {
            let fits = !span.is_zero() && *span <= limits::SHADOW_CEILING;
            if !fits {
                let hours = limits::SHADOW_CEILING.as_secs() / 3600;
                mistakes.note("--for", format!("`{}` is not from 1s to {hours}h", self.span));
            }
            fits
        });
        let (access, every, span) = (access?, every?, span?);
        Some(Box::new(move || {
            let Self { name, component, why, who, .. } = self;
            let asked = Reason { who: who.name(), why };
            block_on(Some(1), async {
                let Some(component) = component else {
                    Shadowing::stop(&access, &name, &asked).await?;
                    log::print(format_args!("{name}: its shadow ends"));
                    return Ok(ExitCode::SUCCESS);
                };
                // From here on Ctrl-C ends the shadow, and not this program alone.
                let signals = Signals::new()?;
                let shadowing = Shadowing::begin(&access, &name, &component, (every, span), asked).await?;
                follow(shadowing, signals).await
            })
        }))
    }
}

/// Prints the counts until the shadow has ended.
async fn follow(shadowing: Shadowing, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let stopped = async {
        signals.next().await;
    };
    let rewrite = std::io::stdout().is_terminal();
    let ended = shadowing.follow(stopped, rewrite, |text| log::print(format_args!("{text}"))).await?;
    match ended {
        Ended::Alike => Ok(ExitCode::SUCCESS),
        Ended::Otherwise => Ok(ExitCode::FAILURE),
        Ended::Nothing => bail!(
            "no request was compared, so nothing is shown by it: run it longer (--for), or on more requests (--every)"
        ),
    }
}
