//! How Node 18 to 26 connects for `fetch`: a pure function from measured per-address connect times to what Node will make
//! of them. No input or output, no clock. `docs/node-model.md` tells it in prose; `tests/node_model/main.rs` holds it against the
//! real Nodes.
//!
//! The steps, each where Node has it:
//!
//! 1. `getaddrinfo` drops and sorts addresses ([`order`]).
//! 2. `--dns-result-order` sorts them again (`AfterGetAddrInfo` of Node's src/cares_wrap.cc).
//! 3. Without `autoSelectFamily` the first address is tried, with no timer (`lookupAndConnect`, lib/net.js).
//! 4. With it, duplicates go, the families alternate beginning with the first address's, and a single address is tried as
//!    in 3 (`lookupAndConnectMultiple`).
//! 5. The addresses are tried **one after the other**. Every attempt but the last is closed when its timer ends; the last
//!    one has none (`internalConnectMultiple`, `internalConnectMultipleTimeout`).
//! 6. When all have failed, the error's code is that of the first one (`NodeAggregateError`, lib/internal/errors.js).
//! 7. undici ends the whole at its connect limit, and from 8.4 on gives the code of that limit also to 6
//!    (`maybeNormalizeConnectError`, lib/core/connect.js of undici).

use std::net::IpAddr;

use serde::Serialize;

pub mod flag;
pub mod options;
pub mod order;
pub mod path;
pub mod release;
pub mod remedy;

pub use options::{Options, ResultOrder};
pub use path::{Address, Path, SYN_RETRANSMIT_MS};
pub use release::{Release, Undici};
pub use remedy::{Candidate, Remedy, Runtime, candidates};

/// undici's `connectTimeout`, from the start of the name lookup to the end of the TLS handshake (lib/core/connect.js,
/// `timeout == null ? 10e3 : timeout`).
pub const CONNECT_LIMIT_MS: u64 = 10_000;

/// undici 6 and later measure that limit in ticks of 499 ms that begin before or after the fetch does, and count the first,
/// partial one as whole (lib/util/timers.js): it ends up to 20 ms early (20 ticks are 9,980 ms) …
pub const CONNECT_LIMIT_EARLY_MS: u64 = 20;
/// … or up to 479 ms late (21 ticks, the case of a lone fetch), and every tick is itself a timer that may be a
/// millisecond or two late.
pub const CONNECT_LIMIT_LATE_MS: u64 = 520;

/// The code of undici's own limit.
pub const UNDICI_TIMEOUT: &str = "UND_ERR_CONNECT_TIMEOUT";
/// The code of an attempt that Node's timer ended, and of the kernel's own end of patience.
pub const TIMED_OUT: &str = "ETIMEDOUT";
/// The code of a name without an address.
pub const NOT_FOUND: &str = "ENOTFOUND";
/// The caller's own limit (`AbortSignal`): the PDS gives the fetch of a client's metadata 10 s, which end before
/// undici's do.
pub const ABORTED: &str = "ABORT_ERR";

/// What Node finds when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Situation {
    /// The addresses as `getaddrinfo` gives them ([`order::resolve`]).
    pub addresses: Vec<Address>,
    /// How long the lookup takes.
    pub lookup_ms: u64,
    /// For how long the event loop is kept busy by other code, from right after the first attempt has begun. Code that
    /// is called by the poll phase is meant (an incoming request, a result from a database thread): the timers come
    /// before the next poll, so an attempt whose time is up is ended although it has long succeeded. After a stall
    /// inside a timer's own callback the poll comes first, and it is not.
    pub stall_ms: u64,
    /// After how long the caller gives up by itself.
    pub caller_limit_ms: Option<u64>,
}

/// What Node makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// Whether a connection comes about.
    pub outcome: Outcome,
    /// How long that takes, from the call of `fetch`. Nominal where undici's limit decides: see [`Prediction::took`].
    pub after_ms: u64,
    /// The attempts in their order. Addresses that were never tried are not among them.
    pub attempts: Vec<Attempt>,
    /// By how much the nearest measured time lies on its side of the limit it was held against. A small margin means that
    /// the real outcome changes from one try to the next.
    pub margin_ms: Option<u64>,
}

/// Works or fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A connection.
    Connected {
        /// By this address.
        address: IpAddr,
    },
    /// None.
    Failed {
        /// `error.cause.code` of what `fetch` throws.
        code: String,
        /// The code that Node itself gave, where undici puts its own over it.
        hidden: Option<String>,
    },
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The address.
    pub address: IpAddr,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// How.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Connected.
    Connected,
    /// By an error of its own.
    Failed(String),
    /// By Node's timer for every attempt but the last; Node calls it `ETIMEDOUT`.
    CutOff,
    /// By undici's or the caller's limit on the whole.
    Abandoned,
}

impl Prediction {
    /// Whether a connection comes about.
    pub fn works(&self) -> bool {
        matches!(self.outcome, Outcome::Connected { .. })
    }

    /// The code of the failure.
    pub fn code(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Failed { code, .. } => Some(code),
            Outcome::Connected { .. } => None,
        }
    }

    /// Whether undici's limit ended it, which is not sharp.
    fn ended_by_undici(&self) -> bool {
        self.code() == Some(UNDICI_TIMEOUT)
            && self.attempts.last().is_some_and(|attempt| attempt.end == AttemptEnd::Abandoned)
    }

    /// The earliest and the latest time at which this outcome can be seen on an idle machine.
    pub fn took(&self) -> (u64, u64) {
        if self.ended_by_undici() {
            (self.after_ms.saturating_sub(CONNECT_LIMIT_EARLY_MS), self.after_ms + CONNECT_LIMIT_LATE_MS)
        } else {
            (self.after_ms, self.after_ms)
        }
    }

    /// How many attempts Node's timer ended.
    pub fn cut_off(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::CutOff).count()
    }

    /// Whether it works although an attempt was thrown away, or an address was dead: it costs time on every connection.
    pub fn works_late(&self) -> bool {
        self.works() && self.attempts.len() > 1
    }
}

/// What this Node with these options makes of the situation.
pub fn predict(situation: &Situation, release: Release, undici: Undici, options: &Options) -> Prediction {
    let listed = options.sorted(&situation.addresses);
    let auto_select = options.auto_select.unwrap_or(release.auto_selects());
    let (tried, one_by_one): (Vec<&Address>, bool) = if auto_select {
        let tried = interleave(&listed);
        let multiple = tried.len() > 1 || release.always_multiple();
        (tried, multiple)
    } else {
        (listed.into_iter().take(1).collect(), false)
    };
    let limit = match situation.caller_limit_ms {
        // Equal limits are the PDS's case. Its own timer starts earlier, and undici's is mostly late.
        Some(ms) if ms <= CONNECT_LIMIT_MS => (ms, ABORTED),
        _ => (CONNECT_LIMIT_MS, UNDICI_TIMEOUT),
    };
    let mut run = Run {
        now: situation.lookup_ms,
        free: situation.lookup_ms + situation.stall_ms,
        stalled: situation.stall_ms > 0,
        limit,
        limit_span: if limit.1 == ABORTED || undici.exact_limit() {
            (limit.0, limit.0)
        } else {
            (CONNECT_LIMIT_MS - CONNECT_LIMIT_EARLY_MS, CONNECT_LIMIT_MS + CONNECT_LIMIT_LATE_MS)
        },
        attempts: Vec::new(),
        margin: None,
    };
    let cap = options.timer_ms(release);
    for (index, address) in tried.iter().enumerate() {
        let last = index + 1 == tried.len();
        let ended = run.attempt(address, (!last).then_some(cap));
        match ended {
            AttemptEnd::Connected => return run.done(Outcome::Connected { address: address.ip }),
            AttemptEnd::Abandoned => {
                return run.done(Outcome::Failed { code: limit.1.to_owned(), hidden: None });
            }
            AttemptEnd::Failed(_) | AttemptEnd::CutOff => {}
        }
    }
    let errors = run.errors(release);
    let Some(first) = errors.first().cloned() else {
        return run.done(Outcome::Failed { code: NOT_FOUND.to_owned(), hidden: None });
    };
    if one_by_one && undici.rewraps() && errors.iter().any(|code| code == TIMED_OUT) {
        return run.done(Outcome::Failed { code: UNDICI_TIMEOUT.to_owned(), hidden: Some(first) });
    }
    run.done(Outcome::Failed { code: first, hidden: None })
}

/// Duplicates out, families alternating, beginning with the first address's.
fn interleave<'a>(addresses: &[&'a Address]) -> Vec<&'a Address> {
    let Some(leads_v4) = addresses.first().map(|address| address.ip.is_ipv4()) else { return Vec::new() };
    let of = |wanted: bool| {
        let mut found: Vec<&'a Address> = Vec::new();
        for address in addresses.iter().filter(|address| (address.ip.is_ipv4() == leads_v4) == wanted) {
            if !found.iter().any(|known| known.ip == address.ip) {
                found.push(address);
            }
        }
        found
    };
    let (leading, other) = (of(true), of(false));
    let longer = leading.len().max(other.len());
    (0..longer).flat_map(|index| [leading.get(index), other.get(index)]).flatten().copied().collect()
}

/// The walk over the addresses.
struct Run {
    now: u64,
    /// Until then the event loop is busy.
    free: u64,
    stalled: bool,
    limit: (u64, &'static str),
    limit_span: (u64, u64),
    attempts: Vec<Attempt>,
    margin: Option<u64>,
}

impl Run {
    fn attempt(&mut self, address: &Address, cap: Option<u64>) -> AttemptEnd {
        let started = self.now;
        let natural = address.end();
        // An error that connect(2) itself returns needs no event loop, and no timer is set for it.
        let at_once = natural.and_then(|(ms, error)| error.filter(|_| ms == 0));
        let (ended, end) = if let Some(code) = at_once {
            (started, AttemptEnd::Failed(code.to_owned()))
        } else {
            let seen = |ms: u64| if self.stalled { (started + ms).max(self.free) } else { started + ms };
            let own = natural.map(|(ms, error)| (seen(ms), error));
            let timer = cap.map(seen);
            if let (Some((ms, _)), Some(cap)) = (natural, cap) {
                self.near(ms, cap);
            }
            // In one turn of the loop the timers come first: see `Situation::stall_ms`.
            let first = match (own, timer) {
                (Some((own, error)), Some(timer)) if own < timer => (own, named(error)),
                (_, Some(timer)) => (timer, AttemptEnd::CutOff),
                (Some((own, error)), None) => (own, named(error)),
                (None, None) => (u64::MAX, AttemptEnd::Abandoned),
            };
            if first.0 != u64::MAX {
                self.near_the_end(first.0);
            }
            if first.0 >= self.limit.0 { (self.limit.0, AttemptEnd::Abandoned) } else { first }
        };
        self.attempts.push(Attempt { address: address.ip, started_ms: started, ended_ms: ended, end: end.clone() });
        self.now = ended;
        end
    }

    fn near(&mut self, time: u64, limit: u64) {
        let distance = time.abs_diff(limit);
        self.margin = Some(self.margin.map_or(distance, |known| known.min(distance)));
    }

    /// The same for the limit on the whole, which is a span.
    fn near_the_end(&mut self, time: u64) {
        let (from, to) = self.limit_span;
        if (from..=to).contains(&time) {
            self.margin = Some(0);
        } else {
            self.near(time, if time < from { from } else { to });
        }
    }

    /// The errors that Node collects.
    fn errors(&self, release: Release) -> Vec<String> {
        let code = |attempt: &Attempt| match &attempt.end {
            AttemptEnd::Failed(code) => Some(code.clone()),
            AttemptEnd::CutOff => release.records_cut_off().then(|| TIMED_OUT.to_owned()),
            AttemptEnd::Connected | AttemptEnd::Abandoned => None,
        };
        self.attempts.iter().filter_map(code).collect()
    }

    fn done(self, outcome: Outcome) -> Prediction {
        Prediction { outcome, after_ms: self.now, attempts: self.attempts, margin_ms: self.margin }
    }
}

fn named(error: Option<&str>) -> AttemptEnd {
    error.map_or(AttemptEnd::Connected, |code| AttemptEnd::Failed(code.to_owned()))
}

#[cfg(test)]
mod tests;
