//! What differs from one Node to the next, and from one undici to the next: data, with where it was read.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::flag::Flag;

/// The version of a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Release {
    /// As in 24.18.0: 24.
    pub major: u32,
    /// As in 24.18.0: 18.
    pub minor: u32,
    /// As in 24.18.0: 0.
    pub patch: u32,
}

/// Since when a flag is known: the releases of each line, the newest line last. Every line above the last has it.
type Since = &'static [(u32, u32)];

/// `autoSelectFamily` is on by default since 20.0 (nodejs/node pull request 46790); 18.20.8 answers `false` to
/// `net.getDefaultAutoSelectFamily()`.
const AUTO_SELECTS: Since = &[(20, 0)];
/// `--network-family-autoselection` and `--no-network-family-autoselection` came with it. The older
/// `--enable-network-family-autoselection` stayed as another name.
const AUTO_SELECT_FLAG: Since = &[(20, 0)];
/// Node 18.13 (doc/api/cli.md, "added in").
const ENABLE_AUTO_SELECT_FLAG: Since = &[(18, 13)];
/// nodejs/node pull request 52474; doc/api/cli.md, "added in: v22.1.0, v20.13.0". 18.20.8 refuses to start with it.
const ATTEMPT_TIMEOUT_FLAG: Since = &[(20, 13), (22, 1)];
/// doc/api/cli.md: 16.4.0 and 14.18.0.
const RESULT_ORDER_FLAG: Since = &[(16, 4)];
/// The value `ipv6first`: the same releases as the attempt timeout's flag (nodejs/node pull request 52492).
const IPV6_FIRST: Since = &[(20, 13), (22, 1)];
/// nodejs/node pull request 60334. Read from the binaries: 25.1.0 says 250, 25.2.0 says 500, 24.21.0 says 250.
/// The documentation of net.md still says 250.
const LONGER_ATTEMPT: Since = &[(25, 2)];

/// The timer of every attempt but the last, in Node 18 to 25.1 (`autoSelectFamilyAttemptTimeoutDefault`, lib/net.js).
pub const ATTEMPT_MS: u64 = 250;
/// The same since 25.2.
pub const LONGER_ATTEMPT_MS: u64 = 500;
/// The floor of `net.setDefaultAutoSelectFamilyAttemptTimeout()` and of the socket option (lib/net.js). The command line
/// flag has none: with `=5` the timer is 5 ms.
pub const ATTEMPT_FLOOR_MS: u64 = 10;

impl Release {
    /// A version.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    fn has(self, since: Since) -> bool {
        let above = since.last().is_some_and(|(major, _)| self.major > *major);
        above || since.iter().any(|(major, minor)| self.major == *major && self.minor >= *minor)
    }

    /// Whether it selects the family by itself unless told otherwise.
    pub fn auto_selects(self) -> bool {
        self.has(AUTO_SELECTS)
    }

    /// The timer of every attempt but the last, unless told otherwise.
    pub fn attempt_ms(self) -> u64 {
        if self.has(LONGER_ATTEMPT) { LONGER_ATTEMPT_MS } else { ATTEMPT_MS }
    }

    /// Whether a flag exists. Node ends with status 9 when `NODE_OPTIONS` has one that does not.
    pub fn knows(self, flag: Flag) -> bool {
        self.has(match flag {
            Flag::AutoSelect => AUTO_SELECT_FLAG,
            Flag::EnableAutoSelect => ENABLE_AUTO_SELECT_FLAG,
            Flag::AttemptTimeout => ATTEMPT_TIMEOUT_FLAG,
            Flag::ResultOrder => RESULT_ORDER_FLAG,
        })
    }

    /// Whether `--dns-result-order=ipv6first` is understood.
    pub fn knows_ipv6_first(self) -> bool {
        self.has(IPV6_FIRST)
    }

    /// Whether an unknown value of `--dns-result-order` ends the process (`ERR_INVALID_ARG_VALUE`); 18 takes it as
    /// `verbatim`.
    pub fn checks_result_order(self) -> bool {
        self.major >= 20
    }

    /// Whether an attempt that the timer ended leaves an `ETIMEDOUT` among the errors. In 18.20.8
    /// `internalConnectMultipleTimeout` only closes the handle, so the first *real* error gives the code.
    pub(super) fn records_cut_off(self) -> bool {
        self.major >= 20
    }

    /// Whether even a single address goes through `internalConnectMultiple` (18.20.8); later Nodes go back to a plain
    /// connection.
    pub(super) fn always_multiple(self) -> bool {
        self.major < 20
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Not a version number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAVersion(String);

impl fmt::Display for NotAVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a version number", self.0)
    }
}

impl std::error::Error for NotAVersion {}

/// Three numbers, with or without the `v` of `process.version`.
fn numbers(text: &str) -> Option<(u32, u32, u32)> {
    let plain = text.trim().trim_start_matches('v');
    let plain = plain.split(['-', '+']).next().unwrap_or(plain);
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let numbers = (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
    parts.next().is_none().then_some(numbers)
}

impl FromStr for Release {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (major, minor, patch) = numbers(text).ok_or_else(|| NotAVersion(text.to_owned()))?;
        Ok(Self { major, minor, patch })
    }
}

/// The version of the undici that connects: the one in Node (`process.versions.undici`) for a plain `fetch`, and for the
/// PDS's guarded one the npm package of the same major version (`undici_v6`, `undici_v7`, `undici_v8` of
/// `@atproto-labs/fetch-node`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Undici {
    /// As in 7.29.1: 7.
    pub major: u32,
    /// As in 7.29.1: 29.
    pub minor: u32,
}

impl Undici {
    /// A version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The one that a Node most likely has in it, for when it cannot be asked: read from 18.20.8, 20.20.2, 22.23.3,
    /// 24.21.0 and 26.10.0.
    pub fn of(release: Release) -> Self {
        match release.major {
            ..=18 => Self::new(5, 29),
            19..=21 => Self::new(6, 24),
            22..=23 => Self::new(6, 28),
            24..=25 => Self::new(7, 29),
            _ => Self::new(8, 10),
        }
    }

    /// Whether it turns an `AggregateError` with an `ETIMEDOUT` in it into its own `UND_ERR_CONNECT_TIMEOUT`
    /// (nodejs/undici pull request 5329). Read from the packages: 8.3.0 does not, 8.4.0 does, 7.30.2 does not.
    pub fn rewraps(self) -> bool {
        self >= Self::new(8, 4)
    }

    /// Whether its connect limit is a plain timer; from 6 on it counts ticks (lib/util/timers.js).
    pub fn exact_limit(self) -> bool {
        self.major < 6
    }
}

impl FromStr for Undici {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (major, minor, _) = numbers(text).ok_or_else(|| NotAVersion(text.to_owned()))?;
        Ok(Self { major, minor })
    }
}
