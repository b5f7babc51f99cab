//! The records of one handle: the `_atproto` TXT record and the well-known file
//! (atproto handle specification).

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome},
    fact::{ConnectFact, FactId, Family, Role},
    http_fact::{Content, HttpPurpose},
    identifier::{TxtValue, did_of_txt},
};

use super::{Found, Rule, list};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    claims::{asks_about, claims, dids_by_server, exact, known_did, well_known_did},
    evidence::{Evidence, Seen, host_of},
    not_asked,
    step::{Did, HostName, Settle, Step, entry, prose, quoted, say, write},
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::DnsDuplicateDidTxt,
        Code::DnsTxtFormat,
        Code::DnsTxtWrongOwner,
        Code::DnsWellKnownAndTxtDisagree,
        Code::HandleUnverified,
    ],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let mut causes = Vec::new();
    for handle in evidence.handles() {
        causes.extend(judge_one(evidence, handle, evidence.is_named_handle(handle), found));
    }
    found.causes.extend(once_for_a_domain(causes));
}

/// The same said of several names directly under one domain is one cause, with its examples.
pub(super) fn once_for_a_domain(causes: Vec<Cause>) -> Vec<Cause> {
    let domain = |cause: &Cause| Some(cause.scope.host.as_deref()?.split_once('.')?.1.to_owned());
    let mut groups: Vec<Vec<Cause>> = Vec::new();
    for cause in causes {
        let alike = |group: &&mut Vec<Cause>| {
            group.first().is_some_and(|first| {
                (first.code, first.impact, first.confidence) == (cause.code, cause.impact, cause.confidence)
                    && domain(first).is_some()
                    && domain(first) == domain(&cause)
            })
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(cause),
            None => groups.push(vec![cause]),
        }
    }
    groups.into_iter().filter_map(|group| as_one(group, &domain)).collect()
}

fn as_one(group: Vec<Cause>, domain: &dyn Fn(&Cause) -> Option<String>) -> Option<Cause> {
    let mut group = group.into_iter();
    let mut first = group.next()?;
    let others: Vec<Cause> = group.collect();
    if others.is_empty() {
        return Some(first);
    }
    let names = list(others.iter().filter_map(|other| other.scope.host.as_deref()));
    first.summary = format!("{} So it is with {names}.", first.summary);
    if let Some(domain) = domain(&first) {
        first.scope.host = Some(format!("*.{domain}"));
    }
    for other in others {
        first.because.extend(other.because);
        first.against.extend(other.against);
        let mut remedies = other.remedies.into_iter();
        for remedy in &mut first.remedies {
            let Some(same) = remedies.next().filter(|same| same.title == remedy.title) else { break };
            for step in same.steps {
                if !remedy.steps.contains(&step) {
                    remedy.steps.push(step);
                }
            }
        }
    }
    Some(first)
}

fn judge_one(evidence: &Evidence<'_>, handle: &str, named: bool, found: &mut Found) -> Option<Cause> {
    let records = right_records(evidence, handle);
    let well_known = well_known_did(evidence, handle);
    let facts = Handle { evidence, handle, named, records, well_known };
    let finding = facts
        .duplicate()
        .or_else(|| facts.format())
        .or_else(|| facts.disagree())
        .or_else(|| facts.wrong_owner())
        .or_else(|| facts.unverified());
    let ids = facts.record_ids();
    if finding.is_none() && !ids.is_empty() {
        let why = format!("the TXT record of {handle} is in order");
        found.rule_out(Code::DnsTxtFormat, Bounds::here(handle), why, ids);
    }
    finding
}

/// TXT values at the right name that have to do with a DID, or are all there is.
fn right_records(evidence: &Evidence<'_>, handle: &str) -> Vec<(FactId, String)> {
    let mut values: Vec<(FactId, String)> = Vec::new();
    for seen in evidence.txt_answers(&format!("_atproto.{handle}")) {
        for record in seen.body.records.iter().filter(|record| is_about_a_did(record)) {
            if !values.iter().any(|(_, value)| value == record.as_str()) {
                values.push((seen.id(), record.to_string()));
            }
        }
    }
    values
}

/// A wildcard TXT record (`*.example.com TXT "v=spf1 -all"`) answers here as everywhere; services that
/// verify handles pass over what is no DID record.
fn is_about_a_did(record: &str) -> bool {
    record.to_ascii_lowercase().contains("did")
}

/// What is known of one handle.
struct Handle<'a, 'e> {
    evidence: &'a Evidence<'e>,
    handle: &'a str,
    named: bool,
    records: Vec<(FactId, String)>,
    well_known: Option<(FactId, String)>,
}

impl Handle<'_, '_> {
    /// One account's handle is not the whole PDS; but the handle that was asked about is the question.
    fn impact(&self, works_otherwise: bool) -> Impact {
        match (self.named, works_otherwise) {
            (true, false) => Impact::Broken,
            (true, true) => Impact::Degraded,
            // Under the PDS's own handle domains it is the PDS's matter; elsewhere the account's.
            (false, _) if self.is_under_own_domain() => Impact::Degraded,
            (false, _) => Impact::Risk,
        }
    }

    fn is_under_own_domain(&self) -> bool {
        self.evidence.described().is_some_and(|(_, _, domains)| {
            domains.iter().any(|domain| domain.starts_with('.') && domain.len() > 1 && self.handle.ends_with(domain))
        })
    }

    fn record_ids(&self) -> Vec<FactId> {
        self.records.iter().map(|(id, _)| id.clone()).collect()
    }

    /// The record as it has to be; of an account that is not known with a placeholder.
    fn right_line(&self, did: Option<&str>) -> Step {
        let name = HostName::new(self.handle);
        let known = if did.is_none() { self.known_did() } else { None };
        let did = did.or(known.as_deref());
        match did {
            Some(did) => write(entry!["_atproto.", name, ".  TXT  \"did=", Did::new(did), "\""]),
            None => write(entry!["_atproto.", name, ".  TXT  \"did=did:plc:...\""]),
        }
    }

    /// The DID that this handle ought to have: what the PDS says of its account, or the document
    /// of a DID that claims it, or the well-known file.
    fn expected(&self) -> Option<(FactId, String)> {
        let hosted = self.evidence.all_http().iter().find_map(|seen| match &seen.body.content {
            Some(Content::Repo { did, handle }) if handle.as_str() == self.handle => Some((seen.id(), did.to_string())),
            Some(Content::DidDocument { id: Some(id), also_known_as, .. })
                if also_known_as.iter().any(|name| claims(name, self.handle)) =>
            {
                Some((seen.id(), id.to_string()))
            }
            _ => None,
        });
        hosted.or_else(|| self.well_known.clone())
    }

    /// The DID to put into a fix: what this run knows, by whichever way.
    fn known_did(&self) -> Option<String> {
        known_did(self.evidence, self.handle)
    }

    fn duplicate(&self) -> Option<Cause> {
        let dids = dids_by_server(self.evidence, self.handle).into_iter().find(|dids| dids.len() > 1)?;
        let expected = self.expected();
        let keep = expected.as_ref().map(|(_, did)| did.as_str());
        let wrong: Vec<&String> = dids.iter().filter(|did| Some(did.as_str()) != keep).collect();
        let step = match keep {
            Some(keep) => self
                .right_line(Some(wrong.first().map_or("", |did| did.as_str())))
                .at("delete")
                .note(prose!["keep only that of ", quoted(keep)]),
            None => say("delete every did= record but the one of the account's own DID"),
        };
        Some(
            Cause::new(
                Code::DnsDuplicateDidTxt,
                self.impact(false),
                Confidence::Confirmed,
                format!(
                    "{} has {} DID records; resolvers accept exactly one, so the handle is invalid.",
                    self.handle,
                    dids.len()
                ),
            )
            .scope(Scope::host(self.handle))
            .saw(format!("at _atproto.{}: {}", self.handle, list(&dids)))
            .because(self.record_ids())
            .because(expected.map(|(id, _)| id))
            .contrast(
                "did= records at the handle's name",
                format!("{}: {}", self.handle, dids.len()),
                "allowed: exactly 1",
            )
            .remedy(Remedy::new("Delete the old record", [step], self.evidence.verify())),
        )
    }

    fn format(&self) -> Option<Cause> {
        let any_right = self.records.iter().any(|(_, value)| exact(value).is_some());
        if any_right || self.records.is_empty() {
            return None;
        }
        let (id, value, problem) = self.records.iter().find_map(|(id, value)| {
            let problem = match did_of_txt(value) {
                TxtValue::Did(_) => return None,
                TxtValue::Quoted(_) => "there are quotation marks inside the value",
                TxtValue::MissingPrefix(_) => "`did=` is missing in front of the DID",
                TxtValue::Other => "it is not of the form did=did:...",
            };
            Some((id.clone(), value.clone(), problem))
        })?;
        let works = self.well_known.is_some();
        let expected = self.expected();
        let right = self.right_line(expected.as_ref().map(|(_, did)| did.as_str()));
        Some(
            Cause::new(
                Code::DnsTxtFormat,
                self.impact(works),
                Confidence::Confirmed,
                format!(
                    "The TXT record of {} is malformed ({problem}), so the handle does not verify by DNS.",
                    self.handle
                ),
            )
            .scope(Scope::host(self.handle))
            .saw(format!("_atproto.{} is exactly: {value}", self.handle))
            .because([id])
            .because(expected.map(|(id, _)| id))
            .contrast(
                "the value of the TXT record",
                format!("is: {value}"),
                "must be: did=did:plc:... and nothing else",
            )
            .remedy(Remedy::new("Correct the record", [right], self.evidence.verify())),
        )
    }

    fn disagree(&self) -> Option<Cause> {
        let (well_known_id, well_known) = self.well_known.clone()?;
        let (txt_id, txt) = self.records.iter().find_map(|(id, value)| Some((id.clone(), exact(value)?)))?;
        if self.records.iter().any(|(_, value)| exact(value).as_ref() == Some(&well_known)) {
            return None;
        }
        let claimed = self.evidence.all_http().iter().find(|seen| match &seen.body.content {
            Some(Content::DidDocument { also_known_as, .. }) => {
                also_known_as.iter().any(|name| claims(name, self.handle))
            }
            _ => false,
        });
        Some(
            Cause::new(
                Code::DnsWellKnownAndTxtDisagree,
                self.impact(true),
                Confidence::Confirmed,
                format!(
                    "{} points to two different DIDs: some services accept the handle, others do not.",
                    self.handle
                ),
            )
            .scope(Scope::host(self.handle))
            .saw(format!("TXT record: {txt}"))
            .saw(format!("https://{}/.well-known/atproto-did: {well_known}", self.handle))
            .because([txt_id, well_known_id])
            .because(claimed.map(Seen::id))
            .contrast(
                "the same handle, resolved both ways",
                format!("by TXT record: {txt}"),
                format!("by well-known file: {well_known}"),
            )
            .remedy(Remedy::new(
                "Make both the same, or keep only one",
                [
                    self.right_line(None),
                    say(prose![
                        "or delete the TXT record, if the PDS's answer (",
                        quoted(&well_known),
                        ") is the right one"
                    ]),
                ],
                self.evidence.verify(),
            )),
        )
    }

    fn wrong_owner(&self) -> Option<Cause> {
        if !self.records.is_empty() || self.well_known.is_some() {
            return None;
        }
        let misplaced: Vec<(Seen<'_, DnsFact>, String)> = self
            .evidence
            .all_dns()
            .iter()
            .filter(|seen| {
                matches!(seen.body.role, Role::Handle | Role::HostedHandle)
                    && seen.body.purpose == pdsdoctor_probes::dns_fact::DnsPurpose::MisplacedTxt
                    && self.is_near(seen.body.name.as_str())
            })
            .filter_map(|seen| Some((*seen, seen.body.records.iter().find_map(|value| exact(value))?)))
            .collect();
        let (seen, did, proof) =
            misplaced.into_iter().find_map(|(seen, did)| Some((seen, did.clone(), self.is_meant(seen, &did)?)))?;
        let sure = if proof.is_some() { Confidence::Confirmed } else { Confidence::Likely };
        let place = seen.body.name.to_string();
        let mut cause = Cause::new(
            Code::DnsTxtWrongOwner,
            self.impact(false),
            sure,
            format!("The DID record of {} is at the wrong name, so the handle does not verify.", self.handle),
        )
        .scope(Scope::host(self.handle))
        .saw(format!("found at {place}: did={did}"))
        .saw(format!("nothing at _atproto.{}", self.handle))
        .because([seen.id()])
        .because(self.evidence.txt_answers(&format!("_atproto.{}", self.handle)).iter().map(Seen::id))
        .because(proof.clone())
        .contrast(
            "the TXT record, at two names",
            format!("_atproto.{}: nothing", self.handle),
            format!("{place}: did={did}"),
        )
        .remedy(Remedy::new(
            "Put the record at _atproto.<the whole handle>",
            [
                self.right_line(Some(&did)),
                say("most DNS providers append the zone by themselves: enter the name without it"),
            ],
            self.evidence.verify(),
        ));
        if proof.is_none() {
            cause = cause.settle(prose![
                "the DID document of ",
                quoted(did.as_str()),
                ": does it claim ",
                quoted(self.handle),
                "?"
            ]);
        }
        Some(cause)
    }

    /// Is a place one where this handle's record may have landed?
    fn is_near(&self, place: &str) -> bool {
        let bare = place.strip_prefix("_atproto.").unwrap_or(place);
        bare == self.handle
            || bare.starts_with(&format!("{}.", self.handle))
            || self.handle.ends_with(&format!(".{bare}"))
    }

    /// A record at the parent may well be the parent's own. `None`: it is. `Some(None)`: not known.
    fn is_meant(&self, seen: Seen<'_, DnsFact>, did: &str) -> Option<Option<FactId>> {
        if let Some((id, expected)) = self.expected() {
            return (expected == did).then_some(Some(id));
        }
        let document = self.evidence.all_http().iter().find_map(|seen| match &seen.body.content {
            Some(Content::DidDocument { id: Some(id), also_known_as, .. }) if id.as_str() == did => Some(also_known_as),
            _ => None,
        });
        let bare = seen.body.name.as_str().strip_prefix("_atproto.").unwrap_or(seen.body.name.as_str());
        match document {
            // The document was read and names other handles only.
            Some(names) if !names.is_empty() => None,
            // A parent's record without any word on whose it is: the parent's.
            _ if self.handle != bare && self.handle.ends_with(bare) && !self.named => None,
            _ => Some(None),
        }
    }

    /// The handle's own host was asked and did not get as far as an answer, by a family that works here.
    fn host_was_tried(&self) -> bool {
        let failure = |seen: &Seen<'_, ConnectFact>| seen.body.failure.as_ref().map(|failure| failure.kind);
        let refused = self.evidence.all_connects().iter().any(|seen| {
            seen.body.host.as_str() == self.handle
                && !self.evidence.family_fails(Family::of(seen.body.addr))
                && failure(seen).is_some()
                && !self.evidence.lacks_route(seen.body.addr, failure(seen))
        });
        let tls = self.evidence.all_tls();
        refused || tls.iter().any(|seen| seen.body.sni.as_str() == self.handle && seen.body.failure.is_some())
    }

    fn unverified(&self) -> Option<Cause> {
        // A host that was left alone may well give the DID.
        let asked = !not_asked::is_host(self.evidence.run, self.handle);
        if !self.records.is_empty() || self.well_known.is_some() || !asked {
            return None;
        }
        let txt = self.evidence.txt_answers(&format!("_atproto.{}", self.handle));
        // A resolver that failed proves nothing about the record.
        if txt.is_empty() || !txt.iter().any(|seen| seen.body.outcome.is_definite()) {
            return None;
        }
        let http: Vec<_> = self
            .evidence
            .http(if self.named { Role::Handle } else { Role::HostedHandle }, HttpPurpose::AtprotoDid)
            .into_iter()
            .filter(|seen| host_of(&seen.body.url).as_deref() == Some(self.handle))
            .collect();
        let well_known = match http.first() {
            Some(seen) => match (seen.body.status, &seen.body.failure) {
                (Some(status), _) => format!("HTTP {status}"),
                (None, Some(failure)) => failure.kind.to_string().replace('_', " "),
                (None, None) => "nothing".to_owned(),
            },
            None if self.evidence.addresses(self.handle).is_empty() => "the name has no address".to_owned(),
            None => "no HTTPS connection".to_owned(),
        };
        // Neither way is known to fail where one of the two was not tried to its end.
        if http.is_empty() && self.evidence.absence(self.handle).is_none() && !self.host_was_tried() {
            return None;
        }
        let outcome = txt.first().map(|seen| seen.body.outcome);
        let record = if outcome == Some(DnsOutcome::NxDomain) { "does not exist" } else { "has no record" };
        let known = self.known_did();
        let front = self.evidence.http(Role::Handle, HttpPurpose::ResolveHandle);
        let front = front.into_iter().find(|seen| asks_about(seen.body, self.handle) && seen.body.status.is_some());
        let mut cause = Cause::new(
            Code::HandleUnverified,
            self.impact(false),
            Confidence::Likely,
            format!("The handle {} cannot be verified: neither DNS nor its web host names a DID.", self.handle),
        )
        .scope(Scope::host(self.handle))
        .saw(format!("_atproto.{} {record}", self.handle))
        .saw(format!("https://{}/.well-known/atproto-did: {well_known}", self.handle))
        .because(txt.iter().map(Seen::id))
        .because(http.iter().map(Seen::id))
        .because(front.map(|seen| seen.id()))
        .settle(match known.as_deref().and_then(Did::new) {
            Some(did) => Settle::text(prose![
                "after the fix: whether ",
                quoted(did.as_str()),
                " claims ",
                quoted(self.handle),
                " in its document"
            ]),
            None => Settle::text("the account's DID, to see which of the two ways was meant"),
        })
        .remedy(Remedy::new(
            "Publish the DID one way",
            [
                self.right_line(known.as_deref()),
                say(prose!["or serve the DID as plain text at /.well-known/atproto-did of ", quoted(self.handle)]),
            ],
            self.evidence.verify(),
        ));
        if let (Some(seen), Some(pds)) = (front, self.evidence.host()) {
            cause = cause.saw(match &seen.body.content {
                Some(Content::ResolvedHandle { did }) => {
                    format!("the PDS {pds}, which answers there, knows it as {did}")
                }
                _ => format!("what answers there is the PDS {pds}, and it knows no account of that name"),
            });
        }
        Some(cause)
    }
}
