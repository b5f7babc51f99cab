//! From facts to a diagnosis. Pure: no input or output, no clock, the same facts give the same bytes.

pub mod arms;
mod build;
mod claims;
pub mod code;
pub mod diagnosis;
pub mod differs;
pub mod evidence;
pub mod grid;
mod healthy;
pub mod hidden;
pub mod how_far;
pub mod inside;
pub mod invariants;
pub mod judge;
pub mod net_kinds;
pub mod node_model;
pub mod not_asked;
pub mod outermost;
pub mod pace;
pub mod par_stage;
pub mod rank;
mod ruled_out;
pub mod rules;
pub mod scope;
mod seen;
pub mod situation;
pub mod step;
pub mod unheard;
pub mod vantage;
pub mod words;

pub use build::{Claim, Sides};
pub use code::Code;
pub use diagnosis::{
    Cause, Confidence, Contrast, Diagnosis, Difference, FailOn, Healthy, Impact, Link, Remedy, Risk, Side, Symptom,
    Verdict,
};
pub use judge::diagnose;
pub use ruled_out::{Bounds, RuledOut};
pub use scope::Scope;
