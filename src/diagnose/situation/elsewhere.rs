//! The same host from this machine: what the PDS's Node would meet if it ran here, outside its own network. What fails
//! there as well is no fault of that network's.

use pdsdoctor_probes::fact::{FactId, Family, Vantage};

use super::{Measured, Story, any_source, configured, paths, source};
use crate::diagnose::{
    evidence::Evidence,
    node_model::{
        Address, Path, Situation,
        order::{Destination, resolve},
    },
};

/// What it would meet here.
#[derive(Debug)]
pub struct FromHere {
    /// Every address of the story.
    pub measured: Vec<Measured>,
    /// As the story's likeliest reading has it, with the ways from here.
    pub situation: Situation,
    /// Facts.
    pub because: Vec<FactId>,
}

/// `None`: the PDS shares this machine's network, or an address was not tried from here.
pub fn from_here(evidence: &Evidence<'_>, story: &Story<'_>) -> Option<FromHere> {
    let (inside, here) = (evidence.inside(), Vantage::Here);
    if story.at == here {
        return None;
    }
    let connects = inside.connects_to(&here, &story.host);
    let mut measured = Vec::new();
    let mut destinations = Vec::new();
    for address in story.measured.iter().map(|found| found.ip) {
        let way = inside.way_to(&here, address).or_else(|| inside.way_out(&here, Family::of(address)));
        let tries: Vec<_> = connects.iter().filter(|seen| seen.body.addr == address).copied().collect();
        let from = match way {
            Some(way) => way.body.source.map(|from| source(inside, &here, from)),
            None => paths::has_route(&tries)
                .then(|| any_source(inside, &here, Family::of(address)).unwrap_or(address.into())),
        };
        let handshakes = inside.handshakes_with(&here, &story.host).into_iter();
        let handshake = handshakes.filter(|seen| seen.body.addr == address).min_by_key(|seen| seen.took());
        measured.push(Measured::of(address, &tries, handshake.as_ref(), from.is_some())?);
        destinations.push(Destination { address, source: from });
    }
    let reading = story.first();
    let order = resolve(reading.runtime.libc, &configured(inside, &here)?, &destinations);
    let path = |ip| measured.iter().find(|found| found.ip == ip).map_or(Path::Silent, |found| found.path.clone());
    let addresses = order.into_iter().map(|ip| Address::new(ip, path(ip))).collect();
    let situation = Situation { addresses, ..reading.situation.clone() };
    let because = measured.iter().flat_map(|found| found.ids.iter().cloned()).collect();
    Some(FromHere { measured, situation, because })
}
