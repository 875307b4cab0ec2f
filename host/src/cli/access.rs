//! The admin address and its token, for the nodes that require the token (`serve`, `dev`) and the commands that send it
//! (`handlers`, `rollback`, `tap`, `explain`, `record`). The token comes from a file or from the environment, never
//! from an argument, which `ps` would show.

use std::fs::File;
use std::io::Read as _;
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};

use clap::Args;
use galo::config::{Address, Mistakes, Token};
use galo::limits;
use galo::operator::Access;

/// Not an option of clap's: it has no argument.
pub(super) const TOKEN_VARIABLE: &str = "GALO_ADMIN_TOKEN";
const TOKEN_FILE_OPTION: &str = "--admin-token-file";

#[derive(Args)]
pub(super) struct AccessArgs {
    /// Admin address of the node: `host:port` or `unix:PATH`
    #[arg(long, env = "GALO_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9998")]
    admin: String,
    /// File with the token of the admin address
    ///
    /// Alternatively, set the token itself in GALO_ADMIN_TOKEN. A node requires a token if its admin address is
    /// reachable from other machines.
    #[arg(long, env = "GALO_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

/// The admin addresses of several nodes.
#[derive(Args)]
pub(super) struct NodesArgs {
    /// Admin address of a node: `host:port` or `unix:PATH`; repeat it for several nodes
    ///
    /// A folder, as `unix:/run/galo-admin`, stands for every socket in it that is named `*.sock`, and a host name for
    /// all of its addresses.
    #[arg(long, env = "GALO_ADMIN", value_name = "ADDR", value_delimiter = ',', default_value = "127.0.0.1:9998")]
    admin: Vec<String>,
    /// File with the token of the admin addresses
    ///
    /// Alternatively, set the token itself in GALO_ADMIN_TOKEN.
    #[arg(long, env = "GALO_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

impl NodesArgs {
    /// How to reach the nodes; mistakes are noted.
    pub(super) fn parse(&self, mistakes: &mut Mistakes) -> Option<Vec<Access>> {
        self.of("--admin", &self.admin, mistakes)
    }

    /// The same of the addresses that another option has.
    pub(super) fn of(&self, option: &str, admins: &[String], mistakes: &mut Mistakes) -> Option<Vec<Access>> {
        let admins: Vec<_> = admins.iter().map(|admin| all(option, admin.trim(), mistakes)).collect();
        let token = token(self.admin_token_file.as_deref(), mistakes)?;
        let mut found: Vec<Address> = Vec::new();
        for admin in admins.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten() {
            // A node that is named twice is one node.
            if !found.contains(&admin) {
                found.push(admin);
            }
        }
        let admins = found;
        if admins.len() > limits::DEPLOY_NODES_MAX {
            mistakes.note(option, format!("{} nodes; use at most {}", admins.len(), limits::DEPLOY_NODES_MAX));
            return None;
        }
        Some(admins.into_iter().map(|admin| Access { admin, token: token.clone() }).collect())
    }
}

/// All addresses that a text stands for: of a folder the sockets in it, of a host name what it resolves to, of a URL as
/// that of the page its host and port.
fn all(option: &str, text: &str, mistakes: &mut Mistakes) -> Option<Vec<Address>> {
    let text = text.strip_prefix("http://").map_or(text, |url| url.strip_suffix('/').unwrap_or(url));
    let found = match text.parse() {
        Ok(Address::Unix(folder)) if folder.is_dir() => sockets(&folder),
        Ok(address) => Ok(vec![address]),
        Err(_) => resolved(text),
    };
    found.map_err(|mistake| mistakes.note(option, mistake)).ok()
}

fn sockets(folder: &Path) -> Result<Vec<Address>, String> {
    let shown = folder.display();
    let unreadable = |error| format!("cannot read the folder {shown}: {error}");
    let mut found = Vec::new();
    for file in folder.read_dir().map_err(unreadable)? {
        let path = file.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            found.push(path);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(format!("the folder {shown} has no socket `*.sock`; does a node run?")),
        false => Ok(found.into_iter().map(Address::Unix).collect()),
    }
}

fn resolved(text: &str) -> Result<Vec<Address>, String> {
    let named = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    let Some((name, port)) = text.rsplit_once(':') else {
        return Err(match named(text) {
            true => format!("`{text}` has no port: use {text}:9998, for example, or `unix:PATH`"),
            false => format!("`{text}` is neither `host:port` nor `unix:PATH`"),
        });
    };
    let (Ok(port), true) = (port.parse::<u16>(), named(name)) else {
        let why = match text.starts_with("https://") {
            true => ": the admin address has no TLS of its own",
            false => "",
        };
        return Err(format!("`{text}` is neither `host:port` nor `unix:PATH`{why}"));
    };
    let found = (name, port).to_socket_addrs().map_err(|error| format!("cannot resolve the name {name}: {error}"))?;
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    found.dedup();
    Ok(found.into_iter().map(Address::Tcp).collect())
}

impl AccessArgs {
    /// How to reach a node; mistakes are noted.
    pub(super) fn parse(&self, mistakes: &mut Mistakes) -> Option<Access> {
        let admin = mistakes.parse("--admin", &self.admin);
        let token = token(self.admin_token_file.as_deref(), mistakes)?;
        Some(Access { admin: admin?, token })
    }

    /// The same for a command that needs one node; a folder with one socket is that of the node.
    pub(super) fn parse_one(&self, mistakes: &mut Mistakes) -> Option<Access> {
        let mut found = all("--admin", &self.admin, mistakes)?;
        let token = token(self.admin_token_file.as_deref(), mistakes)?;
        if found.len() > 1 {
            let names: Vec<_> = found.iter().map(ToString::to_string).collect();
            mistakes.note("--admin", format!("this needs one node: use one of {}", names.join(", ")));
        }
        found.truncate(1);
        found.pop().map(|admin| Access { admin, token })
    }

    /// As above, for the node itself: an address that other machines reach requires a token.
    pub(super) fn parse_for_node(&self, mistakes: &mut Mistakes) -> Option<Access> {
        let access = self.parse(mistakes)?;
        if !access.admin.is_local() && access.token.is_none() {
            let text = format!(
                "{} is reachable from other machines, so a token is required: use {TOKEN_FILE_OPTION} or \
                 {TOKEN_VARIABLE}",
                access.admin
            );
            mistakes.note("--admin", text);
        }
        Some(access)
    }
}

/// The token, if one was given; the outer `None` is a mistake.
fn token(file: Option<&Path>, mistakes: &mut Mistakes) -> Option<Option<Token>> {
    let (option, text) = match (file, std::env::var_os(TOKEN_VARIABLE)) {
        (None, None) => return Some(None),
        (Some(_), Some(_)) => {
            mistakes.note(TOKEN_FILE_OPTION, format!("{TOKEN_VARIABLE} is set too; use only one of them"));
            return None;
        }
        (Some(file), None) => (TOKEN_FILE_OPTION, read(file).map_err(|error| format!("{}: {error}", file.display()))),
        (None, Some(text)) => (TOKEN_VARIABLE, text.into_string().map_err(|_| "not valid UTF-8".to_owned())),
    };
    text.and_then(Token::new).map_err(|error| mistakes.note(option, error)).ok().map(Some)
}

/// The text of a token's file, without the newline at its end.
fn read(file: &Path) -> std::io::Result<String> {
    // One byte more than any token with its newline, so that a longer one is refused, and `/dev/zero` ends.
    let bytes_max = limits::ADMIN_TOKEN_BYTES_MAX as u64 + 3;
    let mut text = String::new();
    File::open(file)?.take(bytes_max).read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.to_owned())
}
