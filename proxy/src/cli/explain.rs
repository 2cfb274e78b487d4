//! `prism-edge explain`: whether a caller may call an operation by a configuration file, which way the call takes, and which
//! rule decides. By the same routes and the same policy as the proxy; nothing is started, and nobody is asked.

use super::print;
use crate::{
    Builtins, ConfigFile, config_registry,
    control::{self, bare_routes},
    snapshot::{Route, RouteTable},
};
use clap::ValueEnum;
use http::{HeaderMap, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use prism_config::{
    AccessRule, Config, FilterOverride, Listener, Namespace, PluginSource, Route as Configured,
};
use prism_filters::{
    ANONYMOUS, Caller, Credential, Method, Registry, auth,
    authz::{self, Decision, Policy},
};
use prism_plugin_abi::Kind;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{fmt::Write as _, io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

/// What is asked.
#[derive(clap::Args)]
pub(super) struct Question {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Who calls, as the access log names it: `spiffe://example.org/orders`, `jwt:ISSUER:SUBJECT`, `anonymous`.
    #[arg(long)]
    principal: String,
    /// A claim of the caller's credential. The value is JSON (`true`, `7`, `["a","b"]`), or else text.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// The namespace that is called.
    #[arg(long)]
    namespace: String,
    /// The operation that is called.
    #[arg(long)]
    operation: String,
    /// The operation's kind, where the configuration does not say it and the plugin is not linked in.
    #[arg(long, value_enum)]
    kind: Option<KindArgument>,
    /// Through this listener alone. By default through each.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The path of the call, which its route may depend on.
    #[arg(long, default_value = "/prism.data.v1.DataService/Execute")]
    path: Uri,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindArgument {
    Read,
    Write,
    Admin,
}

/// A question that makes no sense, or a file that does not.
const USAGE: u8 = 2;

/// Prints the answer. Exits with 0 if any way lets the call through, with 1 if none does.
pub(super) fn explain(question: &Question, filters: &Registry, builtins: &Builtins) -> ExitCode {
    match answer(question, filters, builtins) {
        Ok((text, allowed)) => {
            let printed = print(format_args!("{text}"));
            if allowed { printed } else { ExitCode::FAILURE }
        }
        Err(message) => {
            let _ = writeln!(std::io::stderr().lock(), "{message}");
            ExitCode::from(USAGE)
        }
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

fn answer(question: &Question, filters: &Registry, builtins: &Builtins) -> Result<(String, bool), String> {
    let registry = config_registry(filters, builtins);
    let source = ConfigFile::new(&question.config).read().map_err(|refusal| refusal.to_string())?;
    let config = prism_config::parse(&source, &registry).map_err(|problems| problems.to_string())?;
    let claims: Map<String, Value> = question.claims.iter().cloned().collect();
    let caller = Caller::new(Arc::new(credential(&question.principal)?.with_claims(claims)));
    let listeners: Vec<&Listener> = config
        .listeners
        .iter()
        .filter(|listener| question.listener.as_ref().is_none_or(|name| *name == listener.name))
        .collect();
    if listeners.is_empty() {
        return Err(format!("there is no listener `{}`", question.listener.as_deref().unwrap_or_default()));
    }
    let mut allowed = false;
    let mut text = String::new();
    for listener in listeners {
        let routes = bare_routes(listener).map_err(|error| error.to_string())?;
        let way = Way { question, config: &config, listener, builtins, caller: &caller };
        allowed |= way.explain(&routes, &mut text)?;
    }
    Ok((text, allowed))
}

/// Whose principal that is.
fn credential(principal: &str) -> Result<Credential, String> {
    if principal == ANONYMOUS {
        return Ok(Credential::anonymous());
    }
    let methods = [
        ("spiffe://", Method::Spiffe),
        ("dns:", Method::Dns),
        ("cn:", Method::CommonName),
        ("jwt:", Method::Jwt),
        ("oauth2:", Method::OAuth2),
        ("key:", Method::ApiKey),
    ];
    let found = methods.iter().find_map(|(prefix, method)| Some((*method, principal.strip_prefix(prefix)?)));
    let none = || {
        format!(
            "`{principal}` is nobody's principal: one begins with `spiffe://`, `dns:`, `cn:`, `jwt:`, `oauth2:` or \
             `key:`, or is `anonymous`"
        )
    };
    let (method, rest) = found.ok_or_else(none)?;
    // A SPIFFE id is a URI with its own scheme.
    let name = if method == Method::Spiffe { principal } else { rest };
    let name = percent_decode_str(name).decode_utf8().map_err(|_| none())?;
    let credential = Credential::new(method, &name).map_err(|error| error.to_string())?;
    if credential.principal() != principal {
        return Err(format!("`{principal}` is written `{}` here", credential.principal()));
    }
    Ok(credential)
}

/// The call's way through one listener.
struct Way<'a> {
    question: &'a Question,
    config: &'a Config,
    listener: &'a Listener,
    builtins: &'a Builtins,
    caller: &'a Caller,
}

impl Way<'_> {
    /// Appends what there is to say, and answers whether the call gets through.
    fn explain(&self, routes: &RouteTable, text: &mut String) -> Result<bool, String> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let namespace = HeaderValue::from_str(&self.question.namespace)
            .map_err(|_| format!("`{}` is no namespace's name", self.question.namespace))?;
        headers.insert("x-prism-namespace", namespace);
        let found = routes.find(&self.question.path, &headers);
        let route = found.and_then(Route::number).and_then(|number| self.listener.routes.get(number));
        let mut say = |what: &str, is: &str| {
            // A String takes every write.
            let _ = writeln!(text, "{what:<11}{is}");
        };
        say("listener", &self.listener.name);
        let route_text = match (found.and_then(Route::number), route) {
            (Some(number), Some(route)) => format!("routes[{number}] ({})", route.matcher),
            _ if found.is_some() => "every request (the listener has no routes)".to_owned(),
            _ => "none".to_owned(),
        };
        say("route", &route_text);
        say("filters", &self.filters(route));
        let (decision, allowed) = match found {
            None => (self.no_route(), false),
            Some(_) => match self.unknown(route) {
                Some(why) => (why, false),
                None => self.decision(route),
            },
        };
        if route.is_none_or(|route| !route.forward) {
            let (kind, why) = self.kind();
            say("kind", &format!("{kind} ({why})"));
        }
        say("decision", &decision);
        text.push('\n');
        Ok(allowed)
    }

    /// The chain, with what the route makes of it.
    fn filters(&self, route: Option<&Configured>) -> String {
        let filters = self.listener.filters.iter();
        let filters = filters.filter(|it| !matches!(overridden(route, &it.name), Some(FilterOverride::Off)));
        let named = filters.map(|filter| match (filter.line, overridden(route, &filter.name)) {
            (_, Some(_)) => format!("{} (by the route)", filter.name),
            (0, None) => filter.name.clone(),
            (line, None) => format!("{} (line {line})", filter.name),
        });
        named.collect::<Vec<_>>().join(", ")
    }

    /// The settings of a filter, where it is on the way; and where they are written.
    fn settings<'a>(&'a self, name: &str, route: Option<&'a Configured>) -> Option<(&'a Value, String)> {
        let filter = self.listener.filters.iter().find(|filter| filter.name == name)?;
        match overridden(route, name) {
            Some(FilterOverride::Off) => None,
            Some(FilterOverride::Settings(settings)) => Some((settings, format!("{name} (by the route)"))),
            None => Some((&filter.settings, format!("{name} (line {})", filter.line))),
        }
    }

    /// The settings of `authz`, where it is on the way.
    fn authz(&self, route: Option<&Configured>) -> Option<authz::Settings> {
        let (settings, _) = self.settings("authz", route)?;
        // A filter written without settings has all its defaults; what does not fit was refused.
        Some(authz::Settings::deserialize(settings).unwrap_or_default())
    }

    /// Why `auth` lets nobody through as that principal, if so.
    fn unknown(&self, route: Option<&Configured>) -> Option<String> {
        let (settings, auth) = self.settings("auth", route)?;
        // Another program's `auth` has settings of its own, or none, of which nothing is known here.
        let settings = auth::Settings::deserialize(settings).ok().filter(|it| *it != <_>::default())?;
        let credential = self.caller.credentials().find(|credential| !settings.may_give(credential))?;
        Some(match credential.method() {
            Method::Anonymous => {
                format!("denied: {auth} lets nobody in as `{ANONYMOUS}` (it takes `anonymous: true`)")
            }
            _ => format!("denied: no method of {auth} gives the principal `{}`", credential.principal()),
        })
    }

    fn no_route(&self) -> String {
        let Question { path, namespace, operation, .. } = self.question;
        format!(
            "denied: no route takes the path `{path}`; that of the call is asked about with `--path`, such as \
             `--path /v1/{namespace}/{operation}`"
        )
    }

    fn decision(&self, route: Option<&Configured>) -> (String, bool) {
        let asked = self.authz(route);
        let (decision, allowed) = match route.filter(|route| route.forward) {
            Some(route) => self.forwarded(route),
            None => match self.reached(route) {
                Ok(namespace) => self.dispatched(namespace),
                Err(why) => return (why, false),
            },
        };
        if asked.is_none() {
            return ("allowed: nobody is asked, there is no `authz`".to_owned(), true);
        }
        match asked {
            Some(settings) if settings.shadow && !allowed => {
                (format!("allowed: `authz` only watches; it would be {decision}"), true)
            }
            Some(authz::Settings { shadow: false, external: Some(external) }) if allowed => {
                let at = external.address;
                (
                    format!("{decision}, if the authorizer at {at} allows it too, which is not asked here"),
                    true,
                )
            }
            _ => (decision, allowed),
        }
    }

    fn forwarded(&self, route: &Configured) -> (String, bool) {
        let Ok(policy) = Policy::new(&route.access) else { return no_pattern() };
        let admitted = policy.admits(self.caller);
        match admitted.and_then(|place| Some((place, route.access.get(place)?))) {
            Some((place, rule)) => {
                (format!("allowed to use the forward route by its access{}", shown(place, rule)), true)
            }
            None => {
                let unmet = self.unmet(&policy);
                (format!("denied: no rule of the forward route's `access` is about the caller{unmet}"), false)
            }
        }
    }

    /// The rules that would be about the caller with other claims: a line for each.
    fn unmet(&self, policy: &Policy) -> String {
        let mut lines = String::new();
        for credential in self.caller.credentials() {
            for (place, names) in policy.unmet(credential) {
                let line = policy.source().get(place).map(|rule| rule.line).unwrap_or_default();
                // A String takes every write.
                let _ = write!(
                    lines,
                    "\n{:<11}access[{place}] (line {line}) is about the principal, but its claims are not met: {}",
                    "",
                    names.join(", ")
                );
            }
        }
        lines
    }

    /// The namespace that is called, if the route lets it be.
    fn reached(&self, route: Option<&Configured>) -> Result<&Namespace, String> {
        let name = &self.question.namespace;
        match route.and_then(|route| route.namespace.as_ref()) {
            Some(other) if other != name => Err(format!("denied: the route is to namespace `{other}`")),
            _ => self.config.namespace(name).ok_or_else(|| format!("denied: there is no namespace `{name}`")),
        }
    }

    fn dispatched(&self, namespace: &Namespace) -> (String, bool) {
        let name = &namespace.name;
        let Ok(policy) = Policy::new(&namespace.access) else { return no_pattern() };
        let (kind, _) = self.kind();
        let decision = policy.decide(self.caller, &self.question.operation, kind);
        let rule = decision.rule().and_then(|place| Some(shown(place, namespace.access.get(place)?)));
        let of = rule.map(|rule| format!("access{rule}")).unwrap_or_default();
        let text = match decision {
            Decision::ByKind(_) => format!("allowed by {of}, which permits {}", permission(kind)),
            Decision::ByName(_) => format!("allowed by {of}, which names the operation"),
            Decision::Denied(_) => {
                format!("denied by {of}, which denies the operation whatever others allow")
            }
            Decision::NotAllowed if policy.knows(self.caller).is_none() => {
                let unmet = self.unmet(&policy);
                format!("denied: no rule of namespace `{name}` permits the caller anything{unmet}")
            }
            Decision::NotAllowed => {
                format!("denied: no rule permits the caller {}{}", permission(kind), self.unmet(&policy))
            }
        };
        (text, decision.is_allowed())
    }

    /// The operation's kind, and who says so.
    fn kind(&self) -> (Kind, &'static str) {
        let operation = &self.question.operation;
        let namespace = self.config.namespace(&self.question.namespace);
        let plugin = namespace.and_then(|namespace: &Namespace| self.config.plugin(&namespace.plugin));
        if let Some(kind) = self.question.kind {
            let kind = match kind {
                KindArgument::Read => Kind::Read,
                KindArgument::Write => Kind::Write,
                KindArgument::Admin => Kind::Admin,
            };
            return (kind, "as asked");
        }
        if let Some(kind) = namespace.and_then(|namespace| namespace.operations.get(operation)) {
            return (control::kind(*kind), "the namespace's `operations`");
        }
        if let Some(PluginSource::Builtin { builtin }) = plugin.map(|plugin| &plugin.source) {
            let described = self.builtins.get(builtin).map(|plugin| plugin.description());
            let info =
                described.as_ref().and_then(|it| it.operations.iter().find(|info| info.name == *operation));
            return match info {
                Some(info) => (info.kind, "the plugin says so"),
                None => (Kind::Unspecified, "the plugin has no such operation"),
            };
        }
        if let Some(kind) = plugin.and_then(|plugin| plugin.operations.get(operation)) {
            return (control::kind(*kind), "the plugin's `operations`, if it does not say so itself");
        }
        (Kind::Unspecified, "only the running plugin may say it: give `--kind`")
    }
}

fn overridden<'a>(route: Option<&'a Configured>, filter: &str) -> Option<&'a FilterOverride> {
    route.and_then(|route| route.filters.get(filter))
}

/// A validated configuration has no such rule.
fn no_pattern() -> (String, bool) {
    ("denied: a rule's principal is no pattern".to_owned(), false)
}

fn shown(place: usize, rule: &AccessRule) -> String {
    format!("[{place}] (line {}, principal `{}`)", rule.line, rule.principal)
}

/// The permission that a kind takes.
fn permission(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "`read`",
        Kind::Write => "`write`",
        Kind::Admin | Kind::Unspecified => "`admin`",
    }
}
