//! Certificates made for a test.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::roots::Roots;

/// A certificate authority.
pub(crate) struct Ca {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and key.
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Leaf {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

impl Ca {
    /// A root. rcgen gives every certificate the same subject unless told otherwise.
    pub(crate) fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("key");
        let params = ca_params(name);
        let certificate = params.self_signed(&key).expect("root");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A CA below this one.
    pub(crate) fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = ca_params(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("intermediate");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A server certificate below this one.
    pub(crate) fn leaf(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().expect("key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "the leaf");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("leaf");
        Leaf { certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

/// Stores in which only these roots are: the system's, and those named by the user.
pub(crate) fn roots_with(system: &[CertificateDer<'static>], given: &[CertificateDer<'static>]) -> Roots {
    let store = |list: &[CertificateDer<'static>]| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(list.iter().cloned());
        Arc::new(store)
    };
    let both: Vec<_> = system.iter().chain(given).cloned().collect();
    Roots { system: store(&both), mozilla: store(given), given: store(given), problems: Vec::new() }
}
