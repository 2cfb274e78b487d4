//! Client certificates: a listener that goes by them has to ask for them.

use super::Context;
use crate::tree::Node;

/// Checks that whoever `auth` knows by a certificate is asked for one.
pub(super) fn check(listener: &Node, path: &str, context: &mut Context<'_>) {
    let filters = listener.list("filters").iter().enumerate();
    let settings =
        |name: &'static str| filters.clone().find_map(|(index, filter)| Some((index, filter.get(name)?)));
    let asks = settings("tls").is_some_and(|(_, tls)| tls.get("client_ca").is_some());
    if asks {
        return;
    }
    let own = settings("auth").map(|(index, auth)| (format!("{path}.filters[{index}].auth"), auth));
    let routes = listener.list("routes").iter().enumerate().filter_map(|(index, route)| {
        Some((format!("{path}.routes[{index}].filters.auth"), route.get("filters")?.get("auth")?))
    });
    for (path, auth) in own.into_iter().chain(routes) {
        let listed = ["any", "all"].into_iter().flat_map(|key| auth.list(key));
        if let Some(method) = std::iter::once(auth).chain(listed).find_map(|method| method.entry("mtls")) {
            let message = "nobody is asked for a certificate here, so nobody could be known by one";
            let hint =
                "add `- tls: { cert: …, key: …, client_ca: … }` as the first of the listener's filters";
            context.problems.invalid(method.at, format!("{path}.mtls"), message, Some(hint.into()));
        }
    }
}
