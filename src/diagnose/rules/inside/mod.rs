//! What only the PDS's own machine shows: a file per family of causes.

pub(super) mod node;
pub(super) mod node_options;
mod node_proof;
pub(super) mod node_version;
mod node_words;
