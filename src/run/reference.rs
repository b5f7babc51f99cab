//! The known-good PDS: the first of the list that answers as one.

use std::sync::{Arc, atomic::Ordering};

use pdsdoctor_probes::{
    fact::{FactBody, NotMeasured, ProbeName, Role},
    identifier::TargetInput,
    record::{Reference, Run},
    text::Text,
};

use super::{
    Context,
    ahead::{Host, Login},
    clients::{Clients, https_host},
    lines::{Depth, first_working, lines},
    oauth, origin,
};
use crate::options::{ENTRYWAYS, REFERENCES};

/// Finds a reference and sends it what the target is sent.
pub(super) async fn examine(context: &Arc<Context>, clients: &Clients, input: &TargetInput) {
    find(context, clients, input).await;
    // Whoever waits for one that answers waits no longer.
    context.reference_at.send_if_modified(|at| {
        let open = at.is_none();
        at.get_or_insert(None);
        open
    });
}

async fn find(context: &Arc<Context>, clients: &Clients, input: &TargetInput) {
    let options = &context.options;
    if options.no_reference {
        note(context, "--no-reference: nothing to compare with", "a run without --no-reference");
        return;
    }
    if options.no_third_party && options.against.is_none() {
        note(context, "--no-third-party: no reference was named", "--against HOST");
        return;
    }
    let candidates: Vec<String> = match &options.against {
        Some(against) => vec![against.clone()],
        None => REFERENCES.iter().map(|host| (*host).to_owned()).collect(),
    };
    if !context.measures(ProbeName::Http) {
        return;
    }
    let mut tried = Vec::new();
    for candidate in candidates {
        let Some((host, port)) = host_and_port(&candidate) else { continue };
        if is_target(input, &host) {
            if options.against.is_some() {
                note(context, "the reference named is the target itself", "--against with another PDS");
                return;
            }
            continue;
        }
        tried.push(host.clone());
        if try_one(context, clients, &host, port).await {
            // A handle or a DID may have led to it meanwhile: nothing is compared with itself.
            let is_target = context.found().target.host.as_deref() == Some(host.as_str());
            if is_target && options.against.is_none() {
                continue;
            }
            return;
        }
        // A resolver that was silent about this name will be silent about the next.
        if !context.resolver_answered.load(Ordering::Relaxed) {
            break;
        }
    }
    note(context, &format!("no reference PDS answered ({})", tried.join(", ")), "--against HOST with a PDS that works");
}

async fn try_one(context: &Arc<Context>, clients: &Clients, host: &str, port: u16) -> bool {
    let entryway = ENTRYWAYS.contains(&host);
    let place = Host { role: Role::Reference, name: host.to_owned(), port };
    let mut answers = lines(context, place, Depth::Health, Some(clients.all.len()));
    let working = first_working(&mut answers, |answer| answer.healthy).await;
    let Some(working) = working.filter(|answer| answer.healthy || entryway) else { return false };
    context.found().reference = Some(Reference {
        host: Text::new(host),
        origin: Text::new(&origin(host, port)),
        given: context.options.against.is_some(),
        entryway,
    });
    context.reference_at.send_replace(Some(Some((origin(host, port), working.addr))));
    let ahead = match answers.ahead() {
        Some(ahead) => ahead.confirmed(context, working.addr).await,
        None => None,
    };
    let (addr, login) = ahead.map_or_else(|| (working.addr, Login::default()), |(addr, login, _)| (addr, login));
    oauth::examine(context, clients, oauth::REFERENCE, (host, port, addr), login).await;
    // The other addresses are evidence about this side.
    answers.finish().await;
    true
}

/// Takes out what was asked of the target in the place of a reference, because a handle or a DID had not led to it yet.
pub(super) fn without_the_target(run: &mut Run) {
    let Some(target) = run.target.host.clone() else { return };
    let was_compared = run.reference.as_ref().is_some_and(|reference| reference.host == target);
    if was_compared {
        run.reference = None;
        run.not_measured.push(NotMeasured {
            probe: ProbeName::Par,
            why: Text::new(&format!("{target}, the known-good PDS, is the target itself: nothing to compare with")),
            needs: Text::new("--against HOST with another PDS"),
        });
    }
    run.facts.retain(|fact| match asked(&fact.body) {
        Some((Role::Reference | Role::ReferenceAuthServer, host)) => !was_compared && host != target.as_str(),
        _ => true,
    });
}

/// Whose host was asked, and which.
fn asked(body: &FactBody) -> Option<(Role, String)> {
    match body {
        FactBody::Dns(body) => Some((body.role, body.name.to_string())),
        FactBody::SystemDns(body) => Some((body.role, body.name.to_string())),
        FactBody::Connect(body) => Some((body.role, body.host.to_string())),
        FactBody::Tls(body) => Some((body.role, body.sni.to_string())),
        FactBody::TlsOffer(body) => Some((body.role, body.sni.to_string())),
        FactBody::Http(body) => Some((body.role, https_host(&body.url)?.0)),
        FactBody::Par(body) => Some((body.role, https_host(&body.server)?.0)),
        _ => None,
    }
}

fn note(context: &Context, why: &str, needs: &str) {
    context.net.not_measured(ProbeName::Par, why, needs);
}

fn is_target(input: &TargetInput, host: &str) -> bool {
    match input {
        TargetInput::Url { host: target, .. } | TargetInput::Name(target) => target == host,
        TargetInput::Did(_) | TargetInput::Handle(_) => false,
    }
}

/// `host`, `host:port` or an https address.
fn host_and_port(raw: &str) -> Option<(String, u16)> {
    if raw.contains("://") { https_host(raw) } else { https_host(&format!("https://{raw}")) }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use pdsdoctor_probes::{
        fact::{ConnectFact, Fact, FactId, Vantage},
        record::{Ended, RUN_SCHEMA, Settings, Target, TargetKind},
    };

    use super::*;

    fn connect(role: Role, host: &str) -> Fact {
        let body = ConnectFact {
            role,
            host: Text::new(host),
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 443,
            failure: None,
        };
        Fact {
            id: FactId::default(),
            probe: ProbeName::Tcp,
            vantage: Vantage::Here,
            started_ms: 0,
            took_ms: 0,
            body: FactBody::Connect(body),
        }
    }

    fn left(reference: &str) -> (Run, Vec<(Role, String)>) {
        let target = Target {
            input: Text::new("alice.tngl.sh"),
            kind: TargetKind::Handle,
            host: Some(Text::new("tngl.sh")),
            port: 443,
            origin: None,
            handle: None,
            did: None,
        };
        let origin = Text::new("");
        let facts = vec![
            connect(Role::Target, "tngl.sh"),
            connect(Role::Reference, "tngl.sh"),
            connect(Role::Reference, "other.example"),
        ];
        let mut run = Run {
            schema: RUN_SCHEMA.to_owned(),
            version: Text::new("0"),
            started: Text::new("2026-11-24T00:00:00Z"),
            elapsed_ms: 1,
            ended: Ended::Complete,
            target,
            reference: Some(Reference { host: Text::new(reference), origin, given: false, entryway: false }),
            settings: Settings::default(),
            facts,
            not_measured: Vec::new(),
            not_understood: Vec::new(),
        };
        without_the_target(&mut run);
        let asked = run.facts.iter().filter_map(|fact| asked(&fact.body)).collect();
        (run, asked)
    }

    #[test]
    fn nothing_is_compared_with_itself() {
        let (run, asked) = left("tngl.sh");
        assert_eq!(asked, [(Role::Target, "tngl.sh".to_owned())]);
        assert!(run.reference.is_none() && run.not_measured.len() == 1);
        let (run, asked) = left("other.example");
        let other = (Role::Reference, "other.example".to_owned());
        assert_eq!(asked, [(Role::Target, "tngl.sh".to_owned()), other]);
        assert!(run.reference.is_some() && run.not_measured.is_empty());
    }
}
