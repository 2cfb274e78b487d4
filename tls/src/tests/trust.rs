//! Who is let in, who was revoked, and who would not be let in any more.

use super::*;
use crate::parsed::{Malformed, now};
use std::time::Duration;
use testing::end;

const HOUR: Duration = Duration::from_secs(3600);

/// A client whose certificate has this serial number.
fn numbered(rig: &Rig, authority: &Authority, serial: u64) -> ClientTls {
    let identity = authority.identity(&["proxy.test"], |params| params.serial_number = Some(serial.into()));
    client(rig, &identity)
}

fn client(rig: &Rig, identity: &(String, String)) -> ClientTls {
    let identity = Some(rig.folder.identity("another", identity));
    ClientTls::load(ClientFiles { identity, ..rig.client.clone() }).unwrap()
}

fn with(rig: &Rig, lists: &[String]) -> ServerFiles {
    let written = |(number, list): (usize, &String)| rig.folder.write(&format!("{number}.crl"), list);
    ServerFiles { crls: lists.iter().enumerate().map(written).collect(), ..rig.server.clone() }
}

fn load(files: ServerFiles) -> Result<ServerTls, String> {
    ServerTls::load(files, BOTH).map_err(|error| error.to_string())
}

/// Why the server did not let it in.
async fn refused(client: &ClientTls, server: &ServerTls) -> String {
    meet(client, server, "plugin.test", alpn::GRPC).await.1.expect_err("it is let in").to_string()
}

#[tokio::test]
async fn who_was_revoked_is_refused_and_nobody_else() {
    let rig = rig();
    let server = load(with(&rig, &[rig.authority.revoked(&[7, 9], now() + HOUR)])).unwrap();
    for serial in [7, 9] {
        let said = refused(&numbered(&rig, &rig.authority, serial), &server).await;
        assert!(said.contains("Revoked"), "{said}");
    }
    assert!(agree(&numbered(&rig, &rig.authority, 8), &server).await);

    // One that may be left out must not be revoked where there is one.
    let ClientAuth::Required(ca) = rig.server.clients.clone() else { unreachable!() };
    let list = rig.authority.revoked(&[7], now() + HOUR);
    let server = load(ServerFiles { clients: ClientAuth::Optional(ca), ..with(&rig, &[list]) }).unwrap();
    assert!(refused(&numbered(&rig, &rig.authority, 7), &server).await.contains("Revoked"));
    let nobody = ClientTls::load(ClientFiles { identity: None, ..rig.client.clone() }).unwrap();
    assert!(agree(&nobody, &server).await);
}

#[tokio::test]
async fn a_list_that_has_expired_refuses_everybody() {
    let rig = rig();
    let server = load(with(&rig, &[rig.authority.revoked(&[7], now() - HOUR)])).unwrap();
    for serial in [7, 8] {
        let said = refused(&numbered(&rig, &rig.authority, serial), &server).await;
        assert!(said.contains("certificate revocation list expired"), "{said}");
    }
}

/// Of the same name, and signed by somebody else.
#[tokio::test]
async fn a_list_that_the_authority_has_not_signed_refuses_everybody() {
    let rig = rig();
    let impostor = rig.authority.impostor();
    let server = load(with(&rig, &[impostor.revoked(&[], now() + HOUR)])).unwrap();
    let said = refused(&numbered(&rig, &rig.authority, 8), &server).await;
    assert!(said.contains("InvalidCertRevocationList") || said.contains("BadSignature"), "{said}");
}

#[tokio::test]
async fn every_authority_needs_its_list() {
    let rig = rig();
    let second = Authority::new();
    rig.folder.write("ca.crt", &format!("{}{}", rig.authority.pem(), second.pem()));
    let (first, other) = (rig.authority.revoked(&[7], now() + HOUR), second.revoked(&[9], now() + HOUR));
    let refusal = load(with(&rig, std::slice::from_ref(&first))).unwrap_err();
    assert!(refusal.contains("has no revocation list in") && refusal.contains("0.crl"), "{refusal}");
    // In one file or in two.
    for lists in [vec![format!("{first}{other}")], vec![other.clone(), first.clone()]] {
        let server = load(with(&rig, &lists)).unwrap();
        // Each revokes its own.
        assert!(refused(&numbered(&rig, &rig.authority, 7), &server).await.contains("Revoked"));
        assert!(refused(&numbered(&rig, &second, 9), &server).await.contains("Revoked"));
        assert!(agree(&numbered(&rig, &rig.authority, 9), &server).await);
        assert!(agree(&numbered(&rig, &second, 7), &server).await);
    }
}

#[tokio::test]
async fn what_stands_between_is_looked_up_too() {
    let rig = rig();
    let between = rig.authority.between(77);
    let (certificate, key) =
        between.identity(&["proxy.test"], |params| params.serial_number = Some(5.into()));
    let client = client(&rig, &(format!("{certificate}{}", between.pem()), key));
    let root = |serials: &[u64]| rig.authority.revoked(serials, now() + HOUR);
    let own = |serials: &[u64]| between.revoked(serials, now() + HOUR);
    assert!(agree(&client, &load(with(&rig, &[root(&[5]), own(&[77])])).unwrap()).await);
    for (lists, said) in [
        (vec![root(&[]), own(&[5])], "Revoked"),
        (vec![root(&[77]), own(&[])], "Revoked"),
        // What no list covers is not known to be good.
        (vec![root(&[])], "UnknownRevocationStatus"),
    ] {
        let refusal = refused(&client, &load(with(&rig, &lists)).unwrap()).await;
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn lists_that_cannot_be_used_are_named_with_the_reason() {
    let rig = rig();
    let good = rig.authority.revoked(&[], now() + HOUR);
    for (list, said) in [
        (String::new(), "has no revocation list"),
        (rig.authority.pem(), "has no revocation list"),
        (good[..200].to_owned(), "PEM"),
        (
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_owned(),
            "cannot be used as a revocation list",
        ),
        ("x".repeat((4 << 20) + 1), "4096 KiB"),
    ] {
        let refusal = load(with(&rig, &[list])).unwrap_err();
        assert!(refusal.contains(said) && refusal.contains("0.crl"), "{refusal}");
    }
    let idle = ServerFiles { clients: ClientAuth::None, ..with(&rig, &[good]) };
    let refusal = load(idle).unwrap_err();
    assert!(refusal.contains("0.crl: does nothing"), "{refusal}");
}

/// Who was let in, as the server knows it.
async fn let_in(client: &ClientTls, server: &ServerTls) -> Option<ClientIdentity> {
    let (_near, far) = meet(client, server, "plugin.test", alpn::GRPC).await;
    client_of(&far.unwrap(), Duration::ZERO).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_was_let_in_is_verified_again() {
    let rig = rig();
    let files = with(&rig, &[rig.authority.revoked(&[], now() + HOUR)]);
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let server = ServerTls::watch_telling(files, BOTH, move |event| told.send(event).unwrap()).unwrap();
    let (seven, eight) = (numbered(&rig, &rig.authority, 7), numbered(&rig, &rig.authority, 8));
    let (seven, eight) = (let_in(&seven, &server).await.unwrap(), let_in(&eight, &server).await.unwrap());
    assert_eq!(seven.dns_names(), [Box::from("proxy.test")]);
    server.verify_again(Some(&seven)).unwrap();
    assert!(matches!(server.verify_again(None), Err(ClientRefused::Nobody)));

    let mut said = async || events.recv().await.unwrap();
    // A new certificate of its own changes nothing for clients.
    rig.folder.identity("server", &rig.authority.identity(&["plugin.test"], |_| {}));
    loop {
        match said().await {
            // Certificate and key are two files.
            Event::Failed => {}
            Event::Renewed { trust_changed } => {
                assert!(!trust_changed);
                break;
            }
        }
    }
    rig.folder.write("0.crl", "nothing");
    assert_eq!(said().await, Event::Failed);
    server.verify_again(Some(&seven)).unwrap();

    rig.folder.write("0.crl", &rig.authority.revoked(&[7], now() + HOUR));
    assert_eq!(said().await, Event::Renewed { trust_changed: true });
    let refusal = server.verify_again(Some(&seven)).unwrap_err().to_string();
    assert!(refusal.contains("Revoked"), "{refusal}");
    server.verify_again(Some(&eight)).unwrap();

    rig.folder.write("0.crl", &rig.authority.revoked(&[], now() - HOUR));
    assert_eq!(said().await, Event::Renewed { trust_changed: true });
    let refusal = server.verify_again(Some(&eight)).unwrap_err().to_string();
    assert!(refusal.contains("revocation list expired"), "{refusal}");

    let strangers = Authority::new();
    rig.folder.write("0.crl", &strangers.revoked(&[], now() + HOUR));
    assert_eq!(said().await, Event::Failed);
    rig.folder.write("ca.crt", &strangers.pem());
    assert_eq!(said().await, Event::Renewed { trust_changed: true });
    let refusal = server.verify_again(Some(&eight)).unwrap_err().to_string();
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");

    let nobody = load(ServerFiles { clients: ClientAuth::None, ..rig.server.clone() }).unwrap();
    assert!(matches!(nobody.verify_again(Some(&eight)), Err(ClientRefused::NotAsked)));
    nobody.verify_again(None).unwrap();
}

/// It is read twice, and what the second reader takes no list for is the list's fault, too.
#[test]
fn a_list_that_only_rustls_cannot_read_is_named() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let rig = rig();
    let good = rig.authority.revoked(&[], now() + HOUR);
    let text: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = STANDARD.decode(text).unwrap();
    // RFC 5280 section 5.1.2.1: "When extensions are used, as required by this profile, this field MUST be present and MUST
    // specify version 2 (the integer value is 1)."
    let version = der.windows(3).position(|bytes| bytes == [2, 1, 1]).unwrap();
    der[version + 2] = 0;
    let first = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(der));
    for (lists, name) in [([first.clone(), good.clone()], "0.crl"), ([good, first], "1.crl")] {
        let refusal = load(with(&rig, &lists)).unwrap_err();
        assert!(
            refusal.contains(name) && refusal.contains("cannot be used as a revocation list"),
            "{refusal}"
        );
        // The first reader has let it pass.
        assert!(!refusal.contains(&Malformed.to_string()) && !refusal.contains("ca.crt"), "{refusal}");
    }
}

#[tokio::test]
async fn the_next_end_is_the_first_of_a_certificate_or_a_list() {
    let rig = rig();
    let identity = rig.authority.identity(&["proxy.test"], |params| end(params, now() + 2 * HOUR));
    let client = client(&rig, &identity);
    let server = load(rig.server.clone()).unwrap();
    let identity = let_in(&client, &server).await.unwrap();
    let near = |left: Option<Duration>, hours: u32| {
        let (left, hours) = (left.unwrap(), hours * HOUR);
        assert!(
            left <= hours + Duration::from_secs(1) && left > hours - Duration::from_secs(600),
            "{left:?}"
        );
    };
    near(server.next_end(&identity), 2);
    let list = |hours: u32| load(with(&rig, &[rig.authority.revoked(&[], now() + hours * HOUR)])).unwrap();
    near(list(1).next_end(&identity), 1);
    near(list(3).next_end(&identity), 2);
    // What was over when it was verified comes no more, and what has ended since is due.
    let expired = load(with(&rig, &[rig.authority.revoked(&[], now() - HOUR)])).unwrap();
    near(expired.next_end(&identity), 2);
    let (_near, far) = meet(&client, &server, "plugin.test", alpn::GRPC).await;
    let late = client_of(&far.unwrap(), 2 * HOUR).unwrap().unwrap();
    assert_eq!(expired.next_end(&late), Some(Duration::ZERO));
    expired.verify_again(Some(&late)).unwrap_err();
    server.verify_again(Some(&late)).unwrap();
    near(expired.next_end(&late), 2);
}
