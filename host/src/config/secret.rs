//! Texts that are never logged: passwords, and the token of the admin address.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::limits;

/// A text that is never logged.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for connecting.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The token that the admin address requires, as `Authorization: Bearer TOKEN`.
#[derive(Debug, Clone)]
pub struct Token(Secret);

impl Token {
    /// Checks that a text is a valid token.
    ///
    /// # Errors
    /// A description of the mistake. It never contains the text itself.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let secret = Secret::new(text);
        let (least, most) = (limits::ADMIN_TOKEN_BYTES_MIN, limits::ADMIN_TOKEN_BYTES_MAX);
        match secret.expose() {
            text if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("a token is visible ASCII without spaces: it travels in a header".to_owned())
            }
            text if !(least..=most).contains(&text.len()) => {
                Err(format!("a token has {least} to {most} characters, this one has {}", text.len()))
            }
            _ => Ok(Self(secret)),
        }
    }

    /// Whether a text is this token. Its running time reveals only whether the length is right.
    pub fn is(&self, shown: &str) -> bool {
        self.0.expose().as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// Returns the text, for sending it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
        assert!(!format!("{:?}", Token::new("hunter2-hunter2-h").unwrap()).contains("hunter2"));
    }

    #[test]
    fn a_token_is_long_enough_visible_and_equal_to_itself_only() {
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.is("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(!token.is(other), "{other}");
        }
        for text in ["0123456789abcde", "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdefü"] {
            let told = Token::new(text).unwrap_err();
            assert!(!told.contains("0123"), "{told}");
        }
        assert!(Token::new("x".repeat(limits::ADMIN_TOKEN_BYTES_MAX)).is_ok());
        assert!(Token::new("x".repeat(limits::ADMIN_TOKEN_BYTES_MAX + 1)).is_err());
    }
}
