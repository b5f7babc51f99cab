//! What holds of every diagnosis, whatever the run: stated in the program, asked here.

use pdsdoctor::diagnose::{Diagnosis, invariants};
use pdsdoctor_probes::record::Run;

/// Panics where something does not hold.
#[track_caller]
pub fn hold(run: &Run, diagnosis: &Diagnosis) {
    let violations = invariants::violations(run, diagnosis);
    assert!(violations.is_empty(), "{violations:#?}");
}
