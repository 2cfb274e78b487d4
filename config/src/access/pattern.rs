//! Patterns of principals.
//!
//! `*` stands for any run of characters without `/`, `**` for any run at all, each for none too. Nothing else is special, and
//! what is special elsewhere (`?`, brackets, braces, backslashes) is refused: a rule that denies must not be silent because
//! somebody took `?` for any one character.

use std::{collections::BTreeSet, str::FromStr};

/// Whom no pattern stands for.
const ANONYMOUS: &str = "anonymous";

/// How principals begin, by the method that proves them; the names of certificates first.
const METHODS: [&str; 6] = ["spiffe://", "dns:", "cn:", "jwt:", "oauth2:", "key:"];

/// The longest principal that there is.
const MOST_BYTES: usize = 512;

/// Any characters but `/`. As it is written: no principal in a rule has this sign in it.
const STAR: u8 = b'*';
/// Any characters. No principal has this byte.
const STARS: u8 = 1;

/// A principal, or a pattern of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<[u8]>);

/// Where the pattern goes on behind a run, and where in the text the run ends.
type Run = (usize, usize);

/// Why that is no pattern, or one of nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    message: String,
    hint: Option<String>,
}

impl PatternError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }

    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = Self(tokens(text)?.into());
        if pattern.is_literal() && text == ANONYMOUS {
            return Ok(pattern);
        }
        if !METHODS.iter().any(|method| pattern.continues(method)) {
            return Err(nobody(text));
        }
        if let Some(method) = ["jwt:", "oauth2:"].iter().find(|method| text.starts_with(**method))
            && pattern.is_literal()
            && !text[method.len()..].contains(':')
        {
            return Err(PatternError::new(
                "no principal is this one: a token's has its issuer in it",
                format!("write `{method}ISSUER:SUBJECT`"),
            ));
        }
        Ok(pattern)
    }
}

/// What nobody is called, with what may have been meant.
fn nobody(text: &str) -> PatternError {
    let methods = "principals begin with `spiffe://`, `dns:`, `cn:`, `jwt:`, `oauth2:` or `key:`; `anonymous` is one as it is";
    let hint = match text {
        _ if text.starts_with("anon") || text.eq_ignore_ascii_case(ANONYMOUS) => {
            "write `anonymous`; no pattern stands for it".to_owned()
        }
        _ if text.starts_with("spiffe:") => "write `spiffe://TRUST-DOMAIN/PATH`; `*` stops at `/`".to_owned(),
        _ => methods.to_owned(),
    };
    PatternError::new("no principal is called so, so the rule would be about nobody", hint)
}

fn tokens(text: &str) -> Result<Vec<u8>, PatternError> {
    if text.is_empty() {
        return Err(PatternError::new("the principal is empty", "for whoever has a credential, write `**`"));
    }
    if text.len() > MOST_BYTES {
        return Err(PatternError::new(
            format!("no principal is longer than {MOST_BYTES} bytes"),
            "shorten it, with `*` for the rest",
        ));
    }
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'*' if rest.starts_with(b"**") => {
                return Err(PatternError::new("`***` stands for nothing", "`**` stands for any characters"));
            }
            b'*' if rest.starts_with(b"*") => {
                rest = &rest[1..];
                tokens.push(STARS);
            }
            b'*' => tokens.push(STAR),
            b'?' | b'[' | b']' | b'{' | b'}' | b'\\' => {
                let message = format!("`{}` stands for nothing in a pattern", char::from(*byte));
                return Err(PatternError::new(
                    message,
                    "`*` stands for any characters but `/`, `**` for any; there is nothing else",
                ));
            }
            b'%' => {
                escaped(rest)?;
                tokens.push(b'%');
            }
            b'!'..=b'~' => tokens.push(*byte),
            _ => {
                return Err(PatternError::new(
                    "a principal has visible ASCII alone",
                    "write each other byte as `%` and its two digits, as it is in the access log: `%20` for a blank",
                ));
            }
        }
    }
    Ok(tokens)
}

/// What follows a `%`: two digits, of a byte that principals have escaped.
fn escaped(rest: &[u8]) -> Result<(), PatternError> {
    let digit = |at: usize| match rest.get(at) {
        Some(digit @ b'0'..=b'9') => Some(digit - b'0'),
        Some(digit @ b'A'..=b'F') => Some(digit - b'A' + 10),
        _ => None,
    };
    let (Some(high), Some(low)) = (digit(0), digit(1)) else {
        return Err(PatternError::new(
            "`%` is followed by two digits of 0-9 and A-F, as principals have it",
            "write `%25` for `%`",
        ));
    };
    match high * 16 + low {
        byte @ b'!'..=b'~' if byte != b'%' => Err(PatternError::new(
            format!("principals do not have `%{byte:02X}` for `{}`", char::from(byte)),
            format!("write `{}`", char::from(byte)),
        )),
        _ => Ok(()),
    }
}

impl Pattern {
    /// It is one principal, as it is written.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        !self.0.iter().any(|byte| matches!(*byte, STAR | STARS))
    }

    /// How all that it stands for begin: what is in front of its first `*`.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.0
            .iter()
            .take_while(|byte| !matches!(**byte, STAR | STARS))
            .map(|byte| char::from(*byte))
            .collect()
    }

    /// It in few bytes, for [`Pattern::matches_encoded`]: of a principal, the principal itself.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// Whether it may stand for somebody who is known by a certificate: a principal that begins with `spiffe://` or `dns:`.
    #[must_use]
    pub(crate) fn is_of_certificates(&self) -> bool {
        METHODS[..2].iter().any(|method| self.continues(method))
    }

    /// Whether it stands for that principal. Allocates nothing. A pattern stands for no `anonymous`.
    #[must_use]
    pub fn matches(&self, principal: &str) -> bool {
        Self::matches_encoded(&self.0, principal)
    }

    /// The same for a pattern that lies elsewhere.
    ///
    /// Every run is as short as what follows lets it be. Where that leads nowhere, the last `*` takes one more, and where it
    /// may not, the last `**` does; no earlier run needs to be tried with more, because the last `**` can take whatever an
    /// earlier run would, and the last `*` whatever an earlier `*` would short of the next `/`, which neither can pass.
    #[must_use]
    pub fn matches_encoded(pattern: &[u8], principal: &str) -> bool {
        let text = principal.as_bytes();
        if principal == ANONYMOUS {
            return pattern == text;
        }
        let mut star: Option<Run> = None;
        let mut stars: Option<Run> = None;
        // Most of a pattern is what is in front of its first `*`: as many words as are the same in both.
        let (words, _) = pattern.as_chunks::<8>();
        let alike = words.iter().zip(text.as_chunks::<8>().0).take_while(|(pattern, text)| {
            // No way out in the middle: a word is looked at as one.
            let stars = pattern.iter().fold(false, |stars, byte| stars | (*byte == STAR) | (*byte == STARS));
            pattern == text && !stars
        });
        let mut at = alike.count() * 8;
        let mut from = at;
        loop {
            match pattern.get(at) {
                Some(&STAR) => {
                    at += 1;
                    star = Some((at, from));
                    continue;
                }
                Some(&STARS) => {
                    at += 1;
                    (star, stars) = (None, Some((at, from)));
                    continue;
                }
                Some(byte) if text.get(from) == Some(byte) => {
                    (at, from) = (at + 1, from + 1);
                    continue;
                }
                None if from == text.len() => return true,
                Some(_) | None => {}
            }
            if let Some((behind, end)) = star
                && text.get(end).is_some_and(|byte| *byte != b'/')
            {
                star = Some((behind, end + 1));
                (at, from) = (behind, end + 1);
            } else if let Some((behind, end)) = stars
                && end < text.len()
            {
                (star, stars) = (None, Some((behind, end + 1)));
                (at, from) = (behind, end + 1);
            } else {
                return false;
            }
        }
    }

    /// Whether it stands for anything that begins so and goes on.
    fn continues(&self, beginning: &str) -> bool {
        // Every place in the pattern that reading so far may have led to.
        let mut places = BTreeSet::from([0]);
        for byte in beginning.bytes() {
            let mut next = BTreeSet::new();
            for place in self.skipping(&places) {
                match self.0.get(place) {
                    Some(&STAR) if byte != b'/' => drop(next.insert(place)),
                    Some(&STARS) => drop(next.insert(place)),
                    Some(wanted) if *wanted == byte => drop(next.insert(place + 1)),
                    _ => {}
                }
            }
            places = next;
        }
        // Whatever is left of the pattern stands for at least one character.
        places.iter().any(|place| *place < self.0.len())
    }

    /// These places, and those that are reached from them by runs of nothing.
    fn skipping(&self, places: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = places.clone();
        for place in places {
            let mut place = *place;
            while let Some(&(STAR | STARS)) = self.0.get(place) {
                place += 1;
                all.insert(place);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, principal: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(principal)
    }

    #[test]
    fn a_star_stops_at_a_slash_and_two_do_not() {
        for (pattern, principal) in [
            ("spiffe://*/orders-*", "spiffe://a.example/orders-1"),
            ("spiffe://*/orders-*", "spiffe://a.example/orders-"),
            ("spiffe://**/orders-*", "spiffe://evil/ns/x/orders-1"),
            ("spiffe://a/**", "spiffe://a/b/c"),
            ("dns:*.example.org", "dns:a.b.example.org"),
            ("jwt:https://id.example:*", "jwt:https://id.example:alice"),
            ("*", "dns:a"),
            ("**", "spiffe://a/b"),
            ("**", "key:k"),
            ("key:batch", "key:batch"),
            ("anonymous", "anonymous"),
            ("spiffe://a/*b*/c", "spiffe://a/bbxb/c"),
            ("spiffe://**/x/*z", "spiffe://x/x/y/x/z"),
            ("dns:*a", "dns:ba%C3%A9a"),
            ("dns:a%20b", "dns:a%20b"),
            // A subject may have a `*` in it, where the pattern has one too.
            ("jwt:https://i:a*bcdefgh-z", "jwt:https://i:a*bcdefgh-bcdefgh-z"),
            ("jwt:https://i:a**bcdefg-z", "jwt:https://i:a*/bcdefg-bcdefg-z"),
        ] {
            assert!(matches(pattern, principal), "{pattern} {principal}");
        }
        for (pattern, principal) in [
            ("spiffe://*/orders-*", "spiffe://evil/ns/x/orders-1"),
            ("spiffe://*/orders-*", "spiffe://a.example/orders-1/x"),
            ("spiffe://*/orders-*", "spiffe://a.example/xorders-1"),
            ("spiffe://*/orders-*", "xspiffe://a.example/orders-1"),
            ("spiffe://a/*", "spiffe://a/b/c"),
            ("spiffe://a/*", "spiffe://ab"),
            ("*", "spiffe://a/b"),
            ("*", "anonymous"),
            ("**", "anonymous"),
            ("key:batch", "key:batch2"),
            ("key:batch", "key:batc"),
            ("key:batch", "dns:batch"),
            ("key:batch", "KEY:batch"),
            ("anonymous", "key:anonymous"),
            ("dns:*.example.org", "dns:example.org"),
            ("dns:*.example.org", "dns:a.example.org.evil"),
            ("jwt:https://id.example:*", "jwt:https://id.example:a/b"),
            ("spiffe://**/x/*z", "spiffe://x/x/z/y"),
            ("jwt:https://i:a*bcdefgh-z", "jwt:https://i:a*bcdefgh-/bcdefgh-z"),
        ] {
            assert!(!matches(pattern, principal), "{pattern} {principal}");
        }
    }

    #[test]
    fn what_is_about_nobody_is_refused() {
        for (pattern, part) in [
            ("", "empty"),
            ("orders", "about nobody"),
            ("admin@example.org", "about nobody"),
            ("https://id.example:alice", "about nobody"),
            ("SPIFFE://a/b", "about nobody"),
            ("spiffe:*", "about nobody"),
            ("spiffe:/*", "about nobody"),
            ("spiffe://", "about nobody"),
            ("spiffe*", "about nobody"),
            ("dns:", "about nobody"),
            ("d:*", "about nobody"),
            ("Anonymous", "about nobody"),
            ("anonymous*", "about nobody"),
            ("anon**", "about nobody"),
            ("jwt:alice", "issuer"),
            ("oauth2:alice", "issuer"),
            ("key:b?tch", "stands for nothing"),
            ("key:[ab]", "stands for nothing"),
            ("key:{a,b}", "stands for nothing"),
            ("key:a\\*", "stands for nothing"),
            ("key:***", "stands for nothing"),
            ("key:a b", "visible ASCII"),
            ("key:é", "visible ASCII"),
            ("key:a\n", "visible ASCII"),
            ("key:100%", "two digits"),
            ("key:%c3%a9", "two digits"),
            ("key:%*", "two digits"),
            ("key:%41", "do not have"),
        ] {
            let error = pattern.parse::<Pattern>().unwrap_err();
            assert!(error.to_string().contains(part), "{pattern}: {error}");
            assert!(error.hint().is_some(), "{pattern}");
        }
        assert!(format!("key:{}", "a".repeat(600)).parse::<Pattern>().is_err());
        for pattern in
            ["*", "**", "d*", "dns**", "spiffe:**", "spiffe:/**", "*:x", "*/x", "**/x", "key:%25", "cn:*"]
        {
            assert!(pattern.parse::<Pattern>().is_ok(), "{pattern}");
        }
    }

    /// By the definition, and as slow as that.
    fn defined(tokens: &[u8], text: &[u8]) -> bool {
        match tokens.split_first() {
            None => text.is_empty(),
            Some((&STAR, rest)) => (0..=text.len())
                .take_while(|end| !text[..*end].contains(&b'/'))
                .any(|end| defined(rest, &text[end..])),
            Some((&STARS, rest)) => (0..=text.len()).any(|end| defined(rest, &text[end..])),
            Some((byte, rest)) => text.first() == Some(byte) && defined(rest, &text[1..]),
        }
    }

    /// Also such as nobody can write: two runs side by side.
    fn any_tokens(most: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"ab/".as_slice());
        prop::collection::vec(prop_oneof![3 => byte, 1 => Just(STAR), 1 => Just(STARS)], 0..=most)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn matching_is_as_defined(tokens in any_tokens(9), text in "[ab/]{0,10}") {
            let pattern = Pattern(tokens.into());
            prop_assert_eq!(pattern.matches(&text), defined(&pattern.0, text.as_bytes()), "{:?} {}", pattern, text);
        }

        #[test]
        fn going_on_is_as_defined(tokens in any_tokens(5), beginning in "[ab/]{1,3}") {
            let pattern = Pattern(tokens.into());
            let ends = |left: usize| -> Vec<String> {
                (0..left).fold(vec![String::new()], |all, _| {
                    all.iter().flat_map(|end| ["a", "b", "/"].map(|next| format!("{end}{next}"))).collect()
                })
            };
            let any = (1..=5).flat_map(ends).any(|end| defined(&pattern.0, format!("{beginning}{end}").as_bytes()));
            prop_assert_eq!(pattern.continues(&beginning), any, "{:?} {}", pattern, beginning);
        }
    }
}
