//! What the admin address is encrypted with.

use prism_config::{Admin, AdminTls};
use prism_tls::{ClientAuth, IdentityFiles, ServerFiles, ServerTls, TlsError, alpn};

/// The interface speaks HTTP/1.1 and nothing else.
const PROTOCOLS: [&[u8]; 1] = [alpn::HTTP1];

fn files(AdminTls { cert, key, client_ca }: &AdminTls) -> ServerFiles {
    let identity = IdentityFiles { certificates: cert.clone(), key: key.clone() };
    ServerFiles::new(identity, client_ca.clone().map_or(ClientAuth::None, ClientAuth::Required))
}

/// Reads the files, if the address is encrypted, and looks at them from now on. Blocks.
///
/// # Errors
/// They cannot be used.
pub(super) fn open(admin: &Admin) -> Result<Option<ServerTls>, TlsError> {
    admin.tls.as_ref().map(|tls| ServerTls::watch(files(tls), &PROTOCOLS)).transpose()
}

/// Reads the files of a configuration that will not run here: for `prism-edge check`. Blocks.
pub(crate) fn check(admin: &Admin) -> Option<TlsError> {
    ServerTls::load(files(admin.tls.as_ref()?), &PROTOCOLS).err()
}
