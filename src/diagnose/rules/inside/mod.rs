//! What only the PDS's own machine shows: a file per family of causes.

pub(super) mod node;
mod node_words;
