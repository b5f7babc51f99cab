//! The experiment: the PDS's own Node fetched once as it is, and once with each remedy (`--with-node`).

use pdsdoctor_probes::process_fact::{NodeArm, NodeFetchFact};

use crate::diagnose::{
    Cause,
    evidence::{Evidence, Seen, host_of},
    node_model::{Remedy, UNDICI_TIMEOUT},
    situation::Story,
};

/// What Node itself made of one host.
pub(super) struct Experiment<'a> {
    as_is: Option<Seen<'a, NodeFetchFact>>,
    arms: Vec<Seen<'a, NodeFetchFact>>,
}

/// An attempt that Node ended took a multiple of its timer; undici's own limit comes after 10 s.
const BY_TIMER_MS: u64 = 5_000;

impl<'a> Experiment<'a> {
    /// The fetches of a story's host, from where the PDS is.
    pub(super) fn of(evidence: &Evidence<'a>, story: &Story<'_>) -> Self {
        let of_host = |seen: &Seen<'a, NodeFetchFact>| {
            seen.fact.vantage == story.at && host_of(&seen.body.url).as_deref() == Some(story.host.as_str())
        };
        let (as_is, arms): (Vec<_>, Vec<_>) =
            evidence.inside().node_fetches().filter(of_host).partition(|seen| seen.body.arm == NodeArm::AsItIs);
        Self { as_is: as_is.first().copied(), arms }
    }

    /// As it is, it failed; `None`: it was not asked, or did not come so far.
    pub(super) fn fails(&self) -> Option<bool> {
        let body = self.as_is?.body;
        (body.status.is_some() || body.code.is_some()).then_some(body.status.is_none())
    }

    fn arm(&self, remedy: Remedy) -> Option<Seen<'a, NodeFetchFact>> {
        let arm = match remedy {
            Remedy::AttemptTimeout => NodeArm::AttemptTimeout,
            Remedy::Ipv4Only => NodeArm::Ipv4Only,
            _ => return None,
        };
        self.arms.iter().find(|seen| seen.body.arm == arm).copied()
    }

    /// The failing fetch was made again with the remedy, and passed.
    pub(super) fn proves(&self, remedy: Remedy) -> bool {
        self.fails() == Some(true) && self.arm(remedy).is_some_and(|seen| seen.body.status.is_some())
    }

    /// It was made again with the remedy, and failed.
    pub(super) fn disproves(&self, remedy: Remedy) -> bool {
        self.arm(remedy).is_some_and(|seen| seen.body.status.is_none() && seen.body.code.is_some())
    }

    /// It failed by Node's timer, and with more time it did not.
    pub(super) fn shows_the_timer(&self) -> bool {
        let by_timer = self.as_is.is_some_and(|seen| {
            let code = seen.body.code.as_deref();
            matches!(code, Some("ETIMEDOUT" | UNDICI_TIMEOUT)) && seen.body.ms.is_some_and(|ms| ms < BY_TIMER_MS)
        });
        by_timer && self.proves(Remedy::AttemptTimeout)
    }

    /// Any remedy is proven.
    pub(super) fn is_proof(&self) -> bool {
        self.proves(Remedy::AttemptTimeout) || self.proves(Remedy::Ipv4Only)
    }

    /// Adds what was seen.
    pub(super) fn beside(&self, mut cause: Cause, predicted_to_fail: bool) -> Cause {
        let Some(as_is) = self.as_is else { return cause };
        if self.fails() == Some(false) {
            if predicted_to_fail {
                let line = format!("against it: the PDS's own Node did reach it just now: {}", words(as_is.body));
                return cause.against([as_is.id()]).saw(line);
            }
            return cause.saw(format!("the PDS's own Node, as it is: {}", words(as_is.body)));
        }
        for arm in &self.arms {
            if arm.body.status.is_some() && self.is_proof() {
                cause = cause.because([as_is.id(), arm.id()]).contrast(
                    format!("the PDS's own Node fetches {}, as it is and {}", as_is.body.url, arm.body.arm.words()),
                    format!("as it is: {}", words(as_is.body)),
                    format!("{}: {}", arm.body.arm.words(), words(arm.body)),
                );
            } else {
                cause = cause.saw(format!("the PDS's own Node, {}: {}", arm.body.arm.words(), words(arm.body)));
            }
        }
        if self.arms.is_empty() || !self.is_proof() {
            cause = cause.saw(format!("the PDS's own Node, as it is: {}", words(as_is.body)));
        }
        cause
    }
}

fn words(fact: &NodeFetchFact) -> String {
    let ms = fact.ms.unwrap_or(0);
    match (fact.status, &fact.code, &fact.failure) {
        (Some(status), ..) => format!("HTTP {status} after {ms} ms"),
        (None, Some(code), _) if fact.inner.is_empty() => format!("{code} after {ms} ms"),
        (None, Some(code), _) => {
            let inner: Vec<&str> = fact.inner.iter().map(|line| line.as_str()).collect();
            format!("{code} after {ms} ms ({})", inner.join(", "))
        }
        (None, None, failure) => failure.as_deref().unwrap_or("no answer").to_owned(),
    }
}
