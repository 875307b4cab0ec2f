//! `galo record`: writes the last records of nodes as JSON lines, which `galo replay` reads.

use anyhow::bail;
use http::Method;

use super::{Access, ask, names, nothing};

/// Hands the last records of each handler to `write`, node by node. Returns how many there were.
///
/// # Errors
/// When a node cannot be asked or has no such handler, when no node has a record, or when writing fails.
pub async fn record(
    nodes: &[Access],
    handler: Option<&str>,
    last: usize,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> anyhow::Result<usize> {
    let (mut records, mut reasons) = (0, Vec::new());
    for access in nodes {
        let (before, mut recording) = (records, String::new());
        // One after the other: the records of one handler are bounded, those of all are more than an answer may have.
        for name in names(access, handler).await? {
            let answer = ask(access, Method::GET, &format!("/api/records?handler={name}&last={last}")).await?;
            let lines = answer.lines()?;
            write(lines.as_bytes())?;
            records += lines.lines().count();
            answer.header("galo-recording").clone_into(&mut recording);
        }
        if records == before {
            reasons.push(nothing(&access.admin, &recording));
        }
    }
    if records == 0 {
        bail!("{}", reasons.join("\n"));
    }
    Ok(records)
}
