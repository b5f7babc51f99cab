//! OAuth discovery and the PAR experiment, at the target and, identically, at the reference.

use std::{net::IpAddr, sync::Arc, time::Duration};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    http_fact::{Content, HttpFact, HttpPurpose},
    limits,
    outside::{
        fetch,
        par::{self, ParRequest},
    },
    par_fact::ParArm,
};
use tokio::task::JoinSet;

use super::{
    Context,
    addresses::addresses,
    clients::{Client, Clients, https_host},
    origin, random,
};

/// The client for which a PDS fetches nothing (atproto OAuth profile, "Localhost Client Development").
const LOCALHOST_CLIENT: &str = "http://localhost";
/// The redirect it must name: one of its two defaults.
const LOCALHOST_REDIRECT: &str = "http://127.0.0.1/";
/// The scope every atproto client must ask for.
const BASE_SCOPE: &str = "atproto";

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
    host: &str,
    port: u16,
    addr: IpAddr,
) {
    if !context.measures(ProbeName::OauthDiscovery) {
        return;
    }
    let found = discover(context, side, &origin(host, port), addr).await;
    if !context.measures(ProbeName::Par) {
        return;
    }
    match found {
        Ok(server) => pars(context, clients, side.role, &server).await,
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

async fn discover(context: &Arc<Context>, side: Side, origin: &str, addr: IpAddr) -> Result<AuthServer, String> {
    let net = &context.net;
    let get = |role, purpose, base: &str, path: &str, addr| {
        let url = format!("{base}{path}");
        async move {
            let request = fetch::Request { role, purpose, url: &url, addr, limit: limits::FETCH };
            fetch::get(net, ProbeName::OauthDiscovery, &request).await
        }
    };
    let resource_path = "/.well-known/oauth-protected-resource";
    let server_path = "/.well-known/oauth-authorization-server";
    // Nearly every PDS is its own authorization server: both are asked for at once.
    let (resource, server) = tokio::join!(
        get(side.role, HttpPurpose::ProtectedResource, origin, resource_path, addr),
        get(side.role, HttpPurpose::AuthorizationServer, origin, server_path, addr),
    );
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
                    let (context, url, role) = (Arc::clone(context), format!("{base}{server_path}"), side.auth_role);
                    tasks.spawn(async move {
                        let purpose = HttpPurpose::AuthorizationServer;
                        let request = fetch::Request { role, purpose, url: &url, addr, limit: limits::FETCH };
                        (addr, fetch::get(&context.net, ProbeName::OauthDiscovery, &request).await)
                    });
                }
                Some(_) => {}
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

async fn pars(context: &Arc<Context>, clients: &Clients, role: Role, server: &AuthServer) {
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
    let localhost = request(
        ParArm::Localhost,
        LOCALHOST_CLIENT,
        LOCALHOST_CLIENT.to_owned(),
        LOCALHOST_REDIRECT.to_owned(),
        BASE_SCOPE.to_owned(),
    );
    let by_client = clients.all.iter().filter(|client| https_host(&client.id).is_some()).map(|client| async {
        // A query nobody asked for before: no cache on the way, and never the same address as the
        // arm beside it, which the PDS would queue behind it.
        let separator = if client.id.contains('?') { '&' } else { '?' };
        let busted = format!("{}{separator}pdsdoctor={:016x}", client.id, random());
        let busted = request(ParArm::CacheBusted, &client.id, busted, default_redirect(client), BASE_SCOPE.to_owned());
        let as_named = async {
            let patience = DOCUMENT_KNOWN_BY.saturating_sub(Duration::from_millis(context.net.elapsed_ms()));
            let document = tokio::time::timeout(patience, client.document()).await.ok().flatten();
            let redirect = document.as_ref().and_then(|document| document.redirect_uri.clone());
            let scope = document.and_then(|document| document.scope);
            let request = request(
                ParArm::AsNamed,
                &client.id,
                client.id.clone(),
                redirect.unwrap_or_else(|| default_redirect(client)),
                scope.unwrap_or_else(|| BASE_SCOPE.to_owned()),
            );
            par::par(&context.net, &request).await;
        };
        tokio::join!(par::par(&context.net, &busted), as_named);
    });
    let by_client = futures_util::future::join_all(by_client);
    tokio::join!(par::par(&context.net, &localhost), by_client);
}

/// Where a client would plausibly want its users back; it matters only after the document was read.
fn default_redirect(client: &Client) -> String {
    https_host(&client.id).map(|(host, port)| format!("{}/oauth/callback", origin(&host, port))).unwrap_or_default()
}
