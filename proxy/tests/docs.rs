//! The guides in docs/ say what is so: their code is compiled and run, their configurations are valid, and no
//! metric, refusal, log field or endpoint is missing from docs/operate.md.
//!
//! The guide for filter authors shows pieces of `proxy/examples/`, which this test includes with its own tests; the
//! one for plugin authors pieces of the crate `plugins/numbers`.

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, unreachable_pub, reason = "a program of its own, of which only parts are used here")]
#[path = "../examples/maintenance.rs"]
mod maintenance;

use maintenance::Maintenance;
use numbers::Numbers;
use prism_config::Source;
use prism_edge::{Builtins, Options, config_registry, run_on_threads};
use prism_filters::{
    Reason, Registry, Rejection,
    auth::jwks::Keys,
    metrics::{Metrics, PluginCounts, PluginReport},
    registry,
};
use prism_platform::Platform;
use prism_plugin_sdk::{
    Hosted,
    abi::{self, CustomMetrics},
    server::{Address, ServeOptions, serve},
    testing::free_port,
};
use prism_tls::{
    ClientAuth, ServerFiles, ServerTls,
    testing::{Authority, Folder},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime},
};
use tokio::sync::oneshot;

const GUIDES: [&str; 8] = [
    "operate.md",
    "clients.md",
    "browsers.md",
    "redis.md",
    "write-a-filter.md",
    "plugins.md",
    "audit.md",
    "security.md",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a guide that are marked with `language`.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let text = read(Path::new("docs").join(guide));
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(marked) = line.strip_prefix("```") else { continue };
        let body: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|l| [l, "\n"]).collect();
        if marked == language {
            blocks.push(body);
        }
    }
    blocks
}

fn filters() -> Registry {
    registry::builtin().with::<Maintenance>()
}

#[test]
fn the_code_of_the_guides_is_that_of_the_examples() {
    let filter = ["proxy/examples/maintenance.rs"];
    let plugin = ["src/lib.rs", "src/main.rs", "build.rs", "tests/numbers.rs", "tests/settings.rs"]
        .map(|file| format!("plugins/numbers/{file}"));
    shows("write-a-filter.md", "rust", &filter);
    shows("plugins.md", "rust", &plugin);
    shows("plugins.md", "protobuf", &["plugins/numbers/proto/numbers/v1/numbers.proto"]);
}

/// Every block of that language stands in one of these files.
fn shows(guide: &str, language: &str, files: &[impl AsRef<Path>]) {
    let sources: Vec<String> = files.iter().map(read).collect();
    let blocks = blocks(guide, language);
    assert!(blocks.len() >= files.len(), "{guide} has only {} blocks of {language}", blocks.len());
    for block in blocks {
        let found = sources.iter().any(|source| source.contains(&block));
        assert!(found, "docs/{guide} has what its example has not:\n{block}");
    }
}

#[test]
fn the_configurations_of_the_guides_are_valid() {
    let registry = config_registry(&filters(), &Builtins::standard());
    let mut seen = 0;
    for guide in GUIDES {
        for text in blocks(guide, "yaml") {
            let source = Source { name: guide.to_owned(), text, base_dir: PathBuf::from(".") };
            if let Err(problems) = prism_config::parse(&source, &registry) {
                panic!("docs/{guide}: {problems}\nin\n{}", source.text);
            }
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn the_plugins_manifest_names_the_versions_that_are_built_here() {
    let workspace = read("Cargo.toml");
    let manifests = blocks("plugins.md", "toml");
    let dependencies =
        manifests.iter().flat_map(|text| text.split("dependencies]").skip(1)).flat_map(str::lines);
    let mut seen = 0;
    for line in dependencies {
        let Some((name, requirement)) = line.split_once(" = ") else { continue };
        if requirement.contains("path = ") {
            continue;
        }
        let version = requirement.split('"').nth(1).unwrap();
        let ours = workspace.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        let ours = ours.unwrap_or_else(|| panic!("{name} is no dependency of the workspace"));
        let ours = ours.split('"').nth(1).unwrap();
        assert!(ours == version || ours.starts_with(&format!("{version}.")), "{name}: {version}, not {ours}");
        seen += 1;
    }
    assert!(seen > 3, "{seen}");
}

#[tokio::test]
async fn every_metric_is_described() {
    let guide = read("docs/operate.md");
    let metrics = Metrics::new().unwrap();
    // Families without a series are not rendered.
    let _ = metrics.listener("edge");
    let _ = metrics.authz_shadow_denied("edge");
    let _ = metrics.admin_refused("host");
    let _ = metrics.namespace("demo");
    let _ = metrics.audit("audit");
    let _ = metrics.authz_external("edge");
    let custom = CustomMetrics::new().counter("evictions", 1.0).gauge("depth", 1.0);
    let said = abi::Metrics { custom, interval_start_ns: 1, ..Default::default() };
    let counts = PluginCounts { metrics: &said, cache_hit_ratio: Some(0.5), left_out: 0 };
    let demo = PluginReport {
        namespace: "demo",
        plugin: "memory",
        up: true,
        failed_polls: 0,
        long_polls: Some(0),
        remote: Some(prism_filters::metrics::RemoteReport { endpoints: 2, serving: 1, failed_renewals: 0 }),
        counts: Some(counts),
    };
    let (folder, authority) = (Folder::new(), Authority::new());
    let clients = ClientAuth::Required(folder.write("ca.crt", &authority.pem()));
    let files =
        ServerFiles::new(folder.identity("edge", &authority.identity(&["edge.test"], |_| {})), clients);
    let list = authority.revoked(&[], SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32));
    let files = ServerFiles { crls: vec![folder.write("ca.crl", &list)], ..files };
    let tls = Arc::new(ServerTls::load(files, &[]).unwrap());
    metrics.set_listener_tls(&"edge".into(), Some(&tls));
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let settings = format!(r#"{{"file":"{}"}}"#, folder.write("keys.json", key).display());
    let keys =
        Keys::open(&serde_json::from_str(&settings).unwrap(), &Platform::system(), Path::new("/"), None);
    let keys = keys.unwrap();
    metrics.add_keys("edge", "https://id.example", &keys);
    let text = metrics.render(&[demo]).unwrap();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name)
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        assert!(guide.contains(&format!("| `{name}` |")), "docs/operate.md does not describe {name}");
    }
    for described in guide.lines().filter_map(|line| line.strip_prefix("| `prism_")?.split_once('`')) {
        let name = format!("prism_{}", described.0);
        assert!(names.contains(&&*name), "docs/operate.md describes {name}, which there is not");
    }
}

#[test]
fn every_refusal_is_described_with_its_codes() {
    let guide = read("docs/operate.md");
    for reason in Reason::ALL {
        let refusal = Rejection::new(*reason, "");
        // `Unimplemented` as the name on the wire, `UNIMPLEMENTED`.
        let code = format!("{:?}", refusal.code());
        let code = code.chars().enumerate().fold(String::new(), |mut name, (at, letter)| {
            if at > 0 && letter.is_uppercase() {
                name.push('_');
            }
            name.extend(letter.to_uppercase());
            name
        });
        let row = format!("| `{reason}` | {code} | {} | ", refusal.http_status().as_u16());
        assert!(guide.contains(&row), "docs/operate.md has no row that begins with\n{row}");
    }
    let rows = guide.lines().filter(|line| {
        let name = line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
        name.is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    });
    assert_eq!(rows.count(), Reason::ALL.len(), "docs/operate.md describes a refusal that there is not");
}

/// The headings of a file, as links name them.
fn headings(file: &Path) -> Vec<String> {
    let titles = read(file);
    let titles = titles.lines().filter(|line| line.starts_with('#'));
    let titles = titles.filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    titles.map(|title| title.to_lowercase().replace(' ', "-").replace([',', '.', '`'], "")).collect()
}

#[test]
fn links_lead_somewhere() {
    for guide in GUIDES {
        let own = Path::new("docs").join(guide);
        let text = read(&own);
        for (target, _) in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            // Other people's sites are asked by nobody.
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { own.clone() } else { Path::new("docs").join(file) };
            assert!(repository().join(&file).exists(), "docs/{guide}: {target}");
            assert!(
                heading.is_empty() || headings(&file).iter().any(|other| other == heading),
                "docs/{guide}: {target}"
            );
        }
    }
}

/// The example filter and the example plugin, both in one proxy, called from outside.
struct Scene {
    port: u16,
    admin: u16,
    stop: Vec<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("numbers.sock");
        let (port, admin) = (free_port(), free_port());
        let (stop_plugin, plugin_stopped) = oneshot::channel::<()>();
        let options = ServeOptions { address: Address::Unix(socket.clone()), ..ServeOptions::default() };
        let plugin = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let served =
                serve(Arc::new(Hosted::<Numbers>::new()), options, async { drop(plugin_stopped.await) });
            runtime.block_on(served).unwrap();
        });
        let text = format!(
            "
admin: {{ address: '127.0.0.1:{admin}', ready: all }}
workers: 1
listeners:
  - name: edge
    address: 127.0.0.1:{port}
    filters:
      - trace: {{ access_log: {{ path: access.log }} }}
      - maintenance: {{ namespaces: [tickets], operations: [take] }}
      - plugin_dispatch
plugins: [{{ name: numbers, type: sidecar, socket: numbers.sock }}]
namespaces:
  - {{ name: orders, backend: numbers, config: {{ first: 7, last: 7 }} }}
  - {{ name: tickets, backend: numbers }}
"
        );
        let options = Options {
            platform: Platform::system(),
            filters: filters(),
            builtins: Builtins::standard(),
            source: Source { name: "docs".to_owned(), text, base_dir: folder.path().to_owned() },
            file: None,
            admin: true,
        };
        let (stop_proxy, proxy_stopped) = oneshot::channel::<()>();
        let (started, serving) = mpsc::channel();
        let proxy = thread::spawn(move || {
            let ran = run_on_threads(options, move |_| {
                started.send(()).unwrap();
                async { drop(proxy_stopped.await) }
            });
            ran.unwrap();
        });
        serving.recv_timeout(Duration::from_secs(30)).expect("the proxy starts");
        let stop = vec![stop_proxy, stop_plugin];
        let scene = Self { port, admin, stop, threads: vec![proxy, plugin], folder };
        for _ in 0..300 {
            if exchange(scene.admin, "GET", "/ready").0 == 200 {
                return scene;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the plugin does not serve: {}", exchange(scene.admin, "GET", "/namespaces").1);
    }

    fn call(&self, path: &str) -> (u16, String) {
        exchange(self.port, "POST", path)
    }

    /// Ends both and waits for them: the log is complete then.
    fn end(self) -> tempfile::TempDir {
        for stop in self.stop {
            stop.send(()).unwrap();
        }
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.folder
    }
}

/// One request over HTTP/1.1: the answer's status, and its head and body.
fn exchange(port: u16, method: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\
         content-type: application/octet-stream\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), answer)
}

#[test]
fn the_examples_work_in_a_proxy() {
    let scene = Scene::start();
    let (status, taken) = scene.call("/v1/orders/take");
    assert!(status == 200 && taken.ends_with("\r\n\r\n7"), "{taken}");
    let (status, over) = scene.call("/v1/orders/take");
    assert!(status == 429 && over.contains("7 was the last number"), "{over}");
    let (status, stream) = scene.call("/v1/orders/follow");
    assert!(status == 501 && stream.contains("WRONG_METHOD"), "{stream}");

    let (status, refused) = scene.call("/v1/tickets/take");
    assert!(status == 503 && refused.contains("REFUSED_BY_FILTER"), "{refused}");
    assert!(refused.contains("retry-after: 30"), "{refused}");
    let (status, read) = scene.call("/v1/tickets/peek");
    assert!(status == 200 && read.contains("x-maintenance: read-only"), "{read}");
    drop(scene.end());
}

#[test]
fn every_log_field_and_endpoint_is_described() {
    let guide = read("docs/operate.md");
    let scene = Scene::start();
    scene.call("/v1/orders/take");
    scene.call("/v1/nobody/take");
    for endpoint in ["/healthz", "/ready", "/metrics", "/config", "/namespaces", "/plugins", "/audit"] {
        let (status, _) = exchange(scene.admin, "GET", endpoint);
        assert_eq!(status, 200, "{endpoint}");
        assert!(guide.contains(&format!("| `GET {endpoint}` |")), "docs/operate.md lacks {endpoint}");
    }
    let folder = scene.end();
    let lines = fs::read_to_string(folder.path().join("access.log")).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for line in lines.lines() {
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        for field in line.keys() {
            assert!(guide.contains(&format!("| `{field}` |")), "docs/operate.md does not describe `{field}`");
        }
    }
}
