//! The exit status: one table, quoted by `--help`, `docs/usage.md` and the tests.

use std::process::ExitCode;

use crate::diagnose::{Diagnosis, FailOn, Impact, Verdict};

/// What the process says when it ends. The same under every `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing at or above `--fail-on`.
    Well,
    /// Something is.
    Found,
    /// The command line, a file or a setting is wrong.
    Usage,
    /// This side cannot measure.
    Inconclusive,
    /// A bug of ours.
    Internal,
    /// Ctrl-C.
    Interrupted,
}

/// Every status and what it means.
pub const TABLE: &[(Exit, &str)] = &[
    (Exit::Well, "nothing at or above --fail-on"),
    (Exit::Found, "something at or above --fail-on"),
    (Exit::Usage, "the command line, the environment or a file is wrong"),
    (Exit::Inconclusive, "this side cannot measure; nothing is said about the PDS"),
    (Exit::Internal, "internal error"),
    (Exit::Interrupted, "interrupted; the report shows what was measured"),
];

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Found => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Internal => 4,
            // 128 + SIGINT, as shells have it
            Self::Interrupted => 130,
        }
    }

    /// The status of a finished diagnosis.
    pub fn of(diagnosis: &Diagnosis, fail_on: FailOn) -> Self {
        // `--fail-on never` is about findings; "could not look" is none.
        if diagnosis.verdict == Verdict::Inconclusive {
            return Self::Inconclusive;
        }
        let threshold = match fail_on {
            FailOn::Never => return Self::Well,
            FailOn::Risk => Impact::Risk,
            FailOn::Degraded => Impact::Degraded,
            FailOn::Broken => Impact::Broken,
        };
        if diagnosis.causes.iter().any(|cause| cause.impact >= threshold) { Self::Found } else { Self::Well }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table as lines of `number  meaning`.
pub fn table() -> String {
    TABLE.iter().map(|(exit, meaning)| format!("  {:>3}  {meaning}\n", exit.code())).collect()
}
