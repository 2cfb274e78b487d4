//! Questions to a server that behaves well, and to others.

use super::{
    testing::{Behaviour, World, ok},
    *,
};
use prism_tls::{
    ClientAuth, ServerFiles, ServerTls,
    testing::{Authority, Folder},
};
use std::path::PathBuf;

const LIMITS: Limits = Limits { deadline: Duration::from_secs(5), body: 1000 };

fn fetcher(world: &World, url: &str, ca_cert: Option<&Path>) -> Fetcher {
    Fetcher::new(world.platform(), url.parse().unwrap(), ca_cert, LIMITS).unwrap()
}

async fn said(behaviour: Behaviour) -> Result<Bytes, String> {
    let world = World::new(behaviour);
    let answer = fetcher(&world, "http://localhost:81/keys", None).get().await;
    // Whatever it says: one connection, to this one server.
    assert_eq!(world.resolved(), ["localhost"]);
    assert_eq!(world.connected(), ["127.0.0.1:81".parse().unwrap()]);
    answer.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_taken_in_whatever_form_it_is_framed() {
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nx: y\r\n\r\n";
    for (answer, body) in [
        (ok("{}"), "{}".to_owned()),
        (ok("a".repeat(1000)), "a".repeat(1000)),
        (chunked.into(), "abcd".to_owned()),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end".to_vec(), "to the end".to_owned()),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 1\r\n\r\n1".to_vec(),
            "1".to_owned(),
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2".to_vec(),
            "2".to_owned(),
        ),
    ] {
        assert_eq!(said(Behaviour::Says(answer)).await.unwrap(), body);
    }
    // It does not wait for the end of the connection.
    assert_eq!(said(Behaviour::Stops(ok("{}"))).await.unwrap(), "{}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_says_why() {
    let head = |text: &str| format!("HTTP/1.1 {text}\r\n\r\n").into_bytes();
    let moved =
        |status: &str| head(&format!("{status}\r\nlocation: http://evil.example/keys\r\ncontent-length: 0"));
    let above = "its answer is above 1000 bytes";
    for (behaviour, reason) in [
        (Behaviour::Refuses, "cannot connect: connection refused"),
        (Behaviour::Swallows, "cannot connect: timed out"),
        (Behaviour::Says(Vec::new()), "HTTP: connection closed before message completed"),
        (Behaviour::Says(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()), "HTTP: "),
        (Behaviour::Says(head("200 OK\r\ncontent-length: 9")), "HTTP: "),
        (Behaviour::Says(head("200 OK\r\ncontent-length: 9\r\ncontent-length: 8")), "HTTP: "),
        (Behaviour::Says(head(&format!("200 OK\r\nx: {}", "a".repeat(40_000)))), "HTTP: "),
        (Behaviour::Says(moved("301 Moved")), "redirect (301"),
        (Behaviour::Says(moved("302 Found")), "redirect (302"),
        (Behaviour::Says(moved("307 Temporary Redirect")), "redirect (307"),
        (Behaviour::Says(moved("308 Permanent Redirect")), "redirect (308"),
        (Behaviour::Says(head("204 No Content")), "it answers 204"),
        (Behaviour::Says(head("404 Not Found\r\ncontent-length: 0")), "it answers 404"),
        (Behaviour::Says(head("503 Unavailable\r\ncontent-length: 0")), "it answers 503"),
        (Behaviour::Says(head("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0")), "a content coding"),
        (Behaviour::Says(ok("a".repeat(1001))), above),
        (Behaviour::Floods(head("200 OK")), above),
        (Behaviour::Floods(head("200 OK\r\ncontent-length: 99999999999")), above),
        (Behaviour::Floods(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), "HTTP: "),
        (Behaviour::Stops(Vec::new()), "no answer within 5s"),
        (Behaviour::Stops(head("200 OK\r\ncontent-length: 9")), "no answer within 5s"),
        (Behaviour::Trickles(ok("{}")), "no answer within 5s"),
    ] {
        let error = said(behaviour.clone()).await.unwrap_err();
        assert!(error.contains(reason), "{behaviour:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_says_whom_and_no_more() {
    let world = World::new(Behaviour::Says(ok("{}")));
    fetcher(&world, "http://localhost/keys?a=b", None).get().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    fetcher(&world, "http://localhost:81", None).post(headers, "token=t".into()).await.unwrap();
    let [get, post] = world.requests().try_into().unwrap();
    let lines = |request: &str| {
        let mut lines: Vec<_> = request.lines().map(str::to_owned).collect();
        lines[1..].sort();
        lines.join("\n")
    };
    let always = "accept-encoding: identity\naccept: application/json";
    assert_eq!(
        lines(&get),
        format!("GET /keys?a=b HTTP/1.1\n\n{always}\nconnection: close\nhost: localhost")
    );
    assert_eq!(
        lines(&post),
        format!(
            "POST / HTTP/1.1\n\n{always}\nauthorization: Basic eDp5\nconnection: close\ncontent-length: 7\n\
             content-type: application/x-www-form-urlencoded\nhost: localhost:81\ntoken=t"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_of_this_host_that_means_another_is_not_asked_in_clear() {
    let world = World::new(Behaviour::Says(ok("{}")));
    for addresses in [&["10.0.0.1"][..], &["127.0.0.1", "10.0.0.1"], &["::ffff:10.0.0.1"], &["0.0.0.0"]] {
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        world.host("localhost", &addresses);
        let refused = fetcher(&world, "http://localhost/keys", None).get().await;
        assert!(matches!(refused, Err(FetchError::NotThisHost)), "{refused:?}");
    }
    world.host("localhost", &[]);
    let nothing = fetcher(&world, "http://localhost/keys", None).get().await;
    assert!(matches!(nothing, Err(FetchError::Resolve(_))));
    assert_eq!(world.connected(), []);
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_tried_while_there_is_time() {
    let world = World::new(Behaviour::Says(ok("{}")));
    world.host("localhost", &["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    world.dead("::1".parse().unwrap());
    let fetcher = fetcher(&world, "http://localhost:81/keys", None);
    assert_eq!(fetcher.get().await.unwrap(), "{}");
    let five: Vec<_> = (1..=5).map(|last| [127, 0, 0, last].into()).collect();
    five.iter().for_each(|address| world.dead(*address));
    world.host("localhost", &five);
    assert!(matches!(fetcher.get().await, Err(FetchError::Connect(_))));
    assert_eq!(world.connected().len(), 2 + MOST_ADDRESSES);
}

struct Secured {
    world: World,
    folder: Folder,
    authority: Authority,
    ca: PathBuf,
}

/// A server at `id.example`, with a certificate for that name.
fn secured(names: &[&str]) -> Secured {
    let (folder, authority) = (Folder::new(), Authority::new());
    let ca = folder.write("ca.crt", &authority.pem());
    let identity = folder.identity("server", &authority.identity(names, |_| {}));
    let world = World::new(Behaviour::Says(ok("{}")));
    world.host("id.example", &["192.0.2.1".parse().unwrap()]);
    let files = ServerFiles::new(identity, ClientAuth::None);
    world.speak_tls(ServerTls::watch(files, &[alpn::HTTP1]).unwrap());
    Secured { world, folder, authority, ca }
}

#[tokio::test]
async fn a_server_is_asked_over_tls_if_it_is_who_it_should_be() {
    let Secured { world, folder, authority, ca } = secured(&["id.example"]);
    let ask = async |ca: &Path| fetcher(&world, "https://id.example/keys", Some(ca)).get().await;
    assert_eq!(ask(&ca).await.unwrap(), "{}");
    assert!(world.requests()[0].contains("host: id.example\r\n"));

    // Another authority, and the system's.
    let other = folder.write("other.crt", &Authority::new().pem());
    assert!(matches!(ask(&other).await, Err(FetchError::Tls(_))));
    // A redirect is none over TLS either.
    world.behave(Behaviour::Says(b"HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\n\r\n".to_vec()));
    assert!(matches!(ask(&ca).await, Err(FetchError::Redirect(_))));
    assert!(world.resolved().iter().all(|name| name == "id.example"));
    assert_eq!(world.requests().len(), 2);

    // Another name on its certificate; one that has expired.
    let renamed = secured(&["other.example"]);
    let refused = fetcher(&renamed.world, "https://id.example/keys", Some(&renamed.ca)).get().await;
    assert!(matches!(refused, Err(FetchError::Tls(_))), "{refused:?}");
    let expired = authority.identity(&["id.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let files = ServerFiles::new(folder.identity("expired", &expired), ClientAuth::None);
    world.speak_tls(ServerTls::watch(files, &[alpn::HTTP1]).unwrap());
    let refused = fetcher(&world, "https://id.example/keys", Some(&ca)).get().await;
    assert!(matches!(refused, Err(FetchError::Tls(_))), "{refused:?}");
    assert_eq!((renamed.world.requests().len(), world.requests().len()), (0, 2));

    // And a server that speaks in clear.
    let world = World::new(Behaviour::Says(ok("{}")));
    world.host("id.example", &["192.0.2.1".parse().unwrap()]);
    let clear = Fetcher::new(
        world.platform(),
        "https://id.example/keys".parse().unwrap(),
        Some(&ca),
        Limits { deadline: Duration::from_millis(300), body: 1000 },
    );
    assert!(clear.unwrap().get().await.is_err());
}

#[tokio::test]
async fn authorities_that_cannot_be_used_are_named() {
    let (world, folder) = (World::new(Behaviour::Refuses), Folder::new());
    let with = |ca: PathBuf| {
        let url = "https://id.example/keys".parse().unwrap();
        Fetcher::new(world.platform(), url, Some(&ca), LIMITS).unwrap_err().to_string()
    };
    assert!(with(folder.path().join("none.crt")).contains("none.crt"));
    assert!(with(folder.write("empty.crt", "")).contains("no certificate"));
}
