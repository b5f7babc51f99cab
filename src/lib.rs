//! Finds out why a self-hosted AT Protocol PDS does not work, proves it, and prints the fix.
//!
//! Three layers, one direction: probes measure ([`pdsdoctor_probes`]), [`diagnose`] judges without
//! any input or output, [`render`] shows.

pub mod diagnose;
pub mod options;
pub mod run;
