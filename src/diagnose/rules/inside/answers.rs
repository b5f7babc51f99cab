//! Who answers on the PDS's own machine: the PDS at its port, and the web server before it.

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::{HttpFact, HttpPurpose},
};

use crate::diagnose::evidence::{Evidence, Seen};

/// `_health` asked of a port of the PDS's own network, at whichever of its addresses answered.
pub(super) fn at_port<'a>(evidence: &Evidence<'a>, port: u16) -> Option<Seen<'a, HttpFact>> {
    let place = evidence.inside().place();
    let of_port = |seen: &Seen<'a, HttpFact>| {
        seen.body.purpose == HttpPurpose::Health
            && seen.fact.vantage == place
            && seen.body.url.starts_with("http://")
            && seen.body.url.ends_with(&format!(":{port}/xrpc/_health"))
    };
    let all: Vec<_> = evidence.inside().exchanges().filter(of_port).collect();
    all.iter().find(|seen| seen.body.is_expected()).or(all.first()).copied()
}

/// The PDS itself answers on its own machine.
pub(super) fn alive<'a>(evidence: &Evidence<'a>) -> Option<Seen<'a, HttpFact>> {
    let mut all = evidence.inside().exchanges();
    all.find(|seen| {
        seen.body.purpose == HttpPurpose::Health && seen.body.url.starts_with("http://") && seen.body.is_expected()
    })
}

/// Port 443 of this machine, asked from this machine.
pub(super) fn own_front<'a>(evidence: &Evidence<'a>) -> Vec<Seen<'a, HttpFact>> {
    let own = |seen: &Seen<'a, HttpFact>| {
        seen.body.purpose == HttpPurpose::Health
            && seen.body.role == Role::Target
            && seen.body.url.starts_with("https://")
    };
    evidence.inside().exchanges().filter(own).collect()
}

/// The proxy answers, and finds nobody behind it.
pub(super) fn gateway(evidence: &Evidence<'_>) -> Option<FactId> {
    let from_afar = evidence.target_lines().into_iter().find_map(|line| {
        line.answers().into_iter().find(|seen| matches!(seen.body.status, Some(502..=504))).map(|seen| seen.id())
    });
    let front = own_front(evidence).into_iter().find(|seen| matches!(seen.body.status, Some(502..=504)));
    from_afar.or(front.map(|seen| seen.id()))
}
