//! Changes that are made only if everything they need is there: waiting for it, and giving up what was built.

use super::{Control, Refusal, Unhealthy, build::Built};
use prism_config::Config;
use prism_platform::time::Instant;
use prism_plugin_host::{Held, State, Status};
use std::time::Duration;

impl Control {
    /// Waits for the instances that are held back. All of them serve at the moment when this returns well; one that
    /// served and failed while others were waited for does not.
    ///
    /// # Errors
    /// Those that do not serve, each with its reason. Or `stop` resolved.
    pub(super) async fn decide(
        &self,
        held: &[(usize, Held)],
        config: &Config,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        let deadline = Instant::now() + self.supervision.decision_deadline;
        let settled = async {
            for (_, held) in held {
                // All of them try at the same time. Every verdict is waited for, to say every reason.
                held.settled(deadline).await;
            }
        };
        tokio::select! {
            biased;
            () = settled => {}
            () = stop => return Err(Refusal::ShuttingDown),
        }
        let unhealthy: Vec<_> = held
            .iter()
            .filter_map(|(index, held)| Some((*index, held.unready()?)))
            .filter_map(|(index, status)| {
                let namespace = config.namespaces.get(index)?;
                Some(Unhealthy {
                    path: format!("namespaces[{index}]"),
                    namespace: namespace.name.clone(),
                    plugin: namespace.plugin.clone(),
                    reason: reason(&status, self.supervision.decision_deadline),
                })
            })
            .collect();
        if unhealthy.is_empty() { Ok(()) } else { Err(Refusal::Unhealthy(unhealthy)) }
    }

    /// Nothing of it will ever run. What was built beside running instances is shut down, and so are namespaces that
    /// would have been new.
    pub(super) fn give_up(&mut self, built: Built) {
        let Built { slots, held, .. } = built;
        drop(held);
        for (name, slot) in slots {
            if !self.running.slots.contains_key(&name) {
                self.metrics.forget_namespace(&name);
                self.retiring.spawn(slot.retire(Duration::ZERO).finished());
            }
        }
        while self.retiring.try_join_next().is_some() {}
    }
}

fn reason(status: &Status, deadline: Duration) -> String {
    let reason = status.reason.as_deref().unwrap_or("it does not serve");
    match status.state {
        State::Loading | State::Initializing => {
            format!("not ready within {} s: {reason}", deadline.as_secs())
        }
        _ => reason.to_owned(),
    }
}
