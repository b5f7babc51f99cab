//! What was looked at and is well, a line each: a healthy report is made of these.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{Family, ProbeName, Role},
    http_fact::HttpPurpose,
    par_fact::ParArm,
};

use super::{
    Healthy, claims,
    evidence::{Evidence, Line},
    inside::place_words,
    par_stage::Stage,
    rules::list,
    words::date,
};

/// What is well. At most six lines.
pub(super) fn healthy(evidence: &Evidence<'_>) -> Vec<Healthy> {
    let mut well = Vec::new();
    let mut say = |probe, summary: String| well.push(Healthy { probe, summary });
    let lines = evidence.target_lines();
    if !lines.is_empty() && lines.iter().all(Line::connected) {
        let families: BTreeSet<Family> = lines.iter().map(Line::family).collect();
        let times = list(lines.iter().filter_map(|line| line.connect).map(|seen| format!("{} ms", seen.took())));
        say(ProbeName::Tcp, format!("{} reachable on {} ({times})", evidence.name(), list(families)));
    }
    let certificates: Vec<_> = lines.iter().filter_map(|line| line.tls?.body.certificate.as_ref()).collect();
    let sound = |certificate: &&pdsdoctor_probes::tls_fact::CertificateFact| evidence.accepts(certificate);
    if let Some(until) = certificates.iter().map(|certificate| certificate.not_after).min()
        && certificates.iter().all(sound)
    {
        say(ProbeName::Tls, format!("certificate valid until {}", date(until)));
    }
    if !lines.is_empty() && lines.iter().all(Line::is_pds) {
        let version = evidence.version(Role::Target).unwrap_or("of unknown version");
        let streams = evidence.http(Role::Target, HttpPurpose::SubscribeRepos);
        let open = !streams.is_empty() && streams.iter().all(|seen| seen.body.is_upgraded());
        let stream = if open { "; relays can follow it" } else { "" };
        say(ProbeName::Http, format!("answers as a PDS, {version}{stream}"));
    }
    if let Some(summary) = inside(evidence) {
        say(ProbeName::PdsProcess, summary);
    }
    let verified = handles(evidence);
    if !verified.is_empty() {
        say(ProbeName::Handles, format!("{} verified", list(verified)));
    }
    let documents = [HttpPurpose::ProtectedResource, HttpPurpose::AuthorizationServer]
        .iter()
        .filter(|purpose| evidence.http(Role::Target, **purpose).iter().any(|seen| seen.body.is_expected()))
        .count();
    // A login that starts has been through discovery.
    match logins(evidence) {
        Some(summary) => say(ProbeName::Par, summary),
        None if documents == 2 => say(ProbeName::OauthDiscovery, "OAuth metadata complete".to_owned()),
        None => {}
    }
    well
}

/// The PDS on this machine, and its way out.
fn inside(evidence: &Evidence<'_>) -> Option<String> {
    let inside = evidence.inside();
    let place = inside.place();
    let ways = [Family::V4, Family::V6].into_iter().filter(|family| inside.reaches_out(&place, *family));
    let ways: Vec<Family> = ways.collect();
    let out = if ways.is_empty() { String::new() } else { format!(", out by {}", list(ways)) };
    let Some(pds) = inside.pds() else {
        return (!inside.is_empty()).then(|| format!("this machine was looked at as the PDS's{out}"));
    };
    let node = pds.body.node.as_ref().map(|node| format!(" on Node {}", node.version)).unwrap_or_default();
    Some(format!("the PDS runs here, process {}{node}, in {}{out}", pds.body.pid, place_words(&place)))
}

fn handles<'a>(evidence: &Evidence<'a>) -> Vec<&'a str> {
    let verifies = |handle: &&str| {
        claims::txt_did(evidence, handle).is_some() || claims::well_known_did(evidence, handle).is_some()
    };
    evidence.handles().into_iter().filter(verifies).collect()
}

fn logins(evidence: &Evidence<'_>) -> Option<String> {
    let works = |client: &&str| {
        ParArm::LOGIN
            .iter()
            .all(|arm| evidence.par(Role::Target, Some(client), *arm).is_some_and(|(_, stage)| stage.is_expected(*arm)))
    };
    let clients = evidence.clients();
    let good: Vec<&str> = clients.into_iter().filter(works).collect();
    let reference = evidence.reference().map(|reference| format!(", as at {reference}"));
    if !good.is_empty() {
        let hosts = list(good.iter().filter_map(|client| super::evidence::host_of(client)));
        return Some(format!(
            "logins start: the PDS fetched {hosts}'s client metadata{}",
            reference.unwrap_or_default()
        ));
    }
    let (_, stage) = evidence.par(Role::Target, None, ParArm::Localhost)?;
    matches!(stage, Stage::RequestChecked).then(|| "the login endpoint (PAR) answers".to_owned())
}
