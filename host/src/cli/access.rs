//! The admin address and its token: for `serve` and `dev`, which ask for the token, and for `handlers` and `rollback`,
//! which show it. The token comes from a file or from the environment, never from an argument that `ps` would show.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use galo::config::{Mistakes, Token};
use galo::limits;
use galo::operator::Access;

/// Read beside clap, which has no variable without an argument.
pub(super) const TOKEN_VARIABLE: &str = "GALO_ADMIN_TOKEN";
const TOKEN_FILE_OPTION: &str = "--admin-token-file";

#[derive(Args)]
pub(super) struct AccessArgs {
    /// The node's admin address, where it tells about itself: `host:port` or `unix:PATH`
    #[arg(long, env = "GALO_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9998")]
    admin: String,
    /// A file with the token of the admin address; or the token itself in GALO_ADMIN_TOKEN. A node needs one when
    /// others than this machine can reach that address
    #[arg(long, env = "GALO_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

impl AccessArgs {
    /// How to reach a node; mistakes are noted.
    pub(super) fn parse(&self, mistakes: &mut Mistakes) -> Option<Access> {
        let admin = mistakes.parse("--admin", &self.admin);
        let token = self.token(mistakes)?;
        Some(Access { admin: admin?, token })
    }

    /// As above, for the node itself: what the network reaches has a token.
    pub(super) fn parse_for_node(&self, mistakes: &mut Mistakes) -> Option<Access> {
        let access = self.parse(mistakes)?;
        if !access.admin.is_local() && access.token.is_none() {
            let text = format!(
                "others than this machine can reach {}: it needs a token, by {TOKEN_FILE_OPTION} or {TOKEN_VARIABLE}",
                access.admin
            );
            mistakes.note("--admin", text);
        }
        Some(access)
    }

    /// The token, if one was given; `None` outside is a mistake.
    fn token(&self, mistakes: &mut Mistakes) -> Option<Option<Token>> {
        let (option, text) = match (&self.admin_token_file, std::env::var_os(TOKEN_VARIABLE)) {
            (None, None) => return Some(None),
            (Some(_), Some(_)) => {
                mistakes.note(TOKEN_FILE_OPTION, format!("{TOKEN_VARIABLE} is set too; give one of them"));
                return None;
            }
            (Some(file), None) => {
                (TOKEN_FILE_OPTION, read(file).map_err(|error| format!("{}: {error}", file.display())))
            }
            (None, Some(text)) => (TOKEN_VARIABLE, text.into_string().map_err(|_| "it is no UTF-8".to_owned())),
        };
        text.and_then(Token::new).map_err(|error| mistakes.note(option, error)).ok().map(Some)
    }
}

/// The text of a token's file without the newline that editors end it with.
fn read(file: &Path) -> std::io::Result<String> {
    // A byte more than any token with its newline: it is refused as too long, and `/dev/zero` has an end.
    let bytes_max = limits::ADMIN_TOKEN_BYTES_MAX as u64 + 3;
    let mut text = String::new();
    File::open(file)?.take(bytes_max).read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.to_owned())
}
