//! The trust stores: this machine's, Mozilla's, and what the user named.

use std::sync::Arc;

use rustls::{RootCertStore, pki_types::CertificateDer};

/// Three stores, so that trust itself can be contrasted.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The machine's own store, with the roots the user named.
    pub system: Arc<RootCertStore>,
    /// Mozilla's (webpki-roots), with the roots the user named.
    pub mozilla: Arc<RootCertStore>,
    /// Only the roots the user named: `--ca-cert`, or an `SSL_CERT_FILE` that is not the
    /// distribution's own bundle.
    pub given: Arc<RootCertStore>,
}

impl Roots {
    /// Loads the machine's store (`SSL_CERT_FILE` and `SSL_CERT_DIR` count) and adds `given`.
    pub fn load(given: Vec<CertificateDer<'static>>) -> Self {
        let mut named = given;
        named.extend(environment_roots());
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut mozilla = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let mut own = RootCertStore::empty();
        for store in [&mut system, &mut mozilla, &mut own] {
            store.add_parsable_certificates(named.iter().cloned());
        }
        Self { system: Arc::new(system), mozilla: Arc::new(mozilla), given: Arc::new(own) }
    }
}

/// Bundles of the distributions (the list of openssl-probe): an `SSL_CERT_FILE` that points to one
/// of these is the machine's store by another name, not a root its user means in particular.
const DISTRIBUTION_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/certs/ca-certificates.crt",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/usr/local/etc/openssl/cert.pem",
];

fn environment_roots() -> Vec<CertificateDer<'static>> {
    let Some(file) = std::env::var_os("SSL_CERT_FILE") else { return Vec::new() };
    let path = std::path::Path::new(&file);
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_bundle = |candidate: &std::path::Path| {
        DISTRIBUTION_BUNDLES.iter().any(|known| {
            let known = std::path::Path::new(known);
            candidate == known || known.canonicalize().is_ok_and(|real| real == candidate)
        })
    };
    if is_bundle(path) || is_bundle(&resolved) {
        return Vec::new();
    }
    rustls_native_certs::load_certs_from_paths(Some(path), None).certs
}
