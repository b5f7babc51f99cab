//! One login request at both sides, and how it is read: what all rules about logins share.

use pdsdoctor_probes::par_fact::ParFact;

use crate::diagnose::{
    Cause,
    evidence::{Evidence, Seen, host_of},
    par_stage::{AT_ONCE_MS, FetchFailure, Stage},
};

/// One arm at both sides.
pub(super) struct Arm<'a> {
    pub(super) client: &'a str,
    pub(super) target: Seen<'a, ParFact>,
    pub(super) stage: Stage,
    pub(super) reference: Option<(Seen<'a, ParFact>, Stage)>,
}

/// The server's words, short.
pub(super) fn answer(fact: &ParFact) -> String {
    if let Some(failure) = &fact.failure {
        return format!("no answer ({})", failure.kind.to_string().replace('_', " "));
    }
    if fact.accepted {
        return "accepted".to_owned();
    }
    let status = fact.status.unwrap_or(0);
    match (&fact.error, &fact.description) {
        (Some(error), Some(text)) => format!("HTTP {status} {error}: {text}"),
        (Some(error), None) => format!("HTTP {status} {error}"),
        _ => format!("HTTP {status}, not an OAuth answer"),
    }
}

/// The same login request at the target and at the reference, if that was asked.
pub(super) fn beside_reference(evidence: &Evidence<'_>, cause: Cause, arm: &Arm<'_>) -> Cause {
    let (Some((theirs, _)), Some(reference)) = (&arm.reference, evidence.reference()) else { return cause };
    cause.contrast(
        format!("the same login request (PAR) for {}", arm.client),
        format!("{}: {}", evidence.name(), answer(arm.target.body)),
        format!("{reference}: {}", answer(theirs.body)),
    )
}

/// The host of an application, by its `client_id`.
pub(super) fn client_host(client: &str) -> String {
    host_of(client).unwrap_or_else(|| client.to_owned())
}

/// Node caps every attempt but the last: a host with one address knows no cap, whatever the time. And a machine that
/// is held up may take as long for what it fails at once.
pub(super) fn reading(evidence: &Evidence<'_>, stage: &Stage, spent: u64, host: &str) -> Stage {
    let one = evidence.addresses(host).len() == 1;
    let may_be_at_once = spent.saturating_sub(evidence.held_up()) < AT_ONCE_MS;
    match stage {
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) if one => Stage::DocumentNotObtained(FetchFailure::AtOnce),
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) if may_be_at_once => {
            Stage::DocumentNotObtained(FetchFailure::Soon)
        }
        other => other.clone(),
    }
}
