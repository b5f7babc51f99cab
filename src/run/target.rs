//! The target: what it is, and everything that is asked of it.

use std::{pin::pin, sync::Arc};

use pdsdoctor_probes::{
    dns_fact::{DnsPurpose, RecordType},
    fact::{ProbeName, Role},
    identifier::TargetInput,
    outside::dns::{self, Question},
    record::TargetKind,
    text::Text,
};
use tokio::{sync::oneshot, time};

use super::{
    Context,
    ahead::{Host, Login, Names},
    clients::Clients,
    contact::pds_named,
    handles, identity,
    lines::{Answer, Depth, Lines, first_working, lines},
    oauth, origin,
    way_out::OVERDUE,
    whose::{self, Record, Said},
};

/// How many labels upwards the zone and CAA records are looked for.
const PARENTS: usize = 4;

/// Examines whatever the user named.
pub(super) async fn examine(context: &Arc<Context>, clients: &Clients, input: &TargetInput) {
    // A name may yet turn out to be a handle; handles of a PDS are mostly on its own machine.
    if let TargetInput::Url { host, .. } | TargetInput::Name(host) = input {
        context.bridge.host(host);
    }
    match input {
        TargetInput::Url { host, port } => {
            let answers = lines(context, Host::target(host, *port), Depth::Full, Some(clients.all.len()));
            pds(context, clients, host, *port, answers, None).await;
        }
        TargetInput::Did(did) => did_target(context, clients, did).await,
        TargetInput::Handle(handle) => {
            let did = handles::verify(context, ProbeName::Identity, Role::Handle, handle, None).await;
            let did = match did {
                Some(did) => Some(did),
                None => whose::known_elsewhere(context, handle).await,
            };
            if let Some(did) = did {
                did_target(context, clients, &did).await;
            } else if let Some(above) = whose::pds_above(context, handle, Said::Handle).await {
                let account = async {
                    // The PDS itself knows whose name it is, though nobody else can find out.
                    if let Some(did) = identity::account(context, &above.host, handle, above.first.addr).await {
                        context.found().target.did = Some(Text::new(&did));
                        identity::document_of(context, &did).await;
                    }
                };
                let pds = pds(context, clients, &above.host, 443, above.answers, Some(above.first.clone()));
                tokio::join!(account, pds);
            }
        }
        // The zone is asked about at once: where its servers are silent, that costs no time of its own.
        TargetInput::Name(name) => {
            tokio::join!(look(context, clients, name), zone(context, name));
        }
    }
}

/// Host name or handle? Decided by looking: does it answer as a PDS, does it carry a DID, is it known as an account's?
async fn look(context: &Arc<Context>, clients: &Clients, name: &str) {
    let mut answers = lines(context, Host::target(name, 443), Depth::Full, Some(clients.all.len()));
    if !context.measures(ProbeName::Identity) {
        return pds(context, clients, name, 443, answers, None).await;
    }
    let (tell, told) = oneshot::channel();
    let line = async {
        let first = first_working(&mut answers, |answer| answer.healthy).await;
        // Whoever waits for it may have come to an end before.
        let _ = tell.send(first.as_ref().map(|answer| answer.healthy));
        first
    };
    let (first, record) = tokio::join!(line, whose::record(context, name, told));
    let Record { txt, by_host, known } = record;
    let answers_as_pds = first.as_ref().is_some_and(|answer| answer.healthy);
    let is_its_own_pds = first.as_ref().is_some_and(|answer| names_itself(answer, name));
    if is_its_own_pds {
        return pds(context, clients, name, 443, answers, first).await;
    }
    let did = match (txt.did, by_host) {
        (Some(did), _) => Some(did),
        (None, Some(by_host)) => by_host,
        // Where no address gave any answer, the same question would wait for the same silence again.
        (None, None) if first.is_none() => None,
        (None, None) => identity::well_known(context, ProbeName::Identity, Role::Handle, name).await.did,
    };
    let did = match did {
        None if answers_as_pds => None,
        None if !txt.candidates.is_empty() => identity::most_likely(context, name, &txt.candidates).await,
        None if txt.definite => match identity::misplaced_txt(context, ProbeName::Identity, Role::Handle, name).await {
            // A record near by may be somebody's own, the parent's for one.
            Some(did) if whose::claims(context, &did, name).await => Some(did),
            _ => known,
        },
        did => did,
    };
    if did.is_none() && txt.any && !answers_as_pds {
        // A record that holds no DID at all: a handle all the same, and that is what is wrong with it.
        is_handle(context, name, None);
        answers.finish().await;
        return;
    }
    // What answers there as a PDS may be the front of one that lives under another name, and this a handle of it.
    if did.is_none()
        && let Some(front) = first.as_ref().filter(|_| answers_as_pds)
        && let Some(home) = front_of(front, name)
        && behind(context, clients, name, &home, front.addr, &mut answers).await
    {
        return;
    }
    let Some(did) = did else {
        // A handle without any record of its own may still be one of the PDS above it.
        if txt.definite
            && !answers_as_pds
            && let Some(above) = whose::pds_above(context, name, Said::Name(first.clone())).await
        {
            is_handle(context, name, None);
            let rest = answers.finish();
            let pds = pds(context, clients, &above.host, 443, above.answers, Some(above.first));
            tokio::join!(rest, pds);
            return;
        }
        return pds(context, clients, name, 443, answers, first).await;
    };
    let endpoint = identity::document_of(context, &did).await.and_then(|document| pds_named(context, &document.pds?));
    // Without the document, what answers there may still say whose front it is.
    let endpoint = endpoint.or_else(|| {
        let front = first.as_ref().filter(|_| answers_as_pds)?;
        pds_named(context, &format!("https://{}", front_of(front, name)?))
    });
    match endpoint {
        // A PDS whose own name is also somebody's handle.
        Some((host, 443)) if host == name => pds(context, clients, name, 443, answers, first).await,
        None if answers_as_pds => pds(context, clients, name, 443, answers, first).await,
        endpoint => {
            is_handle(context, name, Some(&did));
            let rest = answers.finish();
            let there = async {
                if let Some((host, port)) = endpoint {
                    let answers = lines(context, Host::target(&host, port), Depth::Full, Some(clients.all.len()));
                    pds(context, clients, &host, port, answers, None).await;
                }
            };
            tokio::join!(rest, there);
        }
    }
}

/// The host that a PDS calls its own where it answers under another name, one that its handles may have: a handle's host is
/// the PDS's own proxy.
fn front_of(answer: &Answer, name: &str) -> Option<String> {
    let (did, domains) = answer.described.as_ref()?;
    let home = did.as_deref()?.strip_prefix("did:web:")?;
    let offered = domains.iter().any(|domain| domain.starts_with('.') && name.ends_with(domain.as_str()));
    // A port or a path is no host's own name; nor is one that nobody else can have.
    let is_name = home.contains('.') && !home.contains([':', '%', '/']) && home.parse::<std::net::IpAddr>().is_err();
    (offered && is_name && home != name).then(|| home.to_ascii_lowercase())
}

/// Examines the PDS that `name` is only a front of, `name` as a handle of it. `false`, and nothing is examined: there is no
/// such PDS, and it knows no such account; then the name is what the user says, and what the PDS thinks is wrong.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
async fn behind(
    context: &Arc<Context>,
    clients: &Clients,
    name: &str,
    home: &str,
    addr: std::net::IpAddr,
    answers: &mut Lines,
) -> bool {
    // The name of the PDS is from its own document, and asked like any other of that kind.
    let Some((home, _)) = pds_named(context, &format!("https://{home}")) else { return false };
    let mut there = lines(context, Host::target(&home, 443), Depth::Full, None);
    let (account, itself) =
        tokio::join!(identity::account(context, name, name, addr), first_working(&mut there, |answer| answer.healthy),);
    let itself = itself.filter(|answer| names_itself(answer, &home));
    if account.is_none() && itself.is_none() {
        there.finish().await;
        return false;
    }
    is_handle(context, name, account.as_deref());
    let document = async {
        if let Some(did) = &account {
            identity::document_of(context, did).await;
        }
    };
    let rest = answers.finish();
    tokio::join!(document, rest, pds(context, clients, &home, 443, there, itself));
    true
}

/// The name turned out to be a handle: its host need not be a PDS.
fn is_handle(context: &Context, name: &str, did: Option<&str>) {
    let mut found = context.found();
    found.target.kind = TargetKind::Handle;
    found.target.handle = Some(Text::new(name));
    found.target.did = did.map(Text::new);
    found.target.host = None;
    found.target.origin = None;
}

/// `describeServer` names this very host as its own (`did:web:<host>`, the reference PDS's default).
fn names_itself(answer: &Answer, name: &str) -> bool {
    matches!(&answer.described, Some((Some(did), _)) if did.strip_prefix("did:web:") == Some(name))
}

async fn did_target(context: &Arc<Context>, clients: &Clients, did: &str) {
    context.found().target.did = Some(Text::new(did));
    let Some(endpoint) = identity::document_of(context, did).await.and_then(|document| document.pds) else { return };
    let Some((host, port)) = pds_named(context, &endpoint) else { return };
    let answers = lines(context, Host::target(&host, port), Depth::Full, Some(clients.all.len()));
    pds(context, clients, &host, port, answers, None).await;
}

/// Everything that is asked of a PDS, once its host is known. `first` is an answer already taken
/// from `answers`.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
async fn pds(
    context: &Arc<Context>,
    clients: &Clients,
    host: &str,
    port: u16,
    mut answers: Lines,
    first: Option<Answer>,
) {
    {
        let mut found = context.found();
        found.target.host = Some(Text::new(host));
        found.target.port = port;
        found.target.origin = Some(Text::new(&origin(host, port)));
    }
    context.bridge.host(host);
    let deeper = async {
        let working = match first {
            Some(answer) => Some(answer),
            None => {
                let mut working = pin!(first_working(&mut answers, |answer| answer.healthy));
                match time::timeout(OVERDUE, &mut working).await {
                    Ok(working) => working,
                    // Whether others reach it need not wait for the end of a silence.
                    Err(_) => {
                        context.second_look.make(true);
                        working.await
                    }
                }
            }
        };
        if working.is_none() {
            context.second_look.make(true);
        }
        if let Some(working) = working {
            let domains = working.described.as_ref().map(|(_, domains)| domains.clone()).unwrap_or_default();
            let ahead = match answers.ahead() {
                Some(ahead) => ahead.confirmed(context, working.addr).await,
                None => None,
            };
            let (addr, login, names) = ahead.unwrap_or_else(|| (working.addr, Login::default(), Names::default()));
            tokio::join!(
                oauth::examine(context, clients, oauth::TARGET, (host, port, addr), login),
                handles::examine(context, (host, port, addr), &domains, names),
            );
        }
        answers.finish().await;
    };
    tokio::join!(deeper, zone(context, host));
}

/// The name servers of the zone, and who may issue certificates: asked upwards from the host.
async fn zone(context: &Arc<Context>, host: &str) {
    if !context.measures(ProbeName::Dns) || host.parse::<std::net::IpAddr>().is_ok() {
        return;
    }
    let Some(server) = context.resolvers.servers.first().copied() else { return };
    if !context.found().zones_asked.insert(host.to_owned()) {
        return;
    }
    let mut names = vec![host];
    while let Some((_, parent)) = names.last().and_then(|name| name.split_once('.')) {
        if !parent.contains('.') || names.len() == PARENTS {
            break;
        }
        names.push(parent);
    }
    let asked = names.into_iter().flat_map(|name| {
        [(DnsPurpose::Zone, RecordType::Ns), (DnsPurpose::Caa, RecordType::Caa)].map(|(purpose, record_type)| {
            let question = Question { role: Role::Target, purpose, name: name.to_owned(), record_type };
            async move { dns::ask(&context.net, ProbeName::Dns, server, &question).await }
        })
    });
    futures_util::future::join_all(asked).await;
}
