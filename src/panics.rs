//! Panics are our bugs, never a finding: said so, and told by the exit status.

use std::{
    panic,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::render;

const REPORT_BUGS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

/// Some part of the program panicked, perhaps in a task whose end nobody looks at.
static HAPPENED: AtomicBool = AtomicBool::new(false);

/// From now on panics are noted, and explained on standard error.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        HAPPENED.store(true, Ordering::Relaxed);
        render::warn(&format!("internal error: {info}"));
        render::warn(&format!("this is a bug in pdsdoctor, not a finding; please report it: {REPORT_BUGS}"));
    }));
}

/// Was there one? Then nothing that was reported can be relied on.
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}
