//! Keeps one instance alive: connect, describe, initialize, check; watch; begin again when it fails; and shut
//! it down when it is retired.

mod metrics;
mod session;

use crate::{
    grpc::Lost,
    instance::{Backend, OperationTable, Seat, State, SupervisionOptions, Tally},
    upstream::Protocol,
};
use futures_util::future::join_all;
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use prism_plugin_abi::{Code, Description, Error, Health, HealthStatus, Initialize, Initialized};
use prism_plugin_envelope::encode_config;
use session::Session;
use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

/// Between two initializations that calls asked for: a plugin whose operations answer FAILED_PRECONDITION
/// for reasons of their own must not be initialized once per call.
const NUDGE_PAUSE: Duration = Duration::from_millis(100);

/// A connection that a plugin closes sooner was not closed for its age.
const SHORT_LIVED: Duration = Duration::from_secs(1);

/// Why an instance does not serve.
struct Failure {
    reason: String,
    /// Somebody has to mend the configuration.
    rejected: bool,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: shortened(reason.into()), rejected: false }
    }

    fn of(step: &str, error: &Error) -> Self {
        let rejected = matches!(
            error.code,
            Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented
        );
        Self { reason: shortened(format!("{step} failed: {error}")), rejected }
    }
}

/// Supervises `backend` at all of its seats until it is retired and shut down.
pub(crate) async fn run(backend: Arc<Backend>, platform: Platform, options: Arc<SupervisionOptions>) {
    let tally = Mutex::new(Tally::new(options.custom_series.clone()));
    let seats: Vec<_> = backend
        .seats()
        .iter()
        .enumerate()
        .map(|(index, seat)| Supervisor {
            backend: &backend,
            seat,
            index,
            tally: &tally,
            platform: &platform,
            options: &options,
        })
        .collect();
    let mut sessions: Vec<_> = seats.iter().map(|_| None).collect();
    tokio::select! {
        _ = join_all(seats.iter().zip(&mut sessions).map(|(seat, session)| seat.keep_alive(session))) => {}
        () = backend.retired() => {}
    }
    // Its successor counts now.
    tally.lock().unwrap_or_else(PoisonError::into_inner).forget();
    for seat in &seats {
        seat.begin_to_end();
    }
    backend.drained().await;
    join_all(seats.iter().zip(sessions).map(|(seat, session)| seat.shut_down(session))).await;
}

/// Looks after one seat of an instance.
struct Supervisor<'a> {
    backend: &'a Backend,
    seat: &'a Seat,
    index: usize,
    /// Of all seats together.
    tally: &'a Mutex<Tally>,
    platform: &'a Platform,
    options: &'a SupervisionOptions,
}

impl Supervisor<'_> {
    async fn keep_alive(&self, session: &mut Option<Session>) {
        let mut failures = 0;
        loop {
            *session = None;
            let failure = match self.start(session).await {
                Err(failure) => failure,
                Ok(()) => {
                    failures = 0;
                    let Some(current) = session.as_ref() else { continue };
                    let began = Instant::now();
                    let ended = tokio::select! {
                        ended = self.watch(current) => ended,
                        never = self.poll_metrics(current) => match never {},
                    };
                    match ended {
                        // It said goodbye in good order, as servers do that limit a connection's age. Where it
                        // takes a new one, nobody should notice; where it does not, the next round says so.
                        ControlFlow::Continue(()) if began.elapsed() >= SHORT_LIVED => continue,
                        ControlFlow::Continue(()) => {
                            Failure::new("the plugin closes its connections as soon as they are open")
                        }
                        ControlFlow::Break(failure) => failure,
                    }
                }
            };
            self.backend.count(self.index, None, self.tally);
            let pause = self.pause(&failure, failures);
            // A plugin may say what it was given, and so may whoever cannot read it.
            let reason = self.backend.spec().hide(failure.reason);
            failures = failures.saturating_add(1);
            let before = self.backend.seat_status(self.index);
            // Once per reason, not once per try: a plugin that is away for a night must not fill the log.
            if before.state != State::Failed || before.reason.as_ref() != Some(&reason) {
                tracing::warn!(
                    namespace = self.backend.spec().namespace,
                    plugin = self.backend.spec().plugin.name(),
                    endpoint = self.backend.seat_name(self.index),
                    reason,
                    "plugin instance failed; trying again until it serves"
                );
            }
            self.backend.update(self.index, |status| {
                status.state = State::Failed;
                status.reason = Some(reason);
                status.next_retry = Some(Instant::now() + pause);
            });
            time::sleep(pause).await;
        }
    }

    /// Half of the pause is fixed, half is chance: many namespaces on one plugin must not all come at once.
    fn pause(&self, failure: &Failure, failures: u32) -> Duration {
        let options = self.options;
        let longest = match self.backend.spec().plugin.is_local() {
            true => options.longest_local_pause,
            false => options.longest_remote_pause,
        };
        let pause = match failure.rejected {
            true => options.rejected_pause,
            false => longest.min(options.first_pause.saturating_mul(2_u32.saturating_pow(failures.min(16)))),
        };
        pause / 2 + self.platform.jitter(pause / 2)
    }

    /// Connect, Describe, Initialize, HealthCheck.
    async fn start(&self, slot: &mut Option<Session>) -> Result<(), Failure> {
        let options = self.options;
        let session =
            Session::open(self.platform, self.backend.spec(), self.seat).await.map_err(Failure::new)?;
        let session = slot.insert(session);
        self.backend.update(self.index, |status| {
            if status.state == State::Loading {
                status.state = State::Initializing;
                status.reason = Some("the plugin is being initialized".to_owned());
            }
        });
        let described = session
            .describe(options.describe_deadline)
            .await
            .map_err(|error| Failure::of("Describe", &error))?;
        let refused = |reason| Failure { reason: format!("the plugin is refused: {reason}"), rejected: true };
        let kinds = &self.backend.spec().operation_kinds;
        let operations = described.description.as_ref();
        let operations =
            operations.map(|description| OperationTable::described(description, kinds, &options.schemas));
        let operations = operations.transpose().map_err(refused)?;
        // Also against what this very instance said before: a process that was replaced may say something else.
        if let (Some(operations), Some(before)) = (&operations, self.backend.known_operations()) {
            operations.check_kinds(&before, kinds).map_err(refused)?;
        }
        // Before it is given any configuration or secret, which it might never be called with.
        let protocol = session.choose(&described).map_err(refused)?;
        let description = described.description;
        let initialized = self.initialize(session, description.as_deref()).await?;
        let health = session
            .health(self.backend.instance(), options.health_deadline)
            .await
            .map_err(|error| Failure::of("HealthCheck", &error))?;
        if health.status == HealthStatus::Unhealthy {
            return Err(Failure::new(unhealthy(&health)));
        }
        let spec = self.backend.spec();
        let operations = operations.unwrap_or_else(|| {
            let plugin = spec.plugin.operation_kinds();
            OperationTable::supported(&initialized.supported_operations, plugin, &spec.operation_kinds)
        });
        self.backend.update(self.index, |status| {
            status.operations = Some(Arc::new(operations));
            status.description = description;
            status.protocol = protocol;
        });
        // Workers may use the way before the state says so, never after.
        self.open_the_way(session, protocol);
        self.report(&health);
        Ok(())
    }

    fn open_the_way(&self, session: &Session, protocol: Option<Protocol>) {
        self.seat.link.initialized_on(session.peer(), protocol.unwrap_or_default());
        if let Some(endpoint) = &self.seat.endpoint {
            endpoint.is_up();
        }
    }

    async fn initialize(
        &self,
        session: &Session,
        description: Option<&Description>,
    ) -> Result<Initialized, Failure> {
        let spec = self.backend.spec();
        let (config_type_url, config) = encode_config(&spec.config, description)
            .map_err(|error| Failure { reason: error.to_string(), rejected: true })?;
        let request = Initialize {
            instance: self.backend.instance(),
            namespace: spec.namespace.clone(),
            backend_type: spec.backend_type.clone(),
            config_type_url,
            config,
            credentials: spec.credentials.clone(),
        };
        session
            .initialize(request, self.options.initialize_deadline)
            .await
            .map_err(|error| Failure::of("Initialize", &error))
    }

    fn report(&self, health: &Health) {
        let (state, reason) = match health.status {
            HealthStatus::Degraded => (
                State::Degraded,
                Some(shortened(self.backend.spec().hide(format!("degraded: {}", health.message)))),
            ),
            HealthStatus::Healthy | HealthStatus::Unhealthy => (State::Ready, None),
        };
        let status = self.backend.seat_status(self.index);
        if status.state != state || status.reason != reason {
            tracing::info!(
                namespace = self.backend.spec().namespace,
                plugin = self.backend.spec().plugin.name(),
                endpoint = self.backend.seat_name(self.index),
                state = %state,
                "plugin instance serves"
            );
            self.backend.update(self.index, |status| {
                status.state = state;
                status.reason = reason;
                status.next_retry = None;
            });
        }
    }

    /// Serves until something breaks; `Continue` when the connection ended in good order.
    async fn watch(&self, session: &Session) -> ControlFlow<Failure> {
        let mut misses = 0;
        let mut next_check = Instant::now() + self.options.health_interval;
        let mut next_nudge = Instant::now();
        loop {
            tokio::select! {
                biased;
                Lost { reason, graceful } = session.lost() => {
                    return match graceful {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(Failure::new(reason)),
                    };
                }
                () = self.nudged(next_nudge) => {
                    let description = self.backend.seat_status(self.index).description;
                    if let Err(failure) = self.initialize(session, description.as_deref()).await {
                        return ControlFlow::Break(failure);
                    }
                    self.open_the_way(session, self.backend.seat_status(self.index).protocol);
                    next_nudge = Instant::now() + NUDGE_PAUSE;
                }
                () = time::sleep_until(next_check) => {
                    match self.check(session).await {
                        Ok(health) => {
                            misses = 0;
                            self.report(&health);
                        }
                        Err(reason) => {
                            misses += 1;
                            if misses >= self.options.health_misses {
                                return ControlFlow::Break(Failure::new(reason));
                            }
                        }
                    }
                    next_check = Instant::now() + self.options.health_interval;
                }
            }
        }
    }

    async fn nudged(&self, not_before: Instant) {
        time::sleep_until(not_before).await;
        self.seat.link.nudged().await;
    }

    async fn check(&self, session: &Session) -> Result<Health, String> {
        let (instance, deadline) = (self.backend.instance(), self.options.health_deadline);
        match session.health(instance, deadline).await {
            Ok(health) if health.status == HealthStatus::Unhealthy => Err(unhealthy(&health)),
            Ok(health) => Ok(health),
            Err(error) => Err(format!("HealthCheck failed: {error}")),
        }
    }

    fn begin_to_end(&self) {
        self.backend.update(self.index, |status| {
            status.state = State::Draining;
            status.reason = Some("replaced or removed by a configuration change".to_owned());
            status.next_retry = None;
        });
    }

    /// Tells the plugin that the instance is over: over the connection that there is, and where there is none, or it broke,
    /// over another one, a few times. A plugin that only could not be reached still has the instance, and its backend's
    /// connections.
    async fn shut_down(&self, session: Option<Session>) {
        let mut told = match session {
            Some(session) => self.tell(&session).await,
            None => Err("there was no connection".to_owned()),
        };
        // One that knows no instances would end altogether; one in this process is always reached.
        let mut pauses = if self.seat.echoed.load(Ordering::Relaxed) { &GOODBYES[..] } else { &[] };
        while let (Err(_), [pause, later @ ..]) = (&told, pauses) {
            time::sleep(*pause).await;
            told = match Session::open(self.platform, self.backend.spec(), self.seat).await {
                Ok(session) => self.tell(&session).await,
                Err(problem) => Err(problem),
            };
            pauses = later;
        }
        if let (Err(problem), true) = (told, self.seat.echoed.load(Ordering::Relaxed)) {
            tracing::warn!(
                namespace = self.backend.spec().namespace,
                plugin = self.backend.spec().plugin.name(),
                endpoint = self.backend.seat_name(self.index),
                problem,
                "plugin instance could not be shut down: if the plugin still runs, it still has it"
            );
        }
        self.backend.update(self.index, |status| status.state = State::Stopped);
    }

    async fn tell(&self, session: &Session) -> Result<(), String> {
        let told = session.shutdown(self.backend.instance(), self.options.shutdown_deadline).await;
        told.map_err(|error| error.to_string())
    }
}

/// Pauses before each further try to say goodbye: a connection that is being replaced is back at once, a network that was
/// cut for a moment within seconds.
const GOODBYES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(2), Duration::from_secs(5)];

/// What a plugin says for a person: as much of it as a person reads. It is kept, shown and logged.
fn shortened(mut text: String) -> String {
    const MOST: usize = 1024;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn unhealthy(health: &Health) -> String {
    match health.message.is_empty() {
        true => "unhealthy; the plugin gave no reason".to_owned(),
        false => format!("unhealthy: {}", health.message),
    }
}
