//! What only the PDS's own machine can see. Reads; never writes, and runs nothing but
//! what `--with-node` asks for.

mod address;
mod advertisement;
mod cgroup;
mod claims;
mod confine;
mod credentials;
mod egress;
mod engine;
mod engine_exec;
mod env_file;
mod environment;
mod find;
mod helper;
#[cfg(test)]
mod kernel_tests;
mod links;
mod listeners;
mod local;
mod managers;
mod name_files;
mod namespace;
mod network;
mod node;
mod owner;
mod packages;
mod position;
mod proc_fs;
mod process;
mod read;
mod root;
mod routes;
mod seat;
mod survey;
mod sysctl;
#[cfg(test)]
mod testing;
mod upstream_files;
mod upstreams;
mod view;
mod with_node;

pub use advertisement::LISTEN;
pub use claims::Claim;
pub use egress::{ATTEMPTS, EgressHost, Manner, PATIENCE, egress};
pub use helper::helper;
pub use local::{IMAGE_PORT, own_front, own_port};
pub use namespace::Namespace;
pub use position::{ECHO, echo, hops};
pub use survey::{HostReason, InsideOptions, PdsProcess, Place, Survey, Wanted, container_log, is_pds_host, survey};
pub use upstreams::upstreams;
pub use with_node::with_node;
