//! How a connection ends when the plugin stops.

use super::*;

#[test]
fn drain_takes_no_new_calls_and_cut_ends_the_old() {
    paused(async {
        let (served, mut client) = Served::with_client().await;
        let sleeping = client.execute("sleep");
        let stream = client.open(Method::ExecuteStream, message("any", 1), false, None);
        client.echoes().await;
        served.alive(2).await;
        served.phase.send_replace(Phase::Draining);
        client
            .drive(|session, _| if session.is_going_away() { Poll::Ready(()) } else { Poll::Pending })
            .await;
        served.phase.send_replace(Phase::Cut);
        for id in [sleeping, stream] {
            let (_, end) = client.answer(id).await;
            assert_eq!(end.code, Some(Code::Unavailable));
            assert!(end.message.contains("stopping"), "{end:?}");
        }
        drop(client);
        served.ends().await;
    });
}

#[test]
fn an_idle_connection_ends_with_the_drain() {
    paused(async {
        let (served, mut client) = Served::with_client().await;
        client.echoes().await;
        served.phase.send_replace(Phase::Draining);
        let began = Instant::now();
        client
            .drive(|session, cx| {
                let waiting = session.poll_ready(cx).is_pending() || !session.is_going_away();
                if waiting { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        drop(client);
        served.ends().await;
        assert!(began.elapsed() < Duration::from_secs(1), "nothing was waited for");
    });
}
