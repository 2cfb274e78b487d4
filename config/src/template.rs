//! References to secrets in texts: `{{ secret:NAME }}`, as a whole text or as parts of one.
//!
//! What looks like a reference and is none is an error rather than text: taken literally, it would be sent as a password.

/// The longest name, which is that of a Kubernetes secret's key.
const LONGEST_NAME: usize = 253;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Itself.
    Text(&'a str),
    /// What the secret of this name holds.
    Secret(&'a str),
}

/// Why something that looks like a reference is none. Never quotes the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// `{ secret:x }`, `{{ secret:x`, `secret:x }}`, `{{{ … }}}`.
    #[error("a reference to a secret has two braces before it and two behind it")]
    Braces,
    /// `{{ Secret:x }}`, `{{ secret : x }}`, `{{ secret }}`.
    #[error(
        "a reference to a secret is written `secret:`, in small letters and without a blank before the colon"
    )]
    Word,
    /// `{{ secret: }}`, `{{ secret:../x }}`.
    #[error(
        "the name of a secret has 1 to {LONGEST_NAME} letters, digits, dots, hyphens and underscores, and no two dots in a row"
    )]
    Name,
    /// `{{ vault:x }}`.
    #[error("there are references to secrets alone; this is one to something else")]
    Unknown,
}

impl Malformed {
    /// How to write it.
    pub(crate) const HINT: &'static str = "write `\"{{ secret:NAME }}\"`";
}

/// The parts of a text.
///
/// # Errors
/// Something in it looks like a reference and is none.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Malformed> {
    let mut pieces = Vec::new();
    let (mut begin, mut look) = (0, 0);
    while let Some(found) = text[look..].find('{') {
        let open = look + found;
        let inner = text[open..].trim_start_matches('{');
        let braces = text.len() - open - inner.len();
        look = open + braces;
        let inner = inner.trim_start();
        let word = &inner[..inner.find(|c: char| !is_name(c)).unwrap_or(inner.len())];
        let behind = &inner[word.len()..];
        let is_secret = word.eq_ignore_ascii_case("secret");
        let colon = behind.trim_start().starts_with(':');
        match (is_secret, colon, braces) {
            (false, true, 2) if !word.is_empty() => return Err(Malformed::Unknown),
            (true, true, 2) => {}
            (true, true, _) => return Err(Malformed::Braces),
            (true, false, 2..) => return Err(Malformed::Word),
            _ => continue,
        }
        if word != "secret" || !behind.starts_with(':') {
            return Err(Malformed::Word);
        }
        let rest = behind[1..].trim_start();
        let end = rest.find(['{', '}']).ok_or(Malformed::Braces)?;
        let (name, close) = (rest[..end].trim_end(), &rest[end..]);
        let after =
            close.strip_prefix("}}").filter(|after| !after.starts_with('}')).ok_or(Malformed::Braces)?;
        if !is_valid(name) {
            return Err(Malformed::Name);
        }
        plain(&text[begin..open], &mut pieces)?;
        pieces.push(Piece::Secret(name));
        begin = text.len() - after.len();
        look = begin;
    }
    plain(&text[begin..], &mut pieces)?;
    Ok(pieces)
}

fn plain<'a>(text: &'a str, pieces: &mut Vec<Piece<'a>>) -> Result<(), Malformed> {
    // `secret:x }}`: the opening braces are missing.
    for (end, _) in text.match_indices("}}") {
        let before = text[..end].trim_end().trim_end_matches(is_name);
        let before = before.strip_suffix(':').map(str::trim_end).unwrap_or_default();
        let word = &before[before.trim_end_matches(is_name).len()..];
        if word.eq_ignore_ascii_case("secret") {
            return Err(Malformed::Braces);
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(())
}

/// Whether there is a reference in the text, well-formed or not.
pub(crate) fn refers(text: &str) -> bool {
    match pieces(text) {
        Ok(pieces) => pieces.iter().any(|piece| matches!(piece, Piece::Secret(_))),
        Err(malformed) => malformed != Malformed::Unknown,
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Whether it is a name: never one that leaves a directory.
pub(crate) fn is_valid(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.chars().all(is_name)
        && !name.contains("..")
        && name != "."
}

#[cfg(test)]
mod tests {
    use super::{Malformed::*, Piece::*, *};

    #[test]
    fn references_are_found() {
        for (text, expected) in [
            ("", vec![]),
            ("plain", vec![Text("plain")]),
            ("{{ secret:a }}", vec![Secret("a")]),
            ("{{secret:a.b-c_D9}}", vec![Secret("a.b-c_D9")]),
            ("{{  secret:  a\t}}", vec![Secret("a")]),
            (
                "x://{{secret:u}}:{{ secret:p }}@h",
                vec![Text("x://"), Secret("u"), Text(":"), Secret("p"), Text("@h")],
            ),
            ("ä{{ secret:a }}ö", vec![Text("ä"), Secret("a"), Text("ö")]),
            // What is none of ours.
            ("{{ .Values.secret }}", vec![Text("{{ .Values.secret }}")]),
            ("{a: 1, b: {c: 2}}", vec![Text("{a: 1, b: {c: 2}}")]),
            ("{\"secret\":\"x\"}", vec![Text("{\"secret\":\"x\"}")]),
            ("secret: none", vec![Text("secret: none")]),
            ("{{ secret.a }}", vec![Text("{{ secret.a }}")]),
            ("{ secret }", vec![Text("{ secret }")]),
            ("{my_secret:5}}", vec![Text("{my_secret:5}}")]),
            ("secret:a }", vec![Text("secret:a }")]),
            ("}} {{", vec![Text("}} {{")]),
        ] {
            assert_eq!(pieces(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_nearly_one_is_no_text() {
        for (text, expected) in [
            ("{{secret:}}", Name),
            ("{{ secret: }}", Name),
            ("{{ secret:a b }}", Name),
            ("{{ secret:a/b }}", Name),
            ("{{ secret:.. }}", Name),
            ("{{ secret:. }}", Name),
            ("{{ secret:a..b }}", Name),
            ("{{ secret:ä }}", Name),
            ("{{ secret:a\0 }}", Name),
            ("{{ secret:a", Braces),
            ("{{ secret:a }", Braces),
            ("{{ secret:a }}}", Braces),
            ("{ secret:a }", Braces),
            ("{secret:a}}", Braces),
            ("{{{ secret:a }}}", Braces),
            ("secret:a }}", Braces),
            ("x {{ secret:a }} secret:b }}", Braces),
            ("{{ secret:{{ secret:a }} }}", Braces),
            ("{{ Secret:a }}", Word),
            ("{{ SECRET:a }}", Word),
            ("{{ secret :a }}", Word),
            ("{{ secret }}", Word),
            ("{{ secrets:a }}", Unknown),
            ("{{ env:A }}", Unknown),
            ("{{ vault:a/b }}", Unknown),
        ] {
            assert_eq!(pieces(text), Err(expected), "{text}");
        }
        assert_eq!(pieces(&format!("{{{{ secret:{} }}}}", "a".repeat(254))), Err(Name));
    }
}
