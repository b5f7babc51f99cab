//! The PDS's clock, by the `Date` header, against other servers' and this machine's.

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::HttpPurpose,
};

use super::{Found, Rule};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, host_of, is_expected},
    words::span,
};

pub(super) const RULE: Rule = Rule { codes: &[Code::HostClockSkew], judge };

/// The `Date` header has a resolution of a second, and half a round trip is not known: less than
/// this is not a difference.
const NOTICEABLE_MS: i64 = 5_000;
/// Client assertions and DPoP proofs are refused when their `iat` lies in the PDS's future, which a
/// clock half a minute slow makes of every fresh one at strict clients (atproto#4474).
const DEGRADES_MS: i64 = 30_000;
/// The reference PDS accepts DPoP proofs from -190 s to +180 s (`pds-facts.md`, section 4): beyond
/// that no login works at all.
const BREAKS_MS: i64 = 180_000;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    let offsets = |filter: &dyn Fn(Role, HttpPurpose, &str) -> bool| -> Vec<(FactId, i64)> {
        evidence
            .all_http()
            .iter()
            .filter(|seen| filter(seen.body.role, seen.body.purpose, &seen.body.url))
            .filter_map(|seen| Some((seen.id(), seen.body.date_offset_ms?)))
            .collect()
    };
    // Only answers of the PDS itself: a proxy's error page carries the proxy's clock.
    let own: Vec<(FactId, i64)> = evidence
        .all_http()
        .iter()
        .filter(|seen| {
            seen.body.role == Role::Target && is_expected(seen.body) && host_of(&seen.body.url).as_deref() == Some(host)
        })
        .filter_map(|seen| Some((seen.id(), seen.body.date_offset_ms?)))
        .collect();
    let others = offsets(&|role, _, _| matches!(role, Role::Reference | Role::Client | Role::Directory));
    let (Some(offset), other) = (middle(&own), middle(&others)) else { return };
    // Against the others' clocks where there are any: this machine's own may be the wrong one.
    let skew = offset - other.unwrap_or(0);
    let ids = || own.iter().chain(&others).map(|(id, _)| id.clone());
    if skew.abs() < NOTICEABLE_MS {
        found.rule_out(Code::HostClockSkew, "the PDS's clock agrees with the others' to a few seconds", ids());
        return;
    }
    let impact = match skew.abs() {
        BREAKS_MS.. => Impact::Broken,
        DEGRADES_MS.. => Impact::Degraded,
        _ => Impact::Risk,
    };
    let (impact, confidence) = match other {
        Some(_) => (impact, Confidence::Confirmed),
        // Two clocks differ, and nobody says which is wrong.
        None => (Impact::Risk, Confidence::Possible),
    };
    let direction = if skew > 0 { "ahead" } else { "behind" };
    let by = span(seconds(skew).abs());
    let mut cause = Cause::new(
        Code::HostClockSkew,
        impact,
        confidence,
        format!("The clock of {host} is {by} {direction}: logins and posts are refused for their times."),
    )
    .saw(format!("Date header minus this machine's clock: {:+} s", seconds(offset)))
    .because(ids())
    .remedy(Remedy::new(
        "Set the clock on the PDS's machine and keep it set",
        ["timedatectl status", "sudo timedatectl set-ntp true     # or install chrony", "sudo systemctl restart pds"],
        evidence.verify(),
    ));
    cause = match other {
        Some(other) => cause.contrast(
            "the Date header, against this machine's clock",
            format!("{host}: {:+} s", seconds(offset)),
            format!("other servers: {:+} s", seconds(other)),
        ),
        None => cause.settle("a third clock: a reference PDS that answers"),
    };
    found.cause(cause);
}

/// Whole seconds, to the nearest.
fn seconds(ms: i64) -> i64 {
    (ms + 500 * ms.signum()) / 1_000
}

/// The median: one slow answer or one odd server does not move it.
fn middle(offsets: &[(FactId, i64)]) -> Option<i64> {
    let mut sorted: Vec<i64> = offsets.iter().map(|(_, offset)| *offset).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
