//! A machine so busy that even the request without a fetch is held up: times say less, and one bad moment is none of
//! the network's.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{FactBody, Role},
    http_fact::HttpPurpose,
    par_fact::ParArm,
};

use crate::{
    outbound::{Fetch, GOOD, REPORT, Seen, sees},
    world::*,
};

const REACHED: &str = "could not resolve proxy did";

impl World {
    /// Every PAR at the target takes so much longer, and each one more a bit more than the one before it.
    fn held_up(self, ms: u64) -> Self {
        let mut before = 0;
        self.each(move |fact| {
            if matches!(&fact.body, FactBody::Par(body) if body.role == Role::Target) {
                fact.took_ms += ms + before * ms / 8;
                before += 1;
            }
        })
    }

    /// The look-up at a host, made after everything else.
    fn later(self, host: &str, status: u16, took: u64) -> Self {
        let message = if status == 400 { REACHED } else { "Internal Server Error" };
        self.looks_up(Role::Target, HttpPurpose::ProxyDidWeb, status, message, took).with(|world| {
            let Some(fact) = world.run.facts.last_mut() else { return };
            fact.started_ms = 12_000;
            if let FactBody::Http(body) = &mut fact.body {
                body.url = t(&body.url.replace("tangled.org", host));
            }
        })
    }
}

fn all(fetch: Fetch) -> Seen {
    Seen { app: fetch, own: fetch, near: fetch, far: fetch, v4: fetch, v6: fetch }
}

#[test]
fn a_resolver_that_fails_is_found_whatever_the_load() {
    for ms in [0, 60, 150, 300, 600] {
        let world = sees(all(Fetch::Bare(6))).held_up(ms);
        world.finds(Code::DnsContainerResolverDead, Impact::Broken, Confidence::Likely);
        world.never_says(Code::NodeHe250ms);
    }
}

#[test]
fn the_first_field_report_is_found_whatever_the_load() {
    for ms in [0, 60, 150, 300, 600] {
        let judged = sees(REPORT).held_up(ms).judge();
        assert_eq!(judged.diagnosis.causes[0].code, Code::NodeHe250ms, "{ms}: {}", judged.show());
    }
}

/// One host alone: the time of its failure is no evidence if all times are long.
#[test]
fn the_time_is_not_read_where_it_says_nothing() {
    let fails = || healthy().fetch_fails(270);
    let seen = |world: World| world.judge().cause(Code::OauthClientMetadataEgress).seen.join(" ");
    assert!(seen(fails()).contains("Node gives every address but the last 250 ms"), "{}", seen(fails()));
    let busy = seen(fails().held_up(200));
    assert!(busy.contains("too busy"), "{busy}");
}

/// One of three tries ran into Node's timer.
fn one_bad_try() -> World {
    let bare = not_obtained("");
    healthy().par(Role::Target, ParArm::CacheBusted, (400, "invalid_client_metadata", &bare), 540).looks_up(
        Role::Target,
        HttpPurpose::ProxyPlc,
        400,
        REACHED,
        30,
    )
}

#[test]
fn one_bad_moment_of_a_busy_pds_is_no_fault_of_its_network() {
    let reached = |world: World| world.looks_up(Role::Target, HttpPurpose::ProxyDidWeb, 400, REACHED, 20);
    let busy = reached(one_bad_try()).held_up(150);
    busy.is_well();
    // A PDS that is not busy has no such moments: something is wrong now and then.
    let judged = reached(one_bad_try()).finds(Code::OauthClientMetadataEgress, Impact::Degraded, Confidence::Likely);
    assert!(judged.show().contains("now and then"), "{}", judged.show());
    // A copy that the PDS kept says nothing of now.
    let copy = one_bad_try().looks_up(Role::Target, HttpPurpose::ProxyDidWeb, 500, "Internal Server Error", 280);
    copy.clone().held_up(150).finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    copy.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
}

/// So busy that what the timer ended looks as if it had failed at once, beside the request without a fetch.
#[test]
fn a_bad_moment_may_hide_behind_what_holds_up_everything() {
    let bare = not_obtained("");
    let one = |took| {
        healthy().par(Role::Target, ParArm::AsNamed, (400, "invalid_client_metadata", &bare), took).looks_up(
            Role::Target,
            HttpPurpose::ProxyPlc,
            400,
            REACHED,
            30,
        )
    };
    let reached = |world: World| world.looks_up(Role::Target, HttpPurpose::ProxyDidWeb, 400, REACHED, 20);
    let quickest = |world: &World| {
        let pars = world.run.facts.iter().filter_map(|fact| match &fact.body {
            FactBody::Par(body) if body.role == Role::Target => Some(fact.took_ms),
            _ => None,
        });
        pars.min().expect("a PAR")
    };
    let at_once = quickest(&healthy());
    reached(one(at_once)).held_up(500).is_well();
    // Where the PDS answers in time, at once is at once.
    reached(one(at_once)).finds(Code::OauthClientMetadataEgress, Impact::Degraded, Confidence::Likely);
    // And where nothing else came from that host, it is no moment.
    let never = one(at_once).looks_up(Role::Target, HttpPurpose::ProxyDidWeb, 500, "Internal Server Error", 20);
    assert!(!never.held_up(500).judge().diagnosis.causes.is_empty());
}

/// A request that nobody's login rests on, and the same host right after: what passes then is no state of the network.
#[test]
fn what_is_reached_right_after_was_a_bad_moment() {
    const OWN: &str = "pds.example.com";
    const FAR: &str = "far.example.net";
    let own = || sees(Seen { own: Fetch::Bare(270), ..GOOD });
    own().finds(Code::NatHairpin, Impact::Risk, Confidence::Likely);
    own().later(OWN, 400, 40).is_well();
    own().later(OWN, 500, 265).finds(Code::NatHairpin, Impact::Risk, Confidence::Likely);
    let far = || sees(Seen { app: Fetch::Reached(60), ..REPORT });
    far().finds(Code::NodeHe250ms, Impact::Risk, Confidence::Likely);
    far().later(FAR, 400, 300).never_says(Code::NodeHe250ms);
    far().later(FAR, 500, 262).finds(Code::NodeHe250ms, Impact::Risk, Confidence::Likely);
    // So slow that one try in two may fail.
    far().later(FAR, 400, 760).finds(Code::NodeHe250ms, Impact::Risk, Confidence::Likely);
    // Another host says nothing of this one.
    far().later(OWN, 400, 60).finds(Code::NodeHe250ms, Impact::Risk, Confidence::Likely);
}

/// Both requests of a login ran into the timer.
#[test]
fn a_login_that_passes_right_after_fails_now_and_then() {
    const APP: &str = "tangled.org";
    let fails = || sees(REPORT);
    let judged =
        fails().later(APP, 400, 60).finds(Code::OauthClientMetadataEgress, Impact::Degraded, Confidence::Likely);
    assert!(judged.show().contains("right after") && !judged.says(Code::NodeHe250ms), "{}", judged.show());
    for world in [fails().later(APP, 400, 760), fails().later(APP, 500, 262)] {
        assert_eq!(world.judge().diagnosis.causes[0].code, Code::NodeHe250ms);
    }
}

#[test]
fn the_other_request_of_a_login_may_have_the_bad_moment() {
    let bare = not_obtained("");
    let one = || {
        healthy()
            .par(Role::Target, ParArm::AsNamed, (400, "invalid_client_metadata", &bare), 540)
            .looks_up(Role::Target, HttpPurpose::ProxyPlc, 400, REACHED, 30)
            .looks_up(Role::Target, HttpPurpose::ProxyDidWeb, 400, REACHED, 20)
    };
    one().held_up(150).is_well();
    one().finds(Code::OauthClientMetadataEgress, Impact::Degraded, Confidence::Likely);
}
