//! How many more instructions a component may execute than another one: `+5%`.

use std::fmt;
use std::str::FromStr;

use super::tally::Instructions;

/// A budget, in thousandths of a percent of what the other component executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(i64);

impl Budget {
    /// Whether more was executed than it allows.
    pub fn is_exceeded(self, instructions: Instructions) -> bool {
        let allowed = i128::from(instructions.before) * i128::from(100_000 + self.0);
        i128::from(instructions.after) * 100_000 > allowed
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || format!("`{text}` is not a budget: write a percentage, such as +5% or -10%");
        let percent: f64 = text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| malformed())?;
        if !(-100.0..=1_000_000.0).contains(&percent) {
            return Err(malformed());
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
        Ok(Self((percent * 1000.0).round() as i64))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let percent = self.0 as f64 / 1000.0;
        write!(f, "{percent:+}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_percentage_of_the_instructions_before() {
        let exceeded =
            |budget: &str, before, after| budget.parse::<Budget>().unwrap().is_exceeded(Instructions { before, after });
        assert!(!exceeded("+5%", 100, 105) && exceeded("+5%", 100, 106));
        assert!(!exceeded("0", 100, 100) && exceeded("0%", 100, 101));
        assert!(!exceeded("-10%", 100, 90) && exceeded("-10%", 100, 91));
        assert!(!exceeded("0.5%", 1000, 1005) && exceeded("0.5%", 1000, 1006));
        for text in ["", "%", "five", "NaN%", "-101%", "5%%", "inf"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
        assert_eq!("5%".parse::<Budget>().unwrap().to_string(), "+5%");
        assert_eq!("-0.5".parse::<Budget>().unwrap().to_string(), "-0.5%");
    }
}
