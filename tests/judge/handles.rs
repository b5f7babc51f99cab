//! Handles: their hosts, their records, and the way from a handle to its PDS.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict, step::flat};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{Fact, FactBody, FailureKind, ProbeName, Role},
    http_fact::{BodyClass, Content, HttpPurpose},
    record::{Ended, TargetKind},
    tls_fact::PathVerdict,
};

use crate::world::*;

pub(crate) const BOB: &str = "bob.example.org";
pub(crate) const OTHER_DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

pub(crate) fn is_about_accounts(fact: &Fact) -> bool {
    match &fact.body {
        FactBody::Dns(body) => body.role == Role::HostedHandle,
        FactBody::SystemDns(body) => body.role == Role::HostedHandle,
        FactBody::Connect(body) => body.role == Role::HostedHandle,
        FactBody::Tls(body) => body.role == Role::HostedHandle,
        FactBody::Http(body) => {
            matches!(body.purpose, HttpPurpose::AtprotoDid | HttpPurpose::DescribeRepo | HttpPurpose::ListRepos)
        }
        _ => false,
    }
}

pub(crate) fn without_accounts() -> World {
    healthy().without(is_about_accounts)
}

/// No wildcard: neither the random label nor alice resolves.
pub(crate) fn without_wildcard() -> World {
    healthy().unnamed(SAMPLE, DnsOutcome::NxDomain).unnamed(ALICE, DnsOutcome::NxDomain)
}

#[test]
fn no_wildcard() {
    let judged = without_wildcard().finds(Code::DnsNoWildcard, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    assert!(judged.says(Code::HandleUnverified), "alice is its symptom: {}", judged.show());
    // Nobody has an account yet.
    without_accounts().unnamed(SAMPLE, DnsOutcome::NxDomain).finds(
        Code::DnsNoWildcard,
        Impact::Degraded,
        Confidence::Confirmed,
    );
}

/// Records made one by one, or TXT records, do as well.
#[test]
fn records_of_their_own_are_as_good_as_a_wildcard() {
    let named = healthy().unnamed(SAMPLE, DnsOutcome::NxDomain);
    assert_eq!(named.judge().verdict(), Verdict::Risk, "{}", named.judge().show());
    let by_txt = without_accounts()
        .unnamed(SAMPLE, DnsOutcome::NxDomain)
        .with(|world| world.account(ALICE, ALICE_DID, &[], Some(&format!("did={ALICE_DID}"))));
    assert_eq!(by_txt.judge().verdict(), Verdict::Risk, "{}", by_txt.judge().show());
}

/// A handle on a domain of its own that fails is not for want of the PDS's wildcard.
#[test]
fn somebody_elses_domain_is_not_under_the_wildcard() {
    let world = healthy().unnamed(SAMPLE, DnsOutcome::NxDomain).with(|world| world.account(BOB, OTHER_DID, &[], None));
    let judged = world.finds(Code::DnsNoWildcard, Impact::Risk, Confidence::Confirmed);
    assert!(judged.diagnosis.causes.iter().any(|cause| cause.code == Code::HandleUnverified), "{}", judged.show());
}

/// Two handle domains, each its own finding.
#[test]
fn every_handle_domain_counts() {
    let world = without_accounts()
        .http(Role::Target, HttpPurpose::DescribeServer, |body| {
            body.content = Some(Content::DescribeServer {
                did: Some(t("did:web:pds.example.com")),
                available_user_domains: vec![t(".pds.example.com"), t(".friends.example.net")],
            });
        })
        .unnamed(SAMPLE, DnsOutcome::NxDomain)
        .with(|world| {
            world.named(ProbeName::Handles, Role::HandleSample, "pdsdoctor-0badcafe.friends.example.net", &[])
        });
    let judged = world.judge();
    let found = judged.diagnosis.causes.iter().filter(|cause| cause.code == Code::DnsNoWildcard).count();
    assert_eq!(found, 2, "{}", judged.show());
}

/// A resolver that fails for the label says nothing about it.
#[test]
fn a_failing_resolver_is_no_missing_wildcard() {
    healthy().unnamed(SAMPLE, DnsOutcome::ServFail).never_says(Code::DnsNoWildcard);
}

/// `_atproto.alice` exists, so the wildcard no longer answers for `alice` (RFC 4592).
#[test]
fn a_txt_record_hides_the_name_from_the_wildcard() {
    let world = healthy().unnamed(ALICE, DnsOutcome::NoData).dns("_atproto.alice.pds.example.com", |dns| {
        dns.outcome = DnsOutcome::Answer;
        dns.records = vec![t(&format!("did={ALICE_DID}"))];
    });
    world.finds(Code::DnsTxtCreatesEmptyNonterminal, Impact::Degraded, Confidence::Confirmed);
    // Without a wildcard there is nothing to be hidden from.
    world.unnamed(SAMPLE, DnsOutcome::NxDomain).never_says(Code::DnsTxtCreatesEmptyNonterminal);
    // With an address of its own all is well.
    let own = healthy().dns("_atproto.alice.pds.example.com", |dns| {
        dns.outcome = DnsOutcome::Answer;
        dns.records = vec![t(&format!("did={ALICE_DID}"))];
    });
    own.is_well();
}

pub(crate) fn shown_for_handles(change: impl Fn(&mut pdsdoctor_probes::tls_fact::CertificateFact)) -> World {
    healthy()
        .tls(SAMPLE, |tls| {
            tls.failure = None;
            tls.alert = None;
            tls.certificate = Some(certificate(&[PDS]));
        })
        .cert(SAMPLE, &change)
        .cert(ALICE, &change)
}

#[test]
fn a_wildcard_certificate_one_level_short() {
    let world = shown_for_handles(|cert| {
        cert.names = vec![t("example.com"), t("*.example.com")];
        cert.name_matches = false;
    });
    let judged = world.finds(Code::TlsWildcardOneLevel, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    shown_for_handles(|cert| cert.names = vec![t("*.pds.example.com")]).is_well();
}

#[test]
fn no_valid_certificate_for_handles() {
    for change in [
        |cert: &mut pdsdoctor_probes::tls_fact::CertificateFact| {
            cert.names = vec![t(PDS)];
            cert.name_matches = false;
        },
        |cert: &mut pdsdoctor_probes::tls_fact::CertificateFact| {
            cert.issuer = t("CN=TRAEFIK DEFAULT CERT");
            cert.trust_mozilla = PathVerdict::UnknownIssuer;
            cert.trust_system = PathVerdict::UnknownIssuer;
        },
        |cert: &mut pdsdoctor_probes::tls_fact::CertificateFact| cert.not_after = NOW - DAY,
    ] {
        let judged =
            shown_for_handles(change).finds(Code::TlsHandleDomainNoCert, Impact::Broken, Confidence::Confirmed);
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    }
    // An account's own name is refused: not what on-demand issuance does for names that exist.
    healthy()
        .tls(ALICE, refuse_tls)
        .without(|fact| matches!(&fact.body, FactBody::Http(body) if body.url.contains(ALICE)))
        .finds(Code::TlsHandleDomainNoCert, Impact::Broken, Confidence::Confirmed);
    // nginx with ssl_reject_handshake for names it does not know; the accounts it knows.
    let rejected = healthy().tls(SAMPLE, |tls| alert(tls, "UnrecognizedName"));
    assert!(rejected.judge().verdict() <= Verdict::Risk, "{}", rejected.judge().show());
}

/// Caddy takes up to half a minute for the first certificate of a name.
#[test]
fn a_slow_first_certificate_is_no_fault() {
    healthy()
        .tls(SAMPLE, |tls| {
            tls.failure = Some(fail(FailureKind::Timeout));
            tls.alert = None;
        })
        .is_well();
}

pub(crate) fn alices_txt(records: &'static [&'static str]) -> World {
    healthy().dns("_atproto.alice.pds.example.com", |dns| {
        dns.outcome = DnsOutcome::Answer;
        dns.records = records.iter().map(|record| t(record)).collect();
    })
}

#[test]
fn two_did_records() {
    let world = alices_txt(&["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"]);
    world.finds(Code::DnsDuplicateDidTxt, Impact::Degraded, Confidence::Confirmed);
    alices_txt(&["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz", "v=spf1 -all"]).is_well();
}

/// Two resolvers in the hours after a change: nobody gets both records at once.
#[test]
fn an_old_record_in_one_resolvers_cache_is_no_duplicate() {
    let world = alices_txt(&["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz"]).with(|world| {
        let old = format!("did={OTHER_DID}");
        let name = format!("_atproto.{ALICE}");
        let mut other = dns(Role::HostedHandle, DnsPurpose::HandleTxt, &name, RecordType::Txt, &[&old]);
        other.server = "1.1.1.1:53".parse().unwrap();
        world.push(ProbeName::Handles, 20, FactBody::Dns(other));
    });
    world.is_well();
}

#[test]
fn a_malformed_record() {
    for record in [
        &["did:plc:ewvi7nxzyoun6zhxrhs64oiz"][..],
        &["\"did=did:plc:ewvi7nxzyoun6zhxrhs64oiz\""][..],
        &["did = did:plc:ewvi7nxzyoun6zhxrhs64oiz"][..],
    ] {
        alices_txt(record).finds(Code::DnsTxtFormat, Impact::Degraded, Confidence::Confirmed);
    }
}

/// `*.pds.example.com TXT "v=spf1 -all"` answers for `_atproto.alice` as well; nobody minds.
#[test]
fn a_wildcard_txt_record_is_not_a_malformed_did() {
    alices_txt(&["v=spf1 -all"]).is_well();
}

#[test]
fn txt_and_well_known_disagree() {
    let world = alices_txt(&["did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"]);
    world.finds(Code::DnsWellKnownAndTxtDisagree, Impact::Degraded, Confidence::Confirmed);
    alices_txt(&["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz"]).never_says(Code::DnsWellKnownAndTxtDisagree);
}

/// An account on a domain of its own without any working way, and the record at another name.
pub(crate) fn misplaced(at: &'static str, did: &'static str) -> World {
    healthy().with(|world| {
        world.account(BOB, OTHER_DID, &[], None);
        let records = [format!("did={did}")];
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let txt = dns(Role::HostedHandle, DnsPurpose::MisplacedTxt, at, RecordType::Txt, &records);
        world.push(ProbeName::Handles, 20, FactBody::Dns(txt));
    })
}

#[test]
fn the_record_is_at_the_wrong_name() {
    for place in [BOB, "_atproto.example.org", "_atproto.bob.example.org.example.org"] {
        let judged = misplaced(place, OTHER_DID).finds(Code::DnsTxtWrongOwner, Impact::Risk, Confidence::Confirmed);
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    }
}

/// `_atproto.example.org` that holds the handle `example.org` of somebody else.
#[test]
fn the_parents_own_handle_is_not_misplaced() {
    let world = misplaced("_atproto.example.org", "did:plc:cccccccccccccccccccccccc");
    world.never_says(Code::DnsTxtWrongOwner);
    world.finds(Code::HandleUnverified, Impact::Risk, Confidence::Likely);
}

#[test]
fn a_handle_that_nothing_verifies() {
    healthy().with(|world| world.account(BOB, OTHER_DID, &[], None)).finds(
        Code::HandleUnverified,
        // One account's own domain is that account's matter, not the PDS's.
        Impact::Risk,
        Confidence::Likely,
    );
    // A resolver that fails proves nothing.
    let failing = healthy()
        .with(|world| world.account(BOB, OTHER_DID, &[], None))
        .dns("_atproto.bob.example.org", |dns| dns.outcome = DnsOutcome::ServFail);
    failing.is_well();
    // The well-known file was not asked for, or not to the end.
    let mut cut =
        healthy().without(|fact| matches!(&fact.body, FactBody::Http(body) if body.purpose == HttpPurpose::AtprotoDid));
    cut.run.ended = Ended::TimeLimit;
    cut.never_says(Code::HandleUnverified);
}

pub(crate) fn with_handle(also_known_as: &'static [&'static str], endpoint: &'static str) -> World {
    healthy().with(|world| {
        world.run.target.kind = TargetKind::Handle;
        world.run.target.input = t(ALICE);
        world.run.target.handle = Some(t(ALICE));
        world.run.target.did = Some(t(ALICE_DID));
        let content = Content::DidDocument {
            id: Some(t(ALICE_DID)),
            pds_endpoints: if endpoint.is_empty() { vec![] } else { vec![t(endpoint)] },
            also_known_as: also_known_as.iter().map(|name| t(name)).collect(),
        };
        let url = format!("https://plc.directory/{ALICE_DID}");
        let body = http(Role::Directory, HttpPurpose::DidDocument, &url, "104.18.1.1", Some(content));
        world.push(ProbeName::Identity, 90, FactBody::Http(body));
    })
}

pub(crate) const OWN: &str = "https://pds.example.com";

#[test]
fn the_way_from_a_handle_to_its_pds() {
    with_handle(&["at://alice.pds.example.com"], OWN).is_well();
    with_handle(&["at://Alice.PDS.example.com"], OWN).is_well();
    with_handle(&["at://someone.else.example"], OWN).finds(
        Code::HandleUnverified,
        Impact::Broken,
        Confidence::Confirmed,
    );
    for endpoint in
        ["", "http://pds.example.com", "https://pds.example.com:8443", "https://pds.example.com/xrpc", "junk"]
    {
        with_handle(&["at://alice.pds.example.com"], endpoint).finds(
            Code::IdDiddocEndpointMismatch,
            Impact::Broken,
            Confidence::Confirmed,
        );
    }
    with_handle(&["at://alice.pds.example.com"], "https://pds.example.com/").is_well();
}

pub(crate) fn lost(status: u16) -> World {
    with_handle(&[], "")
        .without(|fact| {
            !matches!(&fact.body, FactBody::OwnNetwork(_) | FactBody::Resolver(_))
                && !matches!(&fact.body, FactBody::Http(body) if matches!(body.role, Role::Directory | Role::Reference))
        })
        .http(Role::Directory, HttpPurpose::DidDocument, |body| answer(body, status, BodyClass::Json, "{}"))
        .with(|world| {
            world.run.target.host = None;
            world.run.target.origin = None;
        })
}

#[test]
fn the_did_leads_nowhere() {
    lost(404).finds(Code::TargetUnresolved, Impact::Broken, Confidence::Likely);
    // The directory is everybody's: its failure is not the PDS's.
    let judged = lost(503).finds(Code::TargetUnresolved, Impact::Risk, Confidence::Possible);
    assert_eq!(judged.verdict(), Verdict::Inconclusive);
    let mut cut = lost(503).without(|fact| fact.probe == ProbeName::Identity);
    cut.run.ended = Ended::TimeLimit;
    assert_eq!(cut.never_says(Code::TargetUnresolved).verdict(), Verdict::Inconclusive);
}

/// A handle without a DID leads nowhere; that nothing verifies it is why.
#[test]
fn a_handle_without_a_did() {
    let mut world = lost(503).without(|fact| fact.probe == ProbeName::Identity).with(|world| {
        let name = format!("_atproto.{ALICE}");
        let txt = dns(Role::Handle, DnsPurpose::HandleTxt, &name, RecordType::Txt, &[]);
        world.push(ProbeName::Identity, 20, FactBody::Dns(txt));
        world.named(ProbeName::Identity, Role::Handle, ALICE, &[]);
    });
    world.run.target.did = None;
    let judged = world.finds(Code::HandleUnverified, Impact::Broken, Confidence::Likely);
    assert!(judged.says(Code::TargetUnresolved), "{}", judged.show());
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
}

/// The same said of several names of one domain is one cause, with its examples and what is known of each in the fix.
#[test]
fn two_handles_and_one_fault() {
    let second = ("carol.example.org", "did:plc:cccccccccccccccccccccccc");
    let world = without_accounts().with(|world| {
        world.account(BOB, OTHER_DID, &[], None);
        world.account(second.0, second.1, &[], None);
    });
    let judged = world.finds(Code::HandleUnverified, Impact::Risk, Confidence::Likely);
    let found: Vec<_> = judged.diagnosis.causes.iter().filter(|it| it.code == Code::HandleUnverified).collect();
    assert_eq!(found.len(), 1, "{}", judged.show());
    assert_eq!(found[0].scope.host.as_deref(), Some("*.example.org"));
    assert!(found[0].summary.contains(BOB) && found[0].summary.contains(second.0), "{}", found[0].summary);
    let steps = found[0].remedies.iter().flat_map(|remedy| flat(&remedy.steps)).collect::<Vec<_>>().join("\n");
    assert!(steps.contains(OTHER_DID) && steps.contains(second.1), "{steps}");
    assert!(!steps.contains("did:plc:..."), "{steps}");
    // Of two domains they are two.
    let apart = without_accounts().with(|world| {
        world.account(BOB, OTHER_DID, &[], None);
        world.account("carol.example.net", second.1, &[], None);
    });
    let judged = apart.judge();
    assert_eq!(judged.diagnosis.causes.len(), 2, "{}", judged.show());
}

/// The handle that was asked about is under the PDS, whose own proxy answers for it, and nothing gives its DID but the PDS.
#[test]
fn a_handle_whose_host_is_only_the_front_of_a_pds() {
    let world = healthy().without(is_about_accounts).with(|world| {
        world.run.target.input = t(ALICE);
        world.run.target.kind = TargetKind::Handle;
        world.run.target.handle = Some(t(ALICE));
        world.run.target.did = Some(t(ALICE_DID));
        let probe = ProbeName::Identity;
        let mut txt = dns(Role::Handle, DnsPurpose::HandleTxt, &format!("_atproto.{ALICE}"), RecordType::Txt, &[]);
        txt.outcome = DnsOutcome::NxDomain;
        world.push(probe, 20, FactBody::Dns(txt));
        world.line(Role::Target, ALICE, PDS_V4);
        let url = format!("https://{ALICE}/.well-known/atproto-did");
        let mut known = http(Role::Handle, HttpPurpose::AtprotoDid, &url, PDS_V4, None);
        answer(&mut known, 404, BodyClass::Html, "<html>");
        world.push(probe, 30, FactBody::Http(known));
        let url = format!("https://{ALICE}/xrpc/com.atproto.identity.resolveHandle?handle={ALICE}");
        let content = Content::ResolvedHandle { did: t(ALICE_DID) };
        let body = http(Role::Handle, HttpPurpose::ResolveHandle, &url, PDS_V4, Some(content));
        world.push(probe, 30, FactBody::Http(body));
    });
    let judged = world.finds(Code::HandleUnverified, Impact::Broken, Confidence::Likely);
    assert!(!judged.says(Code::OauthDevOriginMismatch), "{}", judged.show());
    let cause = judged.cause(Code::HandleUnverified);
    assert!(cause.seen.iter().any(|line| line.contains(ALICE_DID) && line.contains(PDS)), "{:?}", cause.seen);
    let steps = cause.remedies.iter().flat_map(|remedy| flat(&remedy.steps)).collect::<Vec<_>>().join("\n");
    assert!(steps.contains(ALICE_DID), "{steps}");
    assert!(
        !cause.settle.as_ref().is_some_and(|settle| settle.to_string().contains("the account's DID")),
        "{:?}",
        cause.settle
    );
}

/// The PDS behind a handle is down. What its proxy answers at the handle's own name is no finding of its own, and the DID
/// that the network remembers is in the fix.
#[test]
fn a_handle_whose_pds_is_down() {
    let down = |body: &mut pdsdoctor_probes::http_fact::HttpFact| answer(body, 502, BodyClass::Empty, "");
    let world = healthy()
        .without(is_about_accounts)
        .without(|fact| matches!(&fact.body, FactBody::Par(body) if body.role == Role::Target))
        .with(|world| {
            world.run.target.input = t(ALICE);
            world.run.target.kind = TargetKind::Handle;
            world.run.target.handle = Some(t(ALICE));
            let probe = ProbeName::Identity;
            let mut txt = dns(Role::Handle, DnsPurpose::HandleTxt, &format!("_atproto.{ALICE}"), RecordType::Txt, &[]);
            txt.outcome = DnsOutcome::NoData;
            world.push(probe, 20, FactBody::Dns(txt));
            world.line(Role::Target, ALICE, PDS_V4);
            let url = format!("https://{ALICE}/.well-known/atproto-did");
            let mut known = http(Role::Handle, HttpPurpose::AtprotoDid, &url, PDS_V4, None);
            down(&mut known);
            world.push(probe, 30, FactBody::Http(known));
            let url = format!("https://{REF}/xrpc/com.atproto.identity.resolveHandle?handle={ALICE}");
            let content = Content::ResolvedHandle { did: t(ALICE_DID) };
            let body = http(Role::Reference, HttpPurpose::ResolveHandle, &url, REF_V4, Some(content));
            world.push(probe, 30, FactBody::Http(body));
        })
        .http(Role::Target, HttpPurpose::DescribeServer, down)
        .http(Role::Target, HttpPurpose::Health, down)
        .http(Role::Target, HttpPurpose::ProtectedResource, down)
        .http(Role::Target, HttpPurpose::AuthorizationServer, down);
    let judged = world.finds(Code::ProxyUpstreamDown, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    assert!(judged.diagnosis.causes[0].summary.contains(PDS), "{}", judged.show());
    assert!(judged.says(Code::HandleUnverified), "it is a symptom: {}", judged.show());
}
