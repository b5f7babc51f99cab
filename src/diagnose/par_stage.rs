//! How far did a pushed authorization request get? A total, pure function over status, error code,
//! text and time. What the answers say is compared by stage, never by text: in the first field
//! report both answers were HTTP 400, one from before the fetch of the client metadata, one after it.
//!
//! Order of checks in the reference PDS: `@atproto/oauth-provider`, `pushedAuthorizationRequest`.
//! Texts of other implementations: cocoon, rsky-pds, tranquil, pegasus.

use pdsdoctor_probes::{
    fact::FailureKind,
    par_fact::{ParArm, ParFact},
};

/// How far a PAR got, in the order in which a PDS checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No HTTP answer came from the authorization server.
    NoRoute(FailureKind),
    /// Something answered that is not an OAuth server: a proxy's page, a 404, a redirect.
    NotAPds,
    /// The OAuth server failed by itself (5xx in its own words).
    ServerError,
    /// The request was refused before the client was looked at.
    RequestRefused,
    /// The `client_id` itself is not acceptable; nothing was fetched.
    ClientIdRefused,
    /// The client metadata document could not be fetched.
    DocumentNotObtained(FetchFailure),
    /// The document, or what its host answered instead, was read and refused.
    DocumentRefused(Refusal),
    /// The document was read and is well formed; only its `client_id` is not the one asked for,
    /// which is what the cache-busted arm must give.
    IdMismatch,
    /// The keys named by the document could not be fetched.
    KeysNotObtained,
    /// The client did not authenticate, as our requests never do: the document was accepted.
    ClientAuthentication,
    /// The scope was refused.
    Scope,
    /// Everything about the client was accepted; the request lacks what we left out on purpose.
    RequestChecked,
    /// Accepted.
    Accepted,
}

/// Why the document could not be fetched, from the text and the time it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchFailure {
    /// `Invalid hostname`: the PDS's resolver knows no address for the name.
    NameNotFound,
    /// `Connection refused`.
    Refused,
    /// `Connection error`: reset.
    Reset,
    /// `TLS error`, `Self-signed certificate`: not the certificate of that host.
    Certificate,
    /// The PDS's own policy forbids the address.
    Policy,
    /// No reason given, at once: no route, DNS failure, an untrusted certificate, a private address.
    AtOnce,
    /// No reason given, after a few times 250 ms: Node gave up on a connection attempt.
    AttemptCap,
    /// No reason given, soon; the machine is too busy for the time to say more.
    Soon,
    /// No reason given, after seconds.
    Slow,
    /// No reason given, after the PDS's own 10 s: nothing came back.
    Silence,
}

/// Why a document was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its host answered with an error status.
    Status,
    /// Its host redirects.
    Redirect,
    /// Its host answered with something other than JSON.
    NotJson,
    /// It names a scope this PDS does not know (before granular scopes; failure catalogue no. 66).
    UnsupportedScope,
    /// It breaks the profile.
    Content,
}

impl Stage {
    /// Did the PDS get the client document? `None` where the request ended before that question.
    pub fn obtained_document(&self) -> Option<bool> {
        match self {
            Self::NoRoute(_) | Self::NotAPds | Self::ServerError | Self::RequestRefused | Self::ClientIdRefused => None,
            Self::DocumentNotObtained(_) => Some(false),
            Self::DocumentRefused(refusal) => Some(matches!(refusal, Refusal::UnsupportedScope | Refusal::Content)),
            _ => Some(true),
        }
    }

    /// Did the PDS get an answer from the host it was to fetch from, whatever the answer? `None` where the request
    /// ended before that question.
    pub fn reached_host(&self) -> Option<bool> {
        match self {
            Self::DocumentRefused(_) => Some(true),
            other => other.obtained_document(),
        }
    }

    /// Is this as far as our request can get at a healthy PDS for this arm?
    pub fn is_expected(&self, arm: ParArm) -> bool {
        match self {
            Self::ClientAuthentication | Self::RequestChecked | Self::Accepted => true,
            Self::IdMismatch => arm == ParArm::CacheBusted,
            _ => false,
        }
    }

    /// In a few words, for a grid and for contrasts.
    pub fn words(&self) -> &'static str {
        match self {
            Self::NoRoute(_) => "no answer",
            Self::NotAPds => "not an OAuth server",
            Self::ServerError => "server error",
            Self::RequestRefused => "request refused",
            Self::ClientIdRefused => "client id refused",
            Self::DocumentNotObtained(_) => "could not fetch the client metadata",
            Self::DocumentRefused(_) => "refused the client metadata",
            Self::IdMismatch => "fetched and read the client metadata",
            Self::KeysNotObtained => "could not fetch the client's keys",
            Self::ClientAuthentication => "read the client metadata, asks the client to authenticate",
            Self::Scope => "refused the scope",
            Self::RequestChecked => "accepted the client, asks for PKCE",
            Self::Accepted => "accepted",
        }
    }
}

/// Below this a fetch failed "at once": a refusal by the own kernel, a resolver's error, or one
/// round trip to a near host. Node's cap of 250 ms per attempt, less the coarseness of timers.
pub(super) const AT_ONCE_MS: u64 = 230;
/// Node closes every attempt but the last after 250 ms; four addresses make 750 ms, eight 1,750 ms.
/// What lies above, and below the PDS's 10 s, is some other wait (a resolver's 3 s or 5 s).
const ATTEMPT_CAP_MS: u64 = 2_000;
/// The PDS aborts a fetch after 10,000 ms (`timedFetch(10e3)`); measured 10,004 to 10,032 ms.
const SILENCE_MS: u64 = 9_500;

/// How far did it get? `took_ms` is the elapsed time of the request, `base_ms` that of the localhost
/// arm on the same path (0 if unknown): the difference is what the PDS spent on the fetch.
pub fn stage(fact: &ParFact, took_ms: u64, base_ms: u64) -> Stage {
    if let Some(failure) = &fact.failure {
        return Stage::NoRoute(failure.kind);
    }
    if fact.accepted {
        return Stage::Accepted;
    }
    let status = fact.status.unwrap_or(0);
    let error = fact.error.as_deref().unwrap_or("");
    if error.is_empty() {
        // Not every implementation says no in JSON; but a page is a proxy's.
        let page = fact.content_type.as_deref().is_none_or(|kind| kind.to_ascii_lowercase().contains("html"));
        return if matches!(status, 400 | 401 | 429) && !page { Stage::RequestRefused } else { Stage::NotAPds };
    }
    // cocoon puts the whole text into `error`.
    let text = fact.description.as_deref().unwrap_or(error);
    let lower = text.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    let spent = took_ms.saturating_sub(base_ms);

    if has("unable to obtain jwks") {
        return Stage::KeysNotObtained;
    }
    if has("unable to obtain client metadata") {
        return after_prefix(text, spent);
    }
    if has("failed to fetch client metadata") || has("failed to fetch url") {
        return other_fetch_failure(&lower, spent);
    }
    if has("dial tcp") || has("no such host") || has("i/o timeout") || has("tls: ") || has("x509: ") {
        return Stage::DocumentNotObtained(go_failure(&lower, spent));
    }
    if has("unsupported scope") {
        return Stage::DocumentRefused(Refusal::UnsupportedScope);
    }
    if has("client_id does not match") {
        return Stage::IdMismatch;
    }
    if has("client_assertion") || has("client authentication method") || has("client assertion") {
        return Stage::ClientAuthentication;
    }
    if has("pkce") || has("code_challenge") || has("redirect_uri") || has("response_type") {
        // "Validation of "redirect_uris" failed" is about the document, "redirect_uri" about the request.
        return if has("validation of") || has("redirect_uris") {
            Stage::DocumentRefused(Refusal::Content)
        } else {
            Stage::RequestChecked
        };
    }
    match error {
        "invalid_scope" => Stage::Scope,
        "invalid_client_id" => Stage::ClientIdRefused,
        "invalid_dpop_proof" | "use_dpop_nonce" => Stage::RequestRefused,
        "invalid_client_metadata" if has("invalid client id") || has("invalid url") => Stage::ClientIdRefused,
        "invalid_client_metadata" => Stage::DocumentRefused(Refusal::Content),
        "invalid_client" if has("credentials missing") => Stage::RequestRefused,
        "invalid_client" if has("unexpected status") || has("http ") => Stage::DocumentRefused(Refusal::Status),
        "invalid_client" if has("unexpected content-type") => Stage::DocumentRefused(Refusal::NotJson),
        "invalid_client" => Stage::ClientAuthentication,
        "unauthorized_client" | "access_denied" => Stage::ClientAuthentication,
        "server_error" | "InternalServerError" => Stage::ServerError,
        _ if status >= 500 => Stage::ServerError,
        _ => Stage::RequestRefused,
    }
}

/// What became of the keys ([`Stage::KeysNotObtained`]): the texts are those of the document.
pub fn keys_failure(text: &str, spent: u64) -> Stage {
    after_prefix(text, spent)
}

/// The reference PDS: `Unable to obtain client metadata for "URL"<suffix>`.
fn after_prefix(text: &str, spent: u64) -> Stage {
    let suffix = text.rsplit_once("\": ").map_or("", |(_, suffix)| suffix).trim();
    let lower = suffix.to_ascii_lowercase();
    let failure = match lower.as_str() {
        "" => return Stage::DocumentNotObtained(by_time(spent)),
        "invalid hostname" => FetchFailure::NameNotFound,
        "invalid url" => return Stage::ClientIdRefused,
        "connection refused" => FetchFailure::Refused,
        "connection error" => FetchFailure::Reset,
        "tls error" | "self-signed certificate" => FetchFailure::Certificate,
        "forbidden hostname" => FetchFailure::Policy,
        _ if lower.starts_with("custom ") && lower.contains("ports not allowed") => FetchFailure::Policy,
        _ => return Stage::DocumentRefused(content_refusal(&lower)),
    };
    Stage::DocumentNotObtained(failure)
}

fn content_refusal(lower: &str) -> Refusal {
    if lower.contains("redirect_uris") || lower.starts_with("validation of") {
        Refusal::Content
    } else if lower.contains("unexpected redirect") {
        Refusal::Redirect
    } else if lower.contains("content-type") || lower.contains("as json") {
        Refusal::NotJson
    } else if lower.contains("unsupported scope") {
        Refusal::UnsupportedScope
    } else {
        // A reason phrase, or the body of an error answer.
        Refusal::Status
    }
}

/// A failure without a reason, by the time it took.
pub(super) fn by_time(spent: u64) -> FetchFailure {
    match spent {
        SILENCE_MS.. => FetchFailure::Silence,
        ATTEMPT_CAP_MS.. => FetchFailure::Slow,
        AT_ONCE_MS.. => FetchFailure::AttemptCap,
        _ => FetchFailure::AtOnce,
    }
}

/// rsky-pds, tranquil, pegasus: no Node there, so a few hundred milliseconds mean nothing special.
fn other_fetch_failure(lower: &str, spent: u64) -> Stage {
    if lower.contains("http ") || lower.contains("status") {
        return Stage::DocumentRefused(Refusal::Status);
    }
    if lower.contains("content-type") || lower.contains("decod") || lower.contains("parse") {
        return Stage::DocumentRefused(Refusal::NotJson);
    }
    Stage::DocumentNotObtained(go_failure(lower, spent))
}

fn go_failure(lower: &str, spent: u64) -> FetchFailure {
    if lower.contains("no such host") || lower.contains("dns error") || lower.contains("lookup") {
        FetchFailure::NameNotFound
    } else if lower.contains("refused") {
        FetchFailure::Refused
    } else if lower.contains("reset") {
        FetchFailure::Reset
    } else if lower.contains("tls") || lower.contains("x509") || lower.contains("certificate") {
        FetchFailure::Certificate
    } else if lower.contains("timeout") || lower.contains("timed out") || spent >= SILENCE_MS {
        FetchFailure::Silence
    } else if spent >= ATTEMPT_CAP_MS {
        FetchFailure::Slow
    } else {
        FetchFailure::AtOnce
    }
}

#[cfg(test)]
mod tests {
    use pdsdoctor_probes::{fact::Role, text::Text};

    use super::*;

    fn answer(status: u16, error: &str, description: Option<&str>) -> ParFact {
        ParFact {
            role: Role::Target,
            server: Text::new("https://pds.test"),
            endpoint: Text::new("https://pds.test/oauth/par"),
            addr: None,
            arm: ParArm::AsNamed,
            client: Text::new("https://app.test/c.json"),
            client_id: Text::new("https://app.test/c.json"),
            scope: Text::new("atproto"),
            failure: None,
            status: Some(status),
            content_type: None,
            headers: std::collections::BTreeMap::new(),
            error: (!error.is_empty()).then(|| Text::new(error)),
            description: description.map(Text::new),
            accepted: false,
            excerpt: None,
        }
    }

    fn at(status: u16, error: &str, description: &str, took: u64) -> Stage {
        stage(&answer(status, error, Some(description)), took, 0)
    }

    #[test]
    fn the_two_answers_of_the_first_field_report() {
        let url = "https://tangled.org/oauth/client-metadata.json";
        let bare = format!("Unable to obtain client metadata for \"{url}\"");
        assert_eq!(
            at(400, "invalid_client_metadata", &bare, 258),
            Stage::DocumentNotObtained(FetchFailure::AttemptCap)
        );
        assert_eq!(
            at(
                400,
                "invalid_request",
                "client authentication method \"private_key_jwt\" required a \"client_assertion\"",
                90
            ),
            Stage::ClientAuthentication
        );
        assert_eq!(
            at(400, "invalid_client_metadata", &bare, 10_020),
            Stage::DocumentNotObtained(FetchFailure::Silence)
        );
        assert_eq!(at(400, "invalid_client_metadata", &bare, 6), Stage::DocumentNotObtained(FetchFailure::AtOnce));
    }

    /// Every answer seen of the reference PDS 0.5.35.
    #[test]
    fn every_answer_of_the_reference_pds() {
        use Stage::{ClientIdRefused, DocumentNotObtained as No, DocumentRefused as Refused};
        let meta = |suffix: &str| {
            at(
                400,
                "invalid_client_metadata",
                &format!("Unable to obtain client metadata for \"https://a.b/c\": {suffix}"),
                20,
            )
        };
        assert_eq!(meta("Invalid hostname"), No(FetchFailure::NameNotFound));
        assert_eq!(meta("Connection refused"), No(FetchFailure::Refused));
        assert_eq!(meta("Connection error"), No(FetchFailure::Reset));
        assert_eq!(meta("TLS error"), No(FetchFailure::Certificate));
        assert_eq!(meta("Self-signed certificate"), No(FetchFailure::Certificate));
        assert_eq!(meta("Forbidden hostname"), No(FetchFailure::Policy));
        assert_eq!(meta("Custom https: ports not allowed"), No(FetchFailure::Policy));
        assert_eq!(meta("Invalid URL"), ClientIdRefused);
        assert_eq!(meta("Not Found"), Refused(Refusal::Status));
        assert_eq!(meta("Forbidden"), Refused(Refusal::Status));
        assert_eq!(meta("unexpected redirect"), Refused(Refusal::Redirect));
        assert_eq!(meta("Unexpected response Content-Type (text/html)"), Refused(Refusal::NotJson));
        assert_eq!(meta("Unable to parse response as JSON"), Refused(Refusal::NotJson));
        assert_eq!(meta("Validation of \"redirect_uris\" failed with error: Required"), Refused(Refusal::Content));
        let invalid = |text: &str| at(400, "invalid_client_metadata", text, 20);
        assert_eq!(invalid("client_id does not match"), Stage::IdMismatch);
        assert_eq!(invalid("Invalid client ID \"x\""), ClientIdRefused);
        assert_eq!(invalid("Unsupported scope \"identity:*\""), Refused(Refusal::UnsupportedScope));
        assert_eq!(invalid("Missing \"atproto\" scope"), Refused(Refusal::Content));
        assert_eq!(invalid("Unable to obtain jwks from \"J\" for \"C\": Not Found"), Stage::KeysNotObtained);
        assert_eq!(
            at(400, "invalid_client_id", "The client_id's TLD must not be a local hostname", 2),
            ClientIdRefused
        );
        assert_eq!(at(400, "invalid_request", "Use of PKCE is required", 2), Stage::RequestChecked);
        assert_eq!(at(400, "invalid_request", "Invalid redirect_uri https://x/", 2), Stage::RequestChecked);
        assert_eq!(at(400, "invalid_scope", "The \"atproto\" scope is required", 2), Stage::Scope);
        assert_eq!(at(401, "invalid_dpop_proof", "DPoP proof required", 2), Stage::RequestRefused);
        assert_eq!(at(500, "server_error", "Server error", 2), Stage::ServerError);
    }

    #[test]
    fn other_implementations() {
        use Stage::{DocumentNotObtained as No, DocumentRefused as Refused};
        assert_eq!(
            at(401, "invalid_client", "failed to fetch URL: error sending request: dns error", 30),
            No(FetchFailure::NameNotFound)
        );
        assert_eq!(
            at(401, "invalid_client", "Failed to fetch client metadata: HTTP 404", 30),
            Refused(Refusal::Status)
        );
        assert_eq!(at(400, "invalid_request", "failed to fetch client metadata", 10_100), No(FetchFailure::Silence));
        let cocoon = answer(400, "Get \"https://a.b/c\": dial tcp 1.2.3.4:443: i/o timeout", None);
        assert_eq!(stage(&cocoon, 300, 0), No(FetchFailure::Silence));
    }

    #[test]
    fn a_page_is_not_an_oauth_server() {
        assert_eq!(stage(&answer(404, "", None), 5, 0), Stage::NotAPds);
        assert_eq!(stage(&answer(200, "", None), 5, 0), Stage::NotAPds);
    }

    #[test]
    fn the_path_to_the_pds_is_not_counted_as_its_fetch() {
        let fact =
            answer(400, "invalid_client_metadata", Some("Unable to obtain client metadata for \"https://a.b/c\""));
        assert_eq!(stage(&fact, 1_300, 1_250), Stage::DocumentNotObtained(FetchFailure::AtOnce));
    }
}
