//! Formats of our own: texts that mean something.

use std::net::SocketAddr;

use crate::{
    admin::{AdminHost, TokenDigest},
    host_port::HostPort,
    route::TargetAddress,
    schema::{Address, Name},
    secrets::EnvironmentSecrets,
    tree::{Node, NodeValue},
    units::{ByteSize, Duration},
};

/// Checks a node against a format. What is a number in disguise answers it, in the unit that the schema's
/// bounds have; formats that are not ours allow everything.
pub(super) fn check(format: &str, node: &Node) -> Result<Option<f64>, (String, Option<String>)> {
    let wrong = |error: crate::units::UnitError| (error.to_string(), None);
    match (format, &node.value) {
        (Duration::FORMAT, NodeValue::String(text)) => {
            let read: Duration = text.parse().map_err(wrong)?;
            Ok(Some(read.get().as_secs_f64()))
        }
        (ByteSize::FORMAT, NodeValue::String(text)) => {
            let read: ByteSize = text.parse().map_err(wrong)?;
            Ok(Some(read.get() as f64))
        }
        (HostPort::FORMAT, NodeValue::String(text)) => {
            text.parse::<HostPort>().map_err(wrong)?;
            Ok(None)
        }
        (TokenDigest::FORMAT, NodeValue::String(text)) => {
            text.parse::<TokenDigest>().map_err(wrong)?;
            Ok(None)
        }
        (AdminHost::FORMAT, NodeValue::String(text)) => {
            text.parse::<AdminHost>().map_err(wrong)?;
            Ok(None)
        }
        (TargetAddress::FORMAT, NodeValue::String(text)) => {
            text.parse::<TargetAddress>().map_err(wrong)?;
            Ok(None)
        }
        (Duration::FORMAT | ByteSize::FORMAT, NodeValue::Int(value)) => Ok(Some(*value as f64)),
        (Duration::FORMAT | ByteSize::FORMAT, NodeValue::Uint(value)) => Ok(Some(*value as f64)),
        (Duration::FORMAT, NodeValue::Float(value)) => Ok(Some(*value)),
        (Address::FORMAT, NodeValue::String(text)) if text.parse::<SocketAddr>().is_err() => {
            let hint = if text.starts_with("localhost:") {
                "write 127.0.0.1 for localhost; names are not looked up here"
            } else if text.rsplit(':').next().is_none_or(|port| port.parse::<u16>().is_err()) {
                "an IP address needs a port from 0 to 65535"
            } else {
                "names are not looked up here"
            };
            let message = "expected an IP address and a port such as `127.0.0.1:50051` or `[::1]:50051`";
            Err((message.into(), Some(hint.into())))
        }
        (EnvironmentSecrets::FORMAT, NodeValue::String(text)) if !EnvironmentSecrets::is_prefix(text) => {
            let message =
                "expected the beginning of a variable's name: letters, digits and `_`, no digit first";
            Err((message.into(), None))
        }
        (Name::FORMAT, NodeValue::String(text)) if !Name::is_valid(text) => {
            let message = "expected a name of 1 to 63 lower-case letters, digits and hyphens";
            let hint = (!text.is_empty() && text.len() <= 63).then(|| {
                let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
                text.chars().map(plain).collect::<String>()
            });
            let hint = hint.filter(|name| Name::is_valid(name)).map(|name| format!("such as `{name}`"));
            Err((message.into(), hint))
        }
        _ => Ok(None),
    }
}

/// A number in the format's own notation.
pub(super) fn show(format: Option<&str>, value: f64) -> String {
    match format {
        Some(Duration::FORMAT) => {
            Duration::from_seconds(value).map_or_else(|_| format!("{value} seconds"), |it| it.to_string())
        }
        _ => format!("{value}"),
    }
}
