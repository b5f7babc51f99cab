//! Answers that differ from the reference's to the same request, that no cause explains and no entry of a table calls
//! harmless: *differs, not judged*. "Healthy" says that everything answered as the reference's did; what did not, and
//! is not understood, keeps it from being said without reserve.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Role},
    http_fact::{BodyClass, HttpFact, HttpPurpose},
    par_fact::{ParArm, ParFact},
    record::Ended,
};
use url::Url;

use super::{
    Cause, Difference,
    evidence::{Evidence, Line, Seen, host_of, number},
    par_stage::Stage,
};

/// What of an answer is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The status, the kind of body, or that no answer came.
    Answer,
    /// A header, by its name in lower case.
    Header(&'static str),
}

/// One request to both, by what it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A document or a method, asked for by `GET`.
    Get(HttpPurpose),
    /// The first step of a login.
    Par(ParArm),
}

/// What a table entry looks at.
struct Pair<'a> {
    evidence: &'a Evidence<'a>,
    request: Request,
    part: Part,
    /// The target's answer, where the request was a `GET`.
    answer: Option<&'a HttpFact>,
    /// How far the target's PAR got, where it was one.
    stage: Option<&'a Stage>,
    status: Option<u16>,
}

/// A difference that says nothing of the target.
pub struct Harmless {
    /// Which.
    pub what: &'static str,
    /// Why it is none.
    pub why: &'static str,
    applies: fn(&Pair<'_>) -> bool,
}

/// The requests that both get, and of which the reference's answer is the measure (docs/probes.md).
const COMPARED: &[HttpPurpose] =
    &[HttpPurpose::Health, HttpPurpose::ProtectedResource, HttpPurpose::AuthorizationServer];

/// The headers that clients rely on. `content-type`: `fetch(…).json()` of the OAuth clients asks for it
/// (`@atproto/oauth-client`). `access-control-allow-origin`: without it, or with two of them, a browser keeps the answer
/// from the app (Fetch standard, 3.2.3). `www-authenticate` and `dpop-nonce`: how a client learns what to send the next
/// time (RFC 9449, section 8); `access-control-expose-headers`: how an app in a browser may read that.
const HEADERS: &[&str] =
    &["content-type", "access-control-allow-origin", "access-control-expose-headers", "dpop-nonce", "www-authenticate"];

/// What is different and says nothing, each with its reason. `cache-control` is not among the headers above: it differs
/// from version to version, and no client of a PDS rests on it.
pub static HARMLESS: &[Harmless] = &[
    Harmless {
        what: "any header, beside an entryway",
        why: "an entryway is another program than a PDS: only that it answers, and with what kind of body, is compared",
        applies: |pair| {
            matches!(pair.part, Part::Header(_)) && pair.evidence.run.reference.as_ref().is_some_and(|r| r.entryway)
        },
    },
    Harmless {
        what: "_health in another form",
        why: "it is no part of the protocol: other implementations answer it in JSON or text of their own, or not at all in the words of XRPC",
        applies: |pair| {
            pair.request == Request::Get(HttpPurpose::Health)
                && pair.answer.is_some_and(|answer| {
                    answer.failure.is_none()
                        && (is_own_words(answer) || matches!(pair.part, Part::Header(_)) && !is_reference_kind(pair))
                })
        },
    },
    Harmless {
        what: "headers of another implementation's refusals of a login request",
        why: "where it refuses before it looks at the client, it is another program with rules of its own",
        applies: |pair| matches!(pair.request, Request::Par(_)) && pair.stage == Some(&Stage::RequestRefused),
    },
    Harmless {
        what: "a localhost client that is refused",
        why: "they are encouraged and optional (atproto OAuth profile, \"Localhost Client Development\")",
        applies: |pair| pair.request == Request::Par(ParArm::Localhost) && pair.stage == Some(&Stage::ClientIdRefused),
    },
    Harmless {
        what: "the PDS's own authorization server document, where it names another server",
        why: "logins are left to that server, whose document is the one that counts",
        applies: |pair| {
            pair.request == Request::Get(HttpPurpose::AuthorizationServer)
                && pair.evidence.other_auth_server().is_some()
        },
    },
    Harmless {
        what: "an answer that a limit gave (429)",
        why: "the request was not measured, and is said so",
        applies: |pair| pair.status == Some(429),
    },
    Harmless {
        what: "a nonce or an exposed header beside another stage of a login request",
        why: "a PDS gives them only where it looks at the client's proof: the stage is what differs",
        applies: |pair| {
            matches!((pair.request, pair.part), (Request::Par(_), Part::Header(name)) if name != "content-type")
                && !pair.evidence.par_stages_agree(pair.request)
        },
    },
];

/// The answer is what a program of its own wrote, and not a proxy: JSON of another kind, or a short text with status 200.
fn is_own_words(answer: &HttpFact) -> bool {
    let class = answer.body.as_ref().map(|body| body.class);
    match answer.status {
        Some(200) => matches!(class, Some(BodyClass::Json | BodyClass::Text | BodyClass::Expected)),
        Some(400..=499 | 501) => class == Some(BodyClass::Json),
        _ => false,
    }
}

/// The target runs the program that the reference runs, by its version.
fn is_reference_kind(pair: &Pair<'_>) -> bool {
    pair.evidence.version(Role::Target).is_some_and(super::rules::is_reference_version)
}

impl<'a> Evidence<'a> {
    /// The document of the authorization server that the target names in place of itself, if it gave one.
    fn other_auth_server(&self) -> Option<Seen<'a, HttpFact>> {
        let asked = self.http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer);
        asked.into_iter().find(|seen| seen.body.is_expected())
    }

    /// Both sides got equally far with the request of an arm.
    fn par_stages_agree(&self, request: Request) -> bool {
        let Request::Par(arm) = request else { return true };
        let stage = |role| self.par(role, None, arm).map(|(_, stage)| stage);
        stage(Role::Target) == stage(Role::Reference)
    }
}

/// What differs and is explained by none of the causes, in order.
pub fn unexplained(evidence: &Evidence<'_>, causes: &[Cause]) -> Vec<Difference> {
    let Some(reference) = evidence.reference() else { return Vec::new() };
    // Where nothing answers as a PDS, that is the story; and a run that was cut short compares nothing to its end.
    if !evidence.target_lines().iter().any(Line::is_pds) || evidence.run.ended != Ended::Complete {
        return Vec::new();
    }
    let explained: BTreeSet<&FactId> = causes
        .iter()
        .flat_map(|cause| cause.because.iter().chain(cause.symptoms.iter().flat_map(|symptom| &symptom.because)))
        .collect();
    // A login that a cause speaks of is explained in both its forms.
    let told = |client: Option<&str>| {
        let mut all = evidence.all_pars().iter().filter(|seen| seen.body.role == Role::Target);
        all.any(|seen| {
            client.is_none_or(|client| seen.body.client.as_str() == client) && explained.contains(&seen.id())
        })
    };
    let mut differences = gets(evidence, reference);
    // The target's own fact stands first.
    differences.retain(|difference| !difference.because.first().is_some_and(|id| explained.contains(id)));
    differences.extend(pars(evidence, reference, &told));
    differences
        .sort_by(|a, b| a.because.first().map(number).cmp(&b.because.first().map(number)).then_with(|| a.cmp(b)));
    // The same at every address is one difference.
    let mut merged: Vec<Difference> = Vec::new();
    for later in differences {
        match merged.iter_mut().find(|first| (&first.what, &first.this) == (&later.what, &later.this)) {
            Some(first) => first.because.extend(later.because),
            None => merged.push(later),
        }
    }
    for difference in &mut merged {
        difference.because.sort_by_key(number);
        difference.because.dedup();
    }
    merged
}

fn gets(evidence: &Evidence<'_>, reference: &str) -> Vec<Difference> {
    let name = evidence.name();
    let mut found = Vec::new();
    for purpose in COMPARED {
        let good = evidence.http(Role::Reference, *purpose).into_iter().find(|seen| seen.body.is_expected());
        let Some(good) = good else { continue };
        for seen in last_at_each_address(evidence.http(Role::Target, *purpose)) {
            // A handle's host is asked in the same role, and is no PDS.
            let another = host_of(&seen.body.url).as_deref() != evidence.host();
            if another || path(&seen.body.url) != path(&good.body.url) || is_this_sides(seen.body) {
                continue;
            }
            let mut note = |part: Part, what: String, this: String, that: String| {
                let status = seen.body.status;
                let pair = Pair {
                    evidence,
                    request: Request::Get(*purpose),
                    part,
                    answer: Some(seen.body),
                    stage: None,
                    status,
                };
                if !HARMLESS.iter().any(|entry| (entry.applies)(&pair)) {
                    let (this, that) = (format!("{name}: {this}"), format!("{reference}: {that}"));
                    found.push(Difference { what, this, that, because: vec![seen.id(), good.id()] });
                }
            };
            let request = format!("GET {}", path(&seen.body.url));
            if !seen.body.is_expected() {
                note(Part::Answer, request, answer_words(seen.body), answer_words(good.body));
                continue;
            }
            for header in HEADERS {
                let header_of = |body: &HttpFact| body.headers.get(*header).map(ToString::to_string);
                if let Some((this, that)) = headers_differ(header, header_of(seen.body), header_of(good.body)) {
                    note(Part::Header(header), format!("{request}, the header {header}"), this, that);
                }
            }
        }
    }
    found
}

/// A second try at an address comes later: the last one speaks.
fn last_at_each_address(all: Vec<Seen<'_, HttpFact>>) -> Vec<Seen<'_, HttpFact>> {
    let is_last = |seen: &Seen<'_, HttpFact>| {
        !all.iter().any(|other| other.body.addr == seen.body.addr && number(&other.id()) > number(&seen.id()))
    };
    all.iter().filter(|seen| is_last(seen)).copied().collect()
}

/// What never left this machine, or was given up by it, is no answer of the target's.
fn is_this_sides(fact: &HttpFact) -> bool {
    fact.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::NetworkUnreachable)
}

fn pars(evidence: &Evidence<'_>, reference: &str, told: &dyn Fn(Option<&str>) -> bool) -> Vec<Difference> {
    let name = evidence.name();
    let mut found = Vec::new();
    let clients = evidence.clients();
    let arms = std::iter::once((None, ParArm::Localhost))
        .chain(clients.iter().flat_map(|client| ParArm::LOGIN.map(|arm| (Some(*client), arm))));
    for (client, arm) in arms {
        let (Some((ours, stage)), Some((theirs, good))) =
            (evidence.par(Role::Target, client, arm), evidence.par(Role::Reference, client, arm))
        else {
            continue;
        };
        if !good.is_expected(arm) || told(client) {
            continue;
        }
        let mut note = |part: Part, what: String, this: String, that: String| {
            let pair = Pair {
                evidence,
                request: Request::Par(arm),
                part,
                answer: None,
                stage: Some(&stage),
                status: ours.body.status,
            };
            if !HARMLESS.iter().any(|entry| (entry.applies)(&pair)) {
                let (this, that) = (format!("{name}: {this}"), format!("{reference}: {that}"));
                found.push(Difference { what, this, that, because: vec![ours.id(), theirs.id()] });
            }
        };
        let request = format!("the login request (PAR) for {}", client.unwrap_or("http://localhost"));
        if !stage.is_expected(arm) {
            note(Part::Answer, request, stage.words().to_owned(), good.words().to_owned());
            continue;
        }
        for header in HEADERS {
            let header_of = |body: &ParFact| match *header {
                "content-type" => body.content_type.as_ref().map(ToString::to_string),
                other => body.headers.get(other).map(ToString::to_string),
            };
            if let Some((this, that)) = headers_differ(header, header_of(ours.body), header_of(theirs.body)) {
                note(Part::Header(header), format!("{request}, the header {header}"), this, that);
            }
        }
    }
    found
}

/// A header that the reference has and the target has not, or has otherwise, as far as clients look at it. What the target
/// has beyond that is its own matter.
fn headers_differ(name: &str, ours: Option<String>, theirs: Option<String>) -> Option<(String, String)> {
    let theirs = theirs?;
    let same = ours.as_ref().is_some_and(|ours| match name {
        // Parameters (charset) say nothing of the kind, and case is of no account (RFC 9110, section 8.3.1).
        "content-type" => {
            let kind = |value: &str| value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
            // `application/did+json` and the like are JSON too.
            kind(ours) == kind(&theirs) || [ours, &theirs].iter().all(|value| kind(value).ends_with("json"))
        }
        // One origin, or all of them: a list, as two such headers make one, is refused by every browser.
        "access-control-allow-origin" => !ours.contains(',') && (ours == &theirs || ours == "*"),
        // A set, in any order.
        "access-control-expose-headers" => {
            let set = |value: &str| -> BTreeSet<String> {
                value.split(',').map(|item| item.trim().to_ascii_lowercase()).filter(|item| !item.is_empty()).collect()
            };
            set(ours).contains("*") || set(ours).is_superset(&set(&theirs))
        }
        // What it says changes with every answer; that it is there is what counts.
        _ => true,
    });
    (!same).then(|| (ours.unwrap_or_else(|| "none".to_owned()), theirs))
}

fn path(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.path().to_owned())
}

/// An answer in short.
fn answer_words(fact: &HttpFact) -> String {
    if let Some(failure) = &fact.failure {
        return format!("no whole answer ({})", failure.kind.to_string().replace('_', " "));
    }
    let body = fact.body.as_ref().map(|body| match body.class {
        BodyClass::Expected => "the document",
        BodyClass::Json => "other JSON",
        BodyClass::Html => "an HTML page",
        BodyClass::Text => "other text",
        BodyClass::Empty => "an empty body",
        BodyClass::Binary => "no text",
    });
    format!("HTTP {}{}", fact.status.unwrap_or(0), body.map(|body| format!(", {body}")).unwrap_or_default())
}
