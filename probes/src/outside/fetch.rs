//! A document over a connection of its own, as an ordinary client gets it: HTTP/2 where the server has it. Pinned to one
//! address.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::{
    Method, Uri,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header::{self, HeaderName},
    http::response::Parts,
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use crate::{
    fact::{FactBody, Failure, FailureKind, ProbeName, Role},
    failure,
    http_fact::{HttpFact, HttpPurpose},
    limits,
    net::{Job, Net},
    outside::{
        http::{HEADER_FIELDS, authority, blank, fill_body, fill_head, retry_after},
        tcp::{self, Connection},
    },
    wire::{
        body,
        tap::{Seen, Tap},
        trust_all,
    },
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
    paced(net, probe, request, None, None).await.0
}

/// The same over a connection that was opened before.
pub async fn get_over(net: &Net, probe: ProbeName, request: &Request<'_>, opened: Opened) -> HttpFact {
    paced(net, probe, request, None, Some(opened)).await.0
}

/// The same with an `atproto-proxy` header (atproto.com/specs/xrpc, "Service Proxying"): the PDS resolves the DID
/// in it before it asks who we are, so it needs no account. Beside the fact, how long it took.
pub async fn get_proxied(net: &Net, probe: ProbeName, request: &Request<'_>, service: &str) -> (HttpFact, Duration) {
    paced(net, probe, request, Some(service), None).await
}

/// At the pace of its host; once more, as a fact of its own, where that limits requests. Gives the last.
async fn paced(
    net: &Net,
    probe: ProbeName,
    request: &Request<'_>,
    service: Option<&str>,
    mut opened: Option<Opened>,
) -> (HttpFact, Duration) {
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
        let opened = over_opened(&mut job, opened.take(), request.url, request.addr);
        fetch(net, request, service, opened, &mut fact).await;
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

async fn fetch(net: &Net, request: &Request<'_>, service: Option<&str>, opened: Option<Opened>, fact: &mut HttpFact) {
    let deadline = deadline(request.limit, opened.as_ref());
    let mut message = Message::new(Method::GET, request.url, request.addr);
    message.fields.push((header::ACCEPT, "*/*"));
    message.fields.extend(service.map(|service| (HeaderName::from_static("atproto-proxy"), service)));
    match send(net, &message, opened, deadline, request.limit).await {
        Err(failure) => fact.failure = Some(failure),
        Ok(answer) => {
            fill_head(fact, answer.head.status.as_u16(), &answer.head.headers, answer.sent, answer.took);
            let (head, read) = answer.read(deadline, request.limit).await;
            fill_body(fact, &head.headers, read);
        }
    }
}

/// The connection that a request goes over, if this one leads there; the time to open it is the request's.
pub(crate) fn over_opened(job: &mut Job, opened: Option<Opened>, url: &str, addr: IpAddr) -> Option<Opened> {
    let opened = opened.filter(|opened| opened.fits(url, addr))?;
    job.opened_before(opened.took);
    Some(opened)
}

/// When a request with this limit must have been answered: opening the connection counts, and waiting with it open does not.
pub(crate) fn deadline(limit: Duration, opened: Option<&Opened>) -> Instant {
    Instant::now() + opened.map_or(limit, |opened| limit.saturating_sub(opened.took))
}

/// A connection that was opened before it was clear what is asked on it.
pub struct Opened {
    way: Way,
    host: String,
    port: u16,
    addr: IpAddr,
    took: Duration,
    since: Instant,
}

/// How far it was opened.
enum Way {
    Tcp(Connection),
    Tls(Box<TlsStream<Connection>>),
}

/// How long one may be kept open before the first request: servers close what asks nothing, the impatient ones after 5 s. It
/// is also as long as one is waited for that was opened before.
pub const OPEN_AT_MOST: Duration = Duration::from_secs(3);

impl Opened {
    /// Opens one, to be asked this `https` address at this network address. Records nothing: what fails here is tried again
    /// by the request that needs it.
    pub async fn ahead(url: &str, addr: IpAddr) -> Option<Self> {
        let begun = Instant::now();
        let (url, host, port) = target(url, addr).ok().filter(|(url, ..)| url.scheme() == "https")?;
        let stream = timeout_at(begun + OPEN_AT_MOST, open(&url, &host, port, addr, OPEN_AT_MOST)).await.ok()?.ok()?;
        Some(Self { way: stream, host, port, addr, took: begun.elapsed(), since: Instant::now() })
    }

    /// A connection to `host` on which not even TLS was begun, and how long it took to connect.
    pub fn connected(connection: Connection, host: &str, took: Duration) -> Self {
        let (addr, port) = (connection.peer().ip(), connection.peer().port());
        Self { way: Way::Tcp(connection), host: host.to_owned(), port, addr, took, since: Instant::now() }
    }

    /// It leads where this is to be asked, and has not waited for long.
    fn fits(&self, url: &str, addr: IpAddr) -> bool {
        self.since.elapsed() < OPEN_AT_MOST
            && target(url, addr).is_ok_and(|(url, host, port)| {
                url.scheme() == "https" && (host, port, addr) == (self.host.clone(), self.port, self.addr)
            })
    }
}

/// One request to one address.
pub(crate) struct Message<'a> {
    method: Method,
    url: &'a str,
    addr: IpAddr,
    /// Header fields beside those of every request.
    pub(crate) fields: Vec<(HeaderName, &'a str)>,
    pub(crate) body: String,
}

impl<'a> Message<'a> {
    pub(crate) fn new(method: Method, url: &'a str, addr: IpAddr) -> Self {
        Self { method, url, addr, fields: Vec::new(), body: String::new() }
    }
}

/// An answer whose head has come. Its connection is gone with it.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    /// When the request was sent, by our clock, and how long the head of the answer took from then.
    sent: SystemTime,
    took: Duration,
    body: Incoming,
    seen: Seen,
    _tasks: Tasks,
}

impl Answer {
    /// Reads the rest.
    pub(crate) async fn read(self, deadline: Instant, limit: Duration) -> (Parts, body::Read) {
        let mut read = body::read(self.body, deadline, limit, failure::from_hyper).await;
        read.failure = read.failure.map(|failure| self.seen.named(failure));
        (self.head, read)
    }
}

/// The tasks that move the bytes of a connection; gone with it.
#[derive(Clone, Default)]
struct Tasks(Arc<Running>);

#[derive(Default)]
struct Running(Mutex<Vec<AbortHandle>>);

impl Drop for Running {
    fn drop(&mut self) {
        for task in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            task.abort();
        }
    }
}

/// Holds no `Tasks` itself: a task must not keep alive what ends it.
#[derive(Clone)]
struct Spawner(std::sync::Weak<Running>);

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let Some(running) = self.0.upgrade() else { return };
        let handle = tokio::spawn(task).abort_handle();
        running.0.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }
}

/// [`limits::HEADER_BYTES`] as HTTP/2 counts them.
const HEADER_LIST: u32 = 64 * 1024;

/// What a server may send over HTTP/2 before we read it. The usual 5 MiB per connection would add up;
/// documents are a few KiB.
const WINDOW: u32 = 256 * 1024;

/// Host and port, if this is an address that is fetched.
fn target(url: &str, addr: IpAddr) -> Result<(Url, String, u16), Failure> {
    let refuse = |words: &str| Failure::new(FailureKind::Other, words);
    let url = Url::parse(url).map_err(|error| refuse(&format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(refuse("neither https nor http"));
    }
    // Credentials in a document's address would be sent; nothing asked for here has any.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("a URL with credentials is not fetched"));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host.parse::<IpAddr>().is_ok_and(|literal| literal != addr) {
        return Err(refuse("the URL names another address"));
    }
    let port = url.port_or_known_default().ok_or_else(|| refuse("a URL without a port"))?;
    Ok((url, host, port))
}

/// Connects, where nothing was opened before, sends, and waits for the head of the answer.
pub(crate) async fn send(
    net: &Net,
    message: &Message<'_>,
    opened: Option<Opened>,
    deadline: Instant,
    limit: Duration,
) -> Result<Answer, Failure> {
    match timeout_at(deadline, sent(net, message, opened, limit)).await {
        Err(_) => Err(failure::timeout(limit, "the answer")),
        Ok(done) => done,
    }
}

async fn sent(net: &Net, message: &Message<'_>, opened: Option<Opened>, limit: Duration) -> Result<Answer, Failure> {
    let (url, host, port) = target(message.url, message.addr)?;
    let way = match opened.map(|opened| opened.way) {
        Some(Way::Tcp(stream)) => over(&url, &host, stream).await?,
        Some(way) => way,
        // The limit on all of it is kept outside.
        None => open(&url, &host, port, message.addr, limit).await?,
    };
    match way {
        Way::Tcp(stream) => exchange(net, message, &url, stream, false).await,
        Way::Tls(stream) => {
            let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            exchange(net, message, &url, *stream, second).await
        }
    }
}

async fn open(url: &Url, host: &str, port: u16, addr: IpAddr, limit: Duration) -> Result<Way, Failure> {
    over(url, host, tcp::connect_within(addr, port, limit).await?).await
}

/// Shakes hands, where the address wants it.
async fn over(url: &Url, host: &str, stream: Connection) -> Result<Way, Failure> {
    if url.scheme() == "http" {
        return Ok(Way::Tcp(stream));
    }
    let (config, _) = trust_all::config(&["h2", "http/1.1"]).map_err(|error| failure::from_rustls(&error))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::new(FailureKind::Other, "this name cannot be a TLS server name"))?;
    let seen = stream.seen();
    seen.allow(limits::HANDSHAKE_BYTES);
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = shaken.map_err(|error| seen.named(failure::from_io(&error)))?;
    seen.allow(limits::CONNECTION_BYTES);
    Ok(Way::Tls(Box::new(stream)))
}

/// Over HTTP/2 if `second`.
async fn exchange(
    net: &Net,
    message: &Message<'_>,
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    second: bool,
) -> Result<Answer, Failure> {
    let (sent, before) = (SystemTime::now(), Instant::now());
    let (stream, seen) = Tap::new(stream);
    seen.allow(limits::EXCHANGE_BYTES);
    let told = |error: hyper::Error| seen.named(failure::from_hyper(&error));
    let other = |words: String| Failure::new(FailureKind::Other, &words);
    let tls = url.scheme() == "https";
    let host = url.host_str().unwrap_or_default();
    let authority = authority(host, url.port_or_known_default().unwrap_or_default(), tls);
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    // HTTP/1.1 has the host in a field of its own (RFC 9112, section 3.2), HTTP/2 in the address (RFC 9113, section 8.3.1).
    let uri = if second { format!("{}://{authority}{path}", url.scheme()) } else { path };
    let uri: Uri = uri.parse().map_err(|error| other(format!("{error}")))?;
    let mut request = hyper::Request::builder().method(message.method.clone()).uri(uri);
    if !second {
        request = request.header(header::HOST, authority);
    }
    request = request
        .header(header::USER_AGENT, net.user_agent())
        // What is compressed could be a bomb, and nothing asked for here is large.
        .header(header::ACCEPT_ENCODING, "identity");
    for (name, value) in &message.fields {
        request = request.header(name, *value);
    }
    let request = request.body(Full::new(Bytes::from(message.body.clone()))).map_err(|it| other(it.to_string()))?;
    let tasks = Tasks::default();
    let spawner = Spawner(Arc::downgrade(&tasks.0));
    // Errors of the connection reach whoever waits for the answer; there is nobody else to tell.
    let response = if second {
        let (mut sender, connection) = http2::Builder::new(spawner.clone())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEADER_LIST)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(told)?;
        spawner.execute(async move { drop(connection.await) });
        sender.ready().await.map_err(told)?;
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HEADER_BYTES)
            .max_headers(HEADER_FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(told)?;
        spawner.execute(async move { drop(connection.await) });
        sender.ready().await.map_err(told)?;
        sender.send_request(request).await
    };
    let (head, body) = response.map_err(told)?.into_parts();
    Ok(Answer { head, sent, took: before.elapsed(), body, seen, _tasks: tasks })
}

#[cfg(test)]
mod tests;
