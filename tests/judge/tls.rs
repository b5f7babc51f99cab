//! The certificate of the PDS's own name.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    fact::{FactBody, Failure, FailureKind, ProbeName, Role},
    http_fact::{BodyClass, HttpPurpose},
    tls_fact::{CertificateFact, PathVerdict, TlsOfferFact},
};

use crate::world::*;

/// No handshake: nothing above it.
pub(crate) fn no_handshake(change: impl Fn(&mut pdsdoctor_probes::tls_fact::TlsFact)) -> World {
    healthy().only_up_to_tls().tls(PDS, change)
}

pub(crate) fn failing(kind: FailureKind, words: &'static str) -> World {
    no_handshake(move |tls| {
        tls.failure = Some(Failure::new(kind, words));
        tls.certificate = None;
    })
}

#[test]
fn plain_http_on_443() {
    let world = failing(FailureKind::NotTls, "received corrupt message of type InvalidContentType");
    world.finds(Code::TlsPlainHttpOn443, Impact::Broken, Confidence::Likely);
    let proven = world.with(|world| {
        for addr in [PDS_V4, PDS_V6] {
            let url = "http://pds.example.com:443/";
            let mut body = http(Role::Target, HttpPurpose::PlainOnTlsPort, url, addr, None);
            answer(&mut body, 200, BodyClass::Text, "This is an AT Protocol PDS");
            world.push(ProbeName::Tls, 30, FactBody::Http(body));
        }
    });
    let judged = proven.finds(Code::TlsPlainHttpOn443, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
}

#[test]
fn no_certificate_for_the_name() {
    // Port 80 says Caddy: on-demand issuance it is.
    no_handshake(refuse_tls).finds(Code::TlsOndemandRefused, Impact::Broken, Confidence::Confirmed);
    let unknown = no_handshake(refuse_tls).http(Role::Target, HttpPurpose::PlainPort80, |http| {
        http.headers.remove("server");
    });
    unknown.finds(Code::TlsOndemandRefused, Impact::Broken, Confidence::Likely);
}

/// The alert for a label that nobody has is on-demand TLS doing its work.
#[test]
fn a_refused_random_label_is_healthy() {
    healthy().never_says(Code::TlsOndemandRefused);
}

#[test]
fn a_handshake_that_fails_otherwise() {
    for (kind, words) in [
        (FailureKind::Timeout, "the TLS handshake took longer than 6 s"),
        (FailureKind::Reset, "connection reset by peer"),
        (FailureKind::TlsOther, "peer misbehaved"),
    ] {
        let judged = failing(kind, words).finds(Code::TlsHandshakeFails, Impact::Broken, Confidence::Likely);
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    }
    no_handshake(|tls| alert(tls, "ProtocolVersion")).finds(
        Code::TlsHandshakeFails,
        Impact::Broken,
        Confidence::Likely,
    );
}

pub(crate) fn private_ca(cert: &mut CertificateFact) {
    cert.issuer = t("CN=Caddy Local Authority - ECC Intermediate");
    cert.chain_subjects = vec![t("CN=Caddy Local Authority - ECC Intermediate")];
    cert.public_ca_marks = false;
    cert.trust_mozilla = PathVerdict::UnknownIssuer;
    cert.trust_system = PathVerdict::UnknownIssuer;
}

#[test]
fn a_private_ca() {
    let judged =
        healthy().cert(PDS, private_ca).finds(Code::TlsInternalOrDefaultCa, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    healthy().cert(PDS, private_ca).without_reference().finds(
        Code::TlsInternalOrDefaultCa,
        Impact::Broken,
        Confidence::Likely,
    );
    let own_root = healthy().cert(PDS, |cert| {
        private_ca(cert);
        cert.trust_system = PathVerdict::Trusted;
    });
    own_root.finds(Code::TlsInternalOrDefaultCa, Impact::Broken, Confidence::Likely);
}

#[test]
fn a_root_named_by_the_user_is_fine() {
    healthy()
        .cert(PDS, |cert| {
            private_ca(cert);
            cert.trust_given = true;
        })
        .is_well();
}

/// A public CA, signed certificate timestamps and all, that is not (or no longer) in our copy of
/// Mozilla's roots, but in this machine's.
#[test]
fn a_public_ca_that_mozilla_does_not_list_is_no_private_one() {
    let world = healthy().cert(PDS, |cert| cert.trust_mozilla = PathVerdict::UnknownIssuer);
    let judged = world.finds(Code::TlsInternalOrDefaultCa, Impact::Risk, Confidence::Possible);
    assert_eq!(judged.verdict(), Verdict::Risk);
}

#[test]
fn the_intermediate_is_missing() {
    let bare = |cert: &mut CertificateFact| {
        cert.chain_length = 1;
        cert.chain_subjects.clear();
        cert.trust_mozilla = PathVerdict::UnknownIssuer;
        cert.trust_system = PathVerdict::UnknownIssuer;
    };
    healthy().cert(PDS, bare).finds(Code::TlsIncompleteChain, Impact::Broken, Confidence::Confirmed);
    // A leaf signed by itself has nothing between.
    let world = healthy().cert(PDS, |cert| {
        bare(cert);
        cert.self_issued = true;
        cert.public_ca_marks = false;
    });
    world.never_says(Code::TlsIncompleteChain);
    world.finds(Code::TlsInternalOrDefaultCa, Impact::Broken, Confidence::Confirmed);
}

pub(crate) fn expired(cert: &mut CertificateFact) {
    cert.not_before = NOW - 100 * DAY;
    cert.not_after = NOW - 10 * DAY;
}

#[test]
fn expired_certificates() {
    let judged = healthy().cert(PDS, expired).finds(Code::TlsExpired, Impact::Broken, Confidence::Confirmed);
    assert!(judged.diagnosis.headline.contains("10 days ago"), "{}", judged.diagnosis.headline);
    healthy().cert(PDS, expired).without_reference().finds(Code::TlsExpired, Impact::Broken, Confidence::Likely);
    let chain = healthy().cert(PDS, |cert| {
        cert.trust_mozilla = PathVerdict::ChainExpired;
        cert.trust_system = PathVerdict::ChainExpired;
    });
    chain.finds(Code::TlsExpired, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn not_yet_valid() {
    healthy().cert(PDS, |cert| cert.not_before = NOW + 3 * DAY).finds(
        Code::TlsNotYetValid,
        Impact::Broken,
        Confidence::Confirmed,
    );
}

/// A laptop whose clock is a year ahead, or behind: every certificate looks out of date from there.
#[test]
fn this_machines_clock_is_wrong_not_the_certificates() {
    for wrong in [365 * DAY, -365 * DAY] {
        let world = healthy().each(|fact| match &mut fact.body {
            FactBody::Tls(body) => {
                body.certificate.iter_mut().for_each(|cert| cert.judged_at = NOW + wrong);
            }
            FactBody::Http(body) => body.date_offset_ms = body.date_offset_ms.map(|offset| offset - wrong * 1_000),
            _ => {}
        });
        let judged = world.is_well();
        assert!(judged.diagnosis.not_measured.iter().any(|missing| missing.why.contains("clock")));
    }
}

/// Without any Date header to tell, a reference that is out of date too is word enough.
#[test]
fn if_the_reference_is_out_of_date_too_the_clock_is_the_suspect() {
    let world = healthy().cert(PDS, expired).cert(REF, expired).each(|fact| {
        if let FactBody::Http(body) = &mut fact.body {
            body.date_offset_ms = None;
        }
    });
    world.finds(Code::TlsExpired, Impact::Risk, Confidence::Possible);
}

#[test]
fn another_name() {
    let world = healthy().cert(PDS, |cert| {
        cert.names = vec![t("www.example.com")];
        cert.name_matches = false;
    });
    let judged = world.finds(Code::TlsWrongName, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
}

#[test]
fn a_certificate_with_thousands_of_names_that_covers_this_one() {
    healthy().cert(PDS, |cert| cert.name_count = 10_000).is_well();
}

/// Both families fail, in ways that differ in confidence only: one cause.
#[test]
fn the_same_fault_at_two_addresses_is_one() {
    let world = no_handshake(refuse_tls).with(|world| {
        world.handshake(ProbeName::Handles, Role::HostedHandle, "other.example.org", PDS_V6);
    });
    assert_eq!(world.judge().diagnosis.causes.len(), 1);
}

/// The server says that nothing in the offer is to its taste; of a wider one it takes `suite`, or nothing.
pub(crate) fn nothing_in_common(suite: Option<&'static str>) -> World {
    no_handshake(|tls| alert(tls, "HandshakeFailure")).with(|world| {
        for addr in [PDS_V4, PDS_V6] {
            let offer = TlsOfferFact {
                role: Role::Target,
                addr: ip(addr),
                port: 443,
                sni: t(PDS),
                failure: suite.is_none().then(|| Failure::new(FailureKind::TlsAlert, "alert 40")),
                alert: suite.is_none().then_some(40),
                version: suite.map(|_| t("TLSv1_2")),
                suite: suite.map(t),
            };
            world.push(ProbeName::Tls, 30, FactBody::TlsOffer(offer));
        }
    })
}

/// Only what clients of today do not offer: no matter of names.
#[test]
fn a_server_with_nothing_but_old_ciphers() {
    let judged = nothing_in_common(Some("RSA_AES_128_CBC_SHA")).finds(
        Code::TlsNoCommonCipher,
        Impact::Broken,
        Confidence::Confirmed,
    );
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    assert!(!judged.says(Code::TlsOndemandRefused), "{}", judged.show());
}

/// The same alert where the experiment proves neither: one reading of two, whatever stands on port 80.
#[test]
fn a_handshake_failure_alone_is_a_possibility() {
    for world in [nothing_in_common(None), no_handshake(|tls| alert(tls, "HandshakeFailure"))] {
        let judged = world.finds(Code::TlsOndemandRefused, Impact::Broken, Confidence::Possible);
        assert!(judged.cause(Code::TlsOndemandRefused).settle.is_some());
        // Another name that the server does have a certificate for: it is the name.
        let other = world.with(|world| {
            for addr in [PDS_V4, PDS_V6] {
                world.handshake(ProbeName::Tls, Role::Target, "pdsdoctor-0badcafe.invalid", addr);
            }
        });
        other.finds(Code::TlsOndemandRefused, Impact::Broken, Confidence::Confirmed);
    }
}

/// Somebody answers, with a certificate for another name, and no PDS behind it: the PDS's proxy, or whoever has its old
/// address now.
#[test]
fn a_certificate_for_another_name_may_be_a_strangers() {
    let strangers = |cert: &mut CertificateFact| {
        cert.names = vec![t("router.lan")];
        cert.name_matches = false;
    };
    let world = healthy().only_up_to_tls().without(|fact| matches!(fact.body, FactBody::Par(_))).cert(PDS, strangers);
    let judged = world.finds(Code::TlsWrongName, Impact::Broken, Confidence::Likely);
    let cause = judged.cause(Code::TlsWrongName);
    assert!(cause.seen.iter().any(|line| line.contains("stranger")), "{:?}", cause.seen);
    assert!(cause.settle.is_some());
    let own_ca = healthy().only_up_to_tls().cert(PDS, |cert| {
        strangers(cert);
        private_ca(cert);
    });
    own_ca.finds(Code::TlsInternalOrDefaultCa, Impact::Broken, Confidence::Likely);
}
