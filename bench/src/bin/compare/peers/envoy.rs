//! Envoy: the router alone, with filters before it, and with the filters that match prism-edge's secured chain.

use super::{Peer, SECURED_AT, Setup, Site, programs::needed};
use crate::{
    error::Error,
    issuer::{AUDIENCE, GROUP, ISSUER, Issuer, SUBJECT},
    proof::{Receipt, bearer},
};
use std::process::Command;

pub(super) const PEERS: [Peer; 3] = [
    Peer {
        name: "envoy",
        about: "Envoy, one worker, router only, no access log",
        only_at: None,
        setup: |site| setup(site, Chain::Router),
    },
    Peer {
        name: "envoy-filters",
        about: "Envoy with jwt_authn (cached token), rbac and local_ratelimit before the router",
        only_at: None,
        setup: |site| setup(site, Chain::Filters),
    },
    Peer {
        name: "envoy-secured",
        about: "Envoy with jwt_authn (ES256, cached token) and rbac by subject and group before the router, no access log; \
                at 4x32 only",
        only_at: Some(SECURED_AT),
        setup: |site| setup(site, Chain::Secured),
    },
];

/// What stands before the router.
#[derive(Clone, Copy)]
enum Chain {
    Router,
    Filters,
    Secured,
}

/// An HS256 token of issuer, audience and subject `compare`, valid until the year 2100, made with [`KEY`]. Both
/// exist for this comparison alone.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImNvbXBhcmUiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJjb21wYXJlIiwiYXVkIjoiY29tcGFyZSIsInN1YiI6ImNvbXBhcmUiLCJleHAiOjQxMDI0NDQ4MDB9.k_l95zzo1NJjcOfOO2d8tZIn4kSTSN5Z-PBSEtPv4tE";
/// 32 octets, in base64url.
const KEY: &str = "wGOY0z522WrsafU6G1DbtAIc_Uvrk2tTIyPRcrUVSkg";

fn setup(site: &Site<'_>, chain: Chain) -> Result<Setup, Error> {
    let filters = match chain {
        Chain::Router => String::new(),
        Chain::Filters => filters(),
        Chain::Secured => secured(&Issuer::of_this_run()?.jwks),
    };
    let mut config = config(site.port, &site.plugin.display().to_string(), &filters);
    if let Chain::Secured = chain {
        config += &format!(
            "admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}\n",
            site.spare
        );
    }
    let config = site.write("envoy.yaml", &config)?;
    let mut command = Command::new(needed(&site.programs.envoy, "envoy")?);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]).arg(config);
    let mut setup = site.pass_through(command);
    match chain {
        Chain::Router => {}
        Chain::Filters => setup.call.headers.push(bearer(TOKEN)),
        Chain::Secured => {
            setup.call.headers.push(bearer(&Issuer::of_this_run()?.token));
            setup.receipt = Some(Receipt::Envoy(site.spare));
        }
    }
    Ok(setup)
}

/// The token's cache is as it is by default but for being there: 100 tokens of up to 4 KiB.
fn jwt_authn(issuer: &str, audience: &str, jwks: &str) -> String {
    format!(
        r#"          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                compare:
                  issuer: {issuer}
                  audiences: [{audience}]
                  local_jwks: {{ inline_string: '{jwks}' }}
                  payload_in_metadata: claims
                  jwt_cache_config: {{ jwt_cache_size: 100 }}
              rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: compare }} }}]"#
    )
}

/// The limit of a billion tokens a second is never reached: what is measured is the asking.
fn filters() -> String {
    let jwt = jwt_authn(
        "compare",
        "compare",
        &format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","kid":"compare","k":"{KEY}"}}]}}"#),
    );
    format!(
        r#"
{jwt}
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

fn secured(jwks: &str) -> String {
    let jwt = jwt_authn(ISSUER, AUDIENCE, jwks);
    format!(
        r#"
{jwt}
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  compare:
                    permissions: [{{ url_path: {{ path: {{ prefix: /prism.plugin.BackendPlugin/ }} }} }}]
                    principals:
                      - and_ids:
                          ids:
                            - metadata:
                                filter: envoy.filters.http.jwt_authn
                                path: [{{ key: claims }}, {{ key: sub }}]
                                value: {{ string_match: {{ exact: {SUBJECT} }} }}
                            - metadata:
                                filter: envoy.filters.http.jwt_authn
                                path: [{{ key: claims }}, {{ key: groups }}]
                                value: {{ list_match: {{ one_of: {{ string_match: {{ exact: {GROUP} }} }} }} }}"#
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
