//! Reads a connection string as libpq does, in both of its forms: `postgres://user:password@host:port/dbname?key=value`
//! and `key=value key='value'`. The result is a list of pairs; `keyword` and `target` interpret them.
//!
//! No message contains a part of the text, because that may be a part of a password.

use percent_encoding::percent_decode_str;

/// A keyword and its value, not yet checked.
type Pair = (String, String);

const NOT_ESCAPED: &str = "its user or password has a `:`, `@`, `/`, `?`, `#` or `%` that is not escaped; write %3A for \
                           `:`, %40 for `@`, %2F for `/`, %3F for `?`, %23 for `#` and %25 for `%`, also behind the host";
const NOT_PAIRS: &str = "it is neither a URL (postgres://...) nor pairs of key=value; a value with spaces goes in single \
                         quotes, with a backslash before each `'` and `\\` in it";

/// The pairs of a connection string, in order. If a keyword occurs twice, the last one counts.
///
/// # Errors
/// A description of the mistake.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, String> {
    let text = text.trim();
    let url = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    match url {
        Some(rest) => of_url(rest),
        None if text.contains("://") => Err("a URL of Postgres begins with postgres:// or postgresql://".to_owned()),
        None => of_pairs(text),
    }
}

fn of_url(rest: &str) -> Result<Vec<Pair>, String> {
    let mut found = Vec::new();
    let place = match rest.split_once('@') {
        Some((credentials, place)) => {
            // The first `@` ends the password. If it was part of the password, the rest would be taken for the host.
            if credentials.contains(['/', '?', '#']) || place.contains('@') {
                return Err(NOT_ESCAPED.to_owned());
            }
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            if password.contains(':') {
                return Err(NOT_ESCAPED.to_owned());
            }
            push(&mut found, "user", decoded(user)?);
            push(&mut found, "password", decoded(password)?);
            place
        }
        None => rest,
    };
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (hosts, dbname) = place.split_once('/').unwrap_or((place, ""));
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(decoded(name)?);
        ports.push(decoded(port)?);
    }
    push(&mut found, "host", names.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        push(&mut found, "port", ports.join(","));
    }
    push(&mut found, "dbname", decoded(dbname)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair.split_once('=').ok_or(NOT_ESCAPED)?;
        match (decoded(keyword)?, decoded(value)?) {
            // The spelling of JDBC, which libpq accepts too.
            (keyword, value) if keyword == "ssl" && value == "true" => {
                push(&mut found, "sslmode", "require".to_owned());
            }
            (keyword, value) => found.push((keyword, value)),
        }
    }
    Ok(found)
}

fn push(found: &mut Vec<Pair>, keyword: &str, value: String) {
    if !value.is_empty() {
        found.push((keyword.to_owned(), value));
    }
}

/// `host`, `host:port` or `[address]:port`.
fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    let malformed = "a host is written as NAME:PORT, an IPv6 address as [ADDRESS]:PORT, the folder of a socket with %2F \
                     for each `/`; special characters of a password have to be escaped as %XX";
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(malformed)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if rest.is_empty() => Ok((address, "")),
            None => Err(malformed.to_owned()),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(malformed.to_owned()),
        Some(pair) => Ok(pair),
        None => Ok((text, "")),
    }
}

/// Decodes `%XX`. A `%` without two hexadecimal digits is refused: it is a `%` that was not escaped.
fn decoded(text: &str) -> Result<String, String> {
    let escapes = text.split('%').skip(1).all(|rest| {
        let bytes = rest.as_bytes();
        bytes.len() >= 2 && bytes[..2].iter().all(u8::is_ascii_hexdigit) && &bytes[..2] != b"00"
    });
    if !escapes {
        return Err(NOT_ESCAPED.to_owned());
    }
    let text = percent_decode_str(text).decode_utf8();
    text.map(|text| text.into_owned()).map_err(|_| "its %XX escapes do not decode to UTF-8".to_owned())
}

fn of_pairs(text: &str) -> Result<Vec<Pair>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (keyword, after) = rest.split_once('=').ok_or(NOT_PAIRS)?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || keyword.contains(char::is_whitespace) {
            return Err(NOT_PAIRS.to_owned());
        }
        let (value, after) = value(after.trim_start())?;
        found.push((keyword.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(found)
}

/// A value and what follows it.
fn value(text: &str) -> Result<(String, &str), String> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => {
                let after = &body[at + 1..];
                let ends = after.is_empty() || after.starts_with(char::is_whitespace);
                return if ends { Ok((value, after)) } else { Err(NOT_PAIRS.to_owned()) };
            }
            white if white.is_whitespace() && !quoted => return Ok((value, &body[at..])),
            other => value.push(other),
        }
    }
    if quoted { Err(NOT_PAIRS.to_owned()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let pairs = pairs(text).unwrap();
        pairs.iter().map(|(keyword, value)| format!("{keyword}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn both_forms_say_the_same() {
        for (text, pairs) in [
            ("postgres://", ""),
            ("postgresql://h", "host=h"),
            ("postgres://u:p@h:5433/d?sslmode=require", "user=u password=p host=h port=5433 dbname=d sslmode=require"),
            ("postgres://u@a,b:7/d", "user=u host=a,b port=,7 dbname=d"),
            ("postgres://[::1]:7,[fe80::1]/", "host=::1,fe80::1 port=7,"),
            ("postgres://%2Frun%2Fpg/d?user=u", "host=/run/pg dbname=d user=u"),
            ("postgres:///d?host=/run/pg&options=-c%20a=b", "dbname=d host=/run/pg options=-c a=b"),
            ("postgres://u:%40%3a%2F@h?ssl=true", "user=u password=@:/ host=h sslmode=require"),
            ("host = h user= u\nport =7", "host=h user=u port=7"),
            ("password='a \\'b\\\\' host=a\\ b", "password=a 'b\\ host=a b"),
            ("user='' host=h", "user= host=h"),
        ] {
            assert_eq!(shown(text), pairs, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_connection_string_is_refused() {
        for text in [
            "nonsense",
            "mysql://u:p@h/d",
            "postgres://u:a:b@h/d",
            "postgres://u:a/b@h/d",
            "postgres://u:a@b@h/d",
            "postgres://u:100%@h/d",
            "postgres://u:%00@h/d",
            "postgres://u:%ff@h/d",
            "postgres://h/d?sslmode",
            "postgres://::1/d",
            "postgres://[::1/d",
            "postgres://[::1]7/d",
            "password='a",
            "password='a'b",
            "=a",
            "a b=c",
        ] {
            assert!(pairs(text).is_err(), "{text}");
        }
    }
}
