//! What a procedure raised, by the names of the conditions of Postgres instead of their SQLSTATE.

use crate::DatabaseError;

impl DatabaseError {
    /// A row with the same key exists already (23505).
    pub fn is_unique_violation(&self) -> bool {
        self.sqlstate == "23505"
    }

    /// The row that is referred to does not exist, or the row is referred to (23503).
    pub fn is_foreign_key_violation(&self) -> bool {
        self.sqlstate == "23503"
    }

    /// A CHECK of a table or of a domain does not hold (23514).
    pub fn is_check_violation(&self) -> bool {
        self.sqlstate == "23514"
    }

    /// A column that must have a value has none (23502).
    pub fn is_not_null_violation(&self) -> bool {
        self.sqlstate == "23502"
    }

    /// A row that excludes this one exists (23P01), such as a booking of the same time.
    pub fn is_exclusion_violation(&self) -> bool {
        self.sqlstate == "23P01"
    }

    /// Whether the constraint of this name was violated. It is exact where a table has several.
    ///
    /// ```
    /// use galo_kit::test;
    ///
    /// let error = test::error("23505", Some("users_name_key"));
    /// assert!(error.is_unique_violation() && error.violates("users_name_key"));
    /// assert_eq!(error.constraint(), Some("users_name_key"));
    /// ```
    pub fn violates(&self, constraint: &str) -> bool {
        self.constraint() == Some(constraint)
    }

    /// The name of the constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use crate::test;

    #[test]
    fn a_condition_is_known_by_its_sqlstate() {
        for (sqlstate, expected) in [
            ("23505", [true, false, false, false, false]),
            ("23503", [false, true, false, false, false]),
            ("23514", [false, false, true, false, false]),
            ("23502", [false, false, false, true, false]),
            ("23P01", [false, false, false, false, true]),
            ("P0001", [false; 5]),
        ] {
            let error = test::error(sqlstate, None);
            let found = [
                error.is_unique_violation(),
                error.is_foreign_key_violation(),
                error.is_check_violation(),
                error.is_not_null_violation(),
                error.is_exclusion_violation(),
            ];
            assert_eq!(found, expected, "{sqlstate}");
            assert!(!error.violates(""));
        }
    }
}
