//! Why a manifest is refused: all its mistakes, each with its line. The parent and `reload` create it.

use std::fmt;
use std::path::PathBuf;

/// Why a manifest is refused.
#[derive(Debug)]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// All its mistakes.
    pub mistakes: Vec<Mistake>,
}

/// One mistake of a manifest.
#[derive(Debug)]
pub struct Mistake {
    /// Its line, from 1, if there is one.
    pub line: Option<usize>,
    /// A description of the mistake.
    pub text: String,
    /// The cause is not the file but the database it was checked against, or the disk.
    pub outside: bool,
}

impl Mistake {
    /// A mistake of the file.
    pub fn new(line: Option<usize>, text: String) -> Self {
        Self { line, text, outside: false }
    }
}

impl Refused {
    /// Whether it may be accepted later without being changed.
    pub fn may_pass(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.outside)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let line = mistake.line.map(|line| format!("{line}:")).unwrap_or_default();
            write!(f, "{separator}{}:{line} {}", self.path.display(), mistake.text.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
