//! A run: finds programs, builds, checks that the services answer alike, measures, writes. Nothing is written before
//! everything was measured, and a run that is interrupted stops what it started.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use galo::develop::build::{self, Cancel, Profile, Project};
use galo::serve::Signals;

use crate::cluster::Durability;
use crate::compare;
use crate::contender::Contender;
use crate::growth;
use crate::machine;
use crate::measure::Bench;
use crate::options::{Options, Part};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::results::{GOAL_CONNECTIONS, Results};
use crate::schedule::Placement;
use crate::{against, equal, overhead, peer, plot, programs, report};

/// Runs, until it is done or interrupted.
///
/// # Errors
/// What is missing, what makes a measurement invalid, that it was interrupted.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // One thread: what measures must not take turns with what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cancel = Cancel::default();
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            ended = all(options, &cancel) => ended,
            name = signals.next() => {
                cancel.cancel();
                bail!("interrupted by {name}; everything was stopped, and nothing was written")
            }
        }
    });
    runtime.shutdown_background();
    ended
}

async fn all(options: &Options, cancel: &Cancel) -> anyhow::Result<()> {
    let checkout =
        Project::find(&PathBuf::from(".")).or_else(|_| Project::find(env!("CARGO_MANIFEST_DIR").as_ref()))?;
    if let Some(before) = &options.against {
        return against::run(options, &checkout, before, cancel).await;
    }
    let out = options.out.clone().or_else(|| options.is_whole().then(|| checkout.root.clone()));
    if let Some(out) = &out {
        report::check(&out.join(report::FILE))?;
    }
    ensure!(!options.leaves_nothing(), "--without leaves nothing to measure");
    let folder = tempfile::Builder::new().prefix("galo-bench-").tempdir()?;
    let bench = {
        let (checkout, cancel, folder) = (checkout.clone(), cancel.clone(), folder.path().to_owned());
        let options = options.clone();
        let set_up = move || {
            let programs = Programs::find()?;
            let toolchain = options.wants_peer().then(peer::Toolchain::find).transpose()?;
            let peer = toolchain.map(|toolchain| toolchain.build(&checkout, &programs.own)).transpose()?;
            let mut galo = PathBuf::new();
            if options.wants_components() {
                galo = match &options.galo {
                    Some(built) => built.clone(),
                    None => programs::galo(&checkout, &programs.own)?,
                };
                build::handlers(&checkout, Profile::Release, &cancel)?.put(&folder.join("handlers"))?;
            }
            Bench::new(&options, checkout, programs, peer, galo, folder)
        };
        tokio::task::spawn_blocking(set_up).await??
    };
    if let Some(feature) = options.cost_of {
        return overhead::run(options, bench, feature).await;
    }
    let results = measure(options, &bench).await?;
    let text = report::generated(&results);
    match out {
        Some(out) => {
            std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
            plot::all(&results, &out.join(report::PLOTS))?;
            report::write(&text, &out.join(report::FILE))?;
            println!("{}", out.join(report::FILE).display());
        }
        None => println!("{text}"),
    }
    Ok(())
}

async fn measure(options: &Options, bench: &Bench) -> anyhow::Result<Results> {
    let (contenders, connections, rounds) = (options.contenders(), options.connections(), options.rounds());
    let services: Vec<_> = Contender::SERVICES.into_iter().filter(|contender| contenders.contains(contender)).collect();
    let (durable, extrato) = (options.wants(Part::Durable), options.wants(Part::Extrato));
    // With one core there is nothing to place.
    let placed = if bench.cores.are_enough() { options.placed() } else { Vec::new() };
    let goal_connections = *connections.iter().find(|&&c| c == GOAL_CONNECTIONS).unwrap_or(&connections[0]);
    let steps = compare::steps(&contenders, &connections, rounds)
        + compare::steps(&placed, &[goal_connections], rounds)
        + usize::from(!services.is_empty())
        + if durable { 2 * rounds } else { 0 }
        + if extrato { 2 } else { 0 };
    let progress = Progress::new(steps);
    let mut growth = None;
    if extrato {
        // On a cluster of its own, whose gigabytes are gone before anything else is measured.
        let mut cluster = bench.cluster(Durability::Off).await?;
        growth = Some(growth::run(&mut cluster, options.rows(), &progress).await?);
        tokio::task::spawn_blocking(move || drop(cluster)).await?;
    }
    let mut cluster = bench.cluster(Durability::Off).await?;
    let facts = machine::facts(bench, &cluster.version);
    let mut compared = 0;
    if !services.is_empty() {
        progress.begin("whether the services answer alike");
        compared = equal::check(bench, &mut cluster, &services).await?;
        progress.end(&format!("they do, {compared} requests each"));
    }
    let (mut samples, mut placed_samples) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let free = compare::round(bench, &mut cluster, Placement::Free, &contenders, &connections, round, &progress);
        samples.extend(free.await?);
        let connections = [goal_connections];
        let placed = compare::round(bench, &mut cluster, Placement::Placed, &placed, &connections, round, &progress);
        placed_samples.extend(placed.await?);
    }
    // Durability is measured with no other cluster beside it.
    tokio::task::spawn_blocking(move || drop(cluster)).await?;
    let durable =
        if durable { compare::durable(bench, goal_connections, rounds, &progress).await? } else { Vec::new() };
    progress.finish();
    Ok(Results {
        facts,
        connections,
        goal_connections,
        seconds: bench.seconds,
        warm_seconds: bench.warm_seconds,
        rounds,
        nginx_workers: bench.nginx_workers,
        compared,
        samples,
        placed: placed_samples,
        durable,
        growth,
    })
}
