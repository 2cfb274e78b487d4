//! Which process is at the other end of a unix socket.

use prism_platform::Io;
use std::{fmt, num::NonZeroU64};

/// A process, told apart from a later one that got the same number by when it began (proc(5), `stat`
/// field 22: clock ticks since boot).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerIdentity(NonZeroU64);

/// Linux numbers processes below 2^22 (`PID_MAX_LIMIT`); 42 bits of ticks last for a thousand years.
const PID_BITS: u32 = 22;

impl PeerIdentity {
    /// The peer of a connection; `None` where there is no telling (TCP, another host, another system).
    pub(crate) fn of(io: &Io) -> Option<Self> {
        let pid = io.peer_credentials()?.pid?;
        // Where /proc hides the peer (hidepid), its number alone has to do.
        Self::new(pid, start_ticks(pid).unwrap_or(0))
    }

    fn new(pid: u32, ticks: u64) -> Option<Self> {
        NonZeroU64::new(ticks << PID_BITS | u64::from(pid)).map(Self)
    }

    /// A process that began a tick later.
    #[cfg(test)]
    pub(crate) fn other(self) -> Self {
        Self(self.0.saturating_add(1 << PID_BITS))
    }

    /// As a number that is never 0, for an atomic.
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.get();
        write!(f, "pid {} started at tick {}", number & ((1 << PID_BITS) - 1), number >> PID_BITS)
    }
}

fn start_ticks(pid: u32) -> Option<u64> {
    parse_start(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses and may itself hold spaces and parentheses.
fn parse_start(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    // Field 3 is the first one here, so field 22 is the twentieth.
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_platform::{BindOptions, Platform};

    #[test]
    fn a_name_full_of_parentheses_does_not_mislead() {
        let fields: Vec<_> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (evil) S 1 2 (x)) S {}", fields.join(" "));
        assert_eq!(parse_start(&stat), Some(22));
        assert_eq!(parse_start("7 (short) S 1 2"), None);
        assert_eq!(parse_start(""), None);
    }

    #[test]
    fn a_reused_number_is_another_process() {
        assert_eq!(PeerIdentity::new(7, 100), PeerIdentity::new(7, 100));
        assert_ne!(PeerIdentity::new(7, 100), PeerIdentity::new(7, 101));
        assert_ne!(PeerIdentity::new(7, 100), PeerIdentity::new(8, 100));
        assert_eq!(PeerIdentity::new(0, 0), None);
    }

    #[tokio::test]
    async fn the_peer_of_a_unix_socket_is_known_and_of_tcp_is_not() {
        let platform = Platform::system();
        let directory = tempfile::tempdir().unwrap();
        let unix = prism_platform::Address::Unix(directory.path().join("plugin.sock"));
        let _listener = platform.bind(&unix, BindOptions::default()).await.unwrap();
        let identity = PeerIdentity::of(&platform.connect(&unix).await.unwrap()).unwrap();
        assert!(format!("{identity:?}").starts_with(&format!("pid {} started", std::process::id())));
        assert_ne!(start_ticks(std::process::id()), None);

        let listener = platform.bind(&"127.0.0.1:0".parse().unwrap(), BindOptions::default()).await.unwrap();
        let io = platform.connect(&listener.local_address().unwrap()).await.unwrap();
        assert_eq!(PeerIdentity::of(&io), None);
    }
}
