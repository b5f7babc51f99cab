//! How fast one host is asked. A careful owner limits what one visitor may ask for in a second; the program's own load
//! must not make what it reports.
//!
//! Two things are kept per host: the times at which requests may be sent (a token bucket, written as the "generic cell
//! rate algorithm" has it: one time instead of a counter), and whether the host has said that it was too fast (429).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::time::sleep_until;

use crate::{fact::Role, wire::date};

/// One request in this time is sent to a host, on the average of a run: ten in a second. That is what the reference PDS
/// itself allows one address for as long as it likes (3,000 in five minutes, `@atproto/pds`, `rateLimits`), and what
/// nginx's own example of a limit has (`limit_req_zone … rate=10r/s`).
pub const INTERVAL: Duration = Duration::from_millis(100);

/// So many may come at once before that: what a healthy PDS with two addresses and an account is asked, which comes within a
/// few round trips, so that nothing waits for its turn there. nginx's own guide to such limits has `burst=20` with that rate.
pub const BURST: u32 = 20;

/// After "too many requests" nothing is sent for this long, unless the answer asks for another time,
pub const HOLD: Duration = Duration::from_secs(1);

/// and from then on one request in this time; each further such answer doubles it,
pub const SLOW_INTERVAL: Duration = Duration::from_millis(400);

/// up to this.
pub const SLOWEST_INTERVAL: Duration = Duration::from_secs(2);

/// A host that wants to be left alone for longer than this is not asked the same again: a run lasts 20 s.
pub const WAIT_MOST: Duration = Duration::from_secs(5);

/// The most hosts that are kept apart; a run has a few dozen.
const HOSTS: usize = 256;

/// Too many requests (RFC 6585, section 4).
const TOO_MANY: u16 = 429;
/// For the time being unavailable (RFC 9110, section 15.6.4): what nginx says of a limit by itself (`limit_req_status`).
const UNAVAILABLE: u16 = 503;

/// The pace of a run.
#[derive(Default)]
pub(crate) struct Pacer(Mutex<HashMap<String, Pace>>);

/// The pace towards one host.
struct Pace {
    /// When the next request would be due if they came evenly.
    due: Instant,
    interval: Duration,
    burst: u32,
    /// How often it was slowed down; who waits takes a new place when it changes.
    slowed: u32,
    slowed_at: Option<Instant>,
    /// It has answered a request as asked, so that "unavailable" is no state of its own.
    answers: bool,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { due: now, interval: INTERVAL, burst: BURST, slowed: 0, slowed_at: None, answers: false }
    }

    /// Takes a place; when it is.
    fn reserve(&mut self, now: Instant) -> Instant {
        let due = self.due.max(now);
        self.due = due + self.interval;
        let early = self.interval * self.burst.saturating_sub(1);
        due.checked_sub(early).map_or(now, |at| at.max(now))
    }

    /// Sends nothing for `wait`, and less often from then on. What was sent before the last time says nothing new.
    fn slow_down(&mut self, sent: Instant, now: Instant, wait: Duration) {
        if self.slowed_at.is_some_and(|at| sent < at) {
            return;
        }
        self.interval = if self.slowed == 0 { SLOW_INTERVAL } else { (self.interval * 2).min(SLOWEST_INTERVAL) };
        self.burst = 1;
        self.slowed = self.slowed.saturating_add(1);
        self.slowed_at = Some(now);
        self.due = now + wait;
    }
}

/// Whom a request goes to, for the pace. The names under a PDS are answered by the PDS's own machine: they share its
/// pace. Of everybody else each host has its own.
pub(crate) fn side(role: Role, host: &str) -> String {
    match role {
        Role::Target | Role::HandleSample | Role::HostedHandle | Role::Handle => "the target".to_owned(),
        Role::Reference => "the reference".to_owned(),
        _ => host.to_ascii_lowercase(),
    }
}

impl Pacer {
    /// Waits until a request may be sent to this side.
    pub(crate) async fn turn(&self, side: &str) {
        loop {
            let now = Instant::now();
            let (at, slowed) = {
                let mut all = self.lock();
                let pace = entry(&mut all, side, now);
                (pace.reserve(now), pace.slowed)
            };
            if at > now {
                sleep_until(at.into()).await;
            }
            // Whoever was slowed down meanwhile waits anew.
            if entry(&mut self.lock(), side, now).slowed == slowed {
                return;
            }
        }
    }

    /// Takes note of an answer to a request sent at `sent`; whether the same is to be asked once more.
    pub(crate) fn note(&self, side: &str, sent: Instant, status: Option<u16>, retry_after: Option<&str>) -> bool {
        let now = Instant::now();
        let mut all = self.lock();
        let pace = entry(&mut all, side, now);
        let wait = retry_after.and_then(seconds).unwrap_or(HOLD);
        match status {
            Some(TOO_MANY) => pace.slow_down(sent, now, wait.min(WAIT_MOST)),
            // Where nothing else is answered, it is down, and slowness would help nobody.
            Some(UNAVAILABLE) if pace.answers || retry_after.is_some() => {
                if pace.slowed == 0 {
                    pace.slow_down(sent, now, wait.min(WAIT_MOST));
                }
            }
            Some(200..=299) => {
                pace.answers = true;
                return false;
            }
            _ => return false,
        }
        wait <= WAIT_MOST
    }

    /// It has said that it is asked too fast.
    pub(crate) fn is_slowed(&self, side: &str) -> bool {
        self.lock().get(side).is_some_and(|pace| pace.slowed > 0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pace>> {
        // A panic elsewhere cannot leave a number half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry<'a>(all: &'a mut HashMap<String, Pace>, side: &str, now: Instant) -> &'a mut Pace {
    // Beyond the bound all share one pace: never more load, only less.
    let name = if all.len() < HOSTS || all.contains_key(side) { side } else { "" };
    all.entry(name.to_owned()).or_insert_with(|| Pace::new(now))
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn seconds(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let ahead = date::offset_ms(value, SystemTime::now(), Duration::ZERO)?;
    Some(Duration::from_millis(u64::try_from(ahead).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_evenly() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let times: Vec<Duration> = (0..BURST + 10).map(|_| pace.reserve(now) - now).collect();
        assert!(times[..BURST as usize].iter().all(Duration::is_zero), "{times:?}");
        assert_eq!(times[BURST as usize], INTERVAL);
        assert_eq!(times[BURST as usize + 9], INTERVAL * 10);
        // Whoever has waited may have a burst again.
        let later = now + INTERVAL * (BURST + 10);
        assert_eq!(pace.reserve(later), later);
    }

    #[test]
    fn too_many_requests_slow_down_once_for_all_that_were_on_the_way() {
        let pacer = Pacer::default();
        let sent = Instant::now();
        assert!((0..5).all(|_| pacer.note("a", sent, Some(429), None)));
        assert_eq!(pacer.lock()["a"].interval, SLOW_INTERVAL);
        assert!(pacer.is_slowed("a") && !pacer.is_slowed("b"));
        for _ in 0..9 {
            pacer.note("a", Instant::now() + HOLD, Some(429), None);
        }
        assert_eq!(pacer.lock()["a"].interval, SLOWEST_INTERVAL);
    }

    #[test]
    fn what_asks_for_more_patience_than_there_is_gets_none() {
        let pacer = Pacer::default();
        let now = Instant::now();
        assert!(pacer.note("a", now, Some(429), Some("3")));
        assert!(!pacer.note("a", now, Some(429), Some("60")));
        assert!(!pacer.note("a", now, Some(429), Some("Tue, 31 Dec 2999 23:59:59 GMT")));
        assert!(pacer.note("a", now, Some(429), Some("Sun, 06 Nov 1994 08:49:37 GMT")));
        assert!(pacer.note("a", now, Some(429), Some("soon")));
    }

    #[test]
    fn unavailable_is_a_limit_only_where_others_are_answered() {
        let pacer = Pacer::default();
        let now = Instant::now();
        assert!(!pacer.note("a", now, Some(503), None));
        assert!(!pacer.is_slowed("a"));
        assert!(!pacer.note("a", now, Some(200), None));
        assert!(pacer.note("a", now, Some(503), None));
        assert!(pacer.is_slowed("a"));
        assert!(pacer.note("b", now, Some(503), Some("1")));
    }

    #[test]
    fn the_names_of_a_pds_share_its_pace() {
        assert_eq!(side(Role::Target, "pds.example"), side(Role::HostedHandle, "wren.pds.example"));
        assert_ne!(side(Role::Client, "a.example"), side(Role::Client, "b.example"));
    }

    #[tokio::test]
    async fn whoever_waits_takes_a_new_place_when_it_is_slowed_down() {
        let pacer = std::sync::Arc::new(Pacer::default());
        for _ in 0..BURST {
            pacer.turn("a").await;
        }
        let waiter = {
            let pacer = std::sync::Arc::clone(&pacer);
            tokio::spawn(async move { pacer.turn("a").await })
        };
        tokio::task::yield_now().await;
        pacer.note("a", Instant::now(), Some(429), None);
        let before = Instant::now();
        waiter.await.expect("a turn");
        assert!(before.elapsed() >= HOLD - INTERVAL, "{:?}", before.elapsed());
    }
}
