//! `galo record`: writes the last records of nodes as JSON lines, which `galo replay` reads.

use anyhow::bail;
use http::Method;

use super::{Access, ask, names, nothing};

/// Hands the last records of each handler to `write`, node by node. Returns how many there were, and which nodes could
/// not be asked or have no such handler, with the reason.
///
/// # Errors
/// When no node has a record, or when writing fails.
pub async fn record(
    nodes: &[Access],
    handler: Option<&str>,
    last: usize,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> anyhow::Result<(usize, Vec<String>)> {
    let (mut records, mut reasons, mut failed) = (0, Vec::new(), Vec::new());
    for access in nodes {
        let (before, failures, mut recording) = (records, failed.len(), String::new());
        // One after the other: the records of one handler are bounded, those of all are more than an answer may have.
        let names = names(access, handler).await.unwrap_or_else(|error| {
            failed.push(format!("{error:#}"));
            Vec::new()
        });
        for name in names {
            let asked = async {
                let answer = ask(access, Method::GET, &format!("/api/records?handler={name}&last={last}")).await?;
                anyhow::Ok((answer.lines()?.to_owned(), answer.header("galo-recording").to_owned()))
            };
            match asked.await {
                Ok((lines, every)) => {
                    write(lines.as_bytes())?;
                    records += lines.lines().count();
                    recording = every;
                }
                Err(error) => {
                    failed.push(format!("{error:#}"));
                    break;
                }
            }
        }
        if records == before && failed.len() == failures {
            reasons.push(nothing(&access.admin, &recording));
        }
    }
    if records == 0 {
        reasons.append(&mut failed);
        bail!("{}", reasons.join("\n"));
    }
    Ok((records, failed))
}
