//! Which host a request is for, and whether that is this one.

use http::{Request, header, uri::Authority};
use prism_config::{Admin, AdminHost};
use std::net::IpAddr;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    Ours,
    Other,
    Absent,
    Malformed,
}

/// Which host a request is for. RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
/// HTTP/1.1 request message that lacks a Host header field and to any request message that contains more than one Host header
/// field line or a Host header field with an invalid field value."
pub(super) fn host<B>(admin: &Admin, request: &Request<B>) -> Host {
    let mut values = request.headers().get_all(header::HOST).iter();
    let field = match (values.next(), values.next()) {
        (None, _) => return Host::Absent,
        (Some(value), None) => value.to_str().ok().and_then(|text| text.parse::<Authority>().ok()),
        (Some(_), Some(_)) => return Host::Malformed,
    };
    let Some(field) = field else { return Host::Malformed };
    // RFC 9112 section 3.2.2: with an absolute target the `Host` is to be ignored. Here both have to be right.
    let all = [Some(&field), request.uri().authority()];
    match all.into_iter().flatten().all(|authority| is_ours(admin, authority)) {
        true => Host::Ours,
        false => Host::Other,
    }
}

/// The port does not matter: it may be forwarded, and a page cannot choose the name that goes with it.
fn is_ours(admin: &Admin, authority: &Authority) -> bool {
    // What stands before an `@` is no part of a `Host`.
    if authority.as_str().contains('@') {
        return false;
    }
    let Ok(host) = authority.host().parse::<AdminHost>() else { return false };
    let own = admin.address.ip().to_canonical();
    let always = match &host {
        AdminHost::Name(name) => name == "localhost",
        // An address cannot be pointed elsewhere as a name can: a page with this in its address bar came from here.
        AdminHost::Ip(ip) => {
            own.is_unspecified()
                || *ip == own
                || matches!(ip, IpAddr::V4(ip) if ip.octets() == [127, 0, 0, 1])
                || matches!(ip, IpAddr::V6(ip) if ip.is_loopback())
        }
    };
    always || admin.hosts.contains(&host)
}
