//! From the handle or DID that was named to the PDS: does the DID document lead there?

use pdsdoctor_probes::{
    address_kind::is_public,
    fact::{FactId, Role},
    http_fact::{Content, HttpFact, HttpPurpose},
    record::TargetKind,
};
use url::Url;

use super::{Found, Rule, list};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy,
    claims::claims,
    evidence::{Evidence, Seen},
    not_asked,
    step::{HostName, command, run, say},
};

pub(super) const RULE: Rule = Rule { codes: &[Code::IdDiddocEndpointMismatch, Code::TargetUnresolved], judge };

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let target = &evidence.run.target;
    let Some(did) = target.did.as_deref() else { return };
    let fetched = evidence.http(Role::Directory, HttpPurpose::DidDocument);
    let document = fetched.iter().find(|seen| seen.body.is_expected());
    let Some(document) = document else {
        if evidence.host().is_none() {
            found.causes.extend(no_document(evidence, did, &fetched));
        }
        return;
    };
    let Some(Content::DidDocument { pds_endpoints, also_known_as, .. }) = &document.body.content else { return };
    let verify = evidence.verify();
    let update = Remedy::new(
        "Correct the DID document",
        [
            run("goat account plc current").note("what the directory has"),
            run("goat account plc recommended").note("what the PDS says it should be"),
            say("then let the PDS sign that operation and submit it (goat account plc --help); of a did:web edit the file"),
        ],
        verify,
    )
    .disruptive();
    let endpoint = pds_endpoints.first().map(|endpoint| endpoint.as_str());
    let problem = match endpoint {
        None => Some("it names no PDS".to_owned()),
        Some(endpoint) => endpoint_fault(endpoint).map(|fault| format!("its PDS endpoint {endpoint} {fault}")),
    };
    if let Some(problem) = problem {
        found.cause(
            Cause::new(
                Code::IdDiddocEndpointMismatch,
                Impact::Broken,
                Confidence::Confirmed,
                format!("The DID document of {did} does not lead to a PDS: {problem}."),
            )
            .saw(format!("#atproto_pds: {}", endpoint.unwrap_or("none")))
            .because([document.id()])
            .contrast(
                "the endpoint in the DID document",
                problem,
                "needed: https://<host of the PDS>, nothing after it",
            )
            .remedy(update),
        );
        return;
    }
    // The other direction: the DID must claim the handle, or the handle is invalid.
    if let (TargetKind::Handle, Some(handle)) = (target.kind, target.handle.as_deref()) {
        if also_known_as.iter().any(|name| claims(name, handle)) {
            found.rule_out(
                Code::IdDiddocEndpointMismatch,
                Bounds::here(handle),
                format!("the DID document claims {handle} and names its PDS"),
                [document.id()],
            );
        } else {
            found.cause(
                Cause::new(
                    Code::HandleUnverified,
                    Impact::Broken,
                    Confidence::Confirmed,
                    format!(
                        "{handle} points to {did}, but that account does not claim the handle, so it shows as invalid."
                    ),
                )
                .scope(crate::diagnose::Scope::host(handle))
                .saw(format!(
                    "alsoKnownAs: {}",
                    if also_known_as.is_empty() { "nothing".to_owned() } else { list(also_known_as) }
                ))
                .because([document.id()])
                .contrast(
                    "the two directions of a handle",
                    format!("{handle} → {did}"),
                    format!(
                        "{did} → {}",
                        if also_known_as.is_empty() { "no handle".to_owned() } else { list(also_known_as) }
                    ),
                )
                .remedy(Remedy::new(
                    "Set the handle of the account, or correct the record",
                    [run(command!["goat account update-handle", HostName::new(handle)])],
                    evidence.verify(),
                )),
            );
        }
    }
}

fn endpoint_fault(endpoint: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(endpoint) else { return Some("is not a URL") };
    let inner = match url.host() {
        Some(url::Host::Ipv4(addr)) => !is_public(addr.into()),
        Some(url::Host::Ipv6(addr)) => !is_public(addr.into()),
        Some(url::Host::Domain(name)) => !name.trim_end_matches('.').contains('.'),
        None => true,
    };
    if url.scheme() != "https" {
        Some("is not https")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("carries a user name")
    } else if inner {
        Some("is no host of the public internet")
    } else if url.port().is_some() {
        Some("carries a port, which relays refuse")
    } else if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        Some("carries a path")
    } else {
        None
    }
}

fn no_document(evidence: &Evidence<'_>, did: &str, fetched: &[Seen<'_, HttpFact>]) -> Option<Cause> {
    let gone = fetched.iter().any(|seen| matches!(seen.body.status, Some(404 | 410)));
    let tried: Vec<FactId> = fetched
        .iter()
        .map(Seen::id)
        .chain(evidence.all_connects().iter().filter(|seen| seen.body.role == Role::Directory).map(Seen::id))
        .chain(evidence.all_dns().iter().filter(|seen| seen.body.role == Role::Directory).map(Seen::id))
        .collect();
    // Cut short before the directory was asked, or told not to ask it, or left alone: that is no finding.
    if tried.is_empty() || not_asked::of(evidence.run, Role::Directory).is_some() {
        return None;
    }
    let summary = if gone {
        format!("The DID {did} does not exist in its directory.")
    } else {
        format!("The DID document of {did} could not be fetched, so its PDS is not known.")
    };
    let (impact, confidence) = match gone {
        true => (Impact::Broken, Confidence::Likely),
        // A did:web is on a host of the user's own.
        false if did.starts_with("did:web:") => (Impact::Broken, Confidence::Possible),
        // The directory of did:plc is everybody's: that it does not answer says nothing of the PDS.
        false => (Impact::Risk, Confidence::Possible),
    };
    let cause = Cause::new(Code::TargetUnresolved, impact, confidence, summary)
        .because(tried)
        .settle("the PDS's host name as the target")
        .remedy(Remedy::new(
            "Check the DID, or name the PDS's host",
            [run("pdsdoctor check HOST").note("HOST is the host name of the PDS")],
            evidence.verify(),
        ));
    Some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_did_document_must_not_lead() {
        for (endpoint, word) in [
            ("https://pds.example.com", None),
            ("https://pds.example.com/", None),
            ("https://8.8.8.8", None),
            ("http://pds.example.com", Some("https")),
            ("https://me:word@pds.example.com", Some("user name")),
            ("https://169.254.169.254", Some("public")),
            ("https://[::1]", Some("public")),
            ("https://[::ffff:10.0.0.1]", Some("public")),
            ("https://localhost", Some("public")),
            ("https://pds.example.com:8443", Some("port")),
            ("https://pds.example.com/x", Some("path")),
            ("unix:/run/docker.sock", Some("https")),
            ("nonsense", Some("URL")),
        ] {
            let fault = endpoint_fault(endpoint);
            assert_eq!(fault.is_some(), word.is_some(), "{endpoint}: {fault:?}");
            assert!(fault.unwrap_or_default().contains(word.unwrap_or_default()), "{endpoint}: {fault:?}");
        }
    }
}
