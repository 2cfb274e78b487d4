//! Envoy: the router alone, and with the filters that match prism-edge's chain.

use super::{Peer, Setup, Site, programs::needed};
use crate::error::Error;
use std::process::Command;

pub(super) const PEERS: [Peer; 2] = [
    Peer {
        name: "envoy",
        about: "Envoy, one worker, router only, no access log",
        only_at: None,
        setup: |site| setup(site, false),
    },
    Peer {
        name: "envoy-filters",
        about: "Envoy with jwt_authn (cached token), rbac and local_ratelimit before the router",
        only_at: None,
        setup: |site| setup(site, true),
    },
];

/// An HS256 token of issuer, audience and subject `compare`, valid until the year 2100, made with [`KEY`]. Both
/// exist for this comparison alone.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImNvbXBhcmUiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJjb21wYXJlIiwiYXVkIjoiY29tcGFyZSIsInN1YiI6ImNvbXBhcmUiLCJleHAiOjQxMDI0NDQ4MDB9.k_l95zzo1NJjcOfOO2d8tZIn4kSTSN5Z-PBSEtPv4tE";
/// 32 octets, in base64url.
const KEY: &str = "wGOY0z522WrsafU6G1DbtAIc_Uvrk2tTIyPRcrUVSkg";

fn setup(site: &Site<'_>, filters: bool) -> Result<Setup, Error> {
    let chain = if filters { chain() } else { String::new() };
    let config = site.write("envoy.yaml", &config(site.port, &site.plugin.display().to_string(), &chain))?;
    let mut command = Command::new(needed(&site.programs.envoy, "envoy")?);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]).arg(config);
    let mut setup = site.pass_through(command);
    if filters {
        setup.call.headers.push(("authorization", format!("Bearer {TOKEN}")));
    }
    Ok(setup)
}

/// The limit of a billion tokens a second is never reached: what is measured is the asking.
fn chain() -> String {
    format!(
        r#"
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                compare:
                  issuer: compare
                  audiences: [compare]
                  local_jwks:
                    inline_string: '{{"keys":[{{"kty":"oct","alg":"HS256","kid":"compare","k":"{KEY}"}}]}}'
                  payload_in_metadata: claims
                  jwt_cache_config: {{ jwt_cache_size: 100 }}
              rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: compare }} }}]
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  compare:
                    permissions: [{{ url_path: {{ path: {{ prefix: /prism.plugin.BackendPlugin/ }} }} }}]
                    principals:
                      - metadata:
                          filter: envoy.filters.http.jwt_authn
                          path: [{{ key: claims }}, {{ key: sub }}]
                          value: {{ string_match: {{ exact: compare }} }}
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: compare
              token_bucket: {{ max_tokens: 1000000000, tokens_per_fill: 1000000000, fill_interval: 1s }}
              filter_enabled: {{ default_value: {{ numerator: 100 }} }}
              filter_enforced: {{ default_value: {{ numerator: 100 }} }}"#
    )
}

fn config(port: u16, plugin: &str, chain: &str) -> String {
    format!(
        r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          codec_type: HTTP2
          generate_request_id: false
          stream_idle_timeout: 0s
          http_filters:{chain}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{ match: {{ prefix: / }}, route: {{ cluster: plugin, timeout: 0s }} }}]
  clusters:
  - name: plugin
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: plugin
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ pipe: {{ path: {plugin} }} }} }} }}] }}]
"#
    )
}
