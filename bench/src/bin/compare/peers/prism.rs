//! prism-edge: over frames, over plain gRPC, and with the plugin in the same process; each with the whole chain
//! as far as it exists, with that chain and typed calls, and bare; and over frames secured.

use super::{Peer, SECURED_AT, Setup, Site};
use crate::{
    call::{Call, Form},
    client::NAMESPACE,
    error::{Error, io},
    issuer::{self, AUDIENCE, GROUP, ISSUER, Issuer},
    proof::{Receipt, bearer},
};
use prism_bench::echo;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

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
pub(super) const PEERS: [Peer; 11] = [
    Peer {
        name: "prism-frames",
        about: "prism-edge, SDK sidecar over frames; trace, metrics, access log to a file",
        only_at: None,
        setup: |site| setup(site, Way::Frames, FULL, ""),
    },
    Peer {
        name: "prism-frames-typed",
        about: "prism-frames, called by the plugin's own typed method; at 4x32 only",
        only_at: Some(TYPED_AT),
        setup: |site| typed(site, Way::Frames),
    },
    Peer {
        name: "prism-frames-secured",
        about: "prism-edge, SDK sidecar over frames; trace, metrics, audit, auth (JWT, ES256, cached token), authz by principal and group; at 4x32 only",
        only_at: Some(SECURED_AT),
        setup: |site| secured(site, "off"),
    },
    Peer {
        name: "prism-frames-secured-logged",
        about: "prism-frames-secured, which writes each call into an access log too; at 4x32 only",
        only_at: Some(SECURED_AT),
        setup: |site| secured(site, "access.log"),
    },
    Peer {
        name: "prism-frames-bare",
        about: "prism-edge, SDK sidecar over frames; plugin_dispatch only",
        only_at: None,
        setup: |site| setup(site, Way::Frames, BARE, ""),
    },
    Peer {
        name: "prism-grpc",
        about: "prism-edge, sidecar over plain gRPC; trace, metrics, access log to a file",
        only_at: None,
        setup: |site| setup(site, Way::Grpc, FULL, ""),
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
        setup: |site| setup(site, Way::Grpc, BARE, ""),
    },
    Peer {
        name: "prism-builtin",
        about: "prism-edge, plugin in the same process; trace, metrics, access log to a file",
        only_at: None,
        setup: |site| setup(site, Way::Builtin, FULL, ""),
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
        setup: |site| setup(site, Way::Builtin, BARE, ""),
    },
];

/// The filters of a peer that does what users have it do.
const FULL: &str = "[{ trace: { access_log: { path: access.log } } }, plugin_dispatch]";
/// Of one that passes calls on and nothing else.
const BARE: &str = "[plugin_dispatch]";

/// A proxy with these filters, and a namespace with these settings more.
fn setup(site: &Site<'_>, way: Way, filters: &str, access: &str) -> Result<Setup, Error> {
    let config = site.write("prism.yaml", &config(site, way, filters, access))?;
    let program = if way == Way::Builtin { &site.programs.edge } else { &site.programs.prism_edge };
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let call = Call {
        unary: "/prism.data.v1.DataService/Execute".to_owned(),
        stream: Some("/prism.data.v1.DataService/ExecuteStream"),
        headers: vec![("x-prism-namespace", NAMESPACE.to_owned())],
        form: Form::Execute,
    };
    Ok(Setup {
        proxy: Some(command),
        plugin: way != Way::Builtin,
        address: site.address(),
        call,
        receipt: None,
    })
}

/// The whole chain, and the same echo called by its typed method, which streams nothing.
fn typed(site: &Site<'_>, way: Way) -> Result<Setup, Error> {
    let setup = setup(site, way, FULL, "")?;
    let call = Call {
        unary: format!("/{}", echo::METHOD),
        stream: None,
        form: Form::Typed,
        headers: setup.call.headers,
    };
    Ok(Setup { call, ..setup })
}

/// The chain of [`FULL`], and in it who calls, whether they may, and that it is written down: in the audit log, and in this one.
fn secured(site: &Site<'_>, access_log: &str) -> Result<Setup, Error> {
    let issuer = Issuer::of_this_run()?;
    site.write("keys.json", &issuer.jwks)?;
    let key = site.write("audit.key", &issuer::audit_key()?)?;
    // Others may not read it, or it is refused.
    io(format!("protect {}", key.display()), fs::set_permissions(&key, Permissions::from_mode(0o600)))?;
    let filters = format!(
        "[{{ trace: {{ access_log: {{ path: {access_log} }} }} }}, {{ audit: {{ dir: audit, key: audit.key }} }}, \
         {{ auth: {{ jwt: {{ issuer: {ISSUER}, audiences: [{AUDIENCE}], jwks: {{ file: keys.json }} }} }} }}, authz, plugin_dispatch]"
    );
    let access = format!(
        "access: [{{ principal: \"jwt:{ISSUER}:load-*\", claims: {{ groups: {GROUP} }}, permissions: [read] }}], "
    );
    let mut setup = setup(site, Way::Frames, &filters, &access)?;
    setup.call.headers.push(bearer(&issuer.token));
    Ok(Setup { receipt: Some(Receipt::Audit(site.folder.join("audit"))), ..setup })
}

/// Metrics have no switch: they are always on. Limits of messages and streams are raised as far as the
/// workloads need.
fn config(site: &Site<'_>, way: Way, filters: &str, access: &str) -> String {
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
namespaces: [{{ name: {NAMESPACE}, backend: echo, plugin: echo, {access}limits: {{ max_message_bytes: 64MiB }} }}]
",
        admin = site.spare,
        port = site.port,
    )
}
