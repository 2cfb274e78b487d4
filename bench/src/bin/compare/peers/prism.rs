//! prism-edge: over frames, over plain gRPC, and with the plugin in the same process; each with the whole chain
//! as far as it exists, and bare.

use super::{Peer, Setup, Site};
use crate::{
    client::{Call, NAMESPACE},
    error::Error,
};
use std::process::Command;

/// How the plugin is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Frames,
    Grpc,
    Builtin,
}

/// Where typed calls are held against `Execute`.
const TYPED: Option<&str> = Some("4x32");

pub(super) const PEERS: [Peer; 9] = [
    Peer {
        name: "prism-frames",
        about: "prism-edge, SDK sidecar over frames; trace, metrics, access log to a file",
        setup: |site| setup(site, Way::Frames, true, false),
        only: None,
    },
    Peer {
        name: "prism-frames-bare",
        about: "prism-edge, SDK sidecar over frames; plugin_dispatch only",
        setup: |site| setup(site, Way::Frames, false, false),
        only: None,
    },
    Peer {
        name: "prism-grpc",
        about: "prism-edge, sidecar over plain gRPC; trace, metrics, access log to a file",
        setup: |site| setup(site, Way::Grpc, true, false),
        only: None,
    },
    Peer {
        name: "prism-grpc-bare",
        about: "prism-edge, sidecar over plain gRPC; plugin_dispatch only",
        setup: |site| setup(site, Way::Grpc, false, false),
        only: None,
    },
    Peer {
        name: "prism-builtin",
        about: "prism-edge, plugin in the same process; trace, metrics, access log to a file",
        setup: |site| setup(site, Way::Builtin, true, false),
        only: None,
    },
    Peer {
        name: "prism-builtin-bare",
        about: "prism-edge, plugin in the same process; plugin_dispatch only",
        setup: |site| setup(site, Way::Builtin, false, false),
        only: None,
    },
    Peer {
        name: "prism-frames-typed",
        about: "prism-frames by a typed method instead of Execute",
        setup: |site| setup(site, Way::Frames, true, true),
        only: TYPED,
    },
    Peer {
        name: "prism-grpc-typed",
        about: "prism-grpc by a typed method instead of Execute",
        setup: |site| setup(site, Way::Grpc, true, true),
        only: TYPED,
    },
    Peer {
        name: "prism-builtin-typed",
        about: "prism-builtin by a typed method instead of Execute",
        setup: |site| setup(site, Way::Builtin, true, true),
        only: TYPED,
    },
];

/// The path of the echo's typed method (`prism_bench::echo::METHOD`).
const TYPED_PATH: &str = "/bench.v1.Echo/Echo";

fn setup(site: &Site<'_>, way: Way, full: bool, typed: bool) -> Result<Setup, Error> {
    let config = site.write("prism.yaml", &config(site, way, full))?;
    let program = if way == Way::Builtin { &site.programs.edge } else { &site.programs.prism_edge };
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let call = Call {
        unary: if typed { TYPED_PATH } else { "/prism.data.v1.DataService/Execute" },
        stream: "/prism.data.v1.DataService/ExecuteStream",
        headers: vec![("x-prism-namespace", NAMESPACE.to_owned())],
        typed,
    };
    Ok(Setup { proxy: Some(command), plugin: way != Way::Builtin, address: site.address(), call })
}

/// Metrics have no switch: they are always on. Limits of messages and streams are raised as far as the
/// workloads need.
fn config(site: &Site<'_>, way: Way, full: bool) -> String {
    let filters = if full {
        "[{ trace: { access_log: { path: access.log } } }, plugin_dispatch]"
    } else {
        "[plugin_dispatch]"
    };
    let plugin = match way {
        Way::Builtin => "{ name: echo, type: builtin }".to_owned(),
        Way::Frames => {
            format!("{{ name: echo, type: sidecar, socket: {}, transport: frames }}", site.plugin.display())
        }
        Way::Grpc => {
            format!("{{ name: echo, type: sidecar, socket: {}, transport: grpc }}", site.plugin.display())
        }
    };
    format!(
        "admin: {{ address: 127.0.0.1:{admin}, socket: ./admin.sock }}
listeners:
  - name: edge
    address: 127.0.0.1:{port}
    filters: {filters}
workers: 1
plugins: [{plugin}]
namespaces: [{{ name: {NAMESPACE}, backend: echo, plugin: echo, limits: {{ max_message_bytes: 64MiB }} }}]
",
        admin = site.spare,
        port = site.port,
    )
}
