//! What a chain of certificates says, on three independent axes: path, dates, name.

use std::time::Duration;

use rustls::{
    CertificateError, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{Oid, asn1_rs::oid},
    prelude::{FromDer, X509Certificate},
};

use super::trust_all::PROVIDER;
use crate::{
    limits,
    roots::Roots,
    text::Text,
    tls_fact::{CertificateFact, PathVerdict},
};

/// Signed certificate timestamps (RFC 6962, section 3.3): only a public CA can get them.
const SCT_LIST: Oid<'static> = oid!(1.3.6.1.4.1.11129.2.4.2);

/// The arc of CA/Browser Forum policies (Baseline Requirements, section 7.1.6.1).
const CABF_POLICIES: Oid<'static> = oid!(2.23.140.1);

/// The access method "CA issuers" (RFC 5280, section 4.2.2.1).
const CA_ISSUERS: Oid<'static> = oid!(1.3.6.1.5.5.7.48.2);

/// The most certificates above the leaf whose subjects are kept.
const CHAIN_SUBJECTS: usize = 10;

/// Judges a chain, leaf first, at `now` (seconds since 1970). `None`: no chain, or a leaf that is no certificate.
pub(crate) fn judge(
    chain: &[CertificateDer<'_>],
    sni: &ServerName<'_>,
    roots: &Roots,
    now: i64,
) -> Option<CertificateFact> {
    let (leaf_der, others) = chain.split_first()?;
    let (_, leaf) = X509Certificate::from_der(leaf_der).ok()?;
    let validity = leaf.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    // The dates of the leaf are an axis of their own: the path is judged at the nearest moment at
    // which the leaf was valid.
    let moment = if not_before <= not_after { now.clamp(not_before, not_after) } else { now };
    let self_issued = leaf.subject().as_raw() == leaf.issuer().as_raw();
    let parsed = ParsedCertificate::try_from(leaf_der);
    let path = |store: &RootCertStore| match &parsed {
        _ if store.is_empty() => PathVerdict::NoStore,
        Err(_) => PathVerdict::Invalid,
        Ok(parsed) => path_to(parsed, &leaf, others, store, moment),
    };
    let (names, name_count) = names_of(&leaf);
    Some(CertificateFact {
        subject: Text::new(&leaf.subject().to_string()),
        issuer: Text::new(&leaf.issuer().to_string()),
        names,
        name_count,
        not_before,
        not_after,
        judged_at: now,
        chain_length: chain.len(),
        chain_subjects: others.iter().take(CHAIN_SUBJECTS).map(subject_of).collect(),
        self_issued,
        public_ca_marks: has_public_ca_marks(&leaf),
        issuer_url: issuer_url(&leaf),
        trust_system: path(&roots.system),
        trust_mozilla: path(&roots.mozilla),
        trust_given: path(&roots.given) == PathVerdict::Trusted,
        name_matches: parsed.as_ref().is_ok_and(|parsed| verify_server_name(parsed, sni).is_ok()),
    })
}

fn path_to(
    parsed: &ParsedCertificate<'_>,
    leaf: &X509Certificate<'_>,
    others: &[CertificateDer<'_>],
    store: &RootCertStore,
    moment: i64,
) -> PathVerdict {
    let seconds = u64::try_from(moment).unwrap_or(0);
    let result = verify_server_cert_signed_by_trust_anchor(
        parsed,
        store,
        others,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        PROVIDER.signature_verification_algorithms.all,
    );
    let Err(error) = result else { return PathVerdict::Trusted };
    if is_anchor(leaf, store) {
        // webpki refuses a CA certificate as a server's own (`CaUsedAsEndEntity`), but OpenSSL,
        // and so Node, takes one that is itself in the store.
        return PathVerdict::Trusted;
    }
    let self_issued = leaf.subject().as_raw() == leaf.issuer().as_raw();
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => PathVerdict::UnknownIssuer,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => PathVerdict::ChainExpired,
        // `openssl req -x509` makes a CA: refused for that before the path is looked for, although
        // what matters is that nobody else signed it.
        rustls::Error::InvalidCertificate(CertificateError::Other(_)) if self_issued => PathVerdict::UnknownIssuer,
        _ => PathVerdict::Invalid,
    }
}

/// The leaf itself is in the store.
fn is_anchor(leaf: &X509Certificate<'_>, store: &RootCertStore) -> bool {
    // Trust anchors keep the inside of the SEQUENCE, x509-parser the whole of it.
    let subject = inside_of_sequence(leaf.subject().as_raw());
    let key = inside_of_sequence(leaf.public_key().raw);
    subject.is_some()
        && key.is_some()
        && store
            .roots
            .iter()
            .any(|root| Some(root.subject.as_ref()) == subject && Some(root.subject_public_key_info.as_ref()) == key)
}

/// The content of a DER SEQUENCE (X.690, section 8.1.3).
fn inside_of_sequence(der: &[u8]) -> Option<&[u8]> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let skip = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    (tag == 0x30).then(|| rest.get(skip..)).flatten()
}

/// The names of the leaf and how many there are. Without any alternative name, its common name is
/// not counted: no client of today looks at it (RFC 9525, section 2).
fn names_of(leaf: &X509Certificate<'_>) -> (Vec<Text>, usize) {
    let mut names = Vec::new();
    let mut count = 0;
    for extension in leaf.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() else { continue };
        for name in &alternative.general_names {
            count += 1;
            if names.len() < limits::CERT_NAMES {
                names.extend(text_of(name));
            }
        }
    }
    (names, count)
}

fn text_of(name: &GeneralName<'_>) -> Option<Text> {
    match name {
        GeneralName::DNSName(name) => Some(Text::limited(name, 260)),
        GeneralName::IPAddress(raw) => {
            let v4 = <[u8; 4]>::try_from(*raw).map(std::net::IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*raw).map(std::net::IpAddr::from)).ok()?;
            Some(Text::new(&address.to_string()))
        }
        _ => None,
    }
}

fn subject_of(der: &CertificateDer<'_>) -> Text {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Text::new(&certificate.subject().to_string()),
        Err(_) => Text::new("(not a certificate)"),
    }
}

fn has_public_ca_marks(leaf: &X509Certificate<'_>) -> bool {
    leaf.extensions().iter().any(|extension| {
        extension.oid == SCT_LIST
            || match extension.parsed_extension() {
                ParsedExtension::CertificatePolicies(policies) => {
                    policies.iter().any(|policy| policy.policy_id.as_bytes().starts_with(CABF_POLICIES.as_bytes()))
                }
                _ => false,
            }
    })
}

fn issuer_url(leaf: &X509Certificate<'_>) -> Option<Text> {
    leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => access.accessdescs.iter().find_map(|description| {
            match (&description.access_location, description.access_method == CA_ISSUERS) {
                (GeneralName::URI(url), true) => Some(Text::new(url)),
                _ => None,
            }
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
