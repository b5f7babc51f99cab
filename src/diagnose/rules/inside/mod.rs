//! What only the PDS's own machine shows: a file per family of causes.

mod answers;
pub(super) mod container_v6;
pub(super) mod cut_off;
pub(super) mod hole;
pub(super) mod inbound;
mod keeper;
pub(super) mod masked;
pub(super) mod name_order;
pub(super) mod names;
mod networks;
pub(super) mod packet_size;
pub(super) mod ports;
pub(super) mod position;
pub(super) mod ra;
pub(super) mod ra_lasts;
mod remedies;
mod uplink;
mod upstream;
pub(super) mod way_out;

use pdsdoctor_probes::{
    fact::{FactId, Role},
    par_fact::ParArm,
};

use crate::diagnose::evidence::{Evidence, host_of};

/// The fact that the reference got the client metadata of an application on `host`.
fn fetched_by_reference(evidence: &Evidence<'_>, host: &str) -> Option<FactId> {
    let clients = evidence.clients();
    let client = clients.iter().find(|client| host_of(client).as_deref() == Some(host))?;
    evidence.fetched_by_reference(client).map(|(seen, _)| seen.id())
}

/// Did the PDS get the client metadata of an application on `host`? `None`: it was not asked to, or did
/// not come so far.
fn fetched(evidence: &Evidence<'_>, host: &str) -> Option<bool> {
    let clients = evidence.clients();
    let client = clients.iter().find(|client| host_of(client).as_deref() == Some(host))?;
    let stage = |arm| evidence.par(Role::Target, Some(client), arm).and_then(|(_, stage)| stage.obtained_document());
    // What was asked with a new query is true now; the other may come from a cache.
    stage(ParArm::CacheBusted).or_else(|| stage(ParArm::AsNamed))
}
pub(super) mod node;
pub(super) mod node_options;
mod node_proof;
pub(super) mod node_version;
mod node_words;
