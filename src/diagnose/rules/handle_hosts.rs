//! The hosts of hosted handles: do names under the PDS's handle domains resolve, and do they have
//! certificates? A label nobody has stands for all; real accounts weigh more.

use std::net::IpAddr;

use pdsdoctor_probes::{
    dns_fact::DnsOutcome,
    fact::{FactId, FailureKind, Family, Role},
    http_fact::{HttpFact, HttpPurpose},
    tls_fact::{CertificateFact, TlsFact, Validity},
};

use super::{Found, Rule, list};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope, claims,
    evidence::{Evidence, Line, Seen, host_of},
    not_asked,
    step::{Did, HostName, Step, command, entry, prose, quoted, run, word, write, write_all},
    words::date,
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::DnsNoWildcard,
        Code::DnsTxtCreatesEmptyNonterminal,
        Code::TlsWildcardOneLevel,
        Code::TlsHandleDomainNoCert,
    ],
    judge,
};

/// Accounts of the PDS whose handles lie directly under one handle domain.
struct Accounts<'a> {
    /// Verified by the TXT record: their host need not answer.
    by_txt: Vec<&'a str>,
    /// Verified by the well-known file only, or not at all.
    need_host: Vec<&'a str>,
    /// Of those, the ones that do not verify.
    broken: Vec<&'a str>,
}

impl Accounts<'_> {
    fn any(&self) -> bool {
        !self.by_txt.is_empty() || !self.need_host.is_empty()
    }

    /// What a fault of all handle hosts does: fails now for accounts that need theirs; otherwise it
    /// waits for the next account, or for nobody where the accounts have chosen other ways.
    fn impact(&self, evidence: &Evidence<'_>) -> Impact {
        if !self.broken.is_empty() {
            Impact::Broken
        } else if self.any() || !evidence.handles().is_empty() {
            Impact::Risk
        } else {
            Impact::Degraded
        }
    }
}

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some((describe, _, domains)) = evidence.described() else { return };
    for domain in domains {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        if domain.is_empty() {
            continue;
        }
        let sample = format!("{}.{domain}", evidence.run.settings.sample_label);
        let accounts = accounts(evidence, &domain);
        match no_wildcard(evidence, &domain, &sample, describe.id(), &accounts) {
            Some(cause) => found.cause(cause),
            None => certificates(evidence, &domain, &sample, &accounts, found),
        }
    }
    let hidden = evidence.handles().into_iter().filter_map(|handle| empty_nonterminal(evidence, handle)).collect();
    found.causes.extend(super::handle_records::once_for_a_domain(hidden));
}

fn accounts<'a>(evidence: &Evidence<'a>, domain: &str) -> Accounts<'a> {
    let mut accounts = Accounts { by_txt: Vec::new(), need_host: Vec::new(), broken: Vec::new() };
    for handle in evidence.handles() {
        let directly = handle.strip_suffix(domain).and_then(|label| label.strip_suffix('.'));
        if directly.is_none_or(|label| label.contains('.')) {
            continue;
        }
        if claims::txt_did(evidence, handle).is_some() {
            accounts.by_txt.push(handle);
        } else {
            accounts.need_host.push(handle);
            // Of a host that was not asked nothing is known.
            let asked = !not_asked::is_host(evidence.run, handle);
            if asked && claims::well_known_did(evidence, handle).is_none() {
                accounts.broken.push(handle);
            }
        }
    }
    accounts
}

fn no_wildcard(
    evidence: &Evidence<'_>,
    domain: &str,
    sample: &str,
    describe: FactId,
    accounts: &Accounts<'_>,
) -> Option<Cause> {
    let outcome = evidence.absence(sample)?;
    let host = evidence.host()?;
    // Accounts whose own names resolve show that their owner makes records one by one.
    let named: Vec<&str> = accounts.need_host.iter().filter(|h| !evidence.addresses(h).is_empty()).copied().collect();
    let missing: Vec<&str> = accounts.broken.iter().filter(|h| evidence.addresses(h).is_empty()).copied().collect();
    let impact =
        if missing.is_empty() && !accounts.broken.is_empty() { Impact::Risk } else { accounts.impact(evidence) };
    // A real handle that answers at the PDS's address says more than a label nobody has.
    let (tried, past_dns) = missing
        .iter()
        .chain([&sample])
        .find_map(|name| Some((*name, past_dns(evidence, name)?)))
        .map_or((sample, None), |(name, seen)| (name, Some(seen)));
    let apex = evidence.addresses(host);
    let mut records: Vec<Step> = apex.iter().map(|addr| address_record("*.", domain, *addr)).collect();
    if records.is_empty() {
        records.push(write(entry!["*.", HostName::new(domain), ".  A  <public IPv4 of your server>"]));
    }
    let word = if outcome == DnsOutcome::NxDomain { "NXDOMAIN" } else { "no address" };
    let summary = if missing.is_empty() {
        format!("Handles under .{domain} have no DNS record: a new account there will show \"Invalid Handle\".")
    } else {
        format!("{} cannot be verified: names under .{domain} have no DNS record.", list(&missing))
    };
    let mut cause = Cause::new(
        Code::DnsNoWildcard,
        impact,
        if apex.is_empty() { Confidence::Likely } else { Confidence::Confirmed },
        summary,
    )
    .scope(under(domain))
    .saw(format!("the PDS offers handles under .{domain}, but {sample} does not resolve ({word})"))
    .because([describe])
    .because(evidence.address_answers(sample).iter().map(Seen::id))
    .contrast(
        "the addresses of the PDS's own name, and of a name under it",
        format!("{sample}: {word}"),
        format!("{host}: {}", list(&apex)),
    )
    .remedy(Remedy::new("Add the wildcard record", records, evidence.verify()))
    .remedy(Remedy::new(
        "Give each handle a TXT record",
        txt_lines(evidence, domain, &accounts.broken),
        evidence.verify(),
    ));
    if apex.is_empty() {
        cause = cause.settle("an address of the PDS's own name to compare with");
    }
    if !named.is_empty() {
        cause = cause.saw(format!("{} resolves by a record of its own", list(&named)));
    }
    if let Some((id, status)) = past_dns {
        cause = cause.because([id]).contrast(
            format!("{tried}: through DNS, and at the PDS's own address"),
            format!("through DNS: {word}"),
            format!("at the PDS's address: HTTP {status}"),
        );
    }
    Some(cause)
}

/// The well-known request for a name at the PDS's address, past DNS.
fn past_dns(evidence: &Evidence<'_>, name: &str) -> Option<(FactId, u16)> {
    well_knowns(evidence, name).into_iter().find_map(|seen| Some((seen.id(), seen.body.status?)))
}

fn well_knowns<'a>(evidence: &Evidence<'a>, name: &str) -> Vec<Seen<'a, HttpFact>> {
    evidence
        .all_http()
        .iter()
        .filter(|seen| seen.body.purpose == HttpPurpose::AtprotoDid && host_of(&seen.body.url).as_deref() == Some(name))
        .copied()
        .collect()
}

/// A TXT record below a name makes the name exist, so the wildcard no longer answers for it (RFC 4592).
fn empty_nonterminal(evidence: &Evidence<'_>, handle: &str) -> Option<Cause> {
    let (_, domain) = handle.split_once('.')?;
    let sample = format!("{}.{domain}", evidence.run.settings.sample_label);
    if evidence.absence(handle) != Some(DnsOutcome::NoData) || evidence.addresses(&sample).is_empty() {
        return None;
    }
    let txt: Vec<FactId> = evidence
        .txt_answers(&format!("_atproto.{handle}"))
        .iter()
        .filter(|seen| seen.body.outcome == DnsOutcome::Answer)
        .map(Seen::id)
        .collect();
    if txt.is_empty() {
        return None;
    }
    let verifies = claims::txt_did(evidence, handle).is_some();
    let addrs = evidence.addresses(&sample);
    Some(
        Cause::new(
            Code::DnsTxtCreatesEmptyNonterminal,
            if verifies { Impact::Degraded } else { Impact::Broken },
            Confidence::Confirmed,
            format!("{handle} no longer resolves: its own _atproto TXT record takes it out of the wildcard."),
        )
        .scope(Scope::host(handle))
        .saw(format!("{handle} exists without an address (NODATA), while any other name under {domain} resolves"))
        .because(txt)
        .because(evidence.address_answers(handle).iter().map(Seen::id))
        .because(evidence.address_answers(&sample).iter().map(Seen::id))
        .contrast(
            format!("a name under the wildcard *.{domain}, with and without a record below it"),
            format!("{handle} (has _atproto TXT): no address"),
            format!("{sample} (has none): {}", list(&addrs)),
        )
        .remedy(Remedy::new(
            "Give the handle an address of its own",
            addrs.iter().map(|addr| address_record("", handle, *addr)).collect::<Vec<_>>(),
            evidence.verify(),
        ))
        .remedy(Remedy::new(
            "Remove the TXT record and rely on the PDS's well-known answer",
            [write(entry!["_atproto.", HostName::new(handle), ".  TXT"]).at("delete")],
            evidence.verify(),
        )),
    )
}

/// What a handshake with a handle's name shows.
enum Shown<'a> {
    Fine,
    Alert(&'a str),
    WrongName(&'a CertificateFact),
    Untrusted(&'a CertificateFact),
    OutOfDate(&'a CertificateFact),
}

fn shown<'a>(evidence: &Evidence<'_>, tls: &'a TlsFact) -> Option<Shown<'a>> {
    if let Some(failure) = &tls.failure {
        return (failure.kind == FailureKind::TlsAlert).then(|| Shown::Alert(tls.alert.as_deref().unwrap_or("")));
    }
    let certificate = tls.certificate.as_ref()?;
    Some(if !evidence.trusts(certificate) {
        Shown::Untrusted(certificate)
    } else if !certificate.name_matches {
        Shown::WrongName(certificate)
    } else if evidence.validity(certificate) != Validity::Valid {
        Shown::OutOfDate(certificate)
    } else {
        Shown::Fine
    })
}

/// Handshakes at the addresses of the PDS: a handle on somebody else's server is another matter.
fn handshakes<'a>(evidence: &Evidence<'a>, name: &str) -> Vec<Seen<'a, TlsFact>> {
    evidence
        .all_tls()
        .iter()
        .filter(|seen| {
            matches!(seen.body.role, Role::HandleSample | Role::HostedHandle | Role::Handle)
                && seen.body.sni.as_str() == name
        })
        .copied()
        .collect()
}

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn certificates(evidence: &Evidence<'_>, domain: &str, sample: &str, accounts: &Accounts<'_>, found: &mut Found) {
    // The PDS's own certificate must be well, or else that is the story.
    let Some(host) = evidence.host() else { return };
    let own: Vec<Line<'_>> = evidence.target_lines().into_iter().filter(Line::shook_hands).collect();
    let Some(own_tls) =
        own.iter().filter_map(|line| line.tls).find(|tls| matches!(shown(evidence, tls.body), Some(Shown::Fine)))
    else {
        return;
    };
    let broken: Vec<&str> = accounts.broken.iter().filter(|h| !evidence.addresses(h).is_empty()).copied().collect();
    let names: Vec<&str> = broken.iter().copied().chain([sample]).collect();
    let Some((name, seen, state)) = names.iter().find_map(|name| {
        handshakes(evidence, name).into_iter().find_map(|seen| {
            let state = shown(evidence, seen.body)?;
            (!matches!(state, Shown::Fine)).then_some((*name, seen, state))
        })
    }) else {
        let fine: Vec<FactId> = handshakes(evidence, sample)
            .iter()
            .filter(|seen| matches!(shown(evidence, seen.body), Some(Shown::Fine)))
            .map(Seen::id)
            .collect();
        if !fine.is_empty() {
            found.rule_out(
                Code::TlsHandleDomainNoCert,
                Bounds::here(&format!("*.{domain}")),
                format!("a random name under .{domain} has a valid certificate"),
                fine.clone(),
            );
        }
        let system = evidence.system_answers(sample);
        let resolved: Vec<FactId> =
            evidence.address_answers(sample).iter().map(Seen::id).chain(system.iter().map(Seen::id)).collect();
        if !evidence.addresses(sample).is_empty() {
            let why = format!("a random name under .{domain} resolves");
            found.rule_out(Code::DnsNoWildcard, Bounds::here(&format!("*.{domain}")), why, resolved);
        }
        return;
    };
    let is_sample = name == sample;
    let who = if is_sample { format!("names under .{domain}") } else { name.to_owned() };
    let impact = accounts.impact(evidence);
    let short = match &state {
        Shown::Fine => return,
        Shown::Alert(alert) => format!("refused with the TLS alert {alert}"),
        Shown::WrongName(certificate) => format!("a certificate for {}", list(certificate.names.iter().take(4))),
        Shown::OutOfDate(_) => "a certificate that is out of date".to_owned(),
        Shown::Untrusted(certificate) => format!("a certificate issued by {}", certificate.issuer),
    };
    let (code, confidence, summary, saw) = match state {
        Shown::Fine => return,
        // On-demand issuance refuses names that nobody has, as it should (`/tls-check`).
        Shown::Alert("InternalError") if is_sample => return,
        Shown::Alert(alert) => (
            Code::TlsHandleDomainNoCert,
            if is_sample { Confidence::Likely } else { Confidence::Confirmed },
            format!("The server has no certificate for {who}, so handles there cannot be verified over HTTPS."),
            format!("the server ends the handshake for {name} with the TLS alert {alert}"),
        ),
        Shown::WrongName(certificate) if reaches_one_level(certificate, domain) => (
            Code::TlsWildcardOneLevel,
            Confidence::Confirmed,
            format!("The wildcard certificate does not reach {who}: a wildcard covers one level only."),
            format!("the certificate is for {}, which does not cover {name}", list(certificate.names.iter().take(4))),
        ),
        Shown::WrongName(certificate) => (
            Code::TlsHandleDomainNoCert,
            Confidence::Confirmed,
            format!(
                "The certificate shown for {who} is for another name, so handles there cannot be verified over HTTPS."
            ),
            format!("for {name} the server shows a certificate for {}", list(certificate.names.iter().take(4))),
        ),
        Shown::Untrusted(certificate) => (
            Code::TlsHandleDomainNoCert,
            Confidence::Confirmed,
            format!("For {who} the server shows a default certificate that nobody trusts."),
            format!("for {name} it shows a certificate issued by {}", certificate.issuer),
        ),
        Shown::OutOfDate(certificate) => (
            Code::TlsHandleDomainNoCert,
            Confidence::Confirmed,
            format!("The certificate shown for {who} is out of date, so handles there cannot be verified over HTTPS."),
            format!(
                "for {name} it shows a certificate valid from {} to {}",
                date(certificate.not_before),
                date(certificate.not_after)
            ),
        ),
    };
    let same_server = own.iter().any(|line| line.addr == seen.body.addr);
    let what = if same_server {
        "a handshake with the same server, two names"
    } else {
        "a handshake with the handle's host, and with the PDS's"
    };
    // The other family shows a good certificate for the same name: this is about one address.
    let one_family = handshakes(evidence, name).iter().any(|other| {
        Family::of(other.body.addr) != Family::of(seen.body.addr)
            && matches!(shown(evidence, other.body), Some(Shown::Fine))
    });
    let family = one_family.then(|| Family::of(seen.body.addr));
    let mut cause = Cause::new(code, impact, confidence, summary)
        .scope(Scope { family, ..under(domain) })
        .saw(saw.clone())
        .because([seen.id(), own_tls.id()])
        .contrast(what, format!("{name}: {short}"), format!("{host}: a valid certificate"));
    if confidence != Confidence::Confirmed {
        cause = cause.settle("the handle of an account under the domain");
    }
    for remedy in certificate_remedies(evidence, seen.body.alert.is_some(), domain, name, &broken) {
        cause = cause.remedy(remedy);
    }

    found.cause(cause);
}

/// An address record of a name, or of the wildcard under it.
fn address_record(before: &'static str, name: &str, addr: IpAddr) -> Step {
    let kind = if addr.is_ipv6() { ".  AAAA  " } else { ".  A  " };
    write(entry![before, HostName::new(name), kind, addr])
}

/// All names directly under a handle domain.
fn under(domain: &str) -> Scope {
    Scope::host(&format!("*.{domain}"))
}

/// A wildcard above the domain: right for the PDS's own name, one level short for handles.
fn reaches_one_level(certificate: &CertificateFact, domain: &str) -> bool {
    certificate
        .names
        .iter()
        .filter_map(|name| name.strip_prefix("*."))
        .any(|parent| domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')))
}

/// The TXT record of each handle whose DID is known; else its form.
fn txt_lines(evidence: &Evidence<'_>, domain: &str, handles: &[&str]) -> Vec<Step> {
    let line = |handle: &&str| {
        let did = Did::new(&claims::known_did(evidence, handle)?)?;
        Some(write(entry!["_atproto.", HostName::new(handle), ".  TXT  \"did=", did, "\""]))
    };
    let lines: Vec<Step> = handles.iter().filter_map(line).collect();
    if lines.is_empty() {
        return vec![write(entry!["_atproto.<name>.", HostName::new(domain), ".  TXT  \"did=did:plc:...\""])];
    }
    lines
}

fn certificate_remedies(
    evidence: &Evidence<'_>,
    by_alert: bool,
    domain: &str,
    name: &str,
    broken: &[&str],
) -> Vec<Remedy> {
    let verify = evidence.verify();
    let own = || HostName::new(domain);
    // A refusal is also what on-demand issuance gives for a name it may not, or could not, get a certificate for.
    let on_demand = Remedy::new(
        "With Caddy's on-demand TLS: see why it may not issue for this name",
        [
            run(command!["curl -i", word!["http://localhost:3000/tls-check?domain=", HostName::new(name)]])
                .note("on the PDS's machine: must say 200"),
            run("sudo docker logs --tail 50 caddy 2>&1 | grep -iE 'obtain|ask|error'"),
        ],
        verify.clone(),
    );
    let mut remedies = if by_alert { vec![on_demand] } else { Vec::new() };
    remedies.extend([
        Remedy::new(
            prose!["Get a certificate for the wildcard of ", quoted(domain), " as well"],
            [
                run(command![
                    "sudo certbot certonly --manual --preferred-challenges dns -d",
                    own(),
                    "-d",
                    word!["*.", own()]
                ])
                .note("or with the plug-in for your DNS provider, which also renews it"),
                write(entry!["server_name ", own(), " *.", own(), ";"]).at("nginx, with that certificate"),
                write_all([
                    entry!["{"],
                    entry!["    on_demand_tls {"],
                    entry!["        ask http://localhost:3000/tls-check"],
                    entry!["    }"],
                    entry!["}"],
                    entry!["*.", own(), ", ", own(), " {"],
                    entry!["    tls {"],
                    entry!["        on_demand"],
                    entry!["    }"],
                    entry!["    reverse_proxy localhost:3000"],
                    entry!["}"],
                ])
                .at("Caddyfile"),
            ],
            verify.clone(),
        ),
        Remedy::new(
            "Verify handles by TXT record, which needs no certificate",
            txt_lines(evidence, domain, broken),
            verify,
        ),
    ]);
    remedies
}
