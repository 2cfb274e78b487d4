//! Which transport carries a plugin's calls: what the configuration asks for, and what the plugin speaks.

use std::fmt;

/// What carries calls to a plugin in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC over HTTP/2. Every plugin speaks it, and control calls always use it.
    #[default]
    Grpc,
    /// Prism frames, major version 1 (docs/frames.md).
    Frames,
}

impl Protocol {
    /// Its name, as plugins list it in `DescribeResponse.transports`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Frames => "frames/1",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtocolChoice {
    /// The best one that the plugin lists. The default: it gets better without anybody changing it.
    #[default]
    Auto,
    /// gRPC, whatever else the plugin speaks.
    Grpc,
    /// Prism frames; a plugin that does not list them is refused.
    Frames,
}

impl ProtocolChoice {
    /// Chooses from what the plugin's `Describe` lists; `None` where it cannot say.
    ///
    /// # Errors
    /// It lacks what the configuration insists on: for the person who wrote it.
    pub(crate) fn choose(self, listed: Option<&[String]>) -> Result<Protocol, String> {
        let frames = listed.is_some_and(|listed| listed.iter().any(|name| name == Protocol::Frames.name()));
        match (self, frames) {
            (Self::Auto | Self::Frames, true) => Ok(Protocol::Frames),
            (Self::Auto, false) | (Self::Grpc, _) => Ok(Protocol::Grpc),
            (Self::Frames, false) => Err(match listed {
                None => "the configuration asks for `transport: frames`, but the plugin knows no Describe, \
                         which would list `frames/1`: set `transport: auto`"
                    .to_owned(),
                Some(listed) => format!(
                    "the configuration asks for `transport: frames`, but the plugin lists {}, not `frames/1`: \
                     set `transport: auto`, or update the plugin",
                    shown(listed)
                ),
            }),
        }
    }
}

/// What a plugin lists, for a person: bounded, for the plugin wrote it.
fn shown(listed: &[String]) -> String {
    const MOST: usize = 8;
    const LONGEST: usize = 32;
    if listed.is_empty() {
        return "nothing".to_owned();
    }
    let mut names: Vec<String> = listed
        .iter()
        .take(MOST)
        .map(|name| format!("`{}`", name.chars().take(LONGEST).collect::<String>().escape_debug()))
        .collect();
    if listed.len() > MOST {
        names.push(format!("and {} more", listed.len() - MOST));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_best_that_both_speak_unless_told_otherwise() {
        use ProtocolChoice::{Auto, Grpc};
        let both = list(&["grpc", "frames/1"]);
        for listed in [None, list(&[]), list(&["grpc"]), list(&["grpc", "frames/2"]), list(&["frames"])] {
            assert_eq!(Auto.choose(listed.as_deref()), Ok(Protocol::Grpc), "{listed:?}");
            assert_eq!(Grpc.choose(listed.as_deref()), Ok(Protocol::Grpc), "{listed:?}");
        }
        for listed in [both.clone(), list(&["frames/1"]), list(&["frames/2", "frames/1"])] {
            assert_eq!(Auto.choose(listed.as_deref()), Ok(Protocol::Frames));
            assert_eq!(ProtocolChoice::Frames.choose(listed.as_deref()), Ok(Protocol::Frames));
        }
        assert_eq!(Grpc.choose(both.as_deref()), Ok(Protocol::Grpc));
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused =
            |listed: Option<Vec<String>>| ProtocolChoice::Frames.choose(listed.as_deref()).unwrap_err();
        assert!(refused(None).contains("knows no Describe"));
        assert!(refused(list(&[])).contains("lists nothing"));
        assert!(refused(list(&["grpc"])).contains("lists `grpc`, not `frames/1`"));
        let long = refused(Some(vec!["\u{1b}x".repeat(1000); 1000]));
        assert!(long.len() < 2000 && long.contains("and 992 more") && !long.contains('\u{1b}'), "{long}");
    }
}
