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
        tcp,
    },
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Context,
    addresses::addresses,
    ahead::{Ahead, Host},
    open::open,
};
use crate::options::ENTRYWAYS;

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
pub(super) fn lines(context: &Arc<Context>, place: Host, depth: Depth, logins: Option<usize>) -> Lines {
    let (to, from) = mpsc::unbounded_channel();
    let ahead = Arc::new(Mutex::new(None));
    let lines = Lines { answers: from, ahead: Arc::clone(&ahead) };
    let mut logins = logins
        .filter(|_| [ProbeName::Tcp, ProbeName::Tls, ProbeName::Http].into_iter().all(|probe| context.measures(probe)));
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let Host { role, name: ref host, port } = place;
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
