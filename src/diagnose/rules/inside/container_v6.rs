//! The machine has IPv6, and the PDS's container has none. Most PDSes run so and are well: it is said
//! only where it makes a connection fail.

use pdsdoctor_probes::{
    fact::{FactId, Family, Role, Vantage},
    host_fact::Range,
    par_fact::ParArm,
};

use super::{
    super::{Found, Rule},
    hole::{Tried, cap_ms, tried},
    networks,
    uplink::without_way_out,
};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Scope,
    evidence::{Evidence, Seen, host_of},
    inside::place_words,
    par_stage::{FetchFailure, Stage},
};

pub(in super::super) const RULE: Rule = Rule { codes: &[Code::V6ContainerHasNone], judge };

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let place = inside.place();
    if place == Vantage::Here {
        return;
    }
    let there = tried(evidence, &place);
    let where_ = place_words(&place);
    if let Some(works) = there.iter().find_map(Tried::v6_works) {
        let why = format!("{where_} reaches {} by IPv6", works.body.host);
        let scope = Bounds::seen(&works.body.host, &place).family(Family::V6);
        found.rule_out(Code::V6ContainerHasNone, scope, why, [works.id()]);
        return;
    }
    let Some(without) = without_way_out(inside, &place) else { return };
    let Some(way) = inside
        .way_out(&Vantage::Here, Family::V6)
        .filter(|way| way.body.failure.is_none() && way.body.range == Some(Range::Global))
    else {
        return;
    };
    let here = tried(evidence, &Vantage::Here);
    for host in there.iter().filter(|host| host.is_refused()) {
        let Some(works) = here.iter().find(|other| other.host == host.host).and_then(Tried::v6_works) else { continue };
        let Some((line, ids)) = harm(evidence, host) else { continue };
        let took = host.v6.first().map_or(0, Seen::took);
        let network = inside.container_networks().find(|network| !network.body.ipv6);
        let mut cause = Cause::new(
            Code::V6ContainerHasNone,
            Impact::Risk,
            Confidence::Confirmed,
            format!("This machine has IPv6, and {where_} has none, so {} can be reached by IPv4 alone.", host.host),
        )
        .scope(Scope { family: Some(Family::V6), vantage: Some(String::from(place.clone())), host: None })
        .saw(line)
        .because(ids)
        .because(without.clone())
        .because([way.id(), works.id()])
        .because(host.v6.iter().map(Seen::id))
        .contrast(
            format!("IPv6 to {}, from two places", host.host),
            format!("{where_}: no route, after {took} ms"),
            format!("this machine: connected in {} ms", works.took()),
        );
        if let Some(network) = network {
            cause =
                cause.saw(format!("its network {} has IPv6 switched off", network.body.name)).because([network.id()]);
        }
        found.cause(
            cause
                .saw("what helps the machine's own IPv6 (accept_ra, say) does not reach a network of the PDS's own")
                .remedy(networks::host_network(evidence))
                .remedy(networks::network_with_v6(evidence, "Give the PDS's network IPv6")),
        );
        return;
    }
}

/// Why the lack of IPv6 matters for a host: IPv4 alone is slower than Node waits, or a login fails as it
/// does then.
fn harm(evidence: &Evidence<'_>, host: &Tried<'_>) -> Option<(String, Vec<FactId>)> {
    // The PDS fetched from it just now: nothing is wrong, whatever the times.
    if super::fetched(evidence, host.host) == Some(true) {
        return None;
    }
    if let (Some(ms), Some(cap)) = (host.v4_ms(), cap_ms(evidence))
        && ms >= cap
    {
        let line =
            format!("{} takes {ms} ms by IPv4, and Node gives that up after {cap} ms in favour of IPv6", host.host);
        return Some((line, host.v4.iter().map(Seen::id).collect()));
    }
    evidence.clients().into_iter().filter(|client| host_of(client).as_deref() == Some(host.host)).find_map(|client| {
        [ParArm::CacheBusted, ParArm::AsNamed].into_iter().find_map(|arm| {
            let (seen, stage) = evidence.par(Role::Target, Some(client), arm)?;
            let cut = stage == Stage::DocumentNotObtained(FetchFailure::AttemptCap);
            let line = format!(
                "the login for {} ends after {} ms, as it does where Node gives IPv4 up",
                host.host,
                seen.took()
            );
            cut.then(|| (line, vec![seen.id()]))
        })
    })
}
