//! OAuth discovery and the PAR experiment, at the target and, identically, at the reference.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    http_fact::{Content, HttpFact, HttpPurpose},
    limits,
    outside::{
        fetch::{self, Opened},
        par::{self, ParRequest},
    },
    par_fact::{ParArm, ParFact},
};
use tokio::{sync::Notify, task::JoinSet, time};

use super::{
    Context,
    addresses::addresses,
    ahead::{Documents, Login, SERVER_PATH, documents},
    clients::{Clients, DOCUMENTS, PARS_PER_CLIENT, https_host, usual_host},
    origin, random, way_out,
};
use crate::egress::EgressHost;

/// The client for which a PDS fetches nothing (atproto OAuth profile, "Localhost Client Development").
const LOCALHOST_CLIENT: &str = "http://localhost";
/// The redirect it must name: one of its two defaults.
const LOCALHOST_REDIRECT: &str = "http://127.0.0.1/";
/// The scope every atproto client must ask for.
const BASE_SCOPE: &str = "atproto";

/// The most PARs that one PDS gets in a run.
const PARS: usize = 8;
/// Those that need no application: the one without a fetch, and the one about the PDS's own address, in whose place
/// the reference may be sent to the target's.
const PARS_WITHOUT_CLIENT: usize = 2;
const _: () = assert!(PARS_WITHOUT_CLIENT + PARS_PER_CLIENT * DOCUMENTS <= PARS, "a run would send too many PARs");

/// How long after the start of the run the application's own words are waited for. Its document takes
/// four round trips, 1.2 s over 300 ms; a dead one must not hold up the PAR, which itself may take 10 s.
const DOCUMENT_KNOWN_BY: Duration = Duration::from_secs(2);

/// One side of the experiment.
#[derive(Clone, Copy)]
pub(super) struct Side {
    /// The PDS.
    pub(super) role: Role,
    /// Its authorization server, where that is another host.
    pub(super) auth_role: Role,
}

/// The target's side.
pub(super) const TARGET: Side = Side { role: Role::Target, auth_role: Role::TargetAuthServer };
/// The reference's side.
pub(super) const REFERENCE: Side = Side { role: Role::Reference, auth_role: Role::ReferenceAuthServer };

/// Where PARs go.
struct AuthServer {
    origin: String,
    endpoint: String,
    addr: IpAddr,
}

/// Discovery, then every arm of the PAR experiment.
pub(super) async fn examine(
    context: &Arc<Context>,
    clients: &Clients,
    side: Side,
    (host, port, addr): (&str, u16, IpAddr),
    mut ahead: Login,
) {
    if !context.measures(ProbeName::OauthDiscovery) {
        return;
    }
    let origin = origin(host, port);
    let found = discover(context, side, &origin, addr, &mut ahead).await;
    if !context.measures(ProbeName::Par) {
        return;
    }
    match found {
        Ok(server) => pars(context, clients, side.role, (&origin, addr), (&server, &ahead)).await,
        Err(why) => {
            let whose = if side.role == Role::Target { "target" } else { "reference" };
            context.net.not_measured(
                ProbeName::Par,
                &format!("no PAR was sent to the {whose}: {why}"),
                "working OAuth discovery",
            );
        }
    }
}

async fn discover(
    context: &Arc<Context>,
    side: Side,
    origin: &str,
    addr: IpAddr,
    ahead: &mut Login,
) -> Result<AuthServer, String> {
    let Documents { resource, server } = match ahead.documents().await {
        Some(documents) => documents,
        None => documents(context, side.role, origin, addr).await,
    };
    let named = match &resource.content {
        Some(Content::ProtectedResource { authorization_servers, .. }) if resource.is_expected() => {
            authorization_servers.first().map(ToString::to_string)
        }
        // The reference client falls back to the PDS itself (`oauth-client`, on 404).
        _ => None,
    };
    let named = named.unwrap_or_else(|| origin.to_owned());
    if same_origin(&named, origin) {
        let endpoint = endpoint(&server, origin)?;
        return Ok(AuthServer { origin: origin.to_owned(), endpoint, addr });
    }
    let (host, port) = https_host(&named).ok_or("the authorization server named is not an https origin")?;
    let base = super::origin(&host, port);
    let mut addrs = addresses(context, ProbeName::OauthDiscovery, side.auth_role, &host, port);
    let mut tasks = JoinSet::new();
    let mut last = "the authorization server named has no address".to_owned();
    loop {
        tokio::select! {
            next = addrs.recv() => match next {
                Some(addr) if context.can_try(addr) => {
                    let (context, url, role) = (Arc::clone(context), format!("{base}{SERVER_PATH}"), side.auth_role);
                    tasks.spawn(async move {
                        let purpose = HttpPurpose::AuthorizationServer;
                        let request = fetch::Request { role, purpose, url: &url, addr, limit: limits::FETCH };
                        (addr, fetch::get(&context.net, ProbeName::OauthDiscovery, &request).await)
                    });
                }
                Some(_) => {}
                None if tasks.is_empty() && addrs.refused() => {
                    return Err("the authorization server named was not asked".to_owned());
                }
                None if tasks.is_empty() => return Err(last),
                None => {
                    if let Some(Ok((addr, fact))) = tasks.join_next().await {
                        match endpoint(&fact, &base) {
                            Ok(endpoint) => return Ok(AuthServer { origin: base, endpoint, addr }),
                            Err(why) => last = why,
                        }
                    }
                }
            },
            Some(Ok((addr, fact))) = tasks.join_next(), if !tasks.is_empty() => match endpoint(&fact, &base) {
                Ok(endpoint) => return Ok(AuthServer { origin: base, endpoint, addr }),
                Err(why) => last = why,
            },
        }
    }
}

/// The PAR endpoint, if the document is one and the endpoint lies on its own origin: a request is
/// never sent where a foreign document points.
fn endpoint(fact: &HttpFact, base: &str) -> Result<String, String> {
    let Some(Content::AuthorizationServer(document)) = &fact.content else {
        return Err("the authorization server metadata could not be read".to_owned());
    };
    let endpoint = document
        .pushed_authorization_request_endpoint
        .as_deref()
        .ok_or("the authorization server metadata names no PAR endpoint")?;
    if same_origin(endpoint, base) {
        Ok(endpoint.to_owned())
    } else {
        Err("the PAR endpoint named is not on the authorization server's own https origin".to_owned())
    }
}

fn same_origin(a: &str, b: &str) -> bool {
    matches!((https_host(a), https_host(b)), (Some(a), Some(b)) if a == b)
}

#[expect(clippy::too_many_lines, reason = "the requests to one side, which wait for each other")]
async fn pars(
    context: &Arc<Context>,
    clients: &Clients,
    role: Role,
    pds: (&str, IpAddr),
    (server, ahead): (&AuthServer, &Login),
) {
    let net = &context.net;
    let request = |arm, client: &str, client_id: String, redirect_uri: String, scope: String| ParRequest {
        role,
        server: server.origin.clone(),
        endpoint: server.endpoint.clone(),
        addr: server.addr,
        arm,
        client: client.to_owned(),
        client_id,
        redirect_uri,
        scope,
    };
    // Any address that the PDS shall fetch, in place of a client's.
    let fetched = |arm, url: &str| request(arm, url, busted(url), callback(url), BASE_SCOPE.to_owned());
    // The hosts where a timer of the target's Node may have ended the fetch.
    let cut_off = Mutex::new(BTreeSet::new());
    let ask_over = async |opened: Option<Opened>, request: ParRequest| {
        let (answer, took) = par::par(net, &request, opened).await;
        if role == Role::Target && way_out::is_cut_off(&answer, took) {
            cut_off.lock().unwrap_or_else(PoisonError::into_inner).extend(usual_host(&request.client));
        }
        answer
    };
    let ask = async |request: ParRequest| ask_over(ahead.connection().await, request).await;
    let base_known = Notify::new();
    let localhost = async {
        let (client, redirect) = (LOCALHOST_CLIENT, LOCALHOST_REDIRECT.to_owned());
        let request = request(ParArm::Localhost, client, client.to_owned(), redirect, BASE_SCOPE.to_owned());
        if par::par(net, &request, ahead.connection().await).await.0.failure.is_none() {
            base_known.notify_one();
        }
    };
    // Its own address is the cheapest fetch there is; the PDS refuses other ports than the usual one. The reference has
    // one such fetch: from the target, where this place is not enough to look at it from, else from itself, where the
    // target fails at that. Which of them must not rest on who asks first.
    let own_url = async {
        let own = Some((ParArm::OwnUrl, server.origin.clone()));
        let wanted = match role {
            Role::Target => own,
            _ if context.second_look.made().await => {
                let target = context.found().target.origin.clone();
                target.map(|origin| (ParArm::TargetUrl, origin.to_string()))
            }
            _ => own.filter(|_| context.own_url_failed.load(Ordering::Relaxed)),
        };
        let Some((arm, origin)) = wanted.filter(|(_, origin)| usual_host(origin).is_some()) else { return };
        let answer = ask(fetched(arm, &format!("{origin}/xrpc/_health"))).await;
        if role == Role::Target && way_out::has_failed(&answer) {
            context.own_url_failed.store(true, Ordering::Relaxed);
        }
    };
    // What is left of the most that one PDS gets, for those who come first.
    let left = AtomicUsize::new(PARS.saturating_sub(PARS_WITHOUT_CLIENT + PARS_PER_CLIENT * clients.all.len()));
    let take = |most: usize| {
        let less = |left: usize| Some(left - left.min(most));
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_or(0, |before| before.min(most))
    };
    let decide = |failed| {
        context.way_out.make(failed);
        context.login_failed.make(failed);
    };
    let seen = |answer: ParFact| {
        if role == Role::Target && way_out::has_failed(&answer) {
            decide(true);
        }
    };
    let logins = clients.all.iter().filter(|client| https_host(&client.id).is_some()).map(|client| async {
        let now = async { seen(ask(fetched(ParArm::CacheBusted, &client.id)).await) };
        let as_named = async {
            let patience = DOCUMENT_KNOWN_BY.saturating_sub(Duration::from_millis(net.elapsed_ms()));
            let document = time::timeout(patience, client.document()).await.ok().flatten();
            let redirect = document.as_ref().and_then(|document| document.redirect_uri.clone());
            let scope = document.and_then(|document| document.scope);
            let request = request(
                ParArm::AsNamed,
                &client.id,
                client.id.clone(),
                redirect.unwrap_or_else(|| callback(&client.id)),
                scope.unwrap_or_else(|| BASE_SCOPE.to_owned()),
            );
            seen(ask(request).await);
        };
        tokio::join!(now, as_named);
    });
    let logins = futures_util::future::join_all(logins);
    let decided = async {
        if role != Role::Target {
            logins.await;
            return;
        }
        let overdue = async {
            base_known.notified().await;
            time::sleep(way_out::OVERDUE).await;
            // Where requests are limited, it is our own turn that is waited for.
            if !net.is_slowed(role, pds.0) {
                decide(true);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = logins => decide(false),
            () = overdue => {}
        }
    };
    let fetch = async |host: &EgressHost| drop(ask_over(None, fetched(host.family.arm(), &host.url)).await);
    let way_out = way_out::examine(context, clients, role, pds, take, fetch);
    let ((), (), (), failed_soon) = tokio::join!(localhost, own_url, decided, way_out);
    let cut_off = cut_off.into_inner().unwrap_or_else(PoisonError::into_inner);
    way_out::again(context, clients, pds, failed_soon, cut_off).await;
}

/// The address with a query that nobody asked for before: no cache on the way, and never the same address as the
/// arm beside it, which the PDS would queue behind it.
fn busted(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}pdsdoctor={:016x}", random())
}

/// Where a client would plausibly want its users back; it matters only after the document was read.
fn callback(url: &str) -> String {
    https_host(url).map(|(host, port)| format!("{}/oauth/callback", origin(&host, port))).unwrap_or_default()
}
