//! prism-edge: over frames, over plain gRPC, and with the plugin in the same process; each with the whole chain
//! as far as it exists, with that chain and typed calls, and bare.

use super::{Peer, Setup, Site};
use crate::{
    call::{Call, Form},
    client::NAMESPACE,
    error::Error,
};
use prism_bench::echo;
use std::process::Command;

/// How the plugin is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Frames,
    Grpc,
    Builtin,
}

/// Where typed calls are compared with `Execute`. One shape: what they cost above it is work per call, which is the
/// same in every shape of small calls and largest beside the rest where many calls share a turn.
const TYPED_AT: &str = "4x32";

/// A typed peer follows the one that it is compared with: neighbours are visited one right after the other, but for the
/// two that a round's turn parts.
pub(super) const PEERS: [Peer; 9] = [
    Peer {
        name: "prism-frames",
        about: "prism-edge, SDK sidecar over frames; trace, metrics, access log to a file",
        only_at: None,
        setup: |site| setup(site, Way::Frames, true),
    },
    Peer {
        name: "prism-frames-typed",
        about: "prism-frames, called by the plugin's own typed method; at 4x32 only",
        only_at: Some(TYPED_AT),
        setup: |site| typed(site, Way::Frames),
    },
    Peer {
        name: "prism-frames-bare",
        about: "prism-edge, SDK sidecar over frames; plugin_dispatch only",
        only_at: None,
        setup: |site| setup(site, Way::Frames, false),
    },
    Peer {
        name: "prism-grpc",
        about: "prism-edge, sidecar over plain gRPC; trace, metrics, access log to a file",
        only_at: None,
        setup: |site| setup(site, Way::Grpc, true),
    },
    Peer {
        name: "prism-grpc-typed",
        about: "prism-grpc, called by the plugin's own typed method; at 4x32 only",
        only_at: Some(TYPED_AT),
        setup: |site| typed(site, Way::Grpc),
    },
    Peer {
        name: "prism-grpc-bare",
        about: "prism-edge, sidecar over plain gRPC; plugin_dispatch only",
        only_at: None,
        setup: |site| setup(site, Way::Grpc, false),
    },
    Peer {
        name: "prism-builtin",
        about: "prism-edge, plugin in the same process; trace, metrics, access log to a file",
        only_at: None,
        setup: |site| setup(site, Way::Builtin, true),
    },
    Peer {
        name: "prism-builtin-typed",
        about: "prism-builtin, called by the plugin's own typed method; at 4x32 only",
        only_at: Some(TYPED_AT),
        setup: |site| typed(site, Way::Builtin),
    },
    Peer {
        name: "prism-builtin-bare",
        about: "prism-edge, plugin in the same process; plugin_dispatch only",
        only_at: None,
        setup: |site| setup(site, Way::Builtin, false),
    },
];

fn setup(site: &Site<'_>, way: Way, full: bool) -> Result<Setup, Error> {
    let config = site.write("prism.yaml", &config(site, way, full))?;
    let program = if way == Way::Builtin { &site.programs.edge } else { &site.programs.prism_edge };
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let call = Call {
        unary: "/prism.data.v1.DataService/Execute".to_owned(),
        stream: Some("/prism.data.v1.DataService/ExecuteStream"),
        headers: vec![("x-prism-namespace", NAMESPACE.to_owned())],
        form: Form::Execute,
    };
    Ok(Setup { proxy: Some(command), plugin: way != Way::Builtin, address: site.address(), call })
}

/// The whole chain, and the same echo called by its typed method, which streams nothing.
fn typed(site: &Site<'_>, way: Way) -> Result<Setup, Error> {
    let setup = setup(site, way, true)?;
    let call = Call {
        unary: format!("/{}", echo::METHOD),
        stream: None,
        form: Form::Typed,
        headers: setup.call.headers,
    };
    Ok(Setup { call, ..setup })
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
