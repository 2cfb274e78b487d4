//! Request smuggling: whatever a client sends, the service behind a forward route never sees a request that the proxy did
//! not see. The services of this test keep what they got; it is read in several lenient ways, as servers differ, and
//! each way has to find the same requests, each with what only the proxy can have put there.

mod backend;
mod frames;
mod reading;
mod relay;
mod vectors;

use backend::{H2c, Recorder};
use prism_tests::{Proxy, Signal, client::raw, wait};
use reading::Message;
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpListener,
    thread,
};
use vectors::Outcome;

/// What was sent through a route, and what the client was told.
struct Sent {
    name: &'static str,
    number: usize,
    outcome: Outcome,
    /// The status that it was answered with; none where the connection just ended.
    status: Option<u16>,
}

/// The routes, and the names that stand for them in the vectors.
const ROUTES: [&str; 2] = ["one", "two"];

/// The first vector's number; all have three digits.
const FIRST: usize = 100;

/// Fills in a vector's number and its route.
fn fill(text: &str, route: &str, number: usize) -> String {
    text.replace("###", &number.to_string()).replace("$$$", route)
}

fn proxy(one: u16, two: u16) -> Proxy {
    Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    limits: {{ stall_timeout: 2s }}
    http1: {{ header_timeout: 2s }}
    filters:
      - trace: {{}}
      - plugin_dispatch: {{}}
    routes:
      - match: {{ path_prefix: /one/ }}
        forward: true
        targets: [{{ address: '127.0.0.1:{one}', protocol: http1 }}]
      - match: {{ path_prefix: /two/ }}
        forward: true
        targets: [{{ address: '127.0.0.1:{two}' }}]
"
    ))
}

/// Sends every vector through a route, each on a connection of its own.
fn send_all(port: u16, route: &str) -> Vec<Sent> {
    let (over1, over2) = (vectors::http1(), frames::vectors());
    thread::scope(|scope| {
        let mut sending = Vec::new();
        for (number, vector) in (FIRST..).zip(&over1) {
            let named = thread::Builder::new().name(vector.name.to_owned());
            let send = move || {
                let mut socket = raw::connect(port);
                raw::send(&mut socket, fill(&vector.text, route, number).as_bytes());
                let status = status(&raw::until_closed(&mut socket));
                Sent { name: vector.name, number, outcome: vector.outcome, status }
            };
            sending.push(named.spawn_scoped(scope, send).unwrap());
        }
        for (number, vector) in (FIRST + over1.len()..).zip(&over2) {
            let named = thread::Builder::new().name(vector.name.to_owned());
            let send = move || {
                let ok = vector.send(port, &|text| fill(text, route, number));
                Sent { name: vector.name, number, outcome: vector.outcome, status: ok.then_some(200) }
            };
            sending.push(named.spawn_scoped(scope, send).unwrap());
        }
        sending.into_iter().map(|sent| sent.join().unwrap()).collect()
    })
}

/// The status of the first answer that is not provisional.
fn status(answers: &str) -> Option<u16> {
    let rest = answers.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answers);
    rest.split(' ').nth(1)?.parse().ok()
}

/// What is wrong about what a service saw of this.
fn judge(sent: &Sent, route: &str, seen: &[&Message]) -> Vec<String> {
    let first = format!("/{route}/v{}", sent.number);
    let hidden = format!("/{route}/smuggled-{}", sent.number);
    let mine = |message: &&&Message| message.target.starts_with(&first);
    let own: Vec<&&Message> = seen.iter().filter(mine).collect();
    let others: Vec<&&Message> = seen.iter().filter(|message| message.target == hidden).collect();
    let mut wrong = Vec::new();
    let mut expect = |so: bool, what: &str| {
        if !so {
            wrong.push(format!("{}: {what}: answered {:?}, seen {seen:?}", sent.name, sent.status));
        }
    };
    expect(own.len() <= 1, "it was seen twice");
    match sent.outcome {
        Outcome::Refused => {
            expect(sent.status.is_none_or(|status| status >= 400), "it was not refused");
            expect(own.iter().all(|message| !message.complete), "a whole request was seen");
            expect(others.is_empty(), "the hidden request was seen");
        }
        Outcome::Most => expect(others.is_empty(), "the hidden request was seen"),
        Outcome::Next => {
            expect(sent.status.is_some_and(|status| status >= 400), "it was not refused");
            expect(own.is_empty(), "it was seen");
            expect(others.len() == 1 && others[0].complete, "the second request was not seen whole");
        }
        Outcome::One | Outcome::Body => {
            expect(sent.status == Some(200), "it was refused");
            expect(own.len() == 1 && own[0].complete, "it was not seen whole");
            expect(others.is_empty(), "the hidden request was seen");
            let body =
                own.first().map_or(String::new(), |own| String::from_utf8_lossy(&own.body).into_owned());
            expect(sent.outcome == Outcome::One || body.contains(&hidden), "its body was not seen");
        }
        Outcome::Apart => {
            expect(sent.status == Some(200), "it was refused");
            expect(own.len() == 1 && own[0].complete, "it was not seen whole");
            expect(others.len() == 1 && others[0].complete, "the second request was not seen whole");
        }
    }
    wrong
}

/// What is wrong about a request, whichever it is: it lacks the proxy's word, or has a client's in its place, or says two
/// things about its length.
fn flaws(message: &Message) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |so: bool, what: &str| {
        if !so {
            wrong.push(format!("{what}: {message:?}"));
        }
    };
    expect(message.all("x-forwarded-for") == ["127.0.0.1"], "not the proxy's word on the client");
    let id = message.all("x-request-id");
    expect(id.len() == 1 && id[0] != "mine", "not the proxy's request id");
    expect(message.all("host").len() == 1, "not one host");
    let (lengths, codings) = (message.all("content-length"), message.all("transfer-encoding"));
    expect(lengths.len() + codings.len() <= 1, "two framings");
    expect(codings.iter().all(|coding| *coding == "chunked"), "a strange coding");
    expect(lengths.iter().all(|it| it.bytes().all(|digit| digit.is_ascii_digit())), "a strange length");
    expect(message.all("x-prism-principal").is_empty(), "a client speaks for the proxy");
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "http2-settings",
    ] {
        expect(message.all(name).is_empty(), name);
    }
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in &message.fields {
        expect(!name.is_empty() && name.chars().all(token), "a strange name");
        expect(!value.contains(['\r', '\n', '\0']), "a strange value");
    }
    wrong
}

/// Judges all that a service saw.
fn judge_all(sent: &[Sent], route: &str, seen: &[Message]) -> Vec<String> {
    let mut wrong: Vec<String> = seen.iter().flat_map(flaws).collect();
    let mut known = BTreeSet::new();
    for sent in sent {
        let targets = [format!("/{route}/v{}", sent.number), format!("/{route}/smuggled-{}", sent.number)];
        let mine: Vec<usize> = (0..seen.len())
            .filter(|index| targets.iter().any(|target| seen[*index].target.starts_with(target)))
            .collect();
        wrong.extend(judge(sent, route, &mine.iter().map(|index| &seen[*index]).collect::<Vec<_>>()));
        known.extend(mine);
    }
    let strange = seen.iter().enumerate().filter(|(index, _)| !known.contains(index));
    wrong.extend(strange.map(|(_, message)| format!("nobody's request: {message:?}")));
    let ids: BTreeSet<&str> = seen.iter().flat_map(|message| message.all("x-request-id")).collect();
    if ids.len() != seen.len() {
        wrong.push("two requests with one id".to_owned());
    }
    wrong
}

/// What every reading finds in these streams.
fn readings(streams: &[Vec<u8>]) -> Vec<Vec<Message>> {
    let read =
        |reading: reading::Reading| streams.iter().flat_map(|stream| reading.requests(stream)).collect();
    reading::all().into_iter().map(read).collect()
}

#[test]
fn no_service_sees_a_request_that_the_proxy_did_not() {
    let (one, two) = (Recorder::start(), H2c::start());
    let mut proxy = proxy(one.port, two.port);
    let port = proxy.port();
    let sent = ROUTES.map(|route| send_all(port, route));
    assert!(sent[0].len() >= 60, "{}", sent[0].len());
    proxy.process.signal(Signal::TERM);
    proxy.process.wait();

    let found = readings(&one.streams());
    let mut wrong = judge_all(&sent[0], ROUTES[0], &found[0]);
    for other in &found[1..] {
        if *other != found[0] {
            wrong.push(format!(
                "what was sent can be read in two ways: {:#?}",
                judge_all(&sent[0], ROUTES[0], other)
            ));
        }
    }
    wrong.extend(judge_all(&sent[1], ROUTES[1], &two.requests()));
    assert!(wrong.is_empty(), "{}\n{} in all", wrong.join("\n"), wrong.len());
}

/// What is left of a request that is answered before its end is no request, and is not waited for.
#[test]
fn an_answer_before_the_requests_end_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = listener.local_addr().unwrap().port();
    let hasty = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            let mut piece = [0; 1024];
            let length = socket.read(&mut piece).unwrap();
            assert!(length > 0, "the request should begin");
            seen.extend_from_slice(&piece[..length]);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        let _ = socket.read_to_end(&mut seen);
        String::from_utf8(seen).unwrap()
    });
    let proxy = proxy(service, service);
    let mut socket = raw::connect(proxy.port());
    raw::send(&mut socket, b"POST /one/v HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhello");
    let answer = raw::until_closed(&mut socket);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    wait::until("the log should say that the answer was whole", || {
        proxy.process.log().contains("\"code\":\"OK\",\"http_status\":200").then_some(())
    });
    let seen = hasty.join().unwrap();
    assert!(seen.starts_with("POST /one/v HTTP/1.1\r\n") && seen.ends_with("\r\n\r\nhello"), "{seen}");
}

/// The check itself: behind a relay that believes what it is told, it finds the hidden requests.
#[test]
fn the_check_finds_what_a_naive_relay_lets_through() {
    let service = Recorder::start();
    let vectors = vectors::http1();
    for (number, vector) in (FIRST..).zip(&vectors) {
        relay::pass(service.port, fill(&vector.text, ROUTES[0], number).as_bytes());
    }
    let found = readings(&service.streams());
    let smuggled: BTreeSet<&str> = (FIRST..)
        .zip(&vectors)
        .filter(|(number, vector)| {
            let hidden = format!("/{}/smuggled-{number}", ROUTES[0]);
            !matches!(vector.outcome, Outcome::Apart | Outcome::Next)
                && found.iter().flatten().any(|message| message.target == hidden)
        })
        .map(|(_, vector)| vector.name)
        .collect();
    for name in [
        "length that covers the hidden request, then chunked",
        "chunked, then length that covers the hidden request",
        "xchunked",
        "chunked, identity",
        "space before the colon",
        "vertical tab before chunked",
        "chunked twice over",
        "an underscore in the name",
    ] {
        assert!(smuggled.contains(name), "the check does not find `{name}`; it finds {smuggled:#?}");
    }
}
