//! The trust stores: this machine's, Mozilla's, and what the user named.

use std::{
    collections::HashSet,
    env,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::files;

/// The most bytes of one file of certificates. The distributions' bundles, with all that Mozilla trusts, have 250 KiB; a
/// company adds a few roots of its own.
pub const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The most bytes of all files of a folder (`SSL_CERT_DIR`), which has each root in a file of its own, and often the
/// bundle too.
const FOLDER_BYTES: usize = 8 * 1024 * 1024;

/// The most files of a folder that are looked at; the distributions' have about 300, links among them.
const FOLDER_FILES: usize = 4_096;

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
    /// What of the environment's certificates could not be read, in words.
    pub problems: Vec<String>,
}

impl Roots {
    /// Loads the machine's store (`SSL_CERT_FILE` and `SSL_CERT_DIR` count) and adds `given`.
    pub fn load(given: Vec<CertificateDer<'static>>) -> Self {
        let mut problems = Vec::new();
        let file = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let folders = env::var_os("SSL_CERT_DIR");
        let of_file = file.as_deref().map(|path| from_file(path, &mut problems)).unwrap_or_default();
        let mut system = RootCertStore::empty();
        if file.is_none() && folders.is_none() {
            system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            system.add_parsable_certificates(of_file.iter().cloned());
            for folder in folders.iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty()) {
                system.add_parsable_certificates(from_folder(&folder, &mut problems));
            }
        }
        let mut named = given;
        if file.is_some_and(|path| !is_bundle(&path)) {
            named.extend(of_file);
        }
        let mut mozilla = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let mut own = RootCertStore::empty();
        for store in [&mut system, &mut mozilla, &mut own] {
            store.add_parsable_certificates(named.iter().cloned());
        }
        Self { system: Arc::new(system), mozilla: Arc::new(mozilla), given: Arc::new(own), problems }
    }
}

fn certificates(bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    // What is no certificate is passed over, as OpenSSL does.
    CertificateDer::pem_slice_iter(bytes).filter_map(Result::ok).collect()
}

fn from_file(path: &Path, problems: &mut Vec<String>) -> Vec<CertificateDer<'static>> {
    match files::read(path, FILE_BYTES, files::PATIENCE) {
        Ok(bytes) => certificates(&bytes),
        Err(error) => {
            problems.push(format!("SSL_CERT_FILE: {}: {error}; its certificates are not trusted", path.display()));
            Vec::new()
        }
    }
}

/// Ordinary files only: a folder of certificates may hold anything.
fn from_folder(folder: &Path, problems: &mut Vec<String>) -> Vec<CertificateDer<'static>> {
    let mut problem = |what: &str| problems.push(format!("SSL_CERT_DIR: {}: {what}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            problem(&format!("{error}; its certificates are not trusted"));
            return Vec::new();
        }
    };
    let (mut found, mut seen, mut room) = (Vec::new(), HashSet::new(), FOLDER_BYTES);
    for (index, entry) in entries.flatten().enumerate() {
        if index == FOLDER_FILES || room == 0 {
            problem("more than any folder of certificates has; the rest is not trusted");
            break;
        }
        // Each root has several names there, by links.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if !metadata.is_file() || !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        let Ok(bytes) = files::beginning(&entry.path(), FILE_BYTES.min(room as u64)) else { continue };
        room = room.saturating_sub(bytes.len());
        found.extend(certificates(&bytes));
    }
    found
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

/// The machine's own bundle, by whichever name.
fn is_bundle(path: &Path) -> bool {
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    DISTRIBUTION_BUNDLES.iter().any(|known| {
        let known = Path::new(known);
        let real = known.canonicalize();
        [path, &resolved].into_iter().any(|it| it == known || real.as_ref().is_ok_and(|real| real == it))
    })
}
