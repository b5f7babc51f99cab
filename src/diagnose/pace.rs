//! How quick the target is where nothing is wrong: what times of its own fetches are measured against.

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::HttpFact,
    par_fact::{ParArm, ParFact},
};

use super::{
    arms::{self, Lookup},
    evidence::{Evidence, Seen, host_of},
    node_model::release::ATTEMPT_MS,
    par_stage::{FetchFailure, Stage},
    situation::NEAR_MS,
};

/// A PDS that is held up this long where nothing is to be fetched may be held up past one of Node's timers (250 ms),
/// which then ends a connection attempt that had come about.
const BUSY_MS: u64 = 100;

/// A look-up takes three round trips (TCP, TLS, the request). Where all of them took no more than this, none took longer
/// than 200 ms, and a connection attempt is clear of Node's timer.
const CLEAR_OF_THE_TIMER_MS: u64 = 3 * (ATTEMPT_MS - NEAR_MS);

/// No machine that answers at all is held up longer than this: a second is what a lost packet costs.
pub(super) const HELD_UP_MOST_MS: u64 = 1_000;

impl Evidence<'_> {
    /// What a PAR costs beside what the PDS fetches for it: the localhost arm is made to measure that. It too can have a
    /// bad moment, and then another arm was quicker.
    pub fn par_base(&self, role: Role) -> u64 {
        let answered = || self.all_pars().iter().filter(|seen| seen.body.role == role && seen.body.failure.is_none());
        if !answered().any(|seen| seen.body.arm == ParArm::Localhost) {
            return 0;
        }
        answered().map(Seen::took).min().unwrap_or(0)
    }

    /// How long a busy machine, this one or the PDS's, may have held up any PAR at the target beyond the quickest, in
    /// milliseconds.
    pub fn held_up(&self) -> u64 {
        self.held_up_without_a_fetch().max(self.held_up_at_home()).min(HELD_UP_MOST_MS)
    }

    /// How much longer than it should the target took for the PAR that needs no fetch: TCP and TLS take a round trip
    /// each, and the request as long as the quickest one over an open connection.
    fn held_up_without_a_fetch(&self) -> u64 {
        let Some((localhost, _)) = self.par(Role::Target, None, ParArm::Localhost) else { return 0 };
        let lines = self.target_lines();
        let Some(line) = lines.iter().find(|line| Some(line.addr) == localhost.body.addr) else { return 0 };
        let connect = line.connect.filter(|seen| seen.body.failure.is_none()).map(|seen| seen.took());
        let handshake = line.tls.filter(|seen| seen.body.failure.is_none()).map(|seen| seen.took());
        let answered = [line.health, line.describe].into_iter().flatten().filter(|seen| seen.body.failure.is_none());
        match (connect.into_iter().chain(handshake).min(), answered.map(|seen| seen.took()).min()) {
            (Some(round_trip), Some(exchange)) => self.par_base(Role::Target).saturating_sub(2 * round_trip + exchange),
            _ => 0,
        }
    }

    /// How long the PDS took to fetch from itself, beside the other requests: there is no way to go.
    fn held_up_at_home(&self) -> u64 {
        match self.par(Role::Target, None, ParArm::OwnUrl) {
            Some((seen, stage)) if stage.reached_host() == Some(true) => {
                seen.took().saturating_sub(self.par_base(Role::Target))
            }
            _ => 0,
        }
    }

    /// The reference was slow with something that it did fetch, or the target with an answer to this machine: that the
    /// one did not get to the other in a few seconds says nothing.
    pub(super) fn takes_its_time(&self) -> bool {
        let there =
            self.all_pars().iter().filter(|seen| seen.body.role == Role::Reference && seen.body.failure.is_none());
        let fetched = |seen: &&Seen<'_, ParFact>| self.stage_of(**seen).reached_host() == Some(true);
        let fetches = there.filter(fetched).map(Seen::took);
        let lines = self.target_lines();
        let answers = lines.iter().filter_map(|line| line.health).filter(|seen| seen.body.failure.is_none());
        fetches.chain(answers.map(|seen| seen.took())).any(|took| took > arms::PROMPT_MS)
    }

    /// A fetch that one of Node's timers ended in a bad moment of the PDS, and not by the state of its network. A login:
    /// two other fetches from the same host went well, and the PDS was held up at the time. Any other: the same host was
    /// reached right after.
    pub fn is_bad_moment(&self, seen: &Seen<'_, ParFact>) -> bool {
        if !self.is_cut_off(seen) {
            return false;
        }
        match seen.body.arm {
            arm if arm.is_login() => self.held_up() >= BUSY_MS && self.passed_otherwise(seen),
            _ => self.reached_afterwards(seen).is_some(),
        }
    }

    fn is_cut_off(&self, seen: &Seen<'_, ParFact>) -> bool {
        let timer = match self.stage_of(*seen) {
            Stage::DocumentNotObtained(FetchFailure::AttemptCap) => true,
            Stage::DocumentNotObtained(FetchFailure::AtOnce) => self.may_hide_the_timer(seen),
            _ => false,
        };
        seen.body.role == Role::Target && timer
    }

    /// Even the request without a fetch was held up for longer than Node's timer: set beside that, a login whose fetch the
    /// timer ended looks as if it had failed at once.
    fn may_hide_the_timer(&self, seen: &Seen<'_, ParFact>) -> bool {
        seen.body.arm.is_login()
            && self.held_up_without_a_fetch() >= ATTEMPT_MS
            && arms::at_most(self, seen.took()) >= ATTEMPT_MS
    }

    /// The PDS got the document in the login's other request, which may have been answered by a copy that it kept, and
    /// reached its host for a DID as well.
    pub fn passed_otherwise(&self, failed: &Seen<'_, ParFact>) -> bool {
        let client = &failed.body.client;
        let mut others = self.all_pars().iter().filter(|seen| {
            let body = seen.body;
            body.role == Role::Target && body.arm.is_login() && body.arm != failed.body.arm && &body.client == client
        });
        let host = host_of(client);
        others.any(|seen| self.stage_of(*seen).obtained_document() == Some(true))
            && host.is_some_and(|host| matches!(arms::did_web(self, &host), Some(Lookup::Reached(_))))
    }

    /// The look-up at the same host after a fetch that one of Node's timers ended: it came through, and so soon that
    /// nothing on the way takes as long as that timer.
    pub fn reached_afterwards(&self, failed: &Seen<'_, ParFact>) -> Option<FactId> {
        let host = host_of(&failed.body.client).filter(|_| self.is_cut_off(failed))?;
        let ended = failed.fact.started_ms.saturating_add(failed.took());
        let mut later = arms::did_web_tries(self, &host);
        later.retain(|(seen, _)| seen.fact.started_ms >= ended);
        let soon = |(seen, lookup): &(Seen<'_, HttpFact>, Lookup)| {
            matches!(lookup, Lookup::Reached(_)) && arms::at_most(self, seen.took()) <= CLEAR_OF_THE_TIMER_MS
        };
        (later.iter().all(soon)).then(|| later.first().map(|(seen, _)| seen.id())).flatten()
    }

    /// The least that the target took for any of its small answers to this machine, in milliseconds; 0 without one.
    pub fn quickest_answer(&self) -> u64 {
        let lines = self.target_lines();
        let answers = lines.iter().flat_map(|line| [line.health, line.describe]).flatten();
        answers.filter(|seen| seen.body.failure.is_none()).map(|seen| seen.took()).min().unwrap_or(0)
    }

    /// A TCP connection to the target's own name that came about from the network that the PDS is in, or from its machine
    /// by an address that is not the machine's own: the way back to itself is there.
    pub fn reaches_itself(&self, host: &str) -> Option<FactId> {
        let inside = self.inside();
        let place = inside.place();
        let connects = inside.connects_to(&place, host);
        connects.iter().find(|seen| seen.body.failure.is_none()).map(Seen::id)
    }

    /// Packets between this machine and the target get lost: a connection or a small exchange took a second longer than
    /// the quickest of its kind, which is what the sender waits before it sends again (RFC 6298, section 2.1).
    pub fn loses_packets(&self) -> bool {
        const RETRANSMITTED_MS: u64 = 1_000;
        let lines = self.target_lines();
        let small = lines.iter().filter_map(|line| line.health).filter(|seen| seen.body.failure.is_none());
        let late = |mut times: Vec<u64>| {
            times.sort_unstable();
            times.first().zip(times.last()).is_some_and(|(quickest, slowest)| slowest - quickest >= RETRANSMITTED_MS)
        };
        let all = self.all_connects().iter();
        let connects = all.filter(|seen| seen.body.role == Role::Target && seen.body.failure.is_none());
        late(connects.map(Seen::took).collect()) || late(small.map(|seen| seen.took()).collect())
    }
}
