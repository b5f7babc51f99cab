//! Finds out why a self-hosted AT Protocol PDS does not work, proves it, and prints the fix.
//!
//! Three layers, one direction: probes measure ([`pdsdoctor_probes`]), [`diagnose`] judges without
//! any input or output, [`render`] shows.

pub mod cli;
pub mod config;
pub mod diagnose;
pub mod egress;
pub mod exit;
pub mod explain;
pub mod interrupt;
pub mod options;
pub mod output;
pub mod panics;
pub mod parse;
pub mod progress;
pub mod render;
pub mod run;
pub mod saved;
