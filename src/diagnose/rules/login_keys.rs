//! An application's keys (`jwks_uri`): a second fetch, often from another host than its document. The PDS reads the
//! document and then needs the keys to authenticate the client (`@atproto/oauth-provider`, `client-manager.ts`).

use pdsdoctor_probes::fact::Role;

use super::{
    login_arm::{Arm, answer, beside_reference, client_host, reading},
    login_words::{A_STRONG_REFERENCE, hint, remedies, time_line},
};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Scope,
    evidence::{Evidence, host_of},
    par_stage::{Stage, keys_failure},
};

/// The document was obtained, and the keys that it names were not.
pub(super) fn not_obtained(evidence: &Evidence<'_>, arm: &Arm<'_>, document: Option<&Arm<'_>>) -> Option<Cause> {
    if arm.stage != Stage::KeysNotObtained {
        return None;
    }
    let text = arm.target.body.description.as_deref().unwrap_or_default();
    // The text is the PDS's own: `Unable to obtain jwks from "URL" for "CLIENT"`.
    let url = text.split_once("from \"").and_then(|(_, rest)| rest.split_once('"')).map(|(url, _)| url);
    let app = client_host(arm.client);
    let host = url.and_then(host_of).unwrap_or_else(|| app.clone());
    let name = evidence.name();
    let there = arm.reference.as_ref().and_then(|(_, stage)| match stage {
        Stage::KeysNotObtained => Some(false),
        stage => (stage.obtained_document() == Some(true)).then_some(true),
    });
    let (code, confidence) = match there {
        // The same host gave the document: not its way there, or not always.
        Some(true) if host == app => (Code::OauthClientMetadataEgress, Confidence::Likely),
        Some(true) if evidence.reference_is_strong() => (Code::OauthClientMetadataEgress, Confidence::Confirmed),
        Some(true) => (Code::OauthClientMetadataEgress, Confidence::Likely),
        Some(false) => (Code::AppClientMetadataBroken, Confidence::Likely),
        None => (Code::LoginParFails, Confidence::Possible),
    };
    // With a document that it had to fetch first, what is left of the time is the keys'.
    let base = evidence.par_base(Role::Target);
    let before = document.map_or(base, |document| document.target.took().max(base));
    let spent = arm.target.took().saturating_sub(before);
    let reading = reading(evidence, &keys_failure(text, spent), spent, &host);
    let summary = match code {
        Code::OauthClientMetadataEgress => format!(
            "{name} is up, but logins to {app} fail: the PDS reads the app's client metadata and cannot fetch its keys from {host}{}.",
            hint(&reading, spent)
        ),
        Code::AppClientMetadataBroken => format!(
            "Logins to {app} fail for everybody: its keys at {host} cannot be fetched. Your PDS is not at fault; leave it alone."
        ),
        _ => format!(
            "Logins to {app} fail: the PDS could not fetch the app's keys from {host}, and nothing tells whose fault that is."
        ),
    };
    let mut cause = Cause::new(code, Impact::Broken, confidence, summary)
        .scope(Scope::host(&app))
        .because([arm.target.id()])
        .because(document.map(|document| document.target.id()))
        .because(arm.reference.as_ref().map(|(seen, _)| seen.id()));
    if let Some(line) = time_line(&reading, spent) {
        cause = cause.saw(line);
    }
    if host == app {
        cause =
            cause.saw(format!("{host} gave the PDS the document at the same time: the way there is open, or was then"));
    }
    cause = match &arm.reference {
        Some(_) => beside_reference(evidence, cause, arm),
        None => cause.saw(format!("the PDS's answer to the login request: {}", answer(arm.target.body))),
    };
    if confidence != Confidence::Confirmed {
        cause = cause.settle(A_STRONG_REFERENCE);
    }
    for remedy in remedies(evidence, code, &reading, arm.client, url.unwrap_or(arm.client)) {
        cause = cause.remedy(remedy);
    }
    Some(cause)
}
