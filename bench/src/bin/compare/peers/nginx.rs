//! nginx, `grpc_pass`, no access log.

use super::{Peer, programs::needed};
use std::process::Command;

pub(super) const PEER: Peer = Peer {
    name: "nginx",
    about: "nginx grpc_pass with keep-alive, one worker, no access log",
    only_at: None,
    setup: |site| {
        let config = site.write("nginx.conf", &config(site.port, &site.plugin.display().to_string()))?;
        let mut command = Command::new(needed(&site.programs.nginx, "nginx")?);
        command.arg("-e").arg("stderr").arg("-p").arg(site.folder).arg("-c").arg(config);
        Ok(site.pass_through(command))
    },
};

/// `master_process off`: the one worker is the process that is measured. A request has an upstream connection
/// to itself, so 1,024 of them are kept for reuse, more than any shape has requests in flight. Buffers of 64 KiB
/// pass half as many megabytes again a second as the default of 4 KiB, and small calls do not notice.
fn config(port: u16, plugin: &str) -> String {
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body;
  fastcgi_temp_path fastcgi;
  proxy_temp_path proxy;
  scgi_temp_path scgi;
  uwsgi_temp_path uwsgi;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  http2_max_concurrent_streams 1000;
  upstream plugin {{
    server unix:{plugin};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{
      grpc_pass grpc://plugin;
      grpc_buffer_size 64k;
      grpc_read_timeout 1h;
      grpc_send_timeout 1h;
    }}
  }}
}}
"
    )
}
