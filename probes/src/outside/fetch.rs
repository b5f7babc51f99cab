//! A document over a connection of its own, as an ordinary client gets it (reqwest), pinned to one address.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use reqwest::{Client, RequestBuilder, Response, Url, header, redirect::Policy};
use tokio::time::{Instant, timeout_at};

use crate::{
    fact::{FactBody, Failure, FailureKind, ProbeName, Role},
    failure,
    http_fact::{HttpFact, HttpPurpose},
    limits,
    net::Net,
    outside::http::{blank, fill_body, fill_head, retry_after},
    wire::{body, trust_all},
};

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose document.
    pub role: Role,
    /// Why.
    pub purpose: HttpPurpose,
    /// `https` or `http`.
    pub url: &'a str,
    /// The address to connect to, whatever the host of the URL resolves to.
    pub addr: IpAddr,
    /// For the whole of it: connect, TLS, exchange.
    pub limit: Duration,
}

/// `GET`s a document over a new connection to one address. Records [`HttpFact`]. The certificate is not
/// judged here (that is [`super::tls::handshake`]'s), redirects are recorded and not followed.
pub async fn get(net: &Net, probe: ProbeName, request: &Request<'_>) -> HttpFact {
    paced(net, probe, request, None).await.0
}

/// The same with an `atproto-proxy` header (atproto.com/specs/xrpc, "Service Proxying"): the PDS resolves the DID
/// in it before it asks who we are, so it needs no account. Beside the fact, how long it took.
pub async fn get_proxied(net: &Net, probe: ProbeName, request: &Request<'_>, service: &str) -> (HttpFact, Duration) {
    paced(net, probe, request, Some(service)).await
}

/// At the pace of its host; once more, as a fact of its own, where that limits requests. Gives the last.
async fn paced(net: &Net, probe: ProbeName, request: &Request<'_>, service: Option<&str>) -> (HttpFact, Duration) {
    let waits_for = match service {
        Some(service) => format!("{} to look up {service}", request.url),
        None => format!("{} at {}", request.url, request.addr),
    };
    let host = host_of(request.url);
    let mut first = true;
    loop {
        let mut job = net.begin(probe, waits_for.clone());
        job.turn(request.role, &host).await;
        let mut fact = blank(request.role, request.purpose, request.url, request.addr);
        fetch(net, request, service, &mut fact).await;
        let again = first && job.is_to_repeat(request.role, &host, fact.status, retry_after(&fact));
        let took = job.elapsed();
        job.finish(FactBody::Http(fact.clone()));
        if !again {
            return (fact, took);
        }
        first = false;
    }
}

/// Host and port of an address, for the pace; the address itself where it has none.
pub(crate) fn host_of(url: &str) -> String {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    host.unwrap_or_else(|| url.to_owned())
}

async fn fetch(net: &Net, request: &Request<'_>, service: Option<&str>, fact: &mut HttpFact) {
    let deadline = Instant::now() + request.limit;
    let prepared = pinned(net, request.url, request.addr).map(|(client, url)| match service {
        Some(service) => client.get(url).header("atproto-proxy", service),
        None => client.get(url),
    });
    let (sent, before) = (SystemTime::now(), Instant::now());
    let response = match prepared {
        Ok(ready) => send(ready, deadline, request.limit).await,
        Err(failure) => Err(failure),
    };
    match response {
        Err(failure) => fact.failure = Some(failure),
        Ok(response) => {
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            // Of the round trips of a new connection (TCP, TLS, HTTP) the last one is the exchange.
            let took = before.elapsed();
            fill_head(fact, status, &headers, sent + took * 2 / 3, took / 3);
            let incoming = reqwest::Body::from(response);
            let read = body::read(incoming, deadline, request.limit, failure::from_reqwest).await;
            fill_body(fact, &headers, read);
        }
    }
}

/// A client for one request to one address.
pub(crate) fn pinned(net: &Net, url: &str, addr: IpAddr) -> Result<(Client, Url), Failure> {
    let refuse = |words: &str| Failure::new(FailureKind::Other, words);
    let url = Url::parse(url).map_err(|error| refuse(&format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(refuse("neither https nor http"));
    }
    // Credentials in a document's address would be sent; nothing asked for here has any.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("a URL with credentials is not fetched"));
    }
    let host = url.host_str().unwrap_or_default();
    if let Ok(literal) = host.trim_matches(['[', ']']).parse::<IpAddr>()
        && literal != addr
    {
        // reqwest would connect to what stands in the URL, and the fact would name the wrong address.
        return Err(refuse("the URL names another address"));
    }
    let (tls, _) = trust_all::config(&["h2", "http/1.1"]).map_err(|error| failure::from_rustls(&error))?;
    let client = Client::builder()
        .resolve(host, SocketAddr::new(addr, 0))
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .connect_timeout(limits::TCP_CONNECT + limits::TLS_HANDSHAKE)
        .http2_max_header_list_size(HEADER_LIST)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW)
        .tls_backend_preconfigured(tls)
        .referer(false)
        .user_agent(net.user_agent())
        .build()
        .map_err(|error| failure::from_reqwest(&error))?;
    Ok((client, url))
}

/// [`limits::HEADER_BYTES`] as HTTP/2 counts them; over HTTP/1.1 hyper stops at about 400 KiB by itself.
const HEADER_LIST: u32 = 64 * 1024;

/// What a server may send over HTTP/2 before we read it. The usual 5 MiB per connection would add up;
/// documents are a few KiB.
const WINDOW: u32 = 256 * 1024;

/// Sends a request and waits for the head of the answer.
pub(crate) async fn send(request: RequestBuilder, deadline: Instant, limit: Duration) -> Result<Response, Failure> {
    // What is compressed could be a bomb, and nothing asked for here is large.
    let request = request.header(header::ACCEPT_ENCODING, "identity");
    match timeout_at(deadline, request.send()).await {
        Err(_) => Err(failure::timeout(limit, "the answer")),
        Ok(Err(error)) => Err(failure::from_reqwest(&error)),
        Ok(Ok(response)) => Ok(response),
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
