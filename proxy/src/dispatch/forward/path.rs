//! The one way to write a path.
//!
//! Routes are chosen by the path as it is written. A service may take several ways to write it for one: `/a/../b` and
//! `/b`, `/%61` and `/a`, `//a` and `/a`. A request that is let through under one of them and understood as another has
//! got around its route's filters, so only one way is taken.

use prism_filters::{Reason, Rejection};

/// Checks that there is no other way to write this path.
///
/// # Errors
/// There is: [`Reason::MalformedPath`].
pub(super) fn check(path: &str) -> Result<(), Rejection> {
    let malformed = |message| Err(Rejection::new(Reason::MalformedPath, message));
    if !path.starts_with('/') {
        return malformed("a forwarded request has a path that begins with `/`");
    }
    if path.contains("//") || path.contains('\\') {
        return malformed("a forwarded path has no `//` and no `\\`: write it plainly");
    }
    // RFC 3986 section 5.2.4; a segment's parameters (section 3.3), however their `;` is written, do not make it another to
    // every service.
    let dots = |segment: &str| {
        let end = segment.find([';', '%']).unwrap_or(segment.len());
        let (name, rest) = segment.split_at(end);
        matches!(name, "." | "..")
            && (!rest.starts_with('%')
                || rest.get(..3).is_some_and(|escape| escape.eq_ignore_ascii_case("%3b")))
    };
    if path.split('/').any(dots) {
        return malformed("a forwarded path has no segments `.` and `..`: write it plainly");
    }
    let mut rest = path.as_bytes();
    let mut before = None;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).and_then(|digits| Some((hex(digits[0])?, hex(digits[1])?)));
        let Some((high, low)) = digits else {
            return malformed("a `%` in a path is followed by two hexadecimal digits");
        };
        let byte = high << 4 | low;
        // RFC 3629 section 3: "Implementations of the decoding algorithm above MUST protect against decoding invalid
        // sequences. For instance, a naive implementation may decode the overlong UTF-8 sequence C0 80 into the character
        // U+0000": what decodes `%c0%af` so finds a `/`.
        let follows = if at == 0 { before } else { None };
        if matches!(
            (follows, byte),
            (Some(0xc0 | 0xc1), 0x80..=0xbf) | (Some(0xe0), 0x80..=0x9f) | (Some(0xf0), 0x80..=0x8f)
        ) {
            return malformed("a forwarded path has no overlong UTF-8: write it plainly");
        }
        before = Some(byte);
        // RFC 3986 section 2.3: "URIs that differ in the replacement of an unreserved character with its corresponding
        // percent-encoded US-ASCII octet are equivalent".
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || b"/\\%".contains(&byte) || byte.is_ascii_control() {
            return malformed(
                "a forwarded path has no escapes for `/`, `\\`, `%`, controls and what needs none: write it plainly",
            );
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Checks where a request is about to go, by a path that has one way to be written.
///
/// # Errors
/// It is the plugin protocol, which only the proxy may speak.
pub(super) fn check_final(path: &str) -> Result<(), Rejection> {
    match path.get(..14).is_some_and(|head| head.eq_ignore_ascii_case("/prism.plugin.")) {
        true => Err(Rejection::new(Reason::NoRoute, "the plugin protocol is not forwarded")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_way_to_be_written() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a.B/C",
            "/a/...",
            "/a/.b",
            "/a/b..",
            "/%C3%A9",
            "/%C0",
            "/%C0a%AF",
            "/%E0%A4%A8",
            "/%F0%9F%98%80",
            "/..%20",
            "/..%3c",
            "/a%20b",
            "/a;b=c/d",
            "/a%3Fb",
            "/@:!$&'()*+,=",
        ] {
            assert!(check(path).is_ok(), "{path}");
        }
        for path in [
            "",
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/.",
            "/a/..",
            "/a/./b",
            "/a/../b",
            "/..;/a",
            "/a/..;x=y/b",
            "/..%3b/a",
            "/.%3B",
            "/%c0%af",
            "/a%C1%81b",
            "/%e0%80%af",
            "/%f0%80%80%af",
            "/%2e",
            "/%2E%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%61",
            "/%7E",
            "/%25",
            "/%252e",
            "/%00",
            "/%0a",
            "/%7f",
            "/%",
            "/%a",
            "/%zz",
            "/a%",
            "/%+1",
        ] {
            assert_eq!(check(path).unwrap_err().reason(), Reason::MalformedPath, "{path}");
        }
    }

    #[test]
    fn the_plugin_protocol_is_not_forwarded() {
        for path in ["/prism.plugin.BackendPlugin/Execute", "/prism.plugin.", "/PRISM.plugin.X/y"] {
            assert_eq!(check_final(path).unwrap_err().reason(), Reason::NoRoute, "{path}");
        }
        for path in ["//prism.plugin.X/y", "/%70rism.plugin.X/y", "/a/../prism.plugin.X/y"] {
            assert_eq!(check(path).unwrap_err().reason(), Reason::MalformedPath, "{path}");
        }
        for path in ["/prism.plugins.X/y", "/prism.kv.v1.X/y", "/prism", "/é.plugin"] {
            assert!(check_final(path).is_ok(), "{path}");
        }
    }
}
