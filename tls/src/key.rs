//! Reading a private key, and leaving none of its bytes behind.
//!
//! rustls' own reader of PEM keeps what it decodes in buffers that it does not wipe. Here each has one, which is. What `ring`
//! makes of a key lives as long as it is used, and is not wiped by it.

use crate::TlsError;
use base64::{
    alphabet,
    engine::{Engine, GeneralPurpose, general_purpose::PAD},
};
use rustls::pki_types::{PrivateKeyDer, pem};
use std::{ops::Deref, path::Path};
use zeroize::{Zeroize, Zeroizing};

const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PAD);

type Wrap = fn(Vec<u8>) -> PrivateKeyDer<'static>;

/// The labels that a key may have (RFC 7468 section 10, RFC 5915 section 4, and OpenSSL's for PKCS #1).
const LABELS: [(&str, Wrap); 3] = [
    ("PRIVATE KEY", |der| PrivateKeyDer::Pkcs8(der.into())),
    ("EC PRIVATE KEY", |der| PrivateKeyDer::Sec1(der.into())),
    ("RSA PRIVATE KEY", |der| PrivateKeyDer::Pkcs1(der.into())),
];

/// A key whose bytes are wiped when it was used.
pub(crate) struct PrivateKey(PrivateKeyDer<'static>);

impl Deref for PrivateKey {
    type Target = PrivateKeyDer<'static>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The first private key of a PEM file.
///
/// # Errors
/// There is none, or it is no PEM.
pub(crate) fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKey, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii_end);
    let wrap = lines.find_map(|line| {
        let label = line.strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        LABELS.iter().find(|(known, _)| known.as_bytes() == label)
    });
    let Some((label, wrap)) = wrap else { return Err(TlsError::NoKey { path: path.to_owned() }) };
    let end = format!("-----END {label}-----");
    let mut base64 = Zeroizing::new(Vec::with_capacity(text.len()));
    loop {
        match lines.next() {
            Some(line) if line == end.as_bytes() => break,
            Some(line) => base64.extend_from_slice(line.trim_ascii()),
            None => return Err(failed(pem::Error::MissingSectionEnd { end_marker: end.into_bytes() })),
        }
    }
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    let length = BASE64
        .decode_slice(&*base64, &mut der)
        // Not what is wrong with it: that quotes the key.
        .map_err(|_| failed(pem::Error::Base64Decode("the key is not base64".to_owned())))?;
    der.truncate(length);
    // Moved, not copied.
    Ok(PrivateKey(wrap(std::mem::take(&mut *der))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;

    fn read(text: &str) -> Result<PrivateKey, String> {
        private_key(Path::new("a.key"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_found_among_other_sections_and_read_as_its_kind() {
        let key = KeyPair::generate().unwrap();
        let pem = key.serialize_pem();
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in [
            pem.clone(),
            format!("{certificate}some words\n{pem}{certificate}"),
            pem.replace('\n', "\r\n"),
            pem.trim_end().to_owned(),
            pem.replace("-----\n", "-----  \n"),
            format!("{pem}{}", KeyPair::generate().unwrap().serialize_pem()),
        ] {
            assert_eq!(read(&text).unwrap().secret_der(), key.serialized_der(), "{text}");
        }
        let labelled = |label: &str| read(&pem.replace("PRIVATE KEY", label)).unwrap();
        assert!(matches!(&*labelled("EC PRIVATE KEY"), PrivateKeyDer::Sec1(_)));
        assert!(matches!(&*labelled("RSA PRIVATE KEY"), PrivateKeyDer::Pkcs1(_)));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_quoted() {
        for (text, said) in [
            ("", "no private key"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no private key"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "no private key",
            ),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "PEM"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "PEM"),
            ("-----BEGIN PRIVATE KEY-----\nsEcr!t\n-----END PRIVATE KEY-----\n", "not base64"),
            ("-----BEGIN PRIVATE KEY-----\nsEcre\n-----END PRIVATE KEY-----\n", "not base64"),
        ] {
            let Err(refused) = read(text) else { panic!("{text}") };
            assert!(refused.contains(said) && !refused.contains("sEcr"), "{text}: {refused}");
        }
    }
}
