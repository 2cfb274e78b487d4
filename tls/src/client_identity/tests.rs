//! What certificates say of their owner, and what they do not.

use super::*;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType, string::Ia5String,
};

fn identity(change: impl FnOnce(&mut CertificateParams)) -> ClientIdentity {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    ClientIdentity::new(&[certificate.der().clone()], SystemTime::UNIX_EPOCH).unwrap()
}

fn uri(uri: &str) -> SanType {
    SanType::URI(Ia5String::try_from(uri).unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(name).unwrap())
}

fn with(names: Vec<SanType>) -> ClientIdentity {
    identity(|params| {
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, "common");
    })
}

/// All that it is known by.
fn known(identity: &ClientIdentity) -> (Option<&str>, Vec<&str>, Option<&str>) {
    (identity.spiffe_id(), identity.dns_names().iter().map(|name| &**name).collect(), identity.common_name())
}

#[test]
fn names_are_read_each_as_its_kind() {
    let id = "spiffe://a.test/x";
    for (names, expected) in [
        (vec![], (None, vec![])),
        (vec![uri(id)], (Some(id), vec![])),
        (vec![dns("B.Test"), uri(id), dns("a.test")], (Some(id), vec!["b.test", "a.test"])),
        // A URI of another kind names nobody, and harms nobody.
        (vec![uri("https://a.test/x"), dns("a.test")], (None, vec!["a.test"])),
        // Those of servers, and what is no name.
        (vec![dns("*.a.test"), dns("a.test"), dns("*"), dns("a b"), dns("a.")], (None, vec!["a.test"])),
        (vec![dns("spiffe://a.test/x")], (None, vec![])),
    ] {
        let identity = with(names.clone());
        assert_eq!(known(&identity), (expected.0, expected.1, Some("common")), "{names:?}");
        assert_eq!(identity.problem(), None);
    }
}

#[test]
fn a_certificate_that_may_be_read_in_two_ways_names_nobody() {
    let id = || uri("spiffe://a.test/x");
    let one = "spiffe://a.test/x";
    let empty_name = || dns("");
    for (names, problem) in [
        (vec![id(), uri("spiffe://a.test/y")], IdentityProblem::SeveralUris),
        (vec![id(), id()], IdentityProblem::SeveralUris),
        (vec![id(), dns("a.test"), uri("https://a.test")], IdentityProblem::SeveralUris),
        (vec![uri("https://a.test"), uri("https://b.test")], IdentityProblem::SeveralUris),
        (vec![uri("spiffe://a.test"), dns("a.test")], IdentityProblem::SpiffeId),
        (vec![uri("SPIFFE://a.test/x"), dns("a.test")], IdentityProblem::SpiffeId),
        (vec![uri(&format!("{one}?q"))], IdentityProblem::SpiffeId),
        (vec![uri(&format!("{one}\0"))], IdentityProblem::SpiffeId),
        (vec![id(), dns("a.test\0.evil.test")], IdentityProblem::ControlCharacter),
        (vec![dns("\0"), dns("a.test")], IdentityProblem::ControlCharacter),
        (vec![dns("a.test\n")], IdentityProblem::ControlCharacter),
    ] {
        let identity = with(names.clone());
        assert_eq!(
            (known(&identity), identity.problem()),
            ((None, vec![], None), Some(problem)),
            "{names:?}"
        );
    }
    assert_eq!(known(&with(vec![empty_name()])), (None, vec![], Some("common")));
}

/// The extension as it is, DER and all.
fn raw_names(contents: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], contents.to_vec())
}

#[test]
fn names_that_cannot_be_read_do_not_give_way_to_the_common_name() {
    for contents in [
        // No UTF-8, as a DNS name and as a URI.
        &[0x30, 4, 0x82, 2, 0xff, 0xfe][..],
        &[0x30, 4, 0x86, 2, 0xff, 0xfe],
        // One whose end is missing, and what follows the list.
        &[0x30, 3, 0x82, 5, b'a'],
        &[0x30, 3, 0x82, 1, b'a', 0x05, 0],
        &[],
    ] {
        let identity = identity(|params| {
            params.custom_extensions = vec![raw_names(contents)];
            params.distinguished_name.push(DnType::CommonName, "common");
        });
        let found = (known(&identity), identity.problem());
        assert_eq!(found, ((None, vec![], None), Some(IdentityProblem::Names)), "{contents:x?}");
    }
    // Two lists, each right by itself.
    let twice = identity(|params| {
        params.subject_alt_names = vec![dns("a.test")];
        params.custom_extensions = vec![raw_names(&[0x30, 3, 0x82, 1, b'b'])];
    });
    assert_eq!((known(&twice), twice.problem()), ((None, vec![], None), Some(IdentityProblem::Names)));
}

#[test]
fn a_common_name_is_one_and_can_be_shown() {
    let named = |name: &str| identity(|params| params.distinguished_name.push(DnType::CommonName, name));
    assert_eq!(named("Ärger 1").common_name(), Some("Ärger 1"));
    assert_eq!(named(&"a".repeat(64)).common_name().map(str::len), Some(64));
    for name in ["", "a\0b", "a\nb", "\u{85}", &"a".repeat(65)] {
        let identity = named(name);
        assert_eq!(
            (identity.common_name(), identity.problem()),
            (None, Some(IdentityProblem::Nameless)),
            "{name:?}"
        );
    }
    assert_eq!(identity(|_| {}).problem(), Some(IdentityProblem::Nameless));
}

#[test]
fn its_end_and_its_fingerprint_are_those_of_the_clients_own_certificate() {
    let made = |year: i32| {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    };
    let (own, other) = (made(2030), made(2029));
    let identity = ClientIdentity::new(&[own.clone(), other], SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(seconds(identity.not_after()), 1_893_456_000);
    // The end is within, and what was over when it was verified is not looked at for ever.
    let next = |verified: u64| {
        identity.set_verified(SystemTime::UNIX_EPOCH + Duration::from_secs(verified));
        identity.next_end(std::iter::empty()).map(seconds)
    };
    assert_eq!(next(0), Some(1_861_920_001));
    assert_eq!(next(1_861_920_000), Some(1_861_920_001));
    assert_eq!(next(1_861_920_001), Some(1_893_456_001));
    assert_eq!(next(1_893_456_001), None);
    assert_eq!(identity.fingerprint(), ring::digest::digest(&ring::digest::SHA256, &own).as_ref());

    let mut longer = own.to_vec();
    longer.push(0);
    for chain in
        [vec![], vec![longer.into()], vec![own[..own.len() - 1].to_vec().into()], vec![vec![].into()]]
    {
        assert_eq!(ClientIdentity::new(&chain, SystemTime::UNIX_EPOCH).unwrap_err(), Malformed);
    }
}
