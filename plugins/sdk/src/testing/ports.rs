//! Ports for servers that tests start and that have to be told where to listen.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// The first port that is given out. Below are ports that have names.
const FIRST: u16 = 10_000;
/// The first that is not: Linux gives connections and binders of port 0 what is from here on
/// (`net.ipv4.ip_local_port_range`). What is given out below can be taken by no test that asks the kernel.
const END: u16 = 32_768;

/// A port on 127.0.0.1 that nobody listens on, and that this process is given once only.
///
/// Bind port 0 instead wherever the server can tell its port: between this and the server's start, another
/// process can take it.
///
/// # Panics
/// When there is none left.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Processes that run side by side begin at different ones.
    let begin = (process::id() % u32::from((END - FIRST) / 64)) as u16 * 64;
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < END - FIRST, "every port was given out");
        let port = FIRST + (begin + given) % (END - FIRST);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_given_once_and_is_not_the_kernels() {
        let mut ports: Vec<_> = (0..100).map(|_| free_port()).collect();
        assert!(ports.iter().all(|port| (FIRST..END).contains(port)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_port_that_is_taken_is_not_given() {
        let held: Vec<_> =
            (0..10).filter_map(|_| TcpListener::bind(("127.0.0.1", free_port())).ok()).collect();
        let next = free_port();
        assert!(held.iter().all(|held| held.local_addr().unwrap().port() != next));
    }
}
