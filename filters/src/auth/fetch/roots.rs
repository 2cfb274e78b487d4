//! The authorities that the system trusts.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

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
    bundle(std::env::var_os(VARIABLE), Path::is_file)
}

fn bundle(variable: Option<OsString>, is_there: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    match variable {
        // Whatever it says: to look elsewhere would be to trust what nobody has named.
        Some(named) => Some(named.into()),
        None => BUNDLES.into_iter().map(Path::new).find(|path| is_there(path)).map(Path::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_goes_before_what_is_there() {
        let red_hat = |path: &Path| path.starts_with("/etc/pki");
        assert_eq!(bundle(None, red_hat), Some("/etc/pki/tls/certs/ca-bundle.crt".into()));
        assert_eq!(bundle(Some("/my/bundle.pem".into()), red_hat), Some("/my/bundle.pem".into()));
        assert_eq!(bundle(None, |_| false), None);
    }
}
