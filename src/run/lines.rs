//! One line per address: connect, TLS, HTTP.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use pdsdoctor_probes::{
    fact::{FailureKind, ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    outside::{
        http::{self, Line},
        tcp::{self, Connection},
        tls, tls_offer,
    },
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Context, addresses::addresses, ahead::Ahead};
use crate::options::ENTRYWAYS;

/// Alerts that a server sends where it finds nothing to its taste in an offer, and some also where it has no certificate
/// for a name, in rustls's words (RFC 8446, section 6.2).
const IN_VAIN: &[&str] = &["HandshakeFailure", "InsufficientSecurity", "ProtocolVersion"];

/// An address that answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The address.
    pub(super) addr: IpAddr,
    /// `_health` was answered as a PDS does.
    pub(super) healthy: bool,
    /// `describeServer`, if it was understood: service DID and handle domains.
    pub(super) described: Option<(Option<String>, Vec<String>)>,
    /// The status of the last answer.
    pub(super) status: Option<u16>,
}

/// What is asked on a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// `_health` only (the reference).
    Health,
    /// `_health` and `describeServer`, and port 80 (the target).
    Full,
}

/// A host to be looked at.
#[derive(Clone)]
pub(super) struct Place {
    /// Whose.
    pub(super) role: Role,
    /// Its name or address.
    pub(super) host: String,
    /// Where it answers.
    pub(super) port: u16,
    /// What is asked.
    pub(super) depth: Depth,
}

impl Place {
    /// The target's.
    pub(super) fn target(host: &str, port: u16) -> Self {
        Self { role: Role::Target, host: host.to_owned(), port, depth: Depth::Full }
    }
}

/// The lines of a host, and what was begun beside them.
pub(super) struct Lines {
    answers: mpsc::UnboundedReceiver<Answer>,
    ahead: Arc<Mutex<Option<Ahead>>>,
}

impl Lines {
    /// The next answer, as it is there; `None` when all lines have ended.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// The rest of the answers: what was begun is waited for, or it would count as cut short. What was begun ahead and
    /// nobody wanted is given up.
    pub(super) async fn finish(&mut self) {
        drop(self.ahead());
        while self.answers.recv().await.is_some() {}
    }

    /// What was begun ahead, for whoever comes first.
    pub(super) fn ahead(&self) -> Option<Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Starts a line for every address of the host. With `logins`, what the host will be asked if it is a PDS is begun ahead
/// at the first of them, with connections for so many applications.
pub(super) fn lines(context: &Arc<Context>, place: Place, logins: Option<usize>) -> Lines {
    let (to, from) = mpsc::unbounded_channel();
    let ahead = Arc::new(Mutex::new(None));
    let lines = Lines { answers: from, ahead: Arc::clone(&ahead) };
    let mut logins = logins
        .filter(|_| [ProbeName::Tcp, ProbeName::Tls, ProbeName::Http].into_iter().all(|probe| context.measures(probe)));
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let Place { role, ref host, port, depth } = place;
        let mut addrs = addresses(&context, ProbeName::Dns, role, host, port);
        let mut tasks = JoinSet::new();
        while let Some(addr) = addrs.recv().await {
            if !context.can_try(addr) {
                continue;
            }
            if !context.measures(ProbeName::Tcp) {
                continue;
            }
            if depth == Depth::Full && context.measures(ProbeName::Port80) && port == 443 {
                let (context, host) = (Arc::clone(&context), host.clone());
                tasks.spawn(async move {
                    let purpose = HttpPurpose::PlainPort80;
                    http::plain_get(&context.net, ProbeName::Port80, role, &host, addr, 80, purpose).await;
                });
            }
            let (there, host, to) = (Arc::clone(&context), host.clone(), to.clone());
            tasks.spawn(async move {
                if let Some(answer) = line(&there, role, &host, port, addr, depth, &to).await {
                    let _ = to.send(answer);
                }
            });
            // After the line, which goes first.
            if let Some(logins) = logins.take() {
                let begun = Ahead::begin(&context, &place, addr, logins);
                *ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
            }
        }
        while tasks.join_next().await.is_some() {}
    });
    lines
}

/// Examines one address. An answer as of a PDS goes out at once, any other is returned at the end.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
async fn line(
    context: &Context,
    role: Role,
    host: &str,
    port: u16,
    addr: IpAddr,
    depth: Depth,
    to: &mpsc::UnboundedSender<Answer>,
) -> Option<Answer> {
    let net = &context.net;
    let mut answer = Answer { addr, healthy: false, described: None, status: None };
    if !context.measures(ProbeName::Tls) {
        // The fact is all that is wanted; the connection is closed again.
        drop(tcp::connect(net, ProbeName::Tcp, role, host, addr, port).await);
        return None;
    }
    let mut open = open(context, ProbeName::Tcp, role, host, host, port, addr).await?;
    if !context.measures(ProbeName::Http) {
        return None;
    }
    let mut answered = false;
    if depth == Depth::Full {
        let path = "/xrpc/com.atproto.server.describeServer";
        let described = open.get(net, ProbeName::Http, HttpPurpose::DescribeServer, path).await;
        answered = described.failure.is_none();
        answer.healthy = described.is_expected();
        answer.status = described.status;
        if let Some(Content::DescribeServer { did, available_user_domains }) = &described.content {
            answer.described = Some((
                did.as_ref().map(ToString::to_string),
                available_user_domains.iter().map(ToString::to_string).collect(),
            ));
        }
        // What waits for a PDS need not wait for the second answer.
        if answer.healthy {
            let _ = to.send(answer.clone());
        }
    }
    let mut health = open.get(net, ProbeName::Http, HttpPurpose::Health, "/xrpc/_health").await;
    // A server may close after each answer; that is its right (RFC 9112, section 9.6).
    if answered
        && health.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Closed)
        && let Some(mut again) = self::open(context, ProbeName::Http, role, host, host, port, addr).await
    {
        health = again.get(net, ProbeName::Http, HttpPurpose::Health, "/xrpc/_health").await;
        open = again;
    }
    if !answer.healthy {
        answer.healthy = health.is_expected();
        answer.status = health.status.or(answer.status);
        if !answer.healthy {
            return (answered || health.failure.is_none()).then_some(answer);
        }
        let _ = to.send(answer);
    }
    if context.measures(ProbeName::Websocket) && !ENTRYWAYS.contains(&host) {
        stream(context, open, (role, host, port, addr)).await;
    }
    None
}

/// Asks for the event stream where everything else went well; once more on a connection of its own where the first request
/// had no answer, for a server may close after any.
async fn stream(context: &Context, mut open: Line, (role, host, port, addr): (Role, &str, u16, IpAddr)) {
    let first = open.subscribe(&context.net).await;
    if first.status.is_none()
        && let Some(mut again) = self::open(context, ProbeName::Websocket, role, host, host, port, addr).await
    {
        again.subscribe(&context.net).await;
    }
}

/// Connects and shakes hands; `None` where either failed (the facts say why). When the TLS port does
/// not speak TLS, it is asked in plain HTTP, to prove it.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub(super) async fn open(
    context: &Context,
    probe: ProbeName,
    role: Role,
    host: &str,
    sni: &str,
    port: u16,
    addr: IpAddr,
) -> Option<Line> {
    let stream = tcp::connect(&context.net, probe, role, host, addr, port).await.ok()?;
    open_over(context, probe, role, sni, stream).await
}

/// The same over a connection that stands.
pub(super) async fn open_over(
    context: &Context,
    probe: ProbeName,
    role: Role,
    sni: &str,
    stream: Connection,
) -> Option<Line> {
    let net = &context.net;
    let (addr, port) = (stream.peer().ip(), stream.peer().port());
    let tls_probe = if probe == ProbeName::Tcp { ProbeName::Tls } else { probe };
    let handshake = tls::handshake(net, tls_probe, role, stream, sni, &["http/1.1"]).await;
    let Some(stream) = handshake.stream else {
        // Servers without TLS answer a handshake with HTTP, or hang up. One that is silent is not
        // asked again: a dead path costs one time limit.
        let kind = handshake.fact.failure.map(|failure| failure.kind);
        // Has it no certificate for the name, or nothing in common with clients of today? Asked of the target alone.
        let nothing_in_common = handshake.fact.alert.as_deref().is_some_and(|alert| IN_VAIN.contains(&alert));
        if nothing_in_common && role == Role::Target && probe == ProbeName::Tcp {
            tls_offer::ask(net, role, sni, &format!("{}.invalid", context.label), addr, port).await;
        }
        if matches!(kind, Some(FailureKind::NotTls | FailureKind::Closed | FailureKind::Reset)) {
            http::plain_get(net, tls_probe, role, sni, addr, port, HttpPurpose::PlainOnTlsPort).await;
        }
        return None;
    };
    Line::open(net, role, sni, addr, port, stream, true).await.ok()
}

/// The first address that answers as a PDS, or, when none does, the first that answers at all.
/// Every answer is passed on to `each`.
pub(super) async fn first_working(lines: &mut Lines, good_enough: impl Fn(&Answer) -> bool) -> Option<Answer> {
    let mut first = None;
    while let Some(answer) = lines.next().await {
        if good_enough(&answer) {
            return Some(answer);
        }
        first = first.or(Some(answer));
    }
    first
}
