//! What any machine can see of a PDS.
