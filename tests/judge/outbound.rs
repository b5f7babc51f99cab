//! The PDS's way out from outside: each state of its network as the arms show it, the healthy twin, and the look-alikes.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{ConnectFact, FactBody, FailureKind, ProbeName, Role},
    http_fact::{BodyClass, BodyFact, Content, HttpPurpose},
    par_fact::ParArm,
};

use crate::{change::Judged, inside_paths::second_look, world::*};

const OWN: &str = "https://pds.example.com/xrpc/_health";
const NEAR: &str = "https://near.example.net/robots.txt";
const FAR: &str = "https://far.example.net/robots.txt";
const V4: &str = "https://v4.example.net/robots.txt";
const V6: &str = "https://v6.example.net/robots.txt";

/// What a fetch comes to, and how long the PDS is at it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fetch {
    Reached(u64),
    /// No reason given.
    Bare(u64),
    Says(&'static str, u64),
}

use Fetch::{Bare, Reached, Says};

impl Fetch {
    fn took(self) -> u64 {
        match self {
            Reached(ms) | Bare(ms) | Says(_, ms) => ms,
        }
    }

    fn words(self, url: &str) -> String {
        let suffix = match self {
            Reached(_) => ": Not Found".to_owned(),
            Bare(_) => String::new(),
            Says(words, _) => format!(": {words}"),
        };
        format!("Unable to obtain client metadata for \"{url}\"{suffix}")
    }
}

/// The localhost arm of the plain world takes this long.
const BASE: u64 = 90;

/// What the PDS makes of each host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) app: Fetch,
    pub(crate) own: Fetch,
    pub(crate) near: Fetch,
    pub(crate) far: Fetch,
    pub(crate) v4: Fetch,
    pub(crate) v6: Fetch,
}

/// Everything is reached, the far ones after four round trips.
pub(crate) const GOOD: Seen =
    Seen { app: Reached(60), own: Reached(8), near: Reached(25), far: Reached(900), v4: Reached(20), v6: Reached(20) };

/// The first field report: no route on IPv6, the application farther than 250 ms.
pub(crate) const REPORT: Seen = Seen { app: Bare(257), far: Bare(256), v6: Bare(4), ..GOOD };

impl World {
    pub(crate) fn fetches(mut self, role: Role, seen: Seen) -> Self {
        let server = if role == Role::Target { "https://pds.example.com" } else { "https://tngl.sh" };
        let own = if role == Role::Target { OWN } else { "https://tngl.sh/xrpc/_health" };
        for (arm, url, fetch) in [
            (ParArm::OwnUrl, own, seen.own),
            (ParArm::Near, NEAR, seen.near),
            (ParArm::Far, FAR, seen.far),
            (ParArm::Ipv4Only, V4, seen.v4),
            (ParArm::Ipv6Only, V6, seen.v6),
        ] {
            let mut body = par(role, server, arm, 400, "invalid_client_metadata", &fetch.words(url));
            body.client = t(url);
            body.client_id = t(&format!("{url}?pdsdoctor=1"));
            self.push(ProbeName::Par, BASE + fetch.took(), FactBody::Par(body));
        }
        if let Reached(ms) = seen.app {
            return self.par(role, ParArm::CacheBusted, good_answer(ParArm::CacheBusted), BASE + ms);
        }
        let words = seen.app.words(CLIENT);
        self.pars(role, (400, "invalid_client_metadata", &words), BASE + seen.app.took())
    }

    /// A look-up that the PDS does for anybody.
    #[expect(clippy::too_many_arguments, reason = "one row of a world told by hand")]
    pub(crate) fn looks_up(mut self, role: Role, purpose: HttpPurpose, status: u16, message: &str, took: u64) -> Self {
        let did =
            if purpose == HttpPurpose::ProxyPlc { "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" } else { "did:web:tangled.org" };
        let url = format!("https://pds.example.com/xrpc/com.example.pdsdoctor.probe?did={did}");
        let error = if status == 500 { "InternalServerError" } else { "InvalidRequest" };
        let content = Content::XrpcError { error: t(error), message: Some(t(message)) };
        let mut body = http(role, purpose, &url, PDS_V4, Some(content));
        body.status = Some(status);
        body.body = Some(BodyFact { class: BodyClass::Json, bytes: 50, truncated: false, excerpt: t("{") });
        self.push(ProbeName::Par, BASE + took, FactBody::Http(body));
        self
    }
}

/// The target sees this, the reference sees all.
pub(crate) fn sees(seen: Seen) -> World {
    healthy().fetches(Role::Target, seen).fetches(Role::Reference, GOOD)
}

/// A world for every cause, for what is tried on all worlds.
pub(crate) fn faults() -> Vec<(&'static str, World)> {
    let all = |fetch| Seen { app: fetch, own: fetch, near: fetch, far: fetch, v4: fetch, v6: fetch };
    let at_home = |fetch| Seen { own: Reached(8), v6: Bare(4), ..all(fetch) };
    let hangs = Bare(10_010);
    vec![
        ("way out, good", sees(GOOD)),
        ("way out, first report", sees(REPORT)),
        ("way out, far host", sees(Seen { app: Reached(60), ..REPORT })),
        ("way out, private IPv6", sees(ULA)),
        ("way out, hole", sees(Seen { near: Reached(275), v6: hangs, ..GOOD })),
        ("way out, no resolver", sees(all(Says("Invalid hostname", 6)))),
        ("way out, one name at once", sees(Seen { app: Bare(6), ..GOOD })),
        ("way out, rejected", sees(at_home(Bare(12)))),
        ("way out, intercepted", sees(at_home(Says("TLS error", 20)))),
        ("way out, large packets", sees(at_home(hangs))),
        ("way out, turned away", sees(Seen { app: Says("Forbidden", 60), ..GOOD })),
        ("way out, own name", sees(Seen { own: hangs, ..GOOD })),
    ]
}

#[track_caller]
fn finds(seen: Seen, code: Code, confidence: Confidence) -> Judged {
    let judged = sees(seen).finds(code, Impact::Broken, confidence);
    let first = &judged.diagnosis.causes[0];
    assert!(first.symptoms.iter().any(|it| it.code == Code::OauthClientMetadataEgress), "{}", judged.show());
    assert_eq!(first.scope.host.as_deref(), Some(APP));
    judged
}

/// The causes that are only possible, under the certain one that nothing explains.
#[track_caller]
fn leaves_open(world: &World, codes: &[Code]) -> Judged {
    let judged = world.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    let mut open: Vec<Code> = judged.diagnosis.causes[1..]
        .iter()
        .filter(|cause| cause.confidence == Confidence::Possible)
        .map(|cause| cause.code)
        .collect();
    open.sort_unstable();
    assert_eq!(open, codes, "{}", judged.show());
    for cause in &judged.diagnosis.causes[1..] {
        assert!(cause.confidence == Confidence::Confirmed || cause.settle.is_some(), "{}", cause.code);
    }
    judged
}

#[test]
fn all_hosts_reached_is_well() {
    sees(GOOD).is_well();
    // No IPv6 at all, as Docker has it, is no fault where nothing needs it.
    for v6 in [Bare(4), Says("Invalid hostname", 5)] {
        sees(Seen { v6, ..GOOD }).is_well();
        sees(Seen { v6, ..GOOD }).without_reference().is_well();
    }
    // Hosts that nobody reaches say nothing, nor do they with a reference that was not asked.
    let dead = Seen { near: Bare(10_010), v4: Bare(10_010), v6: Bare(10_010), far: Bare(10_010), ..GOOD };
    healthy().fetches(Role::Target, dead).fetches(Role::Reference, dead).is_well();
}

#[test]
fn the_first_field_report() {
    let judged = finds(REPORT, Code::NodeHe250ms, Confidence::Confirmed);
    for code in [
        Code::V6BlackholeEgress,
        Code::DnsContainerResolverDead,
        Code::EgressTlsIntercepted,
        Code::MtuContainerOverTunnel,
        Code::OauthUnsupportedScope,
    ] {
        assert!(judged.rules_out(code), "{code}: {:?}", judged.diagnosis.ruled_out);
    }
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    let remedies = format!("{:?}", judged.diagnosis.causes[0].remedies);
    assert!(remedies.contains("attempt-timeout=5000"), "{remedies}");
    // The far host of the table is near where the report came from.
    let judged = finds(Seen { far: Reached(30), ..REPORT }, Code::NodeHe250ms, Confidence::Likely);
    assert!(judged.show().contains("a firewall that drops"), "{}", judged.show());
    // Node 25.2 and later: twice the time.
    finds(Seen { app: Bare(508), far: Bare(506), ..REPORT }, Code::NodeHe250ms, Confidence::Confirmed);
    // A slow machine is late with everything.
    let slow =
        Seen { app: Bare(380), far: Bare(390), near: Reached(140), v4: Reached(130), v6: Bare(60), own: Reached(90) };
    finds(slow, Code::NodeHe250ms, Confidence::Confirmed);
    // Without a strong control nothing is confirmed.
    sees(REPORT).with_entryway().finds(Code::NodeHe250ms, Impact::Broken, Confidence::Likely);
    sees(REPORT).without_reference().finds(Code::NodeHe250ms, Impact::Broken, Confidence::Likely);
}

/// Neither flag of the pair ever stands alone in a remedy.
#[test]
fn no_half_of_the_pair() {
    for seen in [REPORT, ULA, Seen { near: Bare(10_010), app: Bare(10_010), v6: Bare(10_010), ..GOOD }] {
        for cause in &sees(seen).judge().diagnosis.causes {
            for step in cause.remedies.iter().flat_map(|remedy| remedy.lines()) {
                let halves = ["--dns-result-order=ipv4first", "--no-network-family-autoselection"];
                assert_eq!(step.contains(halves[0]), step.contains(halves[1]), "{}: {step}", cause.code);
            }
        }
    }
}

/// One far host more, and nothing fails yet.
#[test]
fn a_far_host_is_a_risk() {
    let seen = Seen { app: Reached(60), ..REPORT };
    let judged = sees(seen).finds(Code::NodeHe250ms, Impact::Risk, Confidence::Likely);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
}

/// The look-alike of the first report: a true hole. Node hides it from near hosts and from far ones.
#[test]
fn a_hole_that_node_hides() {
    let hole = Seen { near: Reached(275), far: Reached(1_150), app: Reached(310), v6: Bare(10_010), ..GOOD };
    let judged = sees(hole).finds(Code::V6BlackholeEgress, Impact::Degraded, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    judged.diagnosis.causes.iter().for_each(|cause| assert!(!cause.remedies.is_empty()));
    sees(hole).never_says(Code::NodeHe250ms);
    // IPv4 first: no time is lost.
    let behind = Seen { near: Reached(25), app: Reached(60), far: Reached(900), ..hole };
    sees(behind).finds(Code::V6BlackholeEgress, Impact::Risk, Confidence::Confirmed);
}

/// S15 of the failure catalogue: IPv4 first and too far, then silence.
const ULA: Seen = Seen { app: Bare(10_010), far: Bare(10_012), v6: Bare(10_008), ..GOOD };

#[test]
fn a_private_network_into_a_hole() {
    let judged = finds(ULA, Code::V6BlackholeEgress, Confidence::Confirmed);
    let second = &judged.diagnosis.causes[1];
    assert_eq!((second.code, second.confidence), (Code::V6UlaIntoHole, Confidence::Possible), "{}", judged.show());
    assert!(judged.rules_out(Code::DnsContainerResolverDead));
    sees(ULA).never_says(Code::NodeHe250ms);
}

/// Half of the pair, or Node 18: whatever has IPv6 hangs.
#[test]
fn a_hole_and_no_walk_over_the_addresses() {
    let seen = Seen { app: Bare(10_010), far: Bare(10_012), near: Bare(10_008), v6: Bare(10_008), ..GOOD };
    finds(seen, Code::V6BlackholeEgress, Confidence::Confirmed);
    sees(seen).never_says(Code::V6UlaIntoHole);
}

/// A hole and an application that is blocked: not Node's doing, and not certain either.
#[test]
fn a_hole_and_a_blocked_application() {
    let seen = Seen { app: Bare(10_010), near: Reached(275), far: Reached(1_150), v6: Bare(10_008), ..GOOD };
    let judged = leaves_open(&sees(seen), &[Code::V6UlaIntoHole, Code::FwEgressClosed]);
    assert!(judged.says(Code::V6BlackholeEgress), "{}", judged.show());
}

#[test]
fn the_resolver() {
    let unknown = Says("Invalid hostname", 6);
    let all = |fetch| Seen { app: fetch, own: fetch, near: fetch, far: fetch, v4: fetch, v6: fetch };
    finds(all(unknown), Code::DnsContainerResolverDead, Confidence::Confirmed);
    finds(all(Bare(6)), Code::DnsContainerResolverDead, Confidence::Likely);
    finds(all(Bare(5_010)), Code::DnsContainerResolverDead, Confidence::Likely);
    finds(all(Bare(10_010)), Code::DnsContainerResolverDead, Confidence::Likely);
    // Now it fails and now it does not.
    finds(Seen { app: unknown, near: unknown, ..GOOD }, Code::DnsContainerResolverFlaky, Confidence::Likely);
}

/// What goes out is stopped; its own name is at home.
#[test]
fn a_firewall() {
    // Silence, and no IPv6: hosts of two families end at Node's timer, those of one at the PDS's own.
    let dropped = Seen { app: Bare(257), near: Bare(256), far: Bare(255), v4: Bare(10_010), v6: Bare(4), ..GOOD };
    finds(dropped, Code::FwEgressClosed, Confidence::Likely);
    sees(dropped).never_says(Code::NodeHe250ms);
    let one = Seen { app: Bare(10_010), ..GOOD };
    let judged = finds(one, Code::FwEgressClosed, Confidence::Likely);
    assert!(judged.diagnosis.causes[0].summary.contains(APP), "{}", judged.show());
    let refused = Says("Connection refused", 5);
    finds(Seen { app: refused, ..GOOD }, Code::FwEgressClosed, Confidence::Likely);
    // The directory is reached: not everything is stopped.
    let all = Seen { app: Bare(6), near: Bare(6), far: Bare(6), v4: Bare(6), v6: Bare(4), ..GOOD };
    let reached = "could not resolve proxy did";
    let world = sees(all).looks_up(Role::Target, HttpPurpose::ProxyPlc, 400, reached, 30);
    world.never_says(Code::FwEgressClosed);
}

/// At once and without a reason: rejected, or somebody else's certificates.
#[test]
fn stopped_or_intercepted() {
    let all = |fetch| Seen { app: fetch, near: fetch, far: fetch, v4: fetch, v6: Bare(4), own: Reached(8) };
    leaves_open(&sees(all(Bare(12))), &[Code::EgressTlsIntercepted, Code::FwEgressClosed]);
    finds(all(Says("Self-signed certificate", 20)), Code::EgressTlsIntercepted, Confidence::Likely);
    finds(all(Says("TLS error", 20)), Code::EgressTlsIntercepted, Confidence::Likely);
}

/// Connections come about and hang: with IPv6 out of the way, no timer of Node's is seen.
#[test]
fn large_packets() {
    let hangs = Bare(10_010);
    let seen = Seen { app: hangs, near: hangs, far: hangs, v4: hangs, v6: Bare(4), own: Reached(8) };
    finds(seen, Code::MtuContainerOverTunnel, Confidence::Likely);
    // Where no AAAA is asked for, silence is silence.
    let seen = Seen { v6: Says("Invalid hostname", 4), ..seen };
    leaves_open(&sees(seen), &[Code::MtuContainerOverTunnel, Code::FwEgressClosed]);
}

/// Only the application, and at once: three readings, of which a way without the PDS's guard leaves one.
#[test]
fn a_private_address() {
    let seen = Seen { app: Bare(6), v6: Bare(4), ..GOOD };
    let three = [Code::DnsContainerResolverFlaky, Code::DnsSplitHorizonSsrf, Code::FwEgressClosed];
    leaves_open(&sees(seen), &three);
    let reached = "could not resolve proxy did";
    let both = |world: World, status, words, took| {
        let control = world.looks_up(Role::Target, HttpPurpose::ProxyPlc, 400, reached, 30);
        control.looks_up(Role::Target, HttpPurpose::ProxyDidWeb, status, words, took)
    };
    let private = |world: World| {
        world.finds(Code::DnsSplitHorizonSsrf, Impact::Broken, Confidence::Likely);
    };
    private(both(sees(seen), 400, reached, 20));
    private(both(sees(seen), 500, "Internal Server Error", 3_010));
    leaves_open(&both(sees(seen), 500, "Internal Server Error", 8), &three);
    // A PDS that asks who we are before it resolves anything says nothing.
    let old = sees(seen).looks_up(Role::Target, HttpPurpose::ProxyPlc, 401, "Authentication Required", 5);
    leaves_open(&old.looks_up(Role::Target, HttpPurpose::ProxyDidWeb, 401, "Authentication Required", 5), &three);
}

/// The application fails for everybody: the PDS's way out is not in question.
#[test]
fn a_broken_application_is_none_of_this() {
    let dead = Seen { app: Bare(10_010), ..GOOD };
    let judged = healthy()
        .fetches(Role::Target, dead)
        .fetches(Role::Reference, dead)
        .closed(APP_V4, FailureKind::Timeout, 4_000)
        .closed(APP_V6, FailureKind::Timeout, 4_000)
        .finds(Code::AppClientMetadataBroken, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
}

/// An arm counts where this machine sees the host, though no reference does.
#[test]
fn this_machine_is_a_control_too() {
    let here = |world: World| {
        [("near.example.net", "151.101.1.1"), ("v4.example.net", "104.16.1.1"), ("v6.example.net", "2a04:4e42::1")]
            .iter()
            .fold(world, |mut world, (host, addr)| {
                let body = ConnectFact { role: Role::Egress, host: t(host), addr: ip(addr), port: 443, failure: None };
                world.push(ProbeName::Par, 15, FactBody::Connect(body));
                world
            })
    };
    let dead = Seen { near: Bare(10_010), v4: Bare(10_010), v6: Bare(10_010), far: Bare(10_010), ..GOOD };
    let world = healthy().fetches(Role::Target, REPORT).fetches(Role::Reference, dead);
    here(world).finds(Code::NodeHe250ms, Impact::Broken, Confidence::Likely);
}

#[test]
fn turned_away_by_the_applications_edge() {
    for words in ["Forbidden", "unexpected redirect", "Unexpected response Content-Type (text/html)"] {
        let seen = Seen { app: Says(words, 60), ..GOOD };
        finds(seen, Code::EdgeBotChallengeOutbound, Confidence::Confirmed);
        sees(seen).without_reference().finds(Code::EdgeBotChallengeOutbound, Impact::Broken, Confidence::Likely);
    }
    // A limit on requests passes: it is not said to be more, and the next moment tells.
    let limited = sees(Seen { app: Says("Too Many Requests", 60), ..GOOD });
    let judged = limited.finds(Code::EdgeBotChallengeOutbound, Impact::Broken, Confidence::Likely);
    let cause = judged.cause(Code::EdgeBotChallengeOutbound);
    assert!(cause.summary.contains("too many requests") && cause.summary.contains("pass by itself"), "{cause:?}");
    assert!(format!("{:?}", cause.settle).contains("in ten minutes"), "{cause:?}");
    // A document that is not there is another matter.
    sees(Seen { app: Says("Not Found", 60), ..GOOD }).never_says(Code::EdgeBotChallengeOutbound);
}

#[test]
fn its_own_name() {
    let certificate = Says("TLS error", 9);
    for own in [Bare(10_010), Says("Connection refused", 2), certificate] {
        sees(Seen { own, ..GOOD }).finds(Code::NatHairpin, Impact::Risk, Confidence::Confirmed);
    }
    let seen = Seen { own: Bare(10_010), ..GOOD };
    sees(seen).without_reference().finds(Code::NatHairpin, Impact::Risk, Confidence::Likely);
    // The reference was made to fetch from the target, and not from itself.
    let not_itself = sees(seen).without(
        |fact| matches!(&fact.body, FactBody::Par(body) if (body.role, body.arm) == (Role::Reference, ParArm::OwnUrl)),
    );
    not_itself.clone().finds(Code::NatHairpin, Impact::Risk, Confidence::Likely);
    second_look(not_itself.clone(), true).finds(Code::NatHairpin, Impact::Risk, Confidence::Confirmed);
    // Nobody gets there: that is not a matter of the way back.
    second_look(not_itself, false).never_says(Code::NatHairpin);
    // Not waited for.
    let cut = sees(GOOD).each(|fact| {
        if let FactBody::Par(body) = &mut fact.body
            && (body.role, body.arm) == (Role::Target, ParArm::OwnUrl)
        {
            body.failure = Some(fail(FailureKind::Timeout));
            body.status = None;
            (body.error, body.description) = (None, None);
            fact.took_ms = 4_000;
        }
    });
    cut.clone().finds(Code::NatHairpin, Impact::Risk, Confidence::Confirmed);
    // A private address of its own is refused at once: local DNS does that, and it works.
    sees(Seen { own: Bare(4), ..GOOD }).is_well();
    // Nothing gets out, or a certificate is bad for everybody: not the router's doing.
    let all = Bare(10_010);
    sees(Seen { app: all, own: all, near: all, far: all, v4: all, v6: all }).never_says(Code::NatHairpin);
    sees(Seen { own: certificate, ..GOOD }).cert(PDS, crate::tls::expired).never_says(Code::NatHairpin);
    // Everything is slow there.
    let slow = Seen {
        app: Reached(3_500),
        near: Reached(3_400),
        v4: Reached(3_400),
        v6: Reached(3_400),
        far: Reached(4_000),
        own: Bare(10_010),
    };
    sees(slow).never_says(Code::NatHairpin);
    // A silence on a way that loses packets: one connection took a second longer, which is a lost one sent again.
    let lossy = cut.each(|fact| {
        if matches!(&fact.body, FactBody::Connect(body) if body.role == Role::Target && body.addr == ip(PDS_V6)) {
            fact.took_ms += 1_000;
        }
    });
    lossy.never_says(Code::NatHairpin);
}

/// Silence towards the host on IPv6 only is no proof where the one on IPv4 only was late as well.
#[test]
fn a_hole_takes_a_prompt_contrast() {
    let late = Seen { near: Reached(3_275), far: Reached(4_150), app: Reached(3_310), v4: Reached(3_050), ..GOOD };
    sees(Seen { v6: Bare(10_010), ..late }).never_says(Code::V6BlackholeEgress);
    let judged = sees(Seen { v4: Reached(3_050), ..ULA }).judge();
    let hole = judged.diagnosis.causes.iter().find(|cause| cause.code == Code::V6BlackholeEgress);
    assert!(hole.is_none_or(|cause| cause.confidence < Confidence::Confirmed), "{}", judged.show());
}
