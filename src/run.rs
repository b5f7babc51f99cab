//! From a target to facts: which probe starts when.
use std::sync::Arc;

use pdsdoctor_probes::{net::Observer, record::Run, roots::Roots};
use tokio::sync::oneshot;

use crate::options::CheckOptions;

/// Measures. Ends early, with what is there, at the time limit or when `interrupt` fires.
pub async fn check(options: &CheckOptions, roots: Roots, observer: Arc<dyn Observer>, interrupt: oneshot::Receiver<()>) -> Run {
    let _ = (options, roots, observer, interrupt);
    unimplemented!()
}
