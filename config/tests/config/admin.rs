//! What protects the admin interface: right, wrong, and what would look like protection.

use super::{common::load, mistakes::refused};
use prism_config::{AdminRole, Change, ChangeKind, ClientAuth, diff};

const ONE: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const TWO: &str = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";

#[test]
fn tokens_are_read_and_their_digests_never_shown() {
    let text = format!(
        "\
admin:
  tokens:
    - {{ name: deploy, sha256: {ONE}, role: operator }}
    - {{ name: people, sha256: {upper}, role: admin }}
  open_metrics: true
  hosts: [edge.example.com, '[::1]']
",
        upper = TWO.to_uppercase()
    );
    let config = load(&text);
    let admin = &config.admin;
    assert_eq!((&*admin.tokens[0].name, admin.tokens[0].role), ("deploy", AdminRole::Operator));
    assert_eq!(admin.tokens[1].sha256, TWO.parse().unwrap());
    assert!(admin.open_metrics && admin.tls.is_none());
    let shown = format!("{config:?}{}", config.redacted()).to_lowercase();
    assert!(shown.contains("deploy") && shown.contains("<redacted>"), "{shown}");
    assert!(!shown.contains(&ONE[..8]) && !shown.contains(&TWO[..8]), "{shown}");
    // Another token is a change, though both are shown alike.
    let other = load(&text.replace(ONE, &ONE.replace('9', "8")));
    assert_eq!(config.redacted(), other.redacted());
    assert_eq!(diff(&config, &other), [Change { kind: ChangeKind::Changed, part: "admin".into() }]);
}

#[test]
fn tls_is_relative_to_the_file() {
    let tls =
        load("admin: { address: '0.0.0.0:1', tls: { cert: a.crt, key: /b.key, client_ca: ./ca.crt, crls: [a.crl, /b.crl] } }\n")
            .admin
            .tls;
    let tls = tls.unwrap();
    assert_eq!(tls.crls, ["/etc/prism/a.crl", "/b.crl"].map(std::path::PathBuf::from));
    assert_eq!(tls.cert.to_str(), Some("/etc/prism/a.crt"));
    assert_eq!(tls.key.to_str(), Some("/b.key"));
    assert_eq!(tls.client_ca.unwrap().to_str(), Some("/etc/prism/ca.crt"));
}

#[test]
fn every_mistake_has_its_line() {
    let host = |place: &str, found: &str| {
        format!(
            "{place} expected a host without scheme, port or wildcard, such as `edge.example.com`, `10.0.0.7` or \
             `[2001:db8::7]`, found a string {found}"
        )
    };
    refused(
        &format!(
            "\
admin:
  tokens:
    - {{ name: a, sha256: {ONE}, role: root }}
    - {{ name: b, sha256: {short}, role: admin }}
    - {{ name: c, sha256: hunter2, role: admin }}
    - {{ name: d, role: admin }}
    - {{ name: e, sha256: {TWO} }}
    - {{ name: F, sha256: 1, role: viewer }}
    - {{ name: g, sha256: {TWO}, role: viewer, expires: never }}
  hosts: ['http://a', 'b:80', '*.c', '']
  tls: {{ cert: a.crt, ca: b }}
",
            short = &ONE[1..]
        ),
        &[
            "3:98: admin.tokens[0].role: expected one of `viewer`, `operator`, `admin`, found a string",
            "4:26: admin.tokens[1].sha256: expected 64 hexadecimal digits, as sha256sum writes them, found a string",
            "5:26: admin.tokens[2].sha256: expected 64 hexadecimal digits, as sha256sum writes them, found a string",
            "6:7: admin.tokens[3]: the key `sha256` is missing",
            "7:7: admin.tokens[4]: the key `role` is missing",
            "8:15: admin.tokens[5].name: expected a name of 1 to 63 lower-case letters, digits and hyphens, found a string (such as `f`)",
            "8:26: admin.tokens[5].sha256: expected a string, found an integer (put it in quotes)",
            "9:26: admin.tokens[6].sha256: two tokens have the same `sha256`; the first on line 7 (a token is one person's or one program's: remove one)",
            "9:106: admin.tokens[6].expires: unknown key `expires` (known: `name`, `role`, `sha256`)",
            &host("10:11: admin.hosts[0]:", "`http://a`"),
            &host("10:23: admin.hosts[1]:", "`b:80`"),
            &host("10:31: admin.hosts[2]:", "`*.c`"),
            &host("10:38: admin.hosts[3]:", "``"),
            "11:8: admin.tls: the key `key` is missing",
            "11:23: admin.tls.ca: unknown key `ca` (known: `cert`, `client_auth`, `client_ca`, `crls`, `key`)",
        ],
    );
}

#[test]
fn two_of_one_kind_are_refused() {
    refused(
        &format!(
            "\
admin:
  tokens:
    - {{ name: a, sha256: {ONE}, role: viewer }}
    - {{ name: a, sha256: {TWO}, role: admin }}
    - {{ name: b, sha256: {upper}, role: admin }}
    - {{ name: c, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, role: admin }}
  hosts:
    - edge
    - EDGE
",
            upper = ONE.to_uppercase()
        ),
        &[
            "4:15: admin.tokens[1].name: token `a` is there twice; first on line 3",
            "5:26: admin.tokens[2].sha256: two tokens have the same `sha256`; the first on line 3 (a token is one person's or one program's: remove one)",
            "6:26: admin.tokens[3].sha256: this is the SHA-256 of an empty text (`printf %s \"$TOKEN\" | sha256sum`, with a token in it)",
            "9:7: admin.hosts[1]: the host `edge` is there twice; first on line 8",
        ],
    );
}

#[test]
fn a_token_does_not_travel_in_clear() {
    let token = format!("tokens: [{{ name: a, sha256: {ONE}, role: viewer }}]");
    for address in
        ["0.0.0.0:50052", "10.0.0.7:50052", "[::]:50052", "[2001:db8::7]:50052", "[::ffff:10.0.0.7]:50052"]
    {
        refused(
            &format!("admin:\n  address: '{address}'\n  {token}\n"),
            &[&format!(
                "3:3: admin.tokens: tokens would come to {address} in clear, for everybody on the way to read (add `tls: {{ cert: …, key: … }}` beside them, or use an `address` on loopback)"
            )],
        );
        load(&format!("admin:\n  address: '{address}'\n  {token}\n  tls: {{ cert: a, key: b }}\n"));
    }
    for address in ["127.0.0.1:50052", "127.3.3.3:50052", "[::1]:50052", "[::ffff:127.0.0.1]:50052"] {
        load(&format!("admin:\n  address: '{address}'\n  {token}\n"));
    }
}

#[test]
fn what_would_do_nothing_is_refused() {
    refused("admin: { tokens: [] }\n", &["1:18: admin.tokens: expected at least 1 item, found 0"]);
    refused("admin: { hosts: [] }\n", &["1:17: admin.hosts: expected at least 1 item, found 0"]);
    refused(
        "admin: { open_metrics: true }\n",
        &[
            "1:10: admin.open_metrics: `open_metrics` does nothing without `tokens` or `clients`: everybody may read (remove it, or add one of them)",
        ],
    );
}

#[test]
fn clients_are_read() {
    let text = "\
admin:
  tls: { cert: a, key: b, client_ca: c, client_auth: optional, crls: [d] }
  clients:
    - { principal: 'spiffe://corp/ops/*', role: operator }
    - { principal: 'dns:deploy.corp', role: admin }
    - { principal: '**', role: viewer }
  open_metrics: true
";
    let admin = load(text).admin;
    let read: Vec<_> = admin.clients.iter().map(|client| (&*client.principal, client.role)).collect();
    let expected = [
        ("spiffe://corp/ops/*", AdminRole::Operator),
        ("dns:deploy.corp", AdminRole::Admin),
        ("**", AdminRole::Viewer),
    ];
    assert_eq!(read, expected);
    assert_eq!(admin.tls.unwrap().client_auth, Some(ClientAuth::Optional));
    // Authorities that only open the door, for tokens or for whoever reads.
    for more in ["", ", client_auth: required"] {
        load(&format!("admin: {{ tls: {{ cert: a, key: b, client_ca: c{more} }} }}\n"));
    }
    load("admin: { tls: { cert: a, key: b, client_auth: none } }\n");
}

#[test]
fn clients_that_nobody_could_be_are_refused() {
    refused(
        "\
admin:
  tls: { cert: a, key: b, client_ca: c }
  clients:
    - { principal: 'spiffe://corp/ops/*', role: operator }
    - { principal: 'spiffe://corp/ops/*', role: admin }
    - { principal: alice, role: admin }
    - { principal: anonymous, role: viewer }
    - { principal: 'key:deploy', role: admin }
    - { principal: 'jwt:https://id.example:*', role: admin }
    - { principal: 'cn:deploy', role: admin }
    - { principal: 'dns:a?', role: admin }
    - { principal: 'dns:a', role: root }
    - { principal: 'dns:b' }
    - { role: admin }
    - { principal: 'dns:c', role: admin, name: c }
    - { principal: 7, role: admin }
    - dns:d
",
        &[
            "5:20: admin.clients[1].principal: `spiffe://corp/ops/*` is there twice; first on line 4 (keep one of them)",
            "6:20: admin.clients[2].principal: no principal is called so, so the rule would be about nobody (principals begin with `spiffe://`, `dns:`, `cn:`, `jwt:`, `oauth2:` or `key:`; `anonymous` is one as it is)",
            "7:20: admin.clients[3].principal: no certificate names anybody so, so the entry would be about nobody (write `spiffe://TRUST-DOMAIN/PATH` or `dns:NAME`; tokens have a list of their own)",
            "8:20: admin.clients[4].principal: no certificate names anybody so, so the entry would be about nobody (write `spiffe://TRUST-DOMAIN/PATH` or `dns:NAME`; tokens have a list of their own)",
            "9:20: admin.clients[5].principal: no certificate names anybody so, so the entry would be about nobody (write `spiffe://TRUST-DOMAIN/PATH` or `dns:NAME`; tokens have a list of their own)",
            "10:20: admin.clients[6].principal: no certificate names anybody so, so the entry would be about nobody (common names are not gone by here: write a `spiffe://…` or a `dns:…` that the certificate has)",
            "11:20: admin.clients[7].principal: `?` stands for nothing in a pattern (`*` stands for any characters but `/`, `**` for any; there is nothing else)",
            "12:35: admin.clients[8].role: expected one of `viewer`, `operator`, `admin`, found a string `root`",
            "13:7: admin.clients[9]: the key `role` is missing",
            "14:7: admin.clients[10]: the key `principal` is missing",
            "15:42: admin.clients[11].name: unknown key `name` (known: `principal`, `role`)",
            "16:20: admin.clients[12].principal: expected a string, found an integer `7` (put it in quotes)",
            "17:7: admin.clients[13]: expected a mapping, found a string",
        ],
    );
    refused(
        "admin: { clients: [] }\n",
        &[
            "1:10: admin.clients: nobody is asked for a certificate here, so nobody could be known by one (add `tls: { cert: …, key: …, client_ca: … }` beside them)",
            "1:19: admin.clients: expected at least 1 item, found 0",
        ],
    );
}

/// Each key is right by itself.
#[test]
fn certificates_that_nobody_asks_for_or_goes_by_are_refused() {
    let clients = "clients: [ { principal: 'dns:a', role: viewer } ]";
    let unasked = "nobody is asked for a certificate here, so nobody could be known by one (add `tls: { cert: …, key: …, client_ca: … }` beside them)";
    refused(&format!("admin:\n  {clients}\n"), &[&format!("2:3: admin.clients: {unasked}")]);
    for more in ["", ", client_auth: none"] {
        refused(
            &format!("admin:\n  tls: {{ cert: a, key: b{more} }}\n  {clients}\n"),
            &[&format!("3:3: admin.clients: {unasked}")],
        );
    }
    let idle = "admin.tls.client_ca: `client_ca` does nothing with `client_auth: none`: remove it, or set `required` or `optional`";
    for more in ["", clients] {
        refused(
            &format!("admin:\n  tls: {{ cert: a, key: b, client_ca: c, client_auth: none }}\n  {more}\n"),
            &[&format!("2:27: {idle}")],
        );
    }
    let needs = "2:27: admin.tls.client_auth: `client_auth` asks for certificates, so it needs a `client_ca`: add one, or set `client_auth: none`";
    for auth in ["required", "optional"] {
        refused(&format!("admin:\n  tls: {{ cert: a, key: b, client_auth: {auth} }}\n"), &[needs]);
    }
    refused(
        "admin:\n  tls: { cert: a, key: b, crls: [d] }\n",
        &[
            "2:27: admin.tls.crls: `crls` do nothing without a `client_ca`: remove them, or name the authorities whose lists they are",
        ],
    );
    let tokens = format!("tokens: [{{ name: a, sha256: {ONE}, role: viewer }}]");
    for more in ["", &*tokens] {
        refused(
            &format!("admin:\n  tls: {{ cert: a, key: b, client_ca: c, client_auth: optional }}\n  {more}\n"),
            &[
                "2:27: admin.tls.client_ca: nothing goes by a certificate here, and whoever has none may do the same (add `clients`, or require certificates with `client_auth: required`)",
            ],
        );
    }
}
