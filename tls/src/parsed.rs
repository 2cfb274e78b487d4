//! What a certificate says that rustls does not: its names, its end and its issuer's list of revoked ones.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::time::{Duration, SystemTime};
use x509_parser::{
    asn1_rs::Any,
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME,
    prelude::FromDer,
    revocation_list::CertificateRevocationList,
    time::ASN1Time,
};

/// A certificate or a list that is not what RFC 5280 has. rustls has let it pass, which looks at less of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not what RFC 5280 allows")]
pub struct Malformed;

/// Of the whole of `der`: what follows it would be another's.
fn whole<T, E>(parsed: Result<(&[u8], T), E>) -> Result<T, Malformed> {
    match parsed {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(Malformed),
    }
}

pub(crate) fn certificate<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Malformed> {
    whole(X509Certificate::from_der(der))
}

/// One of a certificate's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Dns(&'a str),
    Uri(&'a str),
}

/// Its DNS names and URIs, as they stand there.
///
/// # Errors
/// There are two lists of names, or one of which a part cannot be read: what it would say is anybody's guess.
pub(crate) fn names<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<Name<'a>>, Malformed> {
    let extension =
        certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).map_err(|_| Malformed)?;
    let Some(extension) = extension else { return Ok(Vec::new()) };
    // The parser reads the list and not what may stand behind it.
    whole(Any::from_der(extension.value))?;
    let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
        return Err(Malformed);
    };
    let names = names.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(Ok(Name::Dns(name))),
        GeneralName::URI(uri) => Some(Ok(Name::Uri(uri))),
        GeneralName::Invalid(..) => Some(Err(Malformed)),
        _ => None,
    });
    names.collect()
}

pub(crate) fn not_after(certificate: &X509Certificate<'_>) -> SystemTime {
    time(certificate.validity().not_after)
}

/// Times before 1970 are over, and that is all that is asked of them.
fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

/// The wall clock. Not a simulation's: rustls verifies by this one.
#[allow(clippy::disallowed_methods)] // see above
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Who has revoked, and until when that is the last word.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList {
    /// A Name (RFC 5280 section 4.1.2.4), without its outer tag and length, as rustls keeps its authorities'.
    pub(crate) issuer: Vec<u8>,
    pub(crate) next_update: SystemTime,
}

pub(crate) fn revocation_list(der: &CertificateRevocationListDer<'_>) -> Result<RevocationList, Malformed> {
    let list = whole(CertificateRevocationList::from_der(der))?;
    Ok(RevocationList {
        issuer: contents(list.issuer().as_raw()).to_vec(),
        // RFC 5280 section 5.1.2.5: "Conforming CRL issuers MUST include the nextUpdate field in all CRLs."
        next_update: time(list.next_update().ok_or(Malformed)?),
    })
}

/// What stands behind a DER tag and length. The parser has been over it: it is well-formed.
fn contents(der: &[u8]) -> &[u8] {
    let header = match der.get(1) {
        // X.690 section 8.1.3.5: the low bits count the octets of the length that follow.
        Some(length @ 0x80..) => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    der.get(header..).unwrap_or_default()
}

/// A host name as RFC 5280 section 4.2.1.6 wants it ("preferred name syntax"), and the underscore that many have. No wildcard.
pub(crate) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_told_from_what_looks_like_one() {
        for name in [
            "a",
            "a.test",
            "A-1.b_c.test",
            "127.0.0.1",
            "xn--4ca.test",
            &["a".repeat(63), "b".into()].join("."),
        ] {
            assert!(is_host_name(name), "{name}");
        }
        for no in [
            "", ".", ".a", "a.", "a..b", "*", "*.a.test", "a.*.test", "-a.test", "a-.test", "a b",
            "a\0.test", "a.test\0", "a\n", "é.test", "a/b", "a:1", "a@b", "a%00b",
        ] {
            assert!(!is_host_name(no), "{no:?}");
        }
        assert!(!is_host_name(&"a".repeat(64)));
        assert!(!is_host_name(&["a"; 128].join(".")));
    }

    #[test]
    fn the_length_of_a_name_may_take_several_bytes() {
        assert_eq!(contents(&[0x30, 2, 7, 8]), [7, 8]);
        assert_eq!(contents(&[0x30, 0x82, 0, 1, 7]), [7]);
        assert_eq!(contents(&[0x30]), [0_u8; 0]);
        assert_eq!(contents(&[0x30, 0x84, 0]), [0_u8; 0]);
    }
}
