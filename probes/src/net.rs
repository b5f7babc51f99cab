//! What every probe is given: the clock of the run, the trust stores, and the one way to make a fact.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    fact::{Fact, FactBody, FactId, NotMeasured, ProbeName, Role, Vantage},
    pace::{self, Pacer},
    redact::{self, Hidden},
    roots::Roots,
    text::Text,
};

/// Told what is in flight, for a progress display. Called from probes: must return at once.
pub trait Observer: Send + Sync {
    /// A job began; `waits_for` says on what it waits.
    fn began(&self, id: u64, probe: ProbeName, waits_for: &str);
    /// It ended, or was given up.
    fn ended(&self, id: u64);
}

/// An observer that looks away.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn began(&self, _id: u64, _probe: ProbeName, _waits_for: &str) {}
    fn ended(&self, _id: u64) {}
}

/// The context of one run. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    shared: Arc<Shared>,
    sink: Arc<Mutex<Sink>>,
    vantage: Vantage,
}

struct Shared {
    start: Instant,
    roots: Roots,
    user_agent: String,
    observer: Arc<dyn Observer>,
    next_job: AtomicU64,
    pacer: Pacer,
    hidden: Hidden,
}

#[derive(Default)]
struct Sink {
    facts: Vec<Fact>,
    not_measured: Vec<NotMeasured>,
    in_flight: BTreeMap<u64, (ProbeName, String)>,
    /// Taken over by this one: what comes goes there.
    into: Option<Arc<Mutex<Sink>>>,
}

impl Net {
    /// A run that starts now.
    pub fn new(vantage: Vantage, roots: Roots, user_agent: String, observer: Arc<dyn Observer>) -> Self {
        Self::hiding(Hidden::default(), vantage, roots, user_agent, observer)
    }

    /// The same; these words of the user's are shown to nobody while it lasts.
    pub fn hiding(
        hidden: Hidden,
        vantage: Vantage,
        roots: Roots,
        user_agent: String,
        observer: Arc<dyn Observer>,
    ) -> Self {
        warm_up();
        let start = Instant::now();
        let shared =
            Shared { start, roots, user_agent, observer, next_job: AtomicU64::new(0), pacer: Pacer::default(), hidden };
        Self { shared: Arc::new(shared), sink: Arc::default(), vantage }
    }

    /// The same run, seen from elsewhere: facts of the two come into one list.
    pub fn at(&self, vantage: Vantage) -> Self {
        Self { vantage, ..self.clone() }
    }

    /// The same run with a list of its own: what is measured there counts once it is [adopted](Self::adopt).
    pub fn aside(&self) -> Self {
        Self { sink: Arc::default(), ..self.clone() }
    }

    /// Takes over what was measured aside, and what is still being measured there.
    pub fn adopt(&self, aside: &Self) {
        self.sink(|own| {
            let mut theirs = lock(&aside.sink);
            if theirs.into.is_none() {
                let into = Some(Arc::clone(&self.sink));
                let theirs = std::mem::replace(&mut *theirs, Sink { into, ..Sink::default() });
                own.facts.extend(theirs.facts);
                own.not_measured.extend(theirs.not_measured);
                own.in_flight.extend(theirs.in_flight);
            }
        });
    }

    /// From where this measures.
    pub fn vantage(&self) -> &Vantage {
        &self.vantage
    }

    /// The trust stores certificates are judged against.
    pub fn roots(&self) -> &Roots {
        &self.shared.roots
    }

    /// The `User-Agent` of every request: who we are, honestly.
    pub fn user_agent(&self) -> &str {
        &self.shared.user_agent
    }

    /// The host has said that it is asked too fast (429): what takes long there says nothing of it.
    pub fn is_slowed(&self, role: Role, host: &str) -> bool {
        self.shared.pacer.is_slowed(&pace::side(role, host))
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> u64 {
        millis(self.shared.start, Instant::now())
    }

    /// Begins a measurement. `waits_for` is shown while it lasts.
    pub fn begin(&self, probe: ProbeName, waits_for: impl Into<String>) -> Job {
        let waits_for = self.shared.hidden.text(&waits_for.into());
        let id = self.shared.next_job.fetch_add(1, Ordering::Relaxed);
        self.sink(|sink| sink.in_flight.insert(id, (probe, waits_for.clone())));
        self.shared.observer.began(id, probe, &waits_for);
        Job { net: self.clone(), id, probe, started: Instant::now() }
    }

    /// Notes that something could not be measured.
    pub fn not_measured(&self, probe: ProbeName, why: &str, needs: &str) {
        let missing = NotMeasured { probe, why: Text::new(why), needs: Text::new(needs) };
        self.sink(|sink| sink.not_measured.push(missing));
    }

    /// Takes everything measured so far. What is still in flight becomes "not measured, because `why`".
    pub fn take(&self, why: &str) -> (Vec<Fact>, Vec<NotMeasured>) {
        self.sink(|sink| {
            let in_flight = std::mem::take(&mut sink.in_flight);
            for (probe, waits_for) in in_flight.into_values() {
                sink.not_measured.push(NotMeasured {
                    probe,
                    why: Text::new(&format!("{why} while waiting for {waits_for}")),
                    needs: Text::new("a longer --timeout"),
                });
            }
            (std::mem::take(&mut sink.facts), std::mem::take(&mut sink.not_measured))
        })
    }

    /// The list that this run's measurements go to now.
    fn sink<T>(&self, change: impl FnOnce(&mut Sink) -> T) -> T {
        let mut sink = Arc::clone(&self.sink);
        loop {
            let mut own = lock(&sink);
            let Some(into) = own.into.clone() else { return change(&mut own) };
            drop(own);
            sink = into;
        }
    }
}

fn lock(sink: &Mutex<Sink>) -> MutexGuard<'_, Sink> {
    // A panic while the lock is held cannot leave a list half changed.
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A measurement in flight. Dropped without [`Job::finish`], it leaves no fact.
pub struct Job {
    net: Net,
    id: u64,
    probe: ProbeName,
    started: Instant,
}

impl Job {
    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Waits until this side may be sent a request ([`pace`]). The clock of the measurement starts then.
    pub(crate) async fn turn(&mut self, role: Role, host: &str) {
        self.net.shared.pacer.turn(&pace::side(role, host)).await;
        self.started = Instant::now();
    }

    /// The measurement goes on over a connection that it took so long to open before. That counts as if it had been done
    /// now: a request takes as long as it takes over a new connection, whenever that was opened.
    pub(crate) fn opened_before(&mut self, took: Duration) {
        self.started = self.started.checked_sub(took).unwrap_or(self.started);
    }

    /// Takes note of the answer; whether the same is to be asked once more, as a measurement of its own.
    pub(crate) fn is_to_repeat(&self, role: Role, host: &str, status: Option<u16>, retry_after: Option<&str>) -> bool {
        self.net.shared.pacer.note(&pace::side(role, host), self.started, status, retry_after)
    }

    /// How long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Records the outcome, without what strangers may have put into it that is nobody's business ([`redact::fact`]).
    pub fn finish(self, mut body: FactBody) {
        redact::fact(&mut body);
        let now = Instant::now();
        let shared = &self.net.shared;
        let fact = Fact {
            id: FactId::default(),
            probe: self.probe,
            vantage: self.net.vantage.clone(),
            started_ms: millis(shared.start, self.started),
            took_ms: millis(self.started, now),
            body,
        };
        self.net.sink(|sink| sink.facts.push(fact));
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.net.sink(|sink| sink.in_flight.remove(&self.id));
        self.net.shared.observer.ended(self.id);
    }
}

/// The first random number of aws-lc takes 20 ms (it gathers jitter entropy). Taken on a thread of its
/// own while names are being resolved, it does not stretch the times of the first handshakes.
fn warm_up() {
    // Where no thread can be started, the first handshake pays.
    let _ = std::thread::Builder::new().name("entropy".to_owned()).spawn(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut [0; 8]);
    });
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fact::{Family, OwnNetworkFact},
        testing::net,
    };

    #[test]
    fn what_is_begun_aside_counts_once_it_is_adopted() {
        let net = net();
        let measured = || FactBody::OwnNetwork(OwnNetworkFact { family: Family::V4, source: None, failure: None });
        let (aside, given_up) = (net.aside(), net.aside());
        aside.begin(ProbeName::Tcp, "before").finish(measured());
        given_up.begin(ProbeName::Tcp, "in vain").finish(measured());
        let (ends, lasts) = (aside.begin(ProbeName::Tcp, "an end"), aside.begin(ProbeName::Tcp, "for ever"));
        net.adopt(&aside);
        net.adopt(&aside);
        ends.finish(measured());
        aside.begin(ProbeName::Tcp, "after").finish(measured());
        let (facts, missing) = net.take("over");
        assert_eq!(facts.len(), 3);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].why.contains("for ever"));
        drop(lasts);
    }

    #[test]
    fn a_connection_that_was_opened_before_counts_as_part_of_it() {
        let net = net();
        let mut job = net.begin(ProbeName::Tcp, "it");
        job.opened_before(Duration::from_millis(300));
        assert!(job.elapsed() >= Duration::from_millis(300));
    }
}
