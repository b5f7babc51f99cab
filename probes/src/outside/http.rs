//! HTTP/1.1 on a connection we opened ourselves: no pool, no redirect, no second attempt.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    fact::{FactBody, Failure, FailureKind, ProbeName, Role},
    failure,
    http_fact::{HttpFact, HttpPurpose},
    limits,
    net::Net,
    outside::{tcp, websocket},
    text::Text,
    wire::{
        body, date,
        tap::{Seen, Tap},
    },
};

/// The most header fields of an answer; a PDS behind a content network sends about 30.
pub(crate) const HEADER_FIELDS: usize = 200;

/// An open connection on which requests follow each other.
pub struct Line {
    role: Role,
    addr: IpAddr,
    /// `https://host`, with the port where it is not the usual one.
    origin: String,
    /// The `Host` of every request.
    authority: String,
    user_agent: String,
    sender: SendRequest<Empty<Bytes>>,
    seen: Seen,
    /// An earlier exchange failed: what is still on the way belongs to it.
    given_up: bool,
    _driver: Driver,
}

/// The task that moves the bytes; gone with the line.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    /// Prepares `stream` for requests to `host` at `addr`; nothing is sent yet, nothing recorded.
    /// `tls`: the stream is encrypted, so the addresses are `https`.
    ///
    /// # Errors
    ///
    /// The HTTP library refuses the stream.
    #[expect(
        clippy::too_many_arguments,
        reason = "role, host, address and port are an endpoint, and no type says so yet"
    )]
    pub async fn open(
        net: &Net,
        role: Role,
        host: &str,
        addr: IpAddr,
        port: u16,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        tls: bool,
    ) -> Result<Self, Failure> {
        let (stream, seen) = Tap::new(stream);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HEADER_BYTES)
            .max_headers(HEADER_FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure::from_hyper(&error))?;
        // Errors of the connection reach whoever waits for an answer; there is nobody else to tell.
        let driver = Driver(tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        }));
        let authority = authority(host, port, tls);
        let origin = format!("{}://{authority}", if tls { "https" } else { "http" });
        let user_agent = net.user_agent().to_owned();
        Ok(Self { role, addr, origin, authority, user_agent, sender, seen, given_up: false, _driver: driver })
    }

    /// `GET path` within [`limits::HTTP_EXCHANGE`]. Records [`HttpFact`]. If the server closed the connection
    /// after an earlier answer, or the earlier exchange failed, the fact says so (`Closed`): another line is
    /// for the caller to open.
    /// A status beside a failure means that the head came, but not the whole body. A server that limits requests is
    /// asked once more, at a slower pace ([`crate::pace`]); each of the two is a fact, and the second is given.
    pub async fn get(&mut self, net: &Net, probe: ProbeName, purpose: HttpPurpose, path: &str) -> HttpFact {
        self.get_within(net, probe, purpose, path, limits::HTTP_EXCHANGE).await
    }

    /// Asks for the event stream: an upgrade to WebSocket and, where it is granted, the first frame
    /// ([`Content::StreamFrame`](crate::http_fact::Content)). Records [`HttpFact`]; status 101 says that it opened. The line
    /// is of no use after that.
    pub async fn subscribe(&mut self, net: &Net) -> HttpFact {
        let purpose = HttpPurpose::SubscribeRepos;
        self.get_within(net, ProbeName::Websocket, purpose, websocket::PATH, limits::UPGRADE).await
    }

    #[expect(clippy::too_many_arguments, reason = "what is asked, for whom, and for how long")]
    pub(crate) async fn get_within(
        &mut self,
        net: &Net,
        probe: ProbeName,
        purpose: HttpPurpose,
        path: &str,
        limit: Duration,
    ) -> HttpFact {
        let waits_for = format!("{}{path} at {}", self.origin, self.addr);
        let mut first = true;
        loop {
            let mut job = net.begin(probe, waits_for.clone());
            job.turn(self.role, &self.authority).await;
            let fact = self.exchange(purpose, path, Instant::now() + limit, limit).await;
            let again = first && job.is_to_repeat(self.role, &self.authority, fact.status, retry_after(&fact));
            job.finish(FactBody::Http(fact.clone()));
            if !again {
                return fact;
            }
            first = false;
        }
    }

    async fn exchange(&mut self, purpose: HttpPurpose, path: &str, deadline: Instant, limit: Duration) -> HttpFact {
        let url = format!("{}{path}", self.origin);
        let mut fact = blank(self.role, purpose, &url, self.addr);
        if self.given_up {
            let words = "this connection was given up after an earlier failure";
            fact.failure = Some(Failure::new(FailureKind::Closed, words));
            return fact;
        }
        self.seen.allow(limits::EXCHANGE_BYTES);
        let sent = SystemTime::now();
        let before = Instant::now();
        match timeout_at(deadline, self.send(purpose, path)).await {
            Err(_) if self.seen.bytes() > 0 => fact.failure = Some(failure::too_slow(limit, "the head of the answer")),
            Err(_) => fact.failure = Some(failure::timeout(limit, "the answer")),
            Ok(Err(failure)) => fact.failure = Some(self.named(failure)),
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                fill_head(&mut fact, response.status().as_u16(), response.headers(), sent, before.elapsed());
                match websocket::first_frame(response).await {
                    Ok(content) => fact.content = content,
                    Err(failure) => fact.failure = Some(self.seen.named(failure)),
                }
                // What comes from here on is no HTTP.
                self.given_up = true;
                return fact;
            }
            Ok(Ok(response)) => {
                let (head, incoming) = response.into_parts();
                fill_head(&mut fact, head.status.as_u16(), &head.headers, sent, before.elapsed());
                let mut read = body::read(incoming, deadline, limit, failure::from_hyper).await;
                read.failure = read.failure.map(|failure| self.seen.named(failure));
                fill_body(&mut fact, &head.headers, read);
            }
        }
        self.given_up = fact.failure.is_some();
        fact
    }

    async fn send(&mut self, purpose: HttpPurpose, path: &str) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::get(path)
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, &self.user_agent)
            .header(header::ACCEPT, "*/*")
            // What is compressed could be a bomb, and nothing asked for here is large.
            .header(header::ACCEPT_ENCODING, "identity");
        if purpose == HttpPurpose::SubscribeRepos {
            for (name, value) in websocket::FIELDS {
                request = request.header(name, value);
            }
        }
        let request =
            request.body(Empty::new()).map_err(|error| Failure::new(FailureKind::Other, &error.to_string()))?;
        let gone = |_| Failure::new(FailureKind::Closed, "the server had closed the connection before this request");
        self.sender.ready().await.map_err(gone)?;
        self.sender.send_request(request).await.map_err(|error| failure::from_hyper(&error))
    }

    /// Says what came instead of HTTP.
    fn named(&self, failure: Failure) -> Failure {
        let failure = self.seen.named(failure);
        if failure.kind != FailureKind::NotHttp {
            return failure;
        }
        let beginning = self.seen.beginning();
        // A TLS record: alert or handshake, version 3.x (RFC 8446, section 5.1).
        if matches!(beginning.as_slice(), [0x15 | 0x16, 0x03, ..]) {
            return Failure::new(FailureKind::NotHttp, "not plain HTTP, but TLS");
        }
        let words = format!("not HTTP, but: {}", String::from_utf8_lossy(&beginning));
        Failure::new(FailureKind::NotHttp, &words)
    }
}

/// A TCP connection without TLS and `GET /` on it, in one fact ([`HttpFact`]; no connect of its own is
/// recorded), within [`limits::TCP_CONNECT`] and [`limits::HTTP_EXCHANGE`]. A server that speaks TLS there
/// is recognised: [`FailureKind::NotHttp`] with a detail that says so.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub async fn plain_get(
    net: &Net,
    probe: ProbeName,
    role: Role,
    host: &str,
    addr: IpAddr,
    port: u16,
    purpose: HttpPurpose,
) -> HttpFact {
    plain_get_within(net, probe, role, host, addr, port, purpose, limits::HTTP_EXCHANGE).await
}

#[expect(clippy::too_many_arguments, reason = "those of plain_get and the limit")]
pub(crate) async fn plain_get_within(
    net: &Net,
    probe: ProbeName,
    role: Role,
    host: &str,
    addr: IpAddr,
    port: u16,
    purpose: HttpPurpose,
    limit: Duration,
) -> HttpFact {
    let url = format!("http://{}/", authority(host, port, false));
    let mut job = net.begin(probe, format!("{url} at {addr}"));
    job.turn(role, host).await;
    let opened = async {
        let stream = tcp::connect_within(addr, port, limits::TCP_CONNECT).await?;
        Line::open(net, role, host, addr, port, stream, false).await
    };
    let fact = match opened.await {
        Ok(mut line) => line.exchange(purpose, "/", Instant::now() + limit, limit).await,
        Err(failure) => HttpFact { failure: Some(failure), ..blank(role, purpose, &url, addr) },
    };
    // Nothing rests on what stands without TLS: a limit is noted, and not tried again.
    job.is_to_repeat(role, host, fact.status.filter(|status| *status == 429), retry_after(&fact));
    job.finish(FactBody::Http(fact.clone()));
    fact
}

/// What the answer says of when to ask again.
pub(crate) fn retry_after(fact: &HttpFact) -> Option<&str> {
    fact.headers.get("retry-after").map(Text::as_str)
}

/// A `GET` of which nothing is known yet.
pub(crate) fn blank(role: Role, purpose: HttpPurpose, url: &str, addr: IpAddr) -> HttpFact {
    HttpFact {
        role,
        purpose,
        method: Text::new("GET"),
        url: Text::new(url),
        addr: Some(addr),
        failure: None,
        status: None,
        headers: std::collections::BTreeMap::new(),
        body: None,
        date_offset_ms: None,
        content: None,
    }
}

/// Notes the head of an answer: `sent` is our clock when the request went out, `took` how long the head took.
pub(crate) fn fill_head(
    fact: &mut HttpFact,
    status: u16,
    headers: &hyper::HeaderMap,
    sent: SystemTime,
    took: Duration,
) {
    fact.status = Some(status);
    fact.headers = body::kept_headers(headers);
    fact.date_offset_ms = body::header(headers, "date").and_then(|value| date::offset_ms(value, sent, took));
}

/// Notes the body of an answer.
pub(crate) fn fill_body(fact: &mut HttpFact, headers: &hyper::HeaderMap, read: body::Read) {
    let (body, content) = read.judge(fact.purpose, body::header(headers, "content-type"));
    fact.body = Some(body);
    fact.content = content;
    fact.failure = read.failure;
}

/// Host and port as they stand in an address: IPv6 in brackets (RFC 3986, section 3.2.2), the usual port left out.
pub(crate) fn authority(host: &str, port: u16, tls: bool) -> String {
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let usual = if tls { 443 } else { 80 };
    if port == usual { host } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests;
