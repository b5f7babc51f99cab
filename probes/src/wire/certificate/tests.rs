use rcgen::{BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};

use super::*;
use crate::testing::{Ca, Leaf, roots_with};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).expect("name")
}

fn judge_at(now: i64, leaf: &Leaf, above: &[&Ca], host: &str, roots: &Roots) -> CertificateFact {
    let mut chain = vec![leaf.certificate.clone()];
    chain.extend(above.iter().map(|ca| ca.der()));
    judge(&chain, &name(host), roots, now).expect("certificate")
}

#[test]
fn a_good_chain() {
    let root = Ca::root("good root");
    let middle = root.intermediate("middle", |_| {});
    let leaf = middle.leaf(&["pds.example", "*.pds.example"], |_| {});
    let fact = judge_at(NOW, &leaf, &[&middle], "x.pds.example", &roots_with(&[root.der()], &[]));
    assert_eq!(fact.trust_system, PathVerdict::Trusted);
    assert_eq!(fact.trust_mozilla, PathVerdict::NoStore);
    assert!(!fact.trust_given && fact.name_matches && !fact.self_issued && !fact.public_ca_marks);
    assert_eq!((fact.chain_length, fact.name_count), (2, 2));
    assert_eq!(fact.names, ["pds.example".into(), "*.pds.example".into()]);
    assert_eq!(fact.chain_subjects, ["CN=middle".into()]);
    assert_eq!((fact.subject.as_str(), fact.issuer.as_str()), ("CN=the leaf", "CN=middle"));
    assert_eq!(fact.validity(), crate::tls_fact::Validity::Valid);
}

#[test]
fn the_three_axes_are_independent() {
    let root = Ca::root("root");
    let leaf = root.leaf(&["other.example"], |params| params.not_after = date_time_ymd(2021, 1, 1));
    let fact = judge_at(NOW, &leaf, &[], "pds.example", &roots_with(&[], &[root.der()]));
    // Expired and for another name, but the path is good.
    assert_eq!(fact.trust_system, PathVerdict::Trusted);
    assert!(fact.trust_given && !fact.name_matches);
    assert_eq!(fact.validity(), crate::tls_fact::Validity::Expired);
    // And before its time, as a wrong clock would have it.
    let early = judge_at(0, &leaf, &[], "other.example", &roots_with(&[], &[root.der()]));
    assert_eq!((early.validity(), early.trust_given), (crate::tls_fact::Validity::NotYet, true));
    assert!(early.name_matches);
}

#[test]
fn chains_that_lead_nowhere() {
    let root = Ca::root("root");
    let middle = root.intermediate("middle", |_| {});
    let leaf = middle.leaf(&["pds.example"], |_| {});
    let verdict = |above: &[&Ca], roots: &Roots| judge_at(NOW, &leaf, above, "pds.example", roots).trust_system;
    let roots = roots_with(&[root.der()], &[]);
    assert_eq!(verdict(&[], &roots), PathVerdict::UnknownIssuer, "incomplete chain");
    assert_eq!(verdict(&[&middle], &roots_with(&[Ca::root("x").der()], &[])), PathVerdict::UnknownIssuer);
    assert_eq!(verdict(&[&middle], &roots_with(&[], &[])), PathVerdict::NoStore);
    let old = root.intermediate("old", |params| params.not_after = date_time_ymd(2022, 1, 1));
    let under_old = old.leaf(&["pds.example"], |_| {});
    assert_eq!(judge_at(NOW, &under_old, &[&old], "pds.example", &roots).trust_system, PathVerdict::ChainExpired);
    // Another CA of the same name: the signature is not its own.
    let twin = Ca::root("root");
    assert_eq!(verdict(&[&middle], &roots_with(&[twin.der()], &[])), PathVerdict::Invalid);
}

#[test]
fn wrong_purpose_is_invalid() {
    let root = Ca::root("root");
    let leaf = root.leaf(&["pds.example"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let fact = judge_at(NOW, &leaf, &[], "pds.example", &roots_with(&[root.der()], &[]));
    assert_eq!(fact.trust_system, PathVerdict::Invalid);
}

#[test]
fn self_signed_as_openssl_makes_it() {
    let ca = Ca::root("pds.example");
    let chain = [ca.der()];
    let strangers = roots_with(&[Ca::root("x").der()], &[]);
    let fact = judge(&chain, &name("pds.example"), &strangers, NOW).expect("certificate");
    assert!(fact.self_issued && !fact.name_matches, "a common name is no name");
    assert_eq!(fact.trust_system, PathVerdict::UnknownIssuer);
    let named = judge(&chain, &name("pds.example"), &roots_with(&[], &[ca.der()]), NOW).expect("certificate");
    assert!(named.trust_given, "the certificate itself is in the store");
}

#[test]
fn self_signed_that_is_no_ca() {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(vec!["pds.example".to_owned()]).expect("names");
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_after = date_time_ymd(2090, 1, 1);
    let certificate = params.self_signed(&key).expect("certificate");
    let chain = [certificate.der().clone()];
    let strangers = roots_with(&[Ca::root("x").der()], &[]);
    let fact = judge(&chain, &name("pds.example"), &strangers, NOW).expect("certificate");
    assert_eq!((fact.self_issued, fact.trust_system), (true, PathVerdict::UnknownIssuer));
    let named = judge(&chain, &name("pds.example"), &roots_with(&[], &chain), NOW).expect("certificate");
    assert_eq!((named.trust_system, named.name_matches), (PathVerdict::Trusted, true));
}

#[test]
fn addresses_are_names_too() {
    let root = Ca::root("root");
    let leaf = root.leaf(&["192.0.2.7", "2001:db8::7"], |_| {});
    let roots = roots_with(&[root.der()], &[]);
    let fact = judge_at(NOW, &leaf, &[], "192.0.2.7", &roots);
    assert!(fact.name_matches);
    assert_eq!(fact.names, ["192.0.2.7".into(), "2001:db8::7".into()]);
    assert!(judge_at(NOW, &leaf, &[], "2001:db8::7", &roots).name_matches);
    assert!(!judge_at(NOW, &leaf, &[], "192.0.2.8", &roots).name_matches);
}

#[test]
fn marks_of_a_public_ca_and_where_its_issuer_is() {
    let root = Ca::root("root");
    // Domain validated, 2.23.140.1.2.1: SEQUENCE { SEQUENCE { OID } }.
    let policies = vec![0x30, 0x0a, 0x30, 0x08, 0x06, 0x06, 0x67, 0x81, 0x0c, 0x01, 0x02, 0x01];
    let url = b"http://ca.example/r1.der";
    let mut access = vec![0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 0x30, 0x02, 0x86, url.len() as u8];
    access.extend_from_slice(url);
    let access = [&[0x30, access.len() as u8 + 2, 0x30, access.len() as u8][..], &access].concat();
    let leaf = root.leaf(&["pds.example"], |params| {
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&[2, 5, 29, 32], policies),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access),
        ];
    });
    let fact = judge_at(NOW, &leaf, &[], "pds.example", &roots_with(&[root.der()], &[]));
    assert!(fact.public_ca_marks);
    assert_eq!(fact.issuer_url.as_deref(), Some("http://ca.example/r1.der"));
    let sct = root.leaf(&["pds.example"], |params| {
        let list = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], vec![0x04, 0x02, 0x00, 0x00]);
        params.custom_extensions = vec![list];
    });
    assert!(judge_at(NOW, &sct, &[], "pds.example", &roots_with(&[], &[])).public_ca_marks);
}

#[test]
fn hostile_certificates() {
    let roots = roots_with(&[Ca::root("x").der()], &[]);
    // Not a certificate at all, nothing at all, and a chain of rubbish.
    assert_eq!(judge(&[], &name("a.example"), &roots, NOW), None);
    for rubbish in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", &[0x30; 4096]] {
        assert_eq!(judge(&[CertificateDer::from(rubbish.to_vec())], &name("a.example"), &roots, NOW), None);
    }
    let ca = Ca::root("ca");
    let leaf = ca.leaf(&["a.example"], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "\u{1b}[31mred\u{202e}");
    });
    let mut chain = vec![leaf.certificate.clone()];
    chain.extend((0..5000).map(|_| CertificateDer::from(vec![0x30, 0x00])));
    let fact = judge(&chain, &name("a.example"), &roots, NOW).expect("certificate");
    assert_eq!((fact.chain_length, fact.chain_subjects.len()), (5001, CHAIN_SUBJECTS));
    assert!(!fact.subject.contains('\u{1b}') && !fact.subject.contains('\u{202e}'), "{}", fact.subject);
    // Every byte of a good one cut off or flipped once: whatever it says, no panic.
    let der = leaf.certificate.as_ref();
    for at in 0..der.len() {
        let _ = judge(&[CertificateDer::from(der[..at].to_vec())], &name("a.example"), &roots, NOW);
        let mut bent = der.to_vec();
        bent[at] ^= 0xff;
        let _ = judge(&[CertificateDer::from(bent)], &name("a.example"), &roots, NOW);
    }
}

#[test]
fn ten_thousand_names_are_counted_and_few_are_kept() {
    let root = Ca::root("root");
    let roots = roots_with(&[root.der()], &[]);
    let leaf_of = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        root.leaf(&names, |_| {})
    };
    let short: Vec<String> = (0..10_000).map(|n| format!("{:04x}", 0xa000 + n)).collect();
    let fact = judge_at(NOW, &leaf_of(&short), &[], "c70f", &roots);
    assert_eq!((fact.name_count, fact.names.len()), (10_000, limits::CERT_NAMES));
    assert_eq!((fact.trust_system, fact.name_matches), (PathVerdict::Trusted, true));
    // Beyond 64 KiB webpki looks no further (and rustls would not have taken the message).
    let long: Vec<String> = (0..10_000).map(|n| format!("n{n}.pds.example")).collect();
    let fact = judge_at(NOW, &leaf_of(&long), &[], "n9999.pds.example", &roots);
    assert_eq!((fact.name_count, fact.names.len()), (10_000, limits::CERT_NAMES));
    assert_eq!((fact.trust_system, fact.name_matches), (PathVerdict::Invalid, false));
}
