//! One table: whatever people call with, they set, get and watch the same.

use base64::{Engine, prelude::BASE64_STANDARD};
use prism_tests::{DEMO, Example, Process, Proxy, tools, wait};
use serde_json::{Deserializer, Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// A program that somebody has at hand.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// `grpcio`, grpc-go, tonic.
    Example(Example),
    /// With what the listener says of itself, and no file.
    Grpcurl,
    /// By this option, which must come to this version of HTTP, with streams in this form.
    Curl { option: &'static str, version: &'static str, stream: &'static str },
}

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

const TABLE: [Client; 9] = [
    Client::Example(Example::Python),
    Client::Example(Example::Go),
    Client::Example(Example::Rust),
    Client::Grpcurl,
    Client::Curl { option: "--http1.1", version: "1.1", stream: LINES },
    Client::Curl { option: "--http1.1", version: "1.1", stream: EVENTS },
    // In clear it asks for an upgrade, which a server may leave alone (RFC 9110, section 7.8: "A server MAY ignore a
    // received Upgrade header field if it wishes to continue using the current protocol on that connection").
    Client::Curl { option: "--http2", version: "1.1", stream: LINES },
    Client::Curl { option: "--http2-prior-knowledge", version: "2", stream: LINES },
    Client::Curl { option: "--http2-prior-knowledge", version: "2", stream: EVENTS },
];

/// What happened to a key: `PUT` or `DELETE`, the key, the value.
type Event = (String, String, String);

impl Client {
    /// An operation with these parameters, in JSON for who speaks that and as arguments for the examples.
    fn command(self, port: u16, operation: &str, parameters: &Value, arguments: &[&str]) -> Command {
        match self {
            Self::Example(example) => {
                let arguments = [&[operation], arguments].concat();
                example.command(port, 30.0, &arguments)
            }
            Self::Grpcurl => {
                let method = operation[..1].to_uppercase() + &operation[1..];
                let mut grpcurl = Command::new(tools::tool("grpcurl"));
                grpcurl.args([
                    "-plaintext",
                    "-emit-defaults",
                    "-H",
                    "x-prism-namespace: demo",
                    "-d",
                    &parameters.to_string(),
                ]);
                grpcurl.args([format!("127.0.0.1:{port}"), format!("prism.kv.v1.KeyValueService/{method}")]);
                grpcurl.env("no_proxy", "*");
                grpcurl
            }
            Self::Curl { option, stream, .. } => {
                let mut curl = Command::new(tools::tool("curl"));
                curl.args(["-sS", "--no-buffer", "--fail-with-body", "--noproxy", "*", option]);
                curl.args(["-H", "content-type: application/json", "-d", &parameters.to_string()]);
                if operation == "watch" {
                    curl.args(["-H", &format!("accept: {stream}")]);
                } else {
                    // On standard error, away from the answer.
                    curl.args(["-w", "%{stderr}HTTP/%{http_version}"]);
                }
                curl.arg(format!("http://127.0.0.1:{port}/v1/demo/{operation}"));
                curl
            }
        }
    }

    /// Runs an operation; what it printed as its answer, and whether it succeeded.
    fn run(self, proxy: &Proxy, operation: &str, parameters: &Value, arguments: &[&str]) -> (String, bool) {
        let output = tools::output(&mut self.command(proxy.port(), operation, parameters, arguments));
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        if let Self::Curl { version, .. } = self {
            assert_eq!(stderr, format!("HTTP/{version}"), "{self:?}: {stdout}");
        }
        if !output.status.success() {
            // The one failure that is an answer, by the programs that have an exit code for it.
            assert_eq!(stderr, "no such key\n", "{self:?}: {stdout}");
        }
        (stdout, output.status.success())
    }

    /// Whether the value was stored.
    fn set(self, proxy: &Proxy, key: &str, value: &str) -> bool {
        let parameters = json!({ "key": key, "value": BASE64_STANDARD.encode(value) });
        let (said, _) = self.run(proxy, "set", &parameters, &[key, value]);
        match self {
            Self::Example(_) => said == "applied\n",
            _ => json(&said)["applied"] == true,
        }
    }

    /// The value, where there is one.
    fn get(self, proxy: &Proxy, key: &str) -> Option<String> {
        let (said, found) = self.run(proxy, "get", &json!({ "key": key }), &[key]);
        match self {
            Self::Example(_) => found.then(|| said.strip_suffix('\n').unwrap().to_owned()),
            _ => {
                let answer = json(&said);
                (answer["found"] == true).then(|| bytes(&answer["value"]))
            }
        }
    }

    fn watch(self, proxy: &Proxy, prefix: &str, folder: &Path, number: usize) -> Watch {
        let stdout = folder.join(format!("{number}.out"));
        let mut command = self.command(proxy.port(), "watch", &json!({ "prefix": prefix }), &[prefix]);
        command.stdout(File::create(&stdout).unwrap());
        let log = folder.join(format!("{number}.err"));
        let process = Process::spawn_with_stdout(format!("{self:?}"), &mut command, &log);
        Watch { client: self, process, stdout }
    }
}

/// A watch under way.
struct Watch {
    client: Client,
    process: Process,
    stdout: PathBuf,
}

impl Watch {
    /// What it has seen so far. The last line may be on its way.
    fn events(&mut self) -> Vec<Event> {
        assert!(self.process.ended().is_none(), "{:?} ended: {}", self.client, self.process.log());
        let text = fs::read_to_string(&self.stdout).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        match self.client {
            Client::Example(_) => whole.lines().map(words).collect(),
            Client::Grpcurl => {
                let messages = Deserializer::from_str(whole).into_iter::<Value>();
                messages.map_while(Result::ok).map(|message| event(&message)).collect()
            }
            Client::Curl { stream: LINES, .. } => {
                whole.lines().map(|line| event(&json(line)["result"])).collect()
            }
            Client::Curl { .. } => {
                let data = whole.lines().filter_map(|line| line.strip_prefix("data:"));
                data.map(|data| event(&json(data)["result"])).collect()
            }
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Bytes as protobuf's JSON has them.
fn bytes(value: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
}

fn event(message: &Value) -> Event {
    let text = |name: &str| message[name].as_str().unwrap_or_else(|| panic!("{message}")).to_owned();
    (text("kind"), text("key"), bytes(&message["value"]))
}

fn words(line: &str) -> Event {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let [kind, key, value] = words[..] else { panic!("{line}") };
    (kind.to_owned(), key.to_owned(), value.to_owned())
}

/// Every one of them watches while every one of them sets and gets.
#[test]
fn whatever_it_is_called_with_it_sets_gets_and_watches() {
    let proxy = Proxy::start(DEMO);
    let folder = tempfile::tempdir().unwrap();
    let mut watches: Vec<_> = TABLE
        .into_iter()
        .enumerate()
        .map(|(number, client)| client.watch(&proxy, "table/", folder.path(), number))
        .collect();
    // A watch is open when it sees something.
    let curl = Client::Curl { option: "--http1.1", version: "1.1", stream: LINES };
    for watch in &mut watches {
        wait::until("the watch should open", || {
            assert!(curl.set(&proxy, "table/open", "yet?"));
            watch.events().contains(&("PUT".into(), "table/open".into(), "yet?".into())).then_some(())
        });
    }

    let mut happened = Vec::new();
    for (number, client) in TABLE.into_iter().enumerate() {
        let (key, value) = (format!("table/{number}"), format!("of {client:?}, ü"));
        assert_eq!(client.get(&proxy, &key), None, "{client:?}");
        assert!(client.set(&proxy, &key, &value), "{client:?}");
        assert_eq!(client.get(&proxy, &key).as_ref(), Some(&value), "{client:?}");
        happened.push(("PUT".to_owned(), key, value));
    }
    let keys: Vec<_> = happened.iter().map(|(_, key, _)| key.clone()).collect();
    let (said, _) = curl.run(&proxy, "delete", &json!({ "keys": keys }), &[]);
    assert_eq!(json(&said)["deleted"], TABLE.len().to_string());
    happened.extend(keys.into_iter().map(|key| ("DELETE".to_owned(), key, String::new())));

    for watch in &mut watches {
        let seen = wait::until("the watch should see everything", || {
            let mut events = watch.events();
            events.retain(|(_, key, _)| key != "table/open");
            (events.len() >= happened.len()).then_some(events)
        });
        assert_eq!(seen, happened, "{:?}", watch.client);
    }
}
