//! Where the PDS's machine stands in the world: what its public name leads to, and who gets there.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, Role, Vantage},
    host_fact::Range,
    par_fact::ParArm,
};

use crate::{host::*, inside_paths, world::*};

/// The reference, made to fetch from the PDS's name, is shown a certificate that it refuses.
fn meets_a_stranger(world: World) -> World {
    inside_paths::second_look(world, true).each(|fact| {
        if let FactBody::Par(body) = &mut fact.body
            && (body.role, body.arm) == (Role::Reference, ParArm::TargetUrl)
        {
            body.description = Some(t(&not_obtained(": self-signed certificate")));
        }
    })
}

#[test]
fn whom_the_reference_met_need_not_be_the_pds() {
    // Reached for certain: the record is right, and the way back is missing.
    let judged = inside_paths::second_look(inside_paths::moved(), true).judge();
    assert!(judged.says(Code::NatHairpin) && !judged.says(Code::DnsDynamicIpStale), "{}", judged.show());
    // It met somebody: whoever has the address now.
    let judged = meets_a_stranger(inside_paths::moved()).judge();
    assert!(judged.says(Code::DnsDynamicIpStale) && !judged.says(Code::NatHairpin), "{}", judged.show());
}

#[test]
fn nobody_gets_in_is_said_by_a_reference_that_fetches() {
    let closed = inside_paths::second_look(machine_host_network(), false);
    let judged = closed.finds(Code::FwPortsClosed, Impact::Broken, Confidence::Likely);
    assert!(format!("{:?}", judged.cause(Code::FwPortsClosed).settle).contains("another network"));
    // One that fetches from nobody says nothing of this PDS.
    closed
        .pars(Role::Reference, (400, "invalid_client_metadata", &not_obtained("")), 300)
        .never_says(Code::FwPortsClosed);
}

#[test]
fn a_tunnel_of_ones_own_is_no_provider() {
    let provider = || inside_paths::behind_the_provider("100.72.0.1");
    provider().finds(Code::NatCgnat, Impact::Broken, Confidence::Likely);
    let tailscale = provider().there(&Vantage::Here, |fact| {
        if let FactBody::Source(body) = &mut fact.body
            && body.destination.is_ipv4()
        {
            body.range = Some(Range::Tailscale);
        }
    });
    tailscale.never_says(Code::NatCgnat);
}

#[test]
fn a_front_elsewhere_is_no_old_address() {
    // Another server answers at the published address, with the name's own certificate: a CDN, a tunnel.
    let fronted = inside_paths::moved().each(|fact| {
        if let FactBody::Connect(body) = &mut fact.body
            && body.addr == ip(PDS_V4)
            && body.role == Role::Target
        {
            body.failure = None;
            fact.took_ms = 30;
        }
    });
    fronted.never_says(Code::DnsDynamicIpStale);
    // Silence there is the address that somebody else has now, or nobody.
    inside_paths::moved().finds(Code::DnsDynamicIpStale, Impact::Broken, Confidence::Likely);
    let refused = inside_paths::moved().closed(PDS_V4, FailureKind::Refused, 30);
    assert!(refused.judge().says(Code::DnsDynamicIpStale));
}
