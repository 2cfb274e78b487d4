//! How many may be connected to the admin interface at once. When all places are taken, whoever has said nothing for the longest time
//! makes room, as idle connections do in nginx: sixty-four silent ones keep nobody out.

use prism_platform::time::Instant;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::task::AbortHandle;

/// Connections at the same time, by either way in: a scraper, a probe and a few people, with room to spare. Each way has its
/// own, so that whoever reaches the address cannot keep the socket's owner out.
const MOST_CONNECTIONS: usize = 64;

/// In place of a time: it answers a request.
const AT_WORK: u64 = u64::MAX;

/// The places of one way in.
pub(super) struct Places {
    began: Instant,
    taken: Vec<(AbortHandle, Arc<Activity>)>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), taken: Vec::new() }
    }

    /// What a new connection is to keep saying of itself; `None` when there is no place, and nobody who says nothing. The one that
    /// it replaces is ended.
    pub(super) fn make_room(&mut self) -> Option<Arc<Activity>> {
        self.taken.retain(|(task, _)| !task.is_finished());
        if self.taken.len() >= MOST_CONNECTIONS {
            let silent =
                self.taken.iter().enumerate().map(|(place, (_, activity))| (activity.silent_since(), place));
            let (_, place) = silent.min().filter(|(since, _)| *since != AT_WORK)?;
            self.taken.swap_remove(place).0.abort();
        }
        Some(Arc::new(Activity { began: self.began, silent_since: AtomicU64::new(nanos(self.began)) }))
    }

    /// Its task has a place now.
    pub(super) fn take(&mut self, task: AbortHandle, activity: Arc<Activity>) {
        self.taken.push((task, activity));
    }
}

/// Whether a connection has a request, and since when not.
pub(super) struct Activity {
    began: Instant,
    silent_since: AtomicU64,
}

impl Activity {
    fn silent_since(&self) -> u64 {
        self.silent_since.load(Ordering::Relaxed)
    }

    /// It answers a request until this is dropped.
    pub(super) fn works(&self) -> impl Drop + '_ {
        self.silent_since.store(AT_WORK, Ordering::Relaxed);
        Working(self)
    }
}

struct Working<'a>(&'a Activity);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.silent_since.store(nanos(self.0.began), Ordering::Relaxed);
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(AT_WORK - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_platform::time;
    use std::time::Duration;

    async fn full() -> (Places, Vec<Arc<Activity>>, Vec<AbortHandle>) {
        let (mut places, mut activities, mut tasks) = (Places::new(), Vec::new(), Vec::new());
        for _ in 0..MOST_CONNECTIONS {
            let activity = places.make_room().unwrap();
            let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
            places.take(task.clone(), Arc::clone(&activity));
            activities.push(activity);
            tasks.push(task);
            time::sleep(Duration::from_millis(1)).await;
        }
        (places, activities, tasks)
    }

    fn ended(tasks: &[AbortHandle]) -> Vec<usize> {
        (0..tasks.len()).filter(|place| tasks[*place].is_finished()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_silent_for_the_longest_time_makes_room() {
        let (mut places, activities, tasks) = full().await;
        // The first works, and the second has just done so.
        let _works = activities[0].works();
        drop(activities[1].works());
        assert!(ended(&tasks).is_empty());
        assert!(places.make_room().is_some());
        time::sleep(Duration::from_millis(1)).await;
        assert_eq!(ended(&tasks), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_works_is_not_disturbed() {
        let (mut places, activities, tasks) = full().await;
        let works: Vec<_> = activities.iter().map(|activity| activity.works()).collect();
        assert!(places.make_room().is_none());
        time::sleep(Duration::from_millis(1)).await;
        assert!(ended(&tasks).is_empty());
        drop(works);
        assert!(places.make_room().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_gone_has_left_a_place() {
        let (mut places, activities, tasks) = full().await;
        let _works: Vec<_> = activities.iter().map(|activity| activity.works()).collect();
        tasks[7].abort();
        time::sleep(Duration::from_millis(1)).await;
        assert!(places.make_room().is_some());
    }
}
