//! What only the PDS's own machine shows: a file per family of causes.

pub(super) mod container_v6;
pub(super) mod hole;
pub(super) mod inbound;
pub(super) mod masked;
pub(super) mod ra;
pub(super) mod ra_lasts;
mod remedies;
mod uplink;
