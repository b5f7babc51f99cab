//! The known-good PDS: the first of the list that answers as one.

use std::sync::{Arc, atomic::Ordering};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    identifier::TargetInput,
    record::Reference,
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
