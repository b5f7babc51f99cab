//! Node gives up on a connection that works. Every address was connected to patiently from where the PDS is; the model
//! of Node's own algorithm (docs/node-model.md) says what this Node makes of those times, and what it would make of them
//! with a remedy. What the PDS itself was seen to do is set beside it.

use std::{cmp::Reverse, net::IpAddr};

use pdsdoctor_probes::fact::{ConnectFact, Family, Role, Vantage};

use super::{
    node_proof::Experiment,
    node_words::{Fare, remedies},
    way_out::SAME_FROM_HERE,
};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Scope,
    evidence::Evidence,
    hidden::{Hidden, hidden},
    inside::{Fate, fate},
    node_model::{AttemptEnd, Path, Prediction, Remedy, ResultOrder},
    rules::{Found, Rule, list},
    situation::elsewhere::{FromHere, from_here},
    situation::{self, Measured, NEAR_MS, Observed, Reading, Story, outcome_words},
    step::Settle,
};

pub(in crate::diagnose::rules) const RULE: Rule = Rule {
    codes: &[Code::NodeHe250ms, Code::NodeHeLostSyn, Code::NodeIpv4firstNotEnough, Code::NodeNoautoselectBackfires],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let mut failing: Vec<(Role, Cause)> = Vec::new();
    for host in situation::hosts(evidence) {
        let Some(story) = situation::of(evidence, &host) else { continue };
        let seen = Seen {
            observed: situation::observed(evidence, &host),
            experiment: Experiment::of(evidence, &story),
            hidden: hidden(evidence, &host),
        };
        match mechanism(evidence, &story) {
            Some(mechanism) => failing.push((story.role, cause(evidence, &story, &mechanism, &seen))),
            None if seen.experiment.shows_the_timer() => {
                failing.push((story.role, cause(evidence, &story, &Mechanism::Unforeseen, &seen)));
            }
            None if story.works() == Some(true) && seen.experiment.fails() != Some(true) => found.rule_out(
                Code::NodeHe250ms,
                Bounds::seen(&host, &evidence.inside().place()),
                format!(
                    "from {} Node {}: its timer ends no attempt at {host} that it needs",
                    story.place(),
                    outcome_words(&story.first().now)
                ),
                story.because.clone(),
            ),
            None => {}
        }
    }
    // What is wrong here is wrong towards every host that is far away: one cause. A login is what people notice.
    failing.sort_by_key(|(role, cause)| (Reverse(cause.impact), *role != Role::Client, Reverse(cause.confidence)));
    let mut by_code: Vec<Vec<(Role, Cause)>> = Vec::new();
    for (role, cause) in failing {
        match by_code.iter_mut().find(|group| group.iter().any(|(_, other)| other.code == cause.code)) {
            Some(group) => group.push((role, cause)),
            None => by_code.push(vec![(role, cause)]),
        }
    }
    found.causes.extend(by_code.into_iter().filter_map(as_one));
}

/// The same at several hosts: the first, with the others in its words.
fn as_one(group: Vec<(Role, Cause)>) -> Option<Cause> {
    let clients = group.iter().filter(|(role, _)| *role == Role::Client).count();
    let several = group.len() > 1;
    let mut group = group.into_iter();
    let (role, mut cause) = group.next()?;
    // One application's login keeps its name; several hosts are the PDS as a whole.
    if several && (clients > 1 || role != Role::Client) {
        cause.scope.host = None;
    }
    for (_, other) in group {
        cause = cause.saw(format!("so it is with another host. {}", other.summary)).because(other.because);
    }
    Some(cause)
}

/// What was seen of the PDS itself, beside the model.
struct Seen<'a> {
    observed: Option<Observed<'a>>,
    hidden: Option<Hidden>,
    experiment: Experiment<'a>,
}

/// What Node does wrong.
enum Mechanism {
    /// Its timer ends attempts at addresses that do answer, and the rest fails.
    Cap {
        /// The address, and after how long it answers.
        wronged: (IpAddr, u64),
    },
    /// It tries the first address only, and that one is dead.
    FirstOnly {
        /// That one.
        first: IpAddr,
        /// One that answers.
        other: IpAddr,
    },
    /// It works unless the first packet is lost.
    LostSyn {
        /// The address that loses packets.
        lossy: IpAddr,
    },
    /// The model sees no reason, and Node itself fails by its timer.
    Unforeseen,
    /// It works, with little to spare.
    Near {
        /// The address, and after how long it answers.
        tight: (IpAddr, u64),
    },
}

/// So many connections that all came about at once are a way that loses nothing.
const A_HABIT: usize = 3;

/// Whose fault it is.
enum Blame {
    /// Nobody tried it from the machine around the PDS's network, or there is none.
    Untold,
    /// From the machine Node would fare no better.
    Machine(FromHere),
    /// It would from the machine.
    Place(FromHere),
}

/// The same from the machine around the PDS's network.
fn blame(evidence: &Evidence<'_>, story: &Story<'_>, mechanism: &Mechanism) -> Blame {
    let Some(here) = from_here(evidence, story) else { return Blame::Untold };
    let reading = Reading { situation: here.situation.clone(), ..story.first().clone() };
    let fails = match mechanism {
        Mechanism::LostSyn { lossy } => here.measured.iter().any(|it| it.ip == *lossy && it.lost > 0),
        Mechanism::Near { .. } => !reading.slower(NEAR_MS).works(),
        Mechanism::Cap { .. } | Mechanism::FirstOnly { .. } => !reading.in_situation(&here.situation).works(),
        // What was measured does not say why.
        Mechanism::Unforeseen => return Blame::Untold,
    };
    // A way that loses a packet now and then may have lost none of a few.
    let few = |lossy: IpAddr| here.measured.iter().any(|it| it.ip == lossy && it.times.len() < A_HABIT);
    match mechanism {
        _ if fails => Blame::Machine(here),
        Mechanism::LostSyn { lossy } if few(*lossy) => Blame::Untold,
        _ => Blame::Place(here),
    }
}

impl Blame {
    /// Where the fault is.
    fn at(&self, story: &Story<'_>) -> Vantage {
        if matches!(self, Self::Machine(_)) { Vantage::Here } else { story.at.clone() }
    }

    /// Said of the cause.
    fn beside(self, cause: Cause, story: &Story<'_>, mechanism: &Mechanism) -> Cause {
        match self {
            Self::Untold => cause,
            Self::Machine(here) => cause.saw(SAME_FROM_HERE).because(here.because),
            Self::Place(here) => {
                let (what, there, from_here) = match mechanism {
                    Mechanism::LostSyn { lossy } => {
                        let here = here.measured.iter().find(|it| it.ip == *lossy).map(Measured::words);
                        (format!("connections to {lossy}, from two places"), "first packets get lost".to_owned(), here)
                    }
                    _ => {
                        let now = story.first().in_situation(&here.situation);
                        let there = outcome_words(&story.first().now);
                        (format!("Node and {}, from two places", story.host), there, Some(outcome_words(&now)))
                    }
                };
                let Some(from_here) = from_here else { return cause };
                cause.because(here.because).contrast(
                    what,
                    format!("{}: {there}", story.place()),
                    format!("this machine: {from_here}"),
                )
            }
        }
    }
}

/// The rest stays silent, as does IPv6 to every other host: that is a hole where the PDS is, and a cause of its own.
fn is_hole(evidence: &Evidence<'_>, story: &Story<'_>, reading: &Reading) -> bool {
    let last = reading.now.attempts.last();
    let waits = last.is_some_and(|last| last.end == AttemptEnd::Abandoned && last.address.is_ipv6());
    let others = evidence.inside().tries(&story.at, Family::V6, Some(&story.host));
    let silent = |seen: &ConnectFact| fate(seen.failure.as_ref()) == Fate::Silent;
    waits && !others.is_empty() && others.iter().all(|seen| silent(seen.body))
}

fn mechanism(evidence: &Evidence<'_>, story: &Story<'_>) -> Option<Mechanism> {
    let failing = story.readings.iter().find(|reading| !reading.now.works());
    let Some(reading) = failing else { return works_now(story) };
    if reading.selects() {
        if is_hole(evidence, story, reading) {
            return None;
        }
        let wronged = *reading.wronged().first()?;
        return patient(reading).works().then_some(Mechanism::Cap { wronged });
    }
    let first = reading.now.attempts.first()?.address;
    let connects = |measured: &&Measured| matches!(measured.path, Path::Connects { .. });
    let other = story.measured.iter().find(connects)?.ip;
    let cure = [Remedy::AttemptTimeout, Remedy::Ipv4Only].into_iter().filter_map(Remedy::options);
    let curable = other != first && cure.into_iter().any(|options| reading.with(&options).works());
    curable.then_some(Mechanism::FirstOnly { first, other })
}

/// With the time that is recommended for each attempt.
fn patient(reading: &Reading) -> Prediction {
    Remedy::AttemptTimeout.options().map_or_else(|| reading.now.clone(), |options| reading.with(&options))
}

fn works_now(story: &Story<'_>) -> Option<Mechanism> {
    let lossy: Vec<IpAddr> =
        story.measured.iter().filter(|measured| measured.lost > 0).map(|measured| measured.ip).collect();
    let fails_by_timer = |prediction: &Prediction| !prediction.works() && prediction.cut_off() > 0;
    if story.always(|reading| fails_by_timer(&reading.first_packet_lost(&lossy))) {
        let worst = |ip: &IpAddr| fails_by_timer(&story.first().first_packet_lost(&[*ip]));
        return lossy.into_iter().find(worst).map(|lossy| Mechanism::LostSyn { lossy });
    }
    let slower = |reading: &Reading| reading.slower(NEAR_MS);
    if story.always(|reading| fails_by_timer(&slower(reading))) {
        let first = story.first();
        let address = first.now.attempts.last()?.address;
        let time = story.measured.iter().find_map(|measured| match measured.path {
            Path::Connects { after_ms } if measured.ip == address => Some(after_ms),
            _ => None,
        })?;
        return Some(Mechanism::Near { tight: (address, time) });
    }
    None
}

fn cause(evidence: &Evidence<'_>, story: &Story<'_>, mechanism: &Mechanism, seen: &Seen<'_>) -> Cause {
    let reading = story.readings.iter().find(|reading| !reading.now.works()).unwrap_or(story.first());
    let code = code(mechanism, reading);
    let would = match mechanism {
        Mechanism::LostSyn { lossy } => reading.first_packet_lost(&[*lossy]),
        Mechanism::Near { .. } => reading.slower(NEAR_MS),
        Mechanism::Cap { .. } | Mechanism::FirstOnly { .. } | Mechanism::Unforeseen => reading.now.clone(),
    };
    let (impact, confidence) = weigh(story, mechanism, &would, seen);
    let blame = blame(evidence, story, mechanism);
    let scope = Scope { host: Some(story.host.clone()), ..Scope::at(&blame.at(story)) };
    let mut cause = Cause::new(code, impact, confidence, summary(story, mechanism, reading, impact))
        .scope(scope)
        .because(story.because.clone());
    for measured in &story.measured {
        cause = cause.saw(format!("{} from {}: {}", measured.ip, story.place(), measured.words()));
    }
    cause = cause.saw(format!(
        "{}, {}: {} — {}",
        story.node(),
        options_words(reading),
        story.attempts(&reading.now),
        outcome_words(&reading.now)
    ));
    if !story.unsure.is_empty() {
        cause = cause.saw(format!("not known: {}", list(&story.unsure)));
    }
    if story.works().is_none() {
        let versions = "the outcome depends on Node's version or C library, which could not be read";
        cause = cause.saw(versions);
        if cause.confidence != Confidence::Confirmed {
            cause = cause.settle("a run with sudo, which can look at the PDS's process");
        }
    }
    cause = contrast(cause, story, mechanism, reading, &would);
    cause = blame.beside(cause, story, mechanism);
    cause = beside(cause, &would, seen.observed.as_ref(), &story.place());
    cause = seen.experiment.beside(cause, !would.works());
    if let Some(hidden) = &seen.hidden {
        cause = cause.saw(hidden.line.clone());
        if hidden.agrees(&would) {
            cause = cause.because([hidden.id.clone()]);
        } else if hidden.is_of_another_kind() {
            cause = cause.against([hidden.id.clone()]);
        }
    }
    if cause.confidence != Confidence::Confirmed && cause.settle.is_none() {
        cause = cause.settle(
            Settle::text("the PDS's own Node, with and without the remedy:").and(evidence.verify().with("--with-node")),
        );
    }
    let fare = Fare { story, reading, would: &would, experiment: &seen.experiment };
    cause.remedies.extend(remedies(evidence, &fare, code));
    cause
}

fn code(mechanism: &Mechanism, reading: &Reading) -> Code {
    match mechanism {
        Mechanism::FirstOnly { .. } => Code::NodeNoautoselectBackfires,
        Mechanism::LostSyn { .. } => Code::NodeHeLostSyn,
        Mechanism::Cap { .. } if reading.runtime.options.result_order == Some(ResultOrder::Ipv4First) => {
            Code::NodeIpv4firstNotEnough
        }
        Mechanism::Cap { .. } | Mechanism::Near { .. } | Mechanism::Unforeseen => Code::NodeHe250ms,
    }
}

/// How bad, and how sure. What Node itself did outweighs what the PDS was seen to do, and that outweighs the model.
fn weigh(story: &Story<'_>, mechanism: &Mechanism, would: &Prediction, seen: &Seen<'_>) -> (Impact, Confidence) {
    let (impact, confidence) = by_model(story, mechanism, would, seen.observed.as_ref());
    // The PDS's own log may name a reason that is no matter of time.
    let contradicted = seen.hidden.as_ref().is_some_and(|hidden| !would.works() && hidden.is_of_another_kind());
    let confidence = confidence.min(story.at_most());
    let confidence = if contradicted { confidence.min(Confidence::Likely) } else { confidence };
    let lossy = matches!(mechanism, Mechanism::LostSyn { .. });
    match seen.experiment.fails() {
        // One fetch that got through says little of a path that loses a packet now and then.
        Some(false) if !lossy && !would.works() => (Impact::Risk, Confidence::Possible),
        Some(true) if seen.experiment.is_proof() => {
            let obtained = seen.observed.as_ref().is_some_and(|observed| observed.obtained);
            let failing = if obtained || lossy { Impact::Degraded } else { broken(story) };
            (failing.max(impact), Confidence::Confirmed)
        }
        _ => (impact, confidence),
    }
}

fn broken(story: &Story<'_>) -> Impact {
    if story.role == Role::Service { Impact::Degraded } else { Impact::Broken }
}

fn by_model(
    story: &Story<'_>,
    mechanism: &Mechanism,
    would: &Prediction,
    observed: Option<&Observed<'_>>,
) -> (Impact, Confidence) {
    let broken = broken(story);
    let agrees = observed.is_some_and(|observed| observed.agrees(would));
    let obtained = observed.map(|observed| observed.obtained);
    match mechanism {
        Mechanism::Near { .. } if obtained == Some(false) && agrees => (broken, Confidence::Likely),
        Mechanism::Near { .. } => (Impact::Risk, Confidence::Likely),
        Mechanism::Unforeseen => (Impact::Degraded, Confidence::Possible),
        Mechanism::LostSyn { lossy } => {
            let lost = story.measured.iter().find(|measured| measured.ip == *lossy).map_or(0, |found| found.lost);
            // One late answer may have been late for another reason.
            let confidence = if lost > 1 || agrees { Confidence::Confirmed } else { Confidence::Likely };
            (if agrees { broken } else { Impact::Degraded }, confidence)
        }
        Mechanism::Cap { .. } | Mechanism::FirstOnly { .. } => match obtained {
            Some(true) => (Impact::Risk, Confidence::Possible),
            Some(false) if agrees => (broken, Confidence::Confirmed),
            Some(false) => (broken, Confidence::Likely),
            // The outcome changes from try to try.
            None if would.margin_ms.is_some_and(|margin| margin < NEAR_MS) => (Impact::Degraded, Confidence::Likely),
            None => (broken, Confidence::Confirmed),
        },
    }
}

/// What fails, or may, in the words of a user.
fn what_fails(story: &Story<'_>, impact: Impact) -> String {
    let host = &story.host;
    let subject = match story.role {
        Role::Client => format!("logins to {host}"),
        _ => format!("the PDS's requests to {host}"),
    };
    match impact {
        Impact::Broken => format!("{subject} fail"),
        Impact::Degraded => format!("{subject} fail now and then"),
        Impact::Risk => format!("{subject} may fail"),
    }
}

fn summary(story: &Story<'_>, mechanism: &Mechanism, reading: &Reading, impact: Impact) -> String {
    let timer = reading.timer_ms();
    let fails = what_fails(story, impact);
    let capital = capital(&fails);
    let host = &story.host;
    match mechanism {
        Mechanism::Cap { wronged: (ip, ms) } if reading.runtime.options.result_order == Some(ResultOrder::Ipv4First) => {
            format!(
                "{capital} in spite of --dns-result-order=ipv4first: Node gives up on {host}'s {} address after {timer} ms, and it answers after {ms} ms.",
                Family::of(*ip)
            )
        }
        Mechanism::Cap { wronged: (ip, ms) } => format!(
            "{capital}: the PDS's Node gives up on {host}'s {} address after {timer} ms, and it answers after {ms} ms.",
            Family::of(*ip)
        ),
        Mechanism::FirstOnly { first, other } => format!(
            "{capital}: --no-network-family-autoselection makes Node try only {host}'s {} address, which {}; its {} address works.",
            Family::of(*first),
            path_words(story, *first),
            Family::of(*other)
        ),
        Mechanism::Unforeseen => format!(
            "{capital}: the PDS's own Node gives up on {host} by its timer, and gets there with more time, although the measured times do not say why."
        ),
        Mechanism::LostSyn { .. } => format!(
            "{capital}: the first packet to {host} gets lost at times, and Node gives up long before it is sent again."
        ),
        Mechanism::Near { tight: (ip, ms) } => format!(
            "Logins to {host} work, with little to spare: its {} address answers the PDS after {ms} ms, and Node gives up after {timer} ms.",
            Family::of(*ip)
        )
        .replacen("Logins to", if story.role == Role::Client { "Logins to" } else { "The PDS's requests to" }, 1),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn path_words(story: &Story<'_>, ip: IpAddr) -> String {
    story.measured.iter().find(|measured| measured.ip == ip).map_or_else(String::new, Measured::words)
}

/// The flags as they count.
fn options_words(reading: &Reading) -> String {
    let written = reading.runtime.options.written();
    if written.is_empty() { "no network flags".to_owned() } else { written }
}

fn contrast(cause: Cause, story: &Story<'_>, mechanism: &Mechanism, reading: &Reading, would: &Prediction) -> Cause {
    let (host, place, timer) = (&story.host, story.place(), reading.timer_ms());
    let patient = patient(reading);
    let cause = match mechanism {
        Mechanism::Cap { wronged: (ip, _) } | Mechanism::Near { tight: (ip, _) } => cause.contrast(
            format!("{host} at {ip} from {place}, with Node's timer and without one"),
            format!("Node: an attempt is ended after {timer} ms"),
            format!("a patient connection {}", path_words(story, *ip)),
        ),
        Mechanism::FirstOnly { first, other } => cause.contrast(
            format!("two addresses of {host} from {place}"),
            format!("{first}, the only one that Node tries: {}", path_words(story, *first)),
            format!("{other}: {}", path_words(story, *other)),
        ),
        // The experiment is the contrast.
        Mechanism::Unforeseen => return cause,
        Mechanism::LostSyn { lossy } => {
            let slowest =
                story.measured.iter().find(|it| it.ip == *lossy).and_then(|it| it.times.iter().max().copied());
            cause.contrast(
                format!("{host} at {lossy} from {place}, time after time"),
                format!("first packet lost: connects after {} ms", slowest.unwrap_or(0)),
                format!("first packet arrived: {}", path_words(story, *lossy)),
            )
        }
    };
    let (as_is, with) = match mechanism {
        Mechanism::LostSyn { lossy } => ("Node, when the first packet is lost", lost_patiently(reading, *lossy)),
        Mechanism::Near { .. } => ("Node, if every answer takes 50 ms longer", patient),
        Mechanism::FirstOnly { .. } | Mechanism::Cap { .. } | Mechanism::Unforeseen => {
            ("Node, by the model of its algorithm", patient)
        }
    };
    cause.contrast(
        format!("{as_is}, as it is set and with 5 s for each attempt"),
        format!("as it is set: {}", outcome_words(would)),
        format!("with 5 s for each attempt: {}", outcome_words(&with)),
    )
}

fn lost_patiently(reading: &Reading, lossy: IpAddr) -> Prediction {
    let Some(options) = Remedy::AttemptTimeout.options() else { return reading.now.clone() };
    let mut patient = reading.clone();
    patient.runtime.options = options;
    patient.first_packet_lost(&[lossy])
}

/// The model beside what the PDS itself was seen to do.
fn beside(cause: Cause, would: &Prediction, observed: Option<&Observed<'_>>, place: &str) -> Cause {
    let Some(observed) = observed else { return cause };
    if would.works() {
        return cause;
    }
    let predicted = format!("predicted from {place}: {}", outcome_words(would));
    let what = format!("the PDS's fetch of {}", observed.client);
    let id = [observed.seen.id()];
    if observed.agrees(would) {
        let seen = format!("seen in its answer to the login request: failed after {} ms", observed.spent_ms);
        return cause.because(id).contrast(what, predicted, seen);
    }
    if observed.obtained {
        return cause
            .against(id)
            .saw(format!("against it: the PDS did fetch {} just now, in {} ms", observed.client, observed.spent_ms));
    }
    cause.against(id).saw(format!(
        "the PDS's fetch of {} failed after {} ms, which is not what was predicted: {}",
        observed.client,
        observed.spent_ms,
        outcome_words(would)
    ))
}
