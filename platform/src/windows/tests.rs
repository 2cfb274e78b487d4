use super::*;

const INITIAL: Windows = Windows { stream: 64 << 10, connection: 1 << 20 };
const MOST: Windows = Windows { stream: 1 << 20, connection: 4 << 20 };
const CHARGE: u64 = 3 << 20;

fn budget(bytes: u64) -> Arc<WindowBudget> {
    Arc::new(WindowBudget::new(bytes))
}

fn growth(budget: &Arc<WindowBudget>) -> WindowGrowth {
    WindowGrowth::new(Arc::clone(budget), INITIAL, MOST)
}

/// A measurement during which `bytes` are taken.
fn measure(growth: &mut WindowGrowth, taken: &mut u64, bytes: u64) -> Option<Windows> {
    growth.measure(*taken);
    *taken += bytes;
    growth.measured(*taken)
}

#[test]
fn a_body_that_fills_its_window_gets_a_larger_one() {
    let budget = budget(CHARGE);
    let (mut growth, mut taken) = (growth(&budget), 0);
    assert!(!growth.wants_measurement(64 * 1024 - 1), "a small body is not worth a PING");
    assert!(growth.wants_measurement(64 * 1024));
    let first = measure(&mut growth, &mut taken, 64 << 10);
    assert_eq!(first, Some(Windows { stream: 256 << 10, connection: 1 << 20 }));
    assert_eq!(budget.used(), 0, "within the connection's initial window");
    assert_eq!(measure(&mut growth, &mut taken, 256 << 10), Some(MOST));
    assert_eq!(budget.used(), CHARGE);
    assert_eq!(measure(&mut growth, &mut taken, 64 << 20), None, "not beyond the most");
    assert!(!growth.wants_measurement(u64::MAX), "nothing is left to win");
    drop(growth);
    assert_eq!(budget.used(), 0);
}

#[test]
fn whoever_takes_less_than_a_window_in_a_round_trip_keeps_it() {
    let budget = budget(CHARGE);
    let (mut growth, mut taken) = (growth(&budget), 0);
    let mut pings = 0;
    for _ in 0..(64 << 20) / (16 << 10) {
        taken += 16 << 10;
        if growth.wants_measurement(taken) {
            pings += 1;
            assert_eq!(measure(&mut growth, &mut taken, 16 << 10), None);
        }
    }
    assert!(!growth.is_grown());
    assert!(pings < 16, "{pings} measurements that led to nothing");
}

#[test]
fn nothing_grows_while_nobody_reads() {
    let budget = budget(u64::MAX);
    let mut growth = growth(&budget);
    assert!(!growth.wants_measurement(0));
    growth.measure(0);
    assert_eq!(growth.measured(0), None, "the answer is late, and nothing was taken");
    assert_eq!(growth.measured(0), None, "an answer to no question");
}

#[test]
fn ten_thousand_connections_share_the_budget() {
    let budget = budget(10 * CHARGE + CHARGE / 2);
    let mut all: Vec<_> = (0..10_000).map(|_| (growth(&budget), 0)).collect();
    for _ in 0..3 {
        for (growth, taken) in &mut all {
            measure(growth, taken, 4 << 20);
        }
    }
    let window = |growth: &WindowGrowth| growth.now.connection;
    assert_eq!(all.iter().filter(|(growth, _)| window(growth) == MOST.connection).count(), 10);
    let above: u64 = all.iter().map(|(growth, _)| u64::from(window(growth) - INITIAL.connection)).sum();
    assert_eq!(above, budget.used());
    // One that ends makes room for another.
    all.remove(0);
    let (growth, taken) = all.last_mut().unwrap();
    assert_eq!(measure(growth, taken, 4 << 20), Some(MOST));
}

#[test]
fn the_budget_is_given_back_when_the_peer_has_used_up_what_it_was_promised() {
    let budget = budget(CHARGE);
    let (mut growth, mut taken) = (growth(&budget), 0);
    for _ in 0..2 {
        measure(&mut growth, &mut taken, 4 << 20);
    }
    assert_eq!(growth.shrink(taken), Some(INITIAL));
    assert_eq!(growth.shrink(taken), None, "it is small already");
    growth.settle(taken + CHARGE - 1);
    assert_eq!(budget.used(), CHARGE, "the peer may still send it");
    growth.settle(taken + CHARGE);
    assert_eq!(budget.used(), 0);
    drop(growth);
    assert_eq!(budget.used(), 0, "given back once");
}

#[test]
fn growing_again_before_that_costs_nothing_more() {
    let budget = budget(CHARGE);
    let (mut growth, mut taken) = (growth(&budget), 0);
    for _ in 0..3 {
        for _ in 0..2 {
            assert!(measure(&mut growth, &mut taken, 4 << 20).is_some());
        }
        assert_eq!(budget.used(), CHARGE);
        assert!(growth.shrink(taken).is_some());
    }
}

#[test]
fn a_measurement_that_ends_after_the_shrinking_counts_nothing() {
    let budget = budget(CHARGE);
    let (mut growth, mut taken) = (growth(&budget), 0);
    assert!(measure(&mut growth, &mut taken, 1 << 20).is_some());
    growth.measure(taken);
    taken += 1 << 20;
    assert!(growth.shrink(taken).is_some());
    assert_eq!(growth.measured(taken), None);
    assert!(!growth.is_grown());
}

#[test]
fn a_smaller_limit_takes_nothing_back_and_lets_nothing_grow() {
    let budget = budget(2 * CHARGE);
    let (mut one, mut two, mut taken) = (growth(&budget), growth(&budget), 0);
    for _ in 0..2 {
        measure(&mut one, &mut taken, 4 << 20);
    }
    budget.set_limit(0);
    assert_eq!(budget.used(), CHARGE);
    let mut taken = 0;
    assert!(measure(&mut two, &mut taken, 1 << 20).is_some(), "the first step is free");
    assert_eq!(measure(&mut two, &mut taken, 4 << 20), None);
    assert_eq!(two.now.connection, INITIAL.connection);
}

#[test]
fn a_most_below_the_initial_sizes_grows_nothing() {
    let small = Windows { stream: 1, connection: 1 };
    let budget = budget(u64::MAX);
    let mut growth = WindowGrowth::new(Arc::clone(&budget), INITIAL, small);
    assert!(!growth.wants_measurement(u64::MAX));
    let mut taken = 0;
    assert_eq!(measure(&mut growth, &mut taken, 1 << 30), None);
    assert_eq!(budget.used(), 0);
}
