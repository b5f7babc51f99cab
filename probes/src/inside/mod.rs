//! What only the PDS's own machine can see. Reads; never writes, and never runs anything.

mod cgroup;
mod engine;
mod environment;
mod find;
mod listeners;
mod namespace;
mod node;
mod process;
mod read;
mod survey;
#[cfg(test)]
mod testing;

pub use namespace::Namespace;
pub use survey::{HostReason, InsideOptions, PdsProcess, Place, Survey, is_pds_host, survey};
