//! The authorities that the system trusts.

use std::path::PathBuf;

/// OpenSSL's name for it, which whoever keeps a bundle elsewhere already sets.
const VARIABLE: &str = "SSL_CERT_FILE";

/// Where distributions keep all of them in one PEM file.
const BUNDLES: [&str; 5] = [
    // Debian, Ubuntu, Arch, Gentoo, distroless images.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, Red Hat.
    "/etc/pki/tls/certs/ca-bundle.crt",
    // Its new home.
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine, the BSDs, macOS.
    "/etc/ssl/cert.pem",
];

/// The system's bundle: `SSL_CERT_FILE` where it is set, else the first that is there.
pub(super) fn system_bundle() -> Option<PathBuf> {
    std::env::var_os(VARIABLE)
        .map(PathBuf::from)
        .or_else(|| BUNDLES.into_iter().map(PathBuf::from).find(|path| path.is_file()))
}
