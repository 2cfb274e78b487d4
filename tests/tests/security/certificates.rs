//! Client certificates as credentials.

use super::{EXECUTE, KV, execute_get, get_request, guarded, told};
use prism_tests::{
    Pki, Proxy,
    client::{curl, http2, tls},
    wire,
};
use prism_tls::{ClientFiles, IdentityFiles};
use rcgen::{CertificateParams, DnType, SanType};

/// A listener that asks for certificates, with these settings of `mtls` and these rules.
pub(crate) fn start(pki: &Pki, auth: &str, client_auth: &str, rules: &str) -> Proxy {
    pki.folder.identity("edge", &pki.authority.identity(&["127.0.0.1"], |_| {}));
    let tls = format!(
        "      - tls: {{ cert: '{}', key: '{}', client_ca: '{}', client_auth: {client_auth} }}\n",
        pki.path("edge.crt"),
        pki.path("edge.key"),
        pki.path("ca.crt")
    );
    let config = guarded(auth, rules).replace("      - trace: {}\n", &format!("{tls}      - trace: {{}}\n"));
    Proxy::start(&config)
}

/// A client with a certificate of its own.
pub(crate) fn client(
    pki: &Pki,
    name: &str,
    names: &[&str],
    uris: &[&str],
    common: Option<&str>,
) -> ClientFiles {
    let identity = pki.authority.identity(names, |params: &mut CertificateParams| {
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
    });
    let identity: IdentityFiles = pki.folder.identity(name, &identity);
    ClientFiles { ca: pki.path("ca.crt").into(), identity: Some(identity) }
}

/// What `Execute`, a typed call and JSON answer to this client.
pub(crate) async fn outcomes(proxy: &Proxy, files: &ClientFiles, headers: &[(&str, &str)]) -> [String; 3] {
    let connection = tls::http2(proxy.port(), files).await.unwrap();
    let mut all = vec![("x-prism-namespace", "demo")];
    all.extend(headers);
    let code = async |path: &str, message: Vec<u8>| {
        let answer = connection.call(http2::head(path, &all), wire::framed(&message)).await.unwrap();
        format!("{:?}", answer.code())
    };
    let url = format!("https://127.0.0.1:{}/v1/demo/get", proxy.port());
    let ca = files.ca.display().to_string();
    let mut arguments = vec![url.clone(), "--cacert".into(), ca, "--json".into(), r#"{"key":"k"}"#.into()];
    if let Some(identity) = &files.identity {
        let IdentityFiles { certificates, key } = identity;
        arguments.extend(["--cert".into(), certificates.display().to_string()]);
        arguments.extend(["--key".into(), key.display().to_string()]);
    }
    for (name, value) in headers {
        arguments.extend(["-H".into(), format!("{name}: {value}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let status = curl::run(&arguments).status;
    [code(EXECUTE, execute_get()).await, code(&format!("{KV}/Get"), get_request()).await, status.to_string()]
}

const LET_IN: [&str; 3] = ["Ok", "Ok", "200"];
const UNKNOWN: [&str; 3] = ["Unauthenticated", "Unauthenticated", "401"];
const FORBIDDEN: [&str; 3] = ["PermissionDenied", "PermissionDenied", "403"];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_who_its_certificate_says_and_nobody_else() {
    let pki = Pki::new();
    let rules = "{ principal: 'spiffe://corp.example/ns/*/orders-*', permissions: [read] }, \
                 { principal: 'dns:batch.example', permissions: [read] }";
    let proxy = start(&pki, "      - auth: { mtls: {} }\n", "optional", rules);
    for (name, names, uris, common, wanted) in [
        ("orders", &[][..], &["spiffe://corp.example/ns/prod/orders-1"][..], None, LET_IN),
        ("batch", &["batch.example"], &[], None, LET_IN),
        ("deeper", &[], &["spiffe://corp.example/ns/prod/x/orders-1"], None, FORBIDDEN),
        ("evil", &[], &["spiffe://evil.example/ns/prod/orders-1"], None, FORBIDDEN),
        ("payments", &[], &["spiffe://corp.example/ns/prod/payments-1"], None, FORBIDDEN),
        ("other", &["other.example"], &[], None, FORBIDDEN),
        // The id goes before the name, so the name opens nothing.
        ("both", &["batch.example"], &["spiffe://corp.example/ns/prod/payments-1"], None, FORBIDDEN),
        (
            "two",
            &[],
            &["spiffe://corp.example/ns/prod/orders-1", "spiffe://corp.example/ns/prod/orders-2"],
            None,
            UNKNOWN,
        ),
        ("https", &["batch.example"], &["spiffe://corp.example/ns//orders-1"], None, UNKNOWN),
        ("common", &[], &[], Some("batch.example"), UNKNOWN),
        ("wild", &["*.example"], &[], None, UNKNOWN),
    ] {
        let files = client(&pki, name, names, uris, common);
        assert_eq!(outcomes(&proxy, &files, &[]).await, wanted, "{name}");
    }
    told(&proxy, "the client's certificate has more than one URI among its names");
    told(&proxy, "the client's certificate has neither a SPIFFE id nor a DNS name, and `common_name` is off");
    let nobody = ClientFiles { ca: pki.path("ca.crt").into(), identity: None };
    assert_eq!(outcomes(&proxy, &nobody, &[]).await, UNKNOWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_name_counts_where_that_is_switched_on() {
    let pki = Pki::new();
    let rules = "{ principal: 'cn:batch', permissions: [read] }";
    let proxy = start(&pki, "      - auth: { mtls: { common_name: true } }\n", "required", rules);
    let named = client(&pki, "named", &[], &[], Some("batch"));
    assert_eq!(outcomes(&proxy, &named, &[]).await, LET_IN);
    // It is a last resort: who has another name is that.
    let other = client(&pki, "other", &["batch.example"], &[], Some("batch"));
    assert_eq!(outcomes(&proxy, &other, &[]).await, FORBIDDEN);
}
