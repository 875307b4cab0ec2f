//! Which tests and examples are run, as the arguments of libtest say it.

use anyhow::bail;

/// Which tests are run, and what is shown of them.
#[derive(Debug, Default, Clone)]
pub struct Selection {
    filters: Vec<String>,
    exact: bool,
    pub(super) show_output: bool,
    /// libtest's own flag for tests marked `#[ignore]`, handed on.
    pub(super) ignored: Option<&'static str>,
}

impl Selection {
    /// Reads the arguments of libtest.
    ///
    /// # Errors
    /// When one is not supported.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut selection = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--exact" => selection.exact = true,
                "--nocapture" | "--no-capture" | "--show-output" => selection.show_output = true,
                "--include-ignored" => selection.ignored = Some("--include-ignored"),
                "--ignored" => selection.ignored = Some("--ignored"),
                // Tests always run one at a time.
                "--test-threads=1" | "--quiet" | "-q" => {}
                flag if flag.starts_with('-') => bail!("`{flag}` is not supported by `galo test`"),
                filter => selection.filters.push(filter.to_owned()),
            }
        }
        Ok(selection)
    }

    /// Whether a test or an example of this name is run.
    pub(super) fn takes(&self, test: &str) -> bool {
        let matches = |filter: &String| if self.exact { test == filter } else { test.contains(filter.as_str()) };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }

    /// Takes only what contains one of these texts, too.
    #[must_use]
    pub fn with_names(mut self, names: Vec<String>) -> Self {
        self.filters.extend(names);
        self
    }

    /// The same of an example, which cannot be ignored.
    pub(super) fn takes_example(&self, name: &str) -> bool {
        self.ignored != Some("--ignored") && self.takes(name)
    }

    /// The texts of which a name contains one.
    pub(super) fn filters(&self) -> &[String] {
        &self.filters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_flag_is_refused_not_ignored() {
        let parse =
            |arguments: &[&str]| Selection::parse(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert!(parse(&["--shuffle"]).is_err());
        let selection = parse(&["rules", "--exact"]).unwrap();
        assert!(selection.takes("rules") && !selection.takes("rules::x"));
        assert!(parse(&["rules"]).unwrap().takes("rules::x"));
    }
}
