//! Sockets, clock and chance: the one module through which Prism Edge reaches the world.
//!
//! Nothing else in the workspace listens, connects, reads a clock or draws a random number. A test
//! hands the proxy another [`Platform`] and the whole of it runs in a deterministic simulation.

mod io;
mod net;
mod random;
mod system;
pub mod time;
mod windows;

pub use io::{Connection, Detached, Io, PeerCredentials};
pub use net::{Accepted, Address, BindOptions, BoxFuture, Listener, Net, ParseAddressError};
pub use random::{Random, SeededRandom, SystemRandom};
pub use system::{SystemNet, avoid_huge_pages, end_now, raise_open_files};
pub use windows::{WindowBudget, WindowGrowth, Windows};

use std::{
    fmt, io as stdio,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A handle to the world. Cloning it is cheap; every part of the proxy that needs a socket, a time
/// of day or a random number is given one.
#[derive(Clone)]
pub struct Platform {
    net: Arc<dyn Net>,
    random: Arc<dyn Random>,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    windows: Arc<WindowBudget>,
}

impl Platform {
    /// The real world: the operating system's sockets, its clock and its entropy.
    #[must_use]
    pub fn system() -> Self {
        Self {
            net: Arc::new(SystemNet),
            random: Arc::new(SystemRandom),
            wall: Arc::new(system::wall_clock),
            windows: no_budget(),
        }
    }

    /// A made-up world: sockets from `net`, every random number from `seed`, and a wall clock that
    /// starts at a fixed day and follows tokio's (possibly paused) time.
    #[must_use]
    pub fn simulated(net: Arc<dyn Net>, seed: u64) -> Self {
        // 2025-01-01T00:00:00Z: any fixed day makes two runs of one seed print the same log.
        const START: Duration = Duration::from_secs(1_735_689_600);
        Self {
            net,
            random: Arc::new(SeededRandom::new(seed)),
            wall: Arc::new(|| SystemTime::UNIX_EPOCH + START + time::since_start()),
            windows: no_budget(),
        }
    }

    /// Starts to listen on `address`.
    ///
    /// # Errors
    /// What the operating system says: the address is taken, not ours, or not permitted.
    pub async fn bind(&self, address: &Address, options: BindOptions) -> stdio::Result<Box<dyn Listener>> {
        self.net.bind(address, options).await
    }

    /// Opens a connection to `address`. Bounded by the caller: wrap it in [`time::timeout`].
    ///
    /// # Errors
    /// What the operating system says: refused, unreachable, no such socket.
    pub async fn connect(&self, address: &Address) -> stdio::Result<Io> {
        self.net.connect(address).await
    }

    /// The addresses of a host, by its name or as one is written, the best first. Bounded by the caller: wrap it in
    /// [`time::timeout`].
    ///
    /// # Errors
    /// What the system's resolver says.
    pub async fn resolve(&self, host: &str, port: u16) -> stdio::Result<Vec<SocketAddr>> {
        self.net.resolve(host, port).await
    }

    /// A uniformly distributed number, from the operating system's entropy or from the seed.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.random.next_u64()
    }

    /// Several of them.
    #[must_use]
    pub fn random_u64s<const N: usize>(&self) -> [u64; N] {
        let mut numbers = [0; N];
        self.random.fill(&mut numbers);
        numbers
    }

    /// A random share of `upper`, for jitter ("full jitter": 0 to `upper`).
    #[must_use]
    pub fn jitter(&self, upper: Duration) -> Duration {
        // 53 bits are what an f64 holds exactly.
        #[allow(clippy::cast_precision_loss)]
        let share = (self.random_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        upper.mul_f64(share)
    }

    /// What all receive windows together may grow by: nothing, until the configuration has said it.
    #[must_use]
    pub fn windows(&self) -> &Arc<WindowBudget> {
        &self.windows
    }

    /// The time of day, for logs. Durations are measured with [`time::Instant`].
    #[must_use]
    pub fn wall_clock(&self) -> SystemTime {
        (self.wall)()
    }
}

fn no_budget() -> Arc<WindowBudget> {
    Arc::new(WindowBudget::new(0))
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").finish_non_exhaustive()
    }
}
