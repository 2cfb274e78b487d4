//! Redaction: what may be shown of a configuration.
//!
//! It errs on the side of hiding. Nothing here is needed to run; everything here is printed somewhere.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::template::{self, Piece};

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "<redacted>";

/// Whether a key's name says that its value is a secret.
pub(crate) fn is_secret_key(key: &str) -> bool {
    const PARTS: [&str; 10] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "credential",
        "authorization",
        "cookie",
        "pwd",
        // What a secret is compared with: a guess at a weak one could be tried on it.
        "sha256",
    ];
    let key = key.to_ascii_lowercase();
    key.ends_with("key") || key == "pass" || PARTS.iter().any(|part| key.contains(part))
}

/// A copy of the value that may be shown.
pub(crate) fn value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(self::text(text)),
        Value::Array(items) => Value::Array(items.iter().map(self::value).collect()),
        Value::Object(entries) => Value::Object(map(entries)),
        plain => plain.clone(),
    }
}

/// A copy of the mapping that may be shown.
pub(crate) fn map(entries: &Map<String, Value>) -> Map<String, Value> {
    entries
        .iter()
        .map(|(key, entry)| {
            let shown = match entry {
                plain if !is_secret_key(key) || plain.is_null() || plain.is_boolean() => value(plain),
                Value::String(text) => Value::from(secret(text)),
                _ => Value::from(REDACTED),
            };
            (key.clone(), shown)
        })
        .collect()
}

/// The text without the passwords of URLs in it (`redis://user:password@host`) and without the values
/// of secret settings (`host=db password=…`, `?token=…`).
///
/// References to secrets stay, because they say where a secret is from and not what it is.
pub(crate) fn text(text: &str) -> String {
    let Some(pieces) = template::pieces(text).ok().filter(|_| text.contains("{{")) else {
        return settings(&urls(text));
    };
    // A reference has blanks and colons in it, which end a URL or a user's name. So it is a mark until the rest is hidden.
    let mut marked = String::with_capacity(text.len());
    let mut names = Vec::new();
    for piece in pieces {
        match piece {
            // A mark that somebody wrote would be taken for a reference.
            Piece::Text(text) => marked.extend(text.chars().filter(|c| *c != MARK)),
            Piece::Secret(name) => {
                marked.push_str(&format!("{MARK}{}{MARK}", names.len()));
                names.push(name);
            }
        }
    }
    let hidden = settings(&urls(&marked));
    let mut shown = String::with_capacity(hidden.len());
    for (place, part) in hidden.split(MARK).enumerate() {
        let name = part.parse().ok().and_then(|index: usize| names.get(index)).filter(|_| place % 2 == 1);
        match name {
            Some(name) => shown.push_str(&reference(name)),
            None => shown.push_str(part),
        }
    }
    shown
}

/// A key, or a name that was looked for in vain, as it may be shown: somebody may have left out what stands before it, or have
/// put a whole mapping into quotes.
pub(crate) fn key(key: &str) -> Cow<'_, str> {
    if key.contains("://") || key.contains('=') {
        return text(key).into();
    }
    // One that begins with a colon is a pseudo-header's name.
    match key.char_indices().find(|(place, letter)| *place > 0 && *letter == ':') {
        Some((place, _)) => format!("{}:{REDACTED}", &key[..place]).into(),
        None => key.into(),
    }
}

/// Whether a text is what a file holds, a key in PEM (RFC 7468) or a list, and no setting of one line.
pub(crate) fn is_a_files_content(text: &str) -> bool {
    text.trim().contains('\n') || text.contains("-----BEGIN ")
}

/// Stands around the number of a reference: a character that is nobody's (Unicode, private use area).
const MARK: char = '\u{e000}';

fn reference(name: &str) -> String {
    format!("{{{{ secret:{name} }}}}")
}

/// What may be shown of a text that is secret as a whole: the reference, if it is nothing else.
pub(crate) fn secret(text: &str) -> Cow<'static, str> {
    match template::pieces(text).as_deref() {
        Ok([Piece::Secret(name)]) => reference(name).into(),
        _ => REDACTED.into(),
    }
}

/// Whether the text is one reference, as [`text`] marks them.
fn is_marked(text: &str) -> bool {
    let number = text.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(MARK));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find("://") {
        let (before, after) = rest.split_at(index + 3);
        shown.push_str(before);
        // The URL ends at a blank, or where the next one begins.
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let end = after[..end].find("://").unwrap_or(end);
        let url = &after[..end];
        let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
        // A password may hold unescaped `/` or `@`, so everything up to the last `@` can belong to it,
        // unless what stands before the first `/` is clearly a host and a port.
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let plain_host = !authority.contains('@') && port.bytes().all(|byte| byte.is_ascii_digit());
        match url.rfind('@') {
            Some(at) if !plain_host => {
                let mut password = &url[..at];
                if let Some((user, after)) = password.split_once(':') {
                    shown.push_str(user);
                    shown.push(':');
                    password = after;
                }
                shown.push_str(if is_marked(password) { password } else { REDACTED });
                rest = &after[at..];
                // Step over the `@` so that the rest of this URL is taken as it is.
                shown.push('@');
                rest = &rest[1..];
            }
            _ => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

fn settings(text: &str) -> String {
    if !text.contains('=') {
        return text.to_owned();
    }
    let separator = |c: char| c.is_whitespace() || matches!(c, '&' | '?' | ';' | ',');
    text.split_inclusive(separator)
        .map(|piece| {
            let body = piece.trim_end_matches(separator);
            match body.split_once('=') {
                Some((key, value)) if is_secret_key(key) && !value.is_empty() && !is_marked(value) => {
                    format!("{key}={REDACTED}{}", &piece[body.len()..])
                }
                _ => piece.to_owned(),
            }
        })
        .collect()
}

/// For `#[serde(serialize_with)]` on free-form settings.
pub(crate) fn serialize_map<S: Serializer>(
    entries: &Option<Map<String, Value>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    entries.as_ref().map(map).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn passwords_in_urls_are_hidden() {
        for (written, shown) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:pw@h:1/0", "redis://:<redacted>@h:1/0"),
            ("postgres://user:pass@localhost:5432/prism", "postgres://user:<redacted>@localhost:5432/prism"),
            ("postgres://u:p@ss@h/db", "postgres://u:<redacted>@h/db"),
            ("postgres://u:p/ss@h/db", "postgres://u:<redacted>@h/db"),
            ("https://token@h/x", "https://<redacted>@h/x"),
            ("redis://:a@h1,redis://:b@h2", "redis://:<redacted>@h1,redis://:<redacted>@h2"),
            ("see http://h/path and mail me@x", "see http://h/path and mail me@x"),
            ("http://h:80/a@b", "http://h:80/a@b"),
            ("host=db password=pw user=u", "host=db password=<redacted> user=u"),
            ("http://h/?token=abc&x=1", "http://h/?token=<redacted>&x=1"),
            ("a://b://c:d@e", "a://b://c:<redacted>@e"),
            ("ä://ü:ö@ß", "ä://ü:<redacted>@ß"),
            ("", ""),
            ("redis://u:{{ secret:p }}@h:1/0", "redis://u:{{ secret:p }}@h:1/0"),
            ("redis://{{secret:u}}:{{secret:p}}@h", "redis://{{ secret:u }}:{{ secret:p }}@h"),
            ("redis://u:pw{{ secret:p }}@h", "redis://u:<redacted>@h"),
            ("redis://u:{{ secret:p }}pw@h", "redis://u:<redacted>@h"),
            ("redis://u:pw@{{ secret:h }}", "redis://u:<redacted>@{{ secret:h }}"),
            ("host=db password={{ secret:p }}", "host=db password={{ secret:p }}"),
            ("host=db password=pw{{ secret:p }} user=u", "host=db password=<redacted> user=u"),
            (
                "host=db password=\u{e000}0\u{e000}pw {{ secret:p }}",
                "host=db password=<redacted> {{ secret:p }}",
            ),
        ] {
            assert_eq!(text(written), shown, "{written}");
        }
    }

    #[test]
    fn secret_keys_hide_what_they_hold() {
        let shown = value(&json!({
            "password": "a", "api_key": "b", "Token": ["c"], "client_secret": {"d": "e"}, "pool_size": 3,
            "nested": [{"sasl_password": "f", "url": "x://u:g@h"}], "token": true, "secretary": null,
            "pin": {"key": 1234},
        }));
        assert_eq!(
            shown,
            json!({
                "password": REDACTED, "api_key": REDACTED, "Token": REDACTED, "client_secret": REDACTED,
                "pool_size": 3, "nested": [{"sasl_password": REDACTED, "url": "x://u:<redacted>@h"}],
                "token": true, "secretary": null, "pin": {"key": REDACTED},
            })
        );
    }
}
