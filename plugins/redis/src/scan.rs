//! SCAN, whose pages Redis sizes as it likes, as pages of at most the size asked for.

use crate::{Backend, glob};
use prism_plugin_sdk::{
    abi::Error,
    kv::{MAX_PAGE, Page, foreign_token},
};
use redis::cmd;

/// How often one page asks Redis. Where keys with the prefix are rare, a page may come back empty rather
/// than walk the whole database in one call.
const ROUNDS: usize = 32;

/// Where a scan stands: Redis's cursor, and the keys that it gave beyond the page.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    /// 0: Redis has nothing more.
    cursor: u64,
    /// Logical keys.
    left: Vec<String>,
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.cursor.to_be_bytes().to_vec();
        for key in &self.left {
            // Keys have at most 1,024 bytes.
            bytes.extend(u16::try_from(key.len()).unwrap_or_default().to_be_bytes());
            bytes.extend(key.as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8], prefix: &str) -> Option<Self> {
        let (cursor, mut rest) = bytes.split_first_chunk()?;
        let mut left = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk() {
            let (key, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let key = std::str::from_utf8(key).ok()?;
            left.push(key.starts_with(prefix).then(|| key.to_owned())?);
            rest = after;
        }
        let state = Self { cursor: u64::from_be_bytes(*cursor), left };
        // An end has no token.
        (rest.is_empty() && state != Self::default()).then_some(state)
    }
}

pub(crate) async fn page(
    backend: &Backend,
    prefix: &str,
    page_size: usize,
    from: Option<&[u8]>,
) -> Result<Page, Error> {
    let mut state = match from {
        None => State::default(),
        Some(bytes) => State::decode(bytes, prefix).ok_or_else(foreign_token)?,
    };
    let mut more = from.is_none() || state.cursor != 0;
    let mut keys = std::mem::take(&mut state.left);
    let pattern = glob(&backend.physical(prefix));
    let mut count = page_size;
    for _ in 0..ROUNDS {
        if keys.len() >= page_size || !more {
            break;
        }
        let mut scan = cmd("SCAN");
        scan.arg(state.cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(count.clamp(1, MAX_PAGE));
        let (cursor, found): (u64, Vec<Vec<u8>>) = backend.query(&scan).await?;
        // Only what is still missing, so that little travels in the token; more where keys are rare.
        let before = keys.len();
        keys.extend(found.iter().filter_map(|key| backend.logical(key)));
        count = if keys.len() == before { count * 2 } else { page_size.saturating_sub(keys.len()) };
        state.cursor = cursor;
        more = cursor != 0;
    }
    state.left = keys.split_off(keys.len().min(page_size));
    let next = (more || !state.left.is_empty()).then(|| state.encode());
    Ok(Page { keys, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn states_come_back(cursor: u64, left in prop::collection::vec("p[a-z🔑]{0,20}", 0..5)) {
            let state = State { cursor, left };
            prop_assume!(state != State::default());
            let bytes = state.encode();
            prop_assert_eq!(State::decode(&bytes, "p"), Some(state));
            if bytes.len() > 8 {
                prop_assert_eq!(State::decode(&bytes, "q"), None, "another prefix");
                prop_assert_eq!(State::decode(&bytes[..bytes.len() - 1], "p"), None);
            }
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = State::decode(&bytes, "");
        }
    }

    #[test]
    fn other_states_are_refused() {
        for bytes in
            [&[][..], &[0; 7], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 1, 9], &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0xff]]
        {
            assert_eq!(State::decode(bytes, ""), None, "{bytes:?}");
        }
    }
}
