//! A machine so busy that even the request without a fetch is held up: times say less, and one bad moment is none of
//! the network's.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{FactBody, Role},
    http_fact::HttpPurpose,
    par_fact::ParArm,
};

use crate::{
    outbound::{Fetch, REPORT, Seen, sees},
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
