//! The PDS's clock, by the `Date` header, against other servers' and this machine's.

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::HttpPurpose,
};

use super::{Found, Rule};
use crate::diagnose::{
    Bounds, Cause, Claim, Code, Impact, Remedy,
    evidence::{Evidence, host_of},
    step::run,
    vantage::{CLOCK_NOTICEABLE_MS, OtherClocks, middle},
    words::span,
};

pub(super) const RULE: Rule = Rule { codes: &[Code::HostClockSkew], judge };

/// Client assertions and DPoP proofs are refused when their `iat` lies in the PDS's future, which a
/// clock half a minute slow makes of every fresh one at strict clients (atproto#4474).
const DEGRADES_MS: i64 = 30_000;
/// The reference PDS accepts DPoP proofs from -190 s to +180 s (measured at 0.5.35; `@atproto/oauth-provider`): beyond
/// that no login works at all.
const BREAKS_MS: i64 = 180_000;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    // Only what the PDS itself makes afresh: a proxy's error page carries the proxy's clock, and a
    // cached document the time of its making.
    let own: Vec<(FactId, i64)> = evidence
        .all_http()
        .iter()
        .filter(|seen| {
            seen.body.role == Role::Target
                && matches!(seen.body.purpose, HttpPurpose::Health | HttpPurpose::DescribeServer)
                && seen.body.is_expected()
                && host_of(&seen.body.url).as_deref() == Some(host)
        })
        .filter_map(|seen| Some((seen.id(), seen.body.date_offset_ms?)))
        .collect();
    let others = evidence.other_clocks();
    let Some(offset) = middle(own.iter().map(|(_, offset)| *offset)) else { return };
    // Against the others' clocks where there are any: this machine's own may be the wrong one.
    let skew = offset.saturating_sub(others.as_ref().map_or(0, |others| others.offset_ms));
    let away = i64::try_from(skew.unsigned_abs()).unwrap_or(i64::MAX);
    let ids: Vec<FactId> = own
        .iter()
        .map(|(id, _)| id.clone())
        .chain(others.iter().flat_map(|others| others.because.iter().cloned()))
        .collect();
    if away < CLOCK_NOTICEABLE_MS {
        found.rule_out(
            Code::HostClockSkew,
            Bounds::here(host),
            "the PDS's clock agrees with the others' to a few seconds",
            ids,
        );
        return;
    }
    let agrees_with_us = offset.unsigned_abs() < CLOCK_NOTICEABLE_MS.unsigned_abs();
    let impact = match away {
        BREAKS_MS.. => Impact::Broken,
        DEGRADES_MS.. => Impact::Degraded,
        _ => Impact::Risk,
    };
    let direction = if skew > 0 { "ahead" } else { "behind" };
    let by = span(seconds(away));
    let told = |cause: Cause| {
        cause.saw(format!("Date header minus this machine's clock: {:+} s", seconds(offset))).because(ids).remedy(
            Remedy::new(
                "Set the clock on the PDS's machine and keep it set",
                [
                    run("timedatectl status"),
                    run("sudo timedatectl set-ntp true").note("or install chrony"),
                    run("sudo systemctl restart pds"),
                ],
                evidence.verify(),
            ),
        )
    };
    let claim = |impact: Impact| {
        let summary = format!("The clock of {host} is {by} {direction}: logins and posts are refused for their times.");
        Claim::new(Code::HostClockSkew, impact, summary).with(told)
    };
    let sides = |others: &OtherClocks| {
        (
            "the Date header, against this machine's clock".to_owned(),
            format!("{host}: {:+} s", seconds(offset)),
            format!("other servers: {:+} s", seconds(others.offset_ms)),
        )
    };
    let third = "a third clock: another reference PDS that answers";
    found.cause(match &others {
        Some(others) if others.sure => claim(impact).confirmed(sides(others)),
        // One other host differs from all the rest: it may be the odd one.
        Some(others) if !agrees_with_us => claim(impact).likely(third).sides(sides(others)),
        // Two clocks differ, and nobody says which is wrong.
        Some(others) => claim(Impact::Risk).possible(third).sides(sides(others)),
        None => claim(Impact::Risk).possible(third),
    });
}

/// Whole seconds, to the nearest.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(500 * ms.signum()) / 1_000
}
