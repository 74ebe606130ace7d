//! Whom this machine trusts to sign certificates, for client libraries that cannot find that out.

use std::path::PathBuf;

/// Where systems keep it: Debian and what comes from it, Fedora, SUSE.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// The PEM file of all authorities: that of `SSL_CERT_FILE`, or the system's.
pub(in crate::backends) fn system_authorities() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()))
}
