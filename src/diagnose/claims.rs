//! What is claimed of a handle: by its TXT record, by the file at the name itself, by DID documents and by the PDS.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::{Content, HttpFact, HttpPurpose},
    identifier::{TxtValue, did_of_txt},
};

use super::evidence::{Evidence, host_of};

/// The DIDs of well-formed records, as each server gives them. Two servers that differ are one that
/// has not heard of a change yet: no reader gets both.
pub(super) fn dids_by_server(evidence: &Evidence<'_>, handle: &str) -> Vec<BTreeSet<String>> {
    evidence
        .txt_answers(&format!("_atproto.{handle}"))
        .iter()
        .map(|seen| seen.body.records.iter().filter_map(|value| exact(value)).collect())
        .collect()
}

/// The DID that the TXT record gives, if it gives exactly one.
pub(super) fn txt_did(evidence: &Evidence<'_>, handle: &str) -> Option<String> {
    dids_by_server(evidence, handle).into_iter().find(|dids| dids.len() == 1)?.into_iter().next()
}

/// The DID that the well-known file gives.
pub(super) fn well_known_did(evidence: &Evidence<'_>, handle: &str) -> Option<(FactId, String)> {
    evidence
        .all_http()
        .iter()
        .filter(|seen| {
            seen.body.purpose == HttpPurpose::AtprotoDid
                && host_of(&seen.body.url).as_deref() == Some(handle)
                // Past DNS it is an experiment, not what the world sees.
                && seen.body.addr.is_none_or(|addr| evidence.addresses(handle).contains(&addr) || evidence.given_by_user(handle))
        })
        // The tool reads on behind a bad certificate; the services that verify handles do not.
        .filter(|seen| seen.body.addr.is_none_or(|addr| evidence.has_sound_certificate(handle, addr)))
        .find_map(|seen| Some((seen.id(), did_of(seen.body)?.to_owned())))
}

/// The DID of a record that is in order.
pub(super) fn exact(value: &str) -> Option<String> {
    match did_of_txt(value) {
        TxtValue::Did(did) => Some(did),
        _ => None,
    }
}

/// `alsoKnownAs` claims the handle; handles are the same in upper and lower case.
pub(super) fn claims(name: &str, handle: &str) -> bool {
    name.strip_prefix("at://").is_some_and(|name| name.eq_ignore_ascii_case(handle))
}

/// The DID of a handle, as far as this run knows it: from the PDS that hosts the account or one that remembers it, from a document that claims the
/// handle, from a record that came through, or because the user named it.
pub(super) fn known_did(evidence: &Evidence<'_>, handle: &str) -> Option<String> {
    let told = evidence.all_http().iter().find_map(|seen| match &seen.body.content {
        Some(Content::Repo { did, handle: of }) if of.eq_ignore_ascii_case(handle) => Some(did.to_string()),
        Some(Content::DidDocument { id: Some(id), also_known_as, .. })
            if also_known_as.iter().any(|name| claims(name, handle)) =>
        {
            Some(id.to_string())
        }
        Some(Content::ResolvedHandle { did })
            if matches!(seen.body.role, Role::Handle | Role::Reference) && asks_about(seen.body, handle) =>
        {
            Some(did.to_string())
        }
        _ => None,
    });
    let named =
        || evidence.run.target.did.as_ref().filter(|_| evidence.is_named_handle(handle)).map(ToString::to_string);
    told.or_else(named)
        .or_else(|| well_known_did(evidence, handle).map(|(_, did)| did))
        .or_else(|| txt_did(evidence, handle))
}

/// A `resolveHandle` about this handle.
pub(super) fn asks_about(fact: &HttpFact, handle: &str) -> bool {
    url::Url::parse(&fact.url)
        .is_ok_and(|url| url.query_pairs().any(|(key, value)| key == "handle" && value.eq_ignore_ascii_case(handle)))
}

/// Does the content of a fact carry a DID?
fn did_of(fact: &HttpFact) -> Option<&str> {
    match &fact.content {
        Some(Content::AtprotoDid { did: Some(did) }) if fact.status == Some(200) => Some(did),
        _ => None,
    }
}
