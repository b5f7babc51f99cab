//! What only the PDS's own machine shows: a file per family of causes.
