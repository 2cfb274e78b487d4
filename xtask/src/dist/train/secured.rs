//! The training's secured chain: who calls, whether they may, and that it is written down. Operators run it, so the profile
//! knows it.

use super::{DEFAULT, config};
use crate::step::{self, Failure};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// A token of [`JWKS`]'s key, valid until the year 2100. The private key was thrown away when it was signed.
pub(super) const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InRyYWluaW5nIn0.eyJpc3MiOiJodHRwczovL2lkLnRyYWluaW5nLmV4YW1wbGUiLCJhdWQiOiJ0cmFpbmluZyIsInN1YiI6ImxvYWQtNyIsImdyb3VwcyI6WyJldmVyeWJvZHkiLCJzdGFmZiJdLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0.Ruqg1IgpzosulZuEOaCBWcGMnwG5p4Zuow85XzLNIWeRp0Yl0jW5e-Au1Ub1kett1w8-476LsD6E5Z_C30WFjg";

const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"training","x":"Rf_4sudBgN-yVvJ01tS2soL-kX1VBaVlgHIWFgcr1Wg","y":"awE0do1jgYK7Qix2qhHjLFQ0WzQXpVUb58cA-9Ml-4M"}]}"#;

/// What the audit log is signed with: RFC 8032 section 7.1, test 1, as OpenSSL writes a private key.
const AUDIT_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                         -----END PRIVATE KEY-----\n";

/// Writes the configuration, and what it names, into `scene`: every way to the echo, for whoever has [`TOKEN`].
pub(super) fn write(scene: &Path) -> Result<PathBuf, Failure> {
    let write = |name: &str, content: &str| {
        let path = scene.join(name);
        step::file(format!("cannot write {}", path.display()), fs::write(&path, content)).map(|()| path)
    };
    write("keys.json", JWKS)?;
    let key = write("audit.key", AUDIT_KEY)?;
    // Others may not read it, or it is refused.
    step::file("cannot protect the audit key", fs::set_permissions(key, Permissions::from_mode(0o600)))?;
    let access = r#", access: [{ principal: "jwt:https://id.training.example:load-*", claims: { groups: staff }, permissions: [read] }]"#;
    let filters = format!(
        "{DEFAULT}, audit: {{ dir: audit, key: audit.key }}, \
         auth: {{ jwt: {{ issuer: https://id.training.example, audiences: [training], jwks: {{ file: keys.json }} }} }}, authz"
    );
    write("secured.yaml", &config(scene, &filters, access))
}
