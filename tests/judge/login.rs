//! The table of verdicts for the login request: how far the target gets,
//! how far the reference gets, and what this machine gets.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, Role},
    http_fact::HttpPurpose,
    par_fact::ParArm,
};

use crate::world::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ref {
    Strong,
    Entryway,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Own {
    Good,
    Bad,
    None,
}

pub(crate) fn world(target_gets: bool, reference: Ref, reference_gets: bool, own: Own) -> World {
    let refused = not_obtained("");
    let refused = (400, "invalid_client_metadata", refused.as_str());
    let mut world = healthy();
    if !target_gets {
        world = world.pars(Role::Target, refused, 350);
    }
    if !reference_gets {
        world = world.pars(Role::Reference, refused, 350);
    }
    world = match reference {
        Ref::Strong => world,
        Ref::Entryway => world.with_entryway(),
        Ref::None => world.without_reference(),
    };
    match own {
        Own::Good => world,
        Own::Bad => [APP_V4, APP_V6].iter().fold(world, |world, addr| world.closed(addr, FailureKind::Timeout, 4_000)),
        Own::None => world.without(|fact| match &fact.body {
            FactBody::Connect(body) => body.role == Role::Client,
            FactBody::Http(body) => body.role == Role::Client,
            _ => false,
        }),
    }
}

#[test]
fn where_the_target_gets_the_document_all_is_well() {
    for own in [Own::Good, Own::Bad, Own::None] {
        for (reference, gets) in [
            (Ref::Strong, true),
            (Ref::Strong, false),
            (Ref::Entryway, true),
            (Ref::Entryway, false),
            (Ref::None, true),
        ] {
            let judged = world(true, reference, gets, own).judge();
            assert!(judged.diagnosis.causes.is_empty(), "{reference:?} {gets} {own:?}: {}", judged.show());
            assert_eq!(judged.verdict(), Verdict::Healthy);
        }
    }
}

#[test]
fn every_cell_of_the_table_where_the_target_fails() {
    use Code::{AppClientMetadataBroken as App, LoginParFails as Unknown, OauthClientMetadataEgress as Egress};
    use Confidence::{Confirmed, Likely, Possible};
    for (reference, gets, own, code, confidence) in [
        (Ref::Strong, true, Own::Good, Egress, Confirmed),
        (Ref::Strong, true, Own::Bad, Egress, Confirmed),
        (Ref::Strong, true, Own::None, Egress, Confirmed),
        (Ref::Strong, false, Own::Good, App, Likely),
        (Ref::Strong, false, Own::Bad, App, Confirmed),
        (Ref::Strong, false, Own::None, App, Likely),
        (Ref::Entryway, true, Own::Good, Egress, Likely),
        (Ref::Entryway, true, Own::Bad, Egress, Likely),
        (Ref::Entryway, true, Own::None, Egress, Likely),
        (Ref::Entryway, false, Own::Good, Unknown, Possible),
        (Ref::Entryway, false, Own::Bad, App, Confirmed),
        (Ref::Entryway, false, Own::None, App, Likely),
        (Ref::None, true, Own::Good, Egress, Likely),
        (Ref::None, true, Own::Bad, App, Likely),
        (Ref::None, true, Own::None, Unknown, Possible),
    ] {
        let judged = world(false, reference, gets, own).judge();
        let cell = format!("{reference:?} {gets} {own:?}: {}", judged.show());
        let first = judged.diagnosis.causes.first().unwrap_or_else(|| panic!("{cell}"));
        assert_eq!((first.code, first.confidence, first.impact), (code, confidence, Impact::Broken), "{cell}");
        assert_eq!(judged.diagnosis.causes.len(), 1, "{cell}");
        assert_eq!(first.scope.host.as_deref(), Some(APP), "{cell}");
        assert!(judged.rules_out(Code::OauthUnsupportedScope), "the scopes theory is dead: {cell}");
        if code == Egress && reference != Ref::None {
            assert!(judged.rules_out(App), "{cell}");
            let two = first.contrast.iter().find(|contrast| contrast.what.contains("PAR")).unwrap();
            assert!(two.this.contains("Unable to obtain") && two.that.contains("client_assertion"), "{two:?}");
        }
    }
}

/// A reference that answered nothing of use proves nothing.
#[test]
fn a_reference_whose_par_fails_is_none() {
    for answer in [(404, "", ""), (401, "use_dpop_nonce", "nonce"), (429, "RateLimitExceeded", "")] {
        let judged = world(false, Ref::Strong, true, Own::Good).pars(Role::Reference, answer, 50).finds(
            Code::OauthClientMetadataEgress,
            Impact::Broken,
            Confidence::Likely,
        );
        let first = &judged.diagnosis.causes[0];
        assert!(!first.contrast.iter().any(|contrast| contrast.what.contains("PAR")), "{first:?}");
        assert!(first.settle.is_some());
    }
}

/// The clock says who gave up, and the first remedy follows it.
#[test]
fn time_is_evidence() {
    for (suffix, took, words) in [
        ("", 348, "250 ms"),
        ("", 10_110, "whole 10 s"),
        ("", 100, "without waiting"),
        ("", 5_100, "gave up"),
        (": Invalid hostname", 100, ""),
        (": Connection refused", 100, ""),
        (": TLS error", 130, ""),
    ] {
        let text = not_obtained(suffix);
        let judged = healthy().pars(Role::Target, (400, "invalid_client_metadata", &text), took).finds(
            Code::OauthClientMetadataEgress,
            Impact::Broken,
            Confidence::Confirmed,
        );
        let seen = judged.diagnosis.causes[0].seen.join("\n");
        assert!(seen.contains(words), "{took} ms: {seen}");
    }
}

/// Node caps no attempt at the only address there is: 300 ms are 300 ms.
#[test]
fn one_address_knows_no_attempt_cap() {
    let text = not_obtained("");
    let world = healthy()
        .without(|fact| match &fact.body {
            FactBody::Connect(body) => body.addr == ip(APP_V6),
            FactBody::Http(body) => body.addr == Some(ip(APP_V6)),
            _ => false,
        })
        .each(|fact| match &mut fact.body {
            FactBody::Dns(body) if body.name.as_str() == APP => body.records.retain(|record| record.as_str() != APP_V6),
            FactBody::SystemDns(body) if body.name.as_str() == APP => body.addresses.retain(|addr| *addr != ip(APP_V6)),
            _ => {}
        })
        .pars(Role::Target, (400, "invalid_client_metadata", &text), 400);
    let judged = world.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    assert!(!judged.show().contains("250 ms"), "{}", judged.show());
    let steps = format!("{:?}", judged.diagnosis.causes[0].remedies[0]);
    assert!(!steps.contains("autoselection"), "{steps}");
}

/// The application's own protection turns the PDS away (failure catalogue no. 33).
#[test]
fn the_applications_server_refuses_the_pds() {
    for suffix in [": Forbidden", ": unexpected redirect", ": Unexpected response Content-Type (text/html)"] {
        let text = not_obtained(suffix);
        healthy().pars(Role::Target, (400, "invalid_client_metadata", &text), 200).finds(
            Code::EdgeBotChallengeOutbound,
            Impact::Broken,
            Confidence::Confirmed,
        );
    }
}

/// Some hosts turn away a query they do not know. No application asks with one.
#[test]
fn a_host_that_dislikes_the_cache_busting_query() {
    let text = not_obtained(": Not Found");
    let busted =
        |world: World, role| world.par(role, ParArm::CacheBusted, (400, "invalid_client_metadata", &text), 200);
    busted(busted(healthy(), Role::Target), Role::Reference).is_well();
    busted(healthy().without_reference(), Role::Target).is_well();
    // The reference is not turned away: then it is about this PDS.
    busted(healthy(), Role::Target).finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
}

/// The PDS keeps a document for ten minutes: what it can do now, the cache-busted request tells.
#[test]
fn a_cached_copy_does_not_hide_an_outage() {
    let text = not_obtained("");
    let world = healthy().par(Role::Target, ParArm::CacheBusted, (400, "invalid_client_metadata", &text), 10_100);
    let judged = world.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    assert!(judged.diagnosis.causes[0].seen.iter().any(|line| line.contains("copy")), "{}", judged.show());
}

/// It fails for the application and passes for us: now and then.
#[test]
fn a_fetch_that_fails_now_and_then() {
    let text = not_obtained("");
    let world = healthy().par(Role::Target, ParArm::AsNamed, (400, "invalid_client_metadata", &text), 350);
    let judged = world.finds(Code::OauthClientMetadataEgress, Impact::Degraded, Confidence::Likely);
    assert!(!judged.diagnosis.causes[0].against.is_empty());
}

#[test]
fn a_gateway_that_gives_up_before_the_pds() {
    let world = healthy().pars(Role::Target, (504, "", ""), 10_000);
    world.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn scopes_that_the_pds_does_not_know() {
    let unsupported = (400, "invalid_client_metadata", "Unsupported scope \"identity:*\"");
    healthy().pars(Role::Target, unsupported, 200).finds(
        Code::OauthUnsupportedScope,
        Impact::Broken,
        Confidence::Confirmed,
    );
    healthy().pars(Role::Target, unsupported, 200).with_entryway().finds(
        Code::OauthUnsupportedScope,
        Impact::Broken,
        Confidence::Likely,
    );
    healthy().pars(Role::Target, unsupported, 200).without_reference().finds(
        Code::OauthUnsupportedScope,
        Impact::Broken,
        Confidence::Likely,
    );
    // Refused everywhere: the application's fault.
    healthy().pars(Role::Target, unsupported, 200).pars(Role::Reference, unsupported, 200).finds(
        Code::AppClientMetadataBroken,
        Impact::Broken,
        Confidence::Likely,
    );
}

/// A permission set is looked up over the network: not found is not unknown (no. 67).
#[test]
fn a_permission_set_that_cannot_be_looked_up_is_no_old_pds() {
    let answer = (400, "invalid_scope", "Could not resolve Lexicon for NSID (app.example.auth)");
    let world = healthy().par(Role::Target, ParArm::AsNamed, answer, 200);
    world.never_says(Code::OauthUnsupportedScope);
    world.finds(Code::LoginParFails, Impact::Broken, Confidence::Likely);
}

#[test]
fn a_document_that_pdses_refuse() {
    let answer = (400, "invalid_client_metadata", "Missing \"atproto\" scope");
    healthy().pars(Role::Target, answer, 200).finds(Code::LoginParFails, Impact::Broken, Confidence::Likely);
    healthy().pars(Role::Target, answer, 200).without_reference().finds(
        Code::LoginParFails,
        Impact::Broken,
        Confidence::Possible,
    );
    healthy().pars(Role::Target, answer, 200).pars(Role::Reference, answer, 200).finds(
        Code::AppClientMetadataBroken,
        Impact::Broken,
        Confidence::Likely,
    );
}

#[test]
fn a_client_id_that_is_none() {
    let answer = (400, "invalid_client_metadata", "Invalid client ID \"https://tangled.org\"");
    healthy().pars(Role::Target, answer, 50).pars(Role::Reference, answer, 50).finds(
        Code::AppClientMetadataBroken,
        Impact::Broken,
        Confidence::Likely,
    );
    healthy().pars(Role::Target, answer, 50).finds(Code::LoginParFails, Impact::Broken, Confidence::Likely);
}

/// The seed: scopes that both PDSes advertise alike are ruled out, side by side.
#[test]
fn the_first_field_report() {
    let text = not_obtained("");
    let judged = healthy().pars(Role::Target, (400, "invalid_client_metadata", &text), 348).finds(
        Code::OauthClientMetadataEgress,
        Impact::Broken,
        Confidence::Confirmed,
    );
    let scopes = judged.diagnosis.ruled_out.iter().find(|theory| theory.code == Code::OauthUnsupportedScope).unwrap();
    assert!(scopes.why.contains("same scopes"), "{}", scopes.why);
    for code in [Code::AppClientMetadataBroken, Code::HostClockSkew, Code::FwPortsClosed, Code::ProxyOauthRoutesMissing]
    {
        assert!(judged.rules_out(code), "{code}: {:?}", judged.diagnosis.ruled_out);
    }
}

/// Two applications, one of them broken: that one is named, and only that one.
#[test]
fn one_application_of_two() {
    let other = "https://other.example/client.json";
    let world = healthy().with(|world| {
        world.run.settings.client_ids.push(t(other));
        let mut facts = world.run.facts.clone();
        facts.retain(|fact| matches!(&fact.body, FactBody::Par(body) if body.arm != ParArm::Localhost));
        for fact in &mut facts {
            if let FactBody::Par(body) = &mut fact.body {
                body.client = t(other);
                if body.role == Role::Target {
                    body.status = Some(400);
                    body.error = Some(t("invalid_client_metadata"));
                    body.description =
                        Some(t("Unable to obtain client metadata for \"https://other.example/client.json\""));
                }
            }
        }
        world.run.facts.extend(facts);
    });
    let judged = world.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    assert_eq!(judged.diagnosis.causes[0].scope.host.as_deref(), Some("other.example"));
}

/// Without the application's document on this side nothing else changes.
#[test]
fn a_client_document_that_is_another_kind_of_page() {
    let text = not_obtained(": Unexpected response Content-Type (text/html)");
    let refused = (400, "invalid_client_metadata", text.as_str());
    healthy()
        .pars(Role::Target, refused, 200)
        .pars(Role::Reference, refused, 200)
        .http(Role::Client, HttpPurpose::ClientDocument, |body| {
            answer(body, 200, pdsdoctor_probes::http_fact::BodyClass::Html, "<html>");
        })
        .finds(Code::AppClientMetadataBroken, Impact::Broken, Confidence::Confirmed);
}

/// The document is read and its keys, mostly of another host, are not fetched: the way out again, and no old PDS.
#[test]
fn the_keys_of_the_application() {
    let says = |host: &str, suffix: &str| {
        format!("Unable to obtain jwks from \"https://{host}/keys.json\" for \"{CLIENT}\"{suffix}")
    };
    let named = |world: World, role, text: &str, took| {
        world.par(role, ParArm::AsNamed, (400, "invalid_client_metadata", text), took)
    };
    let elsewhere = says("keys.example.org", "");
    let cut_off = || named(healthy(), Role::Target, &elsewhere, 10_150);
    let judged = cut_off().finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    let cause = &judged.diagnosis.causes[0];
    assert!(cause.summary.contains("keys from keys.example.org"), "{}", cause.summary);
    assert_eq!(cause.scope.host.as_deref(), Some(APP));
    assert!(cause.seen.iter().any(|line| line.contains("whole 10 s")), "{}", judged.show());
    let steps: Vec<String> = cause.remedies.iter().flat_map(|remedy| remedy.lines()).collect();
    assert!(steps.iter().any(|step| step.contains("https://keys.example.org/keys.json")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("pdsadmin update")), "{steps:?}");
    cut_off().with_entryway().finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Likely);
    cut_off().without_reference().finds(Code::LoginParFails, Impact::Broken, Confidence::Possible);
    // The host that gave the document cannot be out of reach.
    let same = says(APP, ": Not Found");
    named(healthy(), Role::Target, &same, 200).finds(
        Code::OauthClientMetadataEgress,
        Impact::Broken,
        Confidence::Likely,
    );
    // Nobody gets them.
    named(cut_off(), Role::Reference, &elsewhere, 10_100).finds(
        Code::AppClientMetadataBroken,
        Impact::Broken,
        Confidence::Likely,
    );
    // A text that names no address is no reason to stumble.
    let odd = named(healthy(), Role::Target, "Unable to obtain jwks", 200);
    odd.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Likely);
}

/// That the reference advertises the same scopes says something only where it gets further with them.
#[test]
fn a_reference_that_fails_alike_kills_no_theory() {
    let text = not_obtained("");
    let refused = (400, "invalid_client_metadata", text.as_str());
    let mut world = healthy();
    for role in [Role::Target, Role::Reference] {
        for arm in ParArm::LOGIN {
            world = world.par(role, arm, refused, 500);
        }
    }
    let judged = world.judge();
    let why = judged.why_not(Code::OauthUnsupportedScope).unwrap_or_default();
    assert!(!why.contains("gets further"), "{why}");
    assert!(!judged.rules_out(Code::AppClientMetadataBroken), "{}", judged.show());
}
