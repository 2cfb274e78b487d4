//! Connections to a backend, kept for later: deadpool, with every wait bounded and every failure an error that
//! callers understand.
//!
//! A call that waits for a connection also ends with its own deadline: its future is dropped then, and its place in
//! the queue with it.

use deadpool::managed::{Manager, Object, Pool as Inner, PoolError, TimeoutType, Timeouts};
use prism_plugin_abi::{Code, Error, Metrics};
use std::time::Duration;

pub use deadpool::{Runtime, Status, managed};

/// How large a pool is, and how long anything about it may take.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// The most connections. They are made when they are needed.
    pub size: usize,
    /// How long a call may wait for one that others use.
    pub wait: Duration,
    /// How long it may take to make one.
    pub connect: Duration,
    /// How long it may take to find out whether one that was kept still works.
    pub check: Duration,
}

impl Default for PoolOptions {
    /// Sixteen connections, a second for each wait and five to connect: for a backend on the same network, where a
    /// wait of a second means that the pool is too small.
    fn default() -> Self {
        Self {
            size: 16,
            wait: Duration::from_secs(1),
            connect: Duration::from_secs(5),
            check: Duration::from_secs(1),
        }
    }
}

/// A pool of what `M` makes.
pub struct Pool<M: Manager, W: From<Object<M>> = Object<M>> {
    inner: Inner<M, W>,
    size: usize,
}

impl<M: Manager, W: From<Object<M>>> Pool<M, W> {
    /// An empty pool: whether the backend is there shows with the first connection, which `#[init]` should
    /// ask for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a pool that could never give a connection.
    pub fn new(manager: M, options: PoolOptions) -> Result<Self, Error> {
        let PoolOptions { size, wait, connect, check } = options;
        if size == 0 || [wait, connect, check].contains(&Duration::ZERO) {
            return Err(Error::invalid("the pool: its size and times are above 0"));
        }
        let timeouts = Timeouts { wait: Some(wait), create: Some(connect), recycle: Some(check) };
        let pool = Inner::builder(manager).max_size(size).timeouts(timeouts).runtime(Runtime::Tokio1).build();
        // Times without a runtime is all that can be wrong, and it has one.
        let inner = pool.map_err(|error| Error::channel(Code::Internal, format!("the pool: {error}")))?;
        Ok(Self { inner, size })
    }

    /// A connection: one that was kept and still works, else a new one. It goes back when it is dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when all are in use for longer than a call may wait, UNAVAILABLE when the backend does
    /// not answer while it is connected to, and what `backend` makes of its own error.
    pub async fn get(&self, backend: impl FnOnce(M::Error) -> Error) -> Result<W, Error> {
        self.inner.get().await.map_err(|error| match error {
            PoolError::Backend(error) => match backend(error) {
                // Whoever does not answer while being connected to is away, not slow.
                late if late.code == Code::DeadlineExceeded => Error { code: Code::Unavailable, ..late },
                other => other,
            },
            PoolError::Timeout(TimeoutType::Wait) => Error::operation(
                Code::ResourceExhausted,
                format!(
                    "all {} connections to the backend are busy; raise the pool's size, or send less at a time",
                    self.size
                ),
            ),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Error::operation(Code::Unavailable, "the backend does not answer while being connected to")
            }
            PoolError::Closed => Error::channel(Code::Unavailable, "the namespace's instance was shut down"),
            other @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Error::channel(Code::Internal, format!("the pool: {}", describe(&other)))
            }
        })
    }

    /// How many connections there are.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// The figures with the pool's: connections in use and kept, and as figures of the plugin's own the most that
    /// there may be and the calls that wait for one.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a double is what a figure is
    pub fn measured(&self, metrics: Metrics) -> Metrics {
        let status = self.status();
        Metrics {
            connections_active: status.size.saturating_sub(status.available) as u64,
            connections_idle: status.available as u64,
            custom: metrics
                .custom
                .gauge("pool_max_connections", status.max_size as f64)
                // Above 0 for long: the pool is too small, or the backend too slow.
                .gauge("pool_waiting_calls", status.waiting as f64),
            ..metrics
        }
    }

    /// Gives no more connections, for `#[shutdown]`: calls that hold one finish on it, and those that wait are
    /// told.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// Without the backend's own error, which need not be printable.
fn describe<E>(error: &PoolError<E>) -> &'static str {
    match error {
        PoolError::NoRuntimeSpecified => "it has no runtime",
        _ => "a hook refused a connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deadpool::managed::{RecycleError, RecycleResult};
    use prism_plugin_abi::CustomMetrics;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Makes numbers, or does as it is told.
    #[derive(Default)]
    struct Backend {
        made: AtomicUsize,
        fails: Option<Code>,
        hangs: bool,
        stale: bool,
    }

    impl Manager for Backend {
        type Type = usize;
        type Error = Code;

        async fn create(&self) -> Result<usize, Code> {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.fails.map_or_else(|| Ok(self.made.fetch_add(1, Relaxed)), Err)
        }

        async fn recycle(&self, _: &mut usize, _: &managed::Metrics) -> RecycleResult<Code> {
            if self.stale { Err(RecycleError::message("stale")) } else { Ok(()) }
        }
    }

    fn pool(backend: Backend, size: usize) -> Pool<Backend> {
        let options = PoolOptions { size, ..PoolOptions::default() };
        Pool::new(backend, options).unwrap()
    }

    fn said(code: Code) -> Error {
        Error::operation(code, "said by the backend")
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_kept_and_checked() {
        let pool = pool(Backend::default(), 2);
        assert_eq!(*pool.get(said).await.unwrap(), 0);
        assert_eq!(*pool.get(said).await.unwrap(), 0);
        let (one, two) = (pool.get(said).await.unwrap(), pool.get(said).await.unwrap());
        assert_eq!((*one, *two), (0, 1));
        let stale = self::pool(Backend { stale: true, ..Backend::default() }, 2);
        assert_eq!(*stale.get(said).await.unwrap(), 0);
        assert_eq!(*stale.get(said).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_ends_with_the_right_code() {
        let full = pool(Backend::default(), 1);
        let held = full.get(said).await.unwrap();
        let error = full.get(said).await.err().unwrap();
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(error.message.contains("all 1 connections"), "{error}");
        drop(held);
        drop(full.get(said).await.unwrap());

        let hangs = pool(Backend { hangs: true, ..Backend::default() }, 1);
        assert_eq!(hangs.get(said).await.err().unwrap().code, Code::Unavailable);
        for (code, seen) in [
            (Code::Unauthenticated, Code::Unauthenticated),
            // While connecting, it means that nobody is there.
            (Code::DeadlineExceeded, Code::Unavailable),
        ] {
            let fails = pool(Backend { fails: Some(code), ..Backend::default() }, 1);
            let error = fails.get(said).await.err().unwrap();
            assert_eq!((error.code, &*error.message), (seen, "said by the backend"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_leaves_the_queue() {
        let pool = pool(Backend::default(), 1);
        let held = pool.get(said).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(10), pool.get(said));
        assert!(waiting.await.is_err());
        assert_eq!(pool.status().waiting, 0);
        drop(held);
        drop(pool.get(said).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_holds_is_counted() {
        let pool = pool(Backend::default(), 3);
        let (one, _two) = (pool.get(said).await.unwrap(), pool.get(said).await.unwrap());
        drop(one);
        let own = CustomMetrics::new().gauge("watchers", 1.0);
        let measured = pool.measured(Metrics { cache_hits: 5, custom: own.clone(), ..Metrics::default() });
        assert_eq!((measured.connections_active, measured.connections_idle, measured.cache_hits), (1, 1, 5));
        assert_eq!(measured.custom, own.gauge("pool_max_connections", 3.0).gauge("pool_waiting_calls", 0.0));
        pool.close();
        assert_eq!(pool.get(said).await.err().unwrap().code, Code::Unavailable);
    }

    #[test]
    fn a_pool_that_could_never_give_anything_is_refused() {
        for options in [
            PoolOptions { size: 0, ..PoolOptions::default() },
            PoolOptions { wait: Duration::ZERO, ..PoolOptions::default() },
        ] {
            let refused = Pool::<Backend>::new(Backend::default(), options);
            assert_eq!(refused.err().unwrap().code, Code::InvalidArgument);
        }
    }
}
