//! One name, several addresses, and not the same server behind them.

use pdsdoctor_probes::{
    fact::{Family, Vantage},
    http_fact::Content,
    tls_fact::{CertificateFact, Validity},
};

use super::{Found, Rule};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Line},
    step::{HostName, entry, prose, quoted, run, say, write},
};

pub(super) const RULE: Rule = Rule { codes: &[Code::DnsStaleAaaa, Code::DnsStaleA], judge };

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    let lines = evidence.target_lines();
    let Some(good) = lines.iter().find(|line| line.is_pds() && certificate_fault(evidence, line).is_none()) else {
        return;
    };
    let mut alike = true;
    for line in lines.iter().filter(|line| line.addr != good.addr && line.connected()) {
        let Some(difference) = difference(evidence, line, good) else { continue };
        alike = false;
        let (code, record) = match line.family() {
            Family::V6 => (Code::DnsStaleAaaa, "AAAA"),
            Family::V4 => (Code::DnsStaleA, "A"),
        };
        let whom = match line.family() {
            Family::V6 => "whoever has IPv6",
            Family::V4 => "whoever comes by IPv4",
        };
        found.cause(
            Cause::new(
                code,
                Impact::Degraded,
                Confidence::Confirmed,
                format!("{} is not your PDS: {whom} ends up at another server.", line.addr),
            )
            .scope(Scope { family: Some(line.family()), ..Scope::default() })
            .saw(format!("{}: {}", line.addr, difference.0))
            .because(line.ids())
            .because(good.ids())
            .contrast(
                "the same request to the same name, at its other address",
                format!("{}: {}", line.addr, difference.0),
                format!("{}: {}", good.addr, difference.1),
            )
            .remedy(
                Remedy::new(
                    prose!["Correct or delete the ", record, " record"],
                    [
                        run(if record == "A" {
                            "ip -4 addr show scope global"
                        } else {
                            "ip -6 addr show scope global"
                        })
                        .note("on the PDS's machine: its own address"),
                        write(entry![HostName::new(host), ".  ", record, "  ", line.addr]).at("delete or change"),
                        say(prose!["and the same record of the wildcard of ", quoted(host)]),
                    ],
                    evidence.verify(),
                )
                .undo(write(entry![HostName::new(host), ".  ", record, "  ", line.addr]).at("add")),
            ),
        );
    }
    if !alike {
        return;
    }
    // Of each family by itself: an address that gave no answer, or one of this machine's own, shows nothing.
    let own = evidence.inside().addresses(&Vantage::Here);
    for (family, code) in [(Family::V6, Code::DnsStaleAaaa), (Family::V4, Code::DnsStaleA)] {
        let of_family: Vec<&Line<'_>> = lines.iter().filter(|line| line.family() == family).collect();
        let shown = |line: &&Line<'_>| line.is_pds() && !own.iter().any(|(_, address)| address.addr == line.addr);
        if lines.len() > 1 && !of_family.is_empty() && of_family.iter().all(shown) {
            let ids: Vec<_> = of_family.iter().flat_map(|line| line.ids()).chain(good.ids()).collect();
            let why = format!("every {family} address of {host} answers as the same PDS");
            found.rule_out(code, Bounds::here(host).family(family), why, ids);
        }
    }
}

/// What is different at `line`, and how it is at the good one. `None`: nothing that matters.
fn difference(evidence: &Evidence<'_>, line: &Line<'_>, good: &Line<'_>) -> Option<(String, String)> {
    let pds = "answers as your PDS".to_owned();
    if let Some(tls) = line.tls {
        if let Some(failure) = &tls.body.failure {
            // Silence in a handshake is the path's (packet size), not another server's.
            let is_answer = matches!(
                failure.kind,
                pdsdoctor_probes::fact::FailureKind::TlsAlert | pdsdoctor_probes::fact::FailureKind::NotTls
            );
            return is_answer.then(|| (format!("TLS fails ({})", failure.detail), pds));
        }
        if let Some(fault) = certificate_fault(evidence, line) {
            return Some((fault, pds));
        }
    }
    if line.answers().is_empty() {
        return None;
    }
    if !line.is_pds() {
        // With the right certificate it is a machine of the owner's; an error or a limit of the
        // moment makes it no other server.
        let passing = |status: u16| status == 429 || status >= 500;
        if line.tls.is_some_and(|tls| tls.body.certificate.is_some())
            && line.answers().iter().all(|seen| seen.body.status.is_some_and(passing))
        {
            return None;
        }
        let shown = line.answers().first().map(|seen| {
            let body = seen.body.body.as_ref().map(|body| format!(", {}", body.class)).unwrap_or_default();
            format!("answers {}{body}, not as a PDS", seen.body.status.unwrap_or(0))
        })?;
        return Some((shown, pds));
    }
    let did = |line: &Line<'_>| match &line.describe?.body.content {
        Some(Content::DescribeServer { did, .. }) => did.as_ref().map(ToString::to_string),
        _ => None,
    };
    match (did(line), did(good)) {
        (Some(here), Some(there)) if here != there => {
            Some((format!("a PDS that calls itself {here}"), format!("a PDS that calls itself {there}")))
        }
        _ => None,
    }
}

/// What is wrong with the certificate at an address, in words.
fn certificate_fault(evidence: &Evidence<'_>, line: &Line<'_>) -> Option<String> {
    let certificate: &CertificateFact = line.tls?.body.certificate.as_ref()?;
    if !certificate.name_matches {
        let names = super::list(certificate.names.iter().take(3));
        return Some(format!("its certificate is for {names}"));
    }
    if !evidence.trusts(certificate) {
        return Some(format!("its certificate is from {}", certificate.issuer));
    }
    (evidence.validity(certificate) != Validity::Valid).then(|| "its certificate is out of date".to_owned())
}
