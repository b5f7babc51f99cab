//! Healthy worlds, plain and odd: no cause at all.

use crate::world::*;

#[test]
fn a_healthy_pds() {
    let judged = healthy().is_well();
    assert!(judged.diagnosis.healthy.len() >= 5, "{:?}", judged.diagnosis.healthy);
    assert!(judged.diagnosis.ruled_out.is_empty(), "only of interest where something is wrong");
}
