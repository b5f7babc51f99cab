//! One pushed authorization request (RFC 9126), and its answer as it came.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use hyper::{Method, header};
use serde_json::Value;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::{
    fact::{FactBody, Failure, ProbeName, Role},
    limits,
    net::Net,
    outside::fetch::{self, Answer, Message, Opened},
    par_fact::{PAR_HEADERS, ParArm, ParFact},
    text::Text,
    wire::{body, json},
};

/// What a request URI looks like (RFC 9126, section 2.2; the reference PDS uses the RFC's own prefix):
/// the one value of an answer that is worth something to others.
const REQUEST_URI: &str = "request_uri";

/// What to ask.
#[derive(Clone, Debug)]
pub struct ParRequest {
    /// Target or reference.
    pub role: Role,
    /// The authorization server's origin.
    pub server: String,
    /// The PAR endpoint.
    pub endpoint: String,
    /// The address to connect to.
    pub addr: IpAddr,
    /// Which arm.
    pub arm: ParArm,
    /// What the arm is about ([`ParFact::client`]).
    pub client: String,
    /// The `client_id` to send.
    pub client_id: String,
    /// The `redirect_uri` to send.
    pub redirect_uri: String,
    /// The `scope` to send.
    pub scope: String,
}

/// Sends the request within [`limits::PAR`], or [`limits::PAR_OWN_URL`]. Records [`ParFact`]. There is never
/// a `code_challenge` in it: the reference PDS then refuses at the last check before it would write anything, so the request
/// leaves no state (`oauth-provider`, `request-manager.ts`).
///
/// Sent over `opened`, where that leads there. A server that limits requests is asked once more, at a slower pace
/// ([`crate::pace`]); each of the two is a fact. Gives the last, and how long it took.
pub async fn par(net: &Net, request: &ParRequest, opened: Option<Opened>) -> (ParFact, Duration) {
    let short = matches!(request.arm, ParArm::OwnUrl | ParArm::TargetUrl);
    let limit = if short { limits::PAR_OWN_URL } else { limits::PAR };
    par_within(net, request, opened, limit).await
}

pub(crate) async fn par_within(
    net: &Net,
    request: &ParRequest,
    mut opened: Option<Opened>,
    limit: Duration,
) -> (ParFact, Duration) {
    let host = fetch::host_of(&request.endpoint);
    let mut first = true;
    loop {
        let mut job = net.begin(ProbeName::Par, format!("{} to answer about {}", request.server, request.client));
        job.turn(request.role, &host).await;
        let mut fact = blank(request);
        let opened = fetch::over_opened(&mut job, opened.take(), &request.endpoint, request.addr);
        let deadline = fetch::deadline(limit, opened.as_ref());
        let mut retry_after = None;
        match send(net, request, opened, deadline, limit).await {
            Err(failure) => fact.failure = Some(failure),
            Ok(answer) => {
                retry_after = body::header(&answer.head.headers, "retry-after").map(str::to_owned);
                read(answer, deadline, limit, &mut fact).await;
            }
        }
        let again = first && job.is_to_repeat(request.role, &host, fact.status, retry_after.as_deref());
        let took = job.elapsed();
        job.finish(FactBody::Par(fact.clone()));
        if !again {
            return (fact, took);
        }
        first = false;
    }
}

/// A request of which nothing is known yet.
fn blank(request: &ParRequest) -> ParFact {
    ParFact {
        role: request.role,
        server: Text::new(&request.server),
        endpoint: Text::new(&request.endpoint),
        addr: Some(request.addr),
        arm: request.arm,
        client: Text::new(&request.client),
        client_id: Text::new(&request.client_id),
        scope: Text::new(&request.scope),
        failure: None,
        status: None,
        content_type: None,
        headers: BTreeMap::new(),
        error: None,
        description: None,
        accepted: false,
        excerpt: None,
    }
}

async fn send(
    net: &Net,
    request: &ParRequest,
    opened: Option<Opened>,
    deadline: Instant,
    limit: Duration,
) -> Result<Answer, Failure> {
    let mut message = Message::new(Method::POST, &request.endpoint, request.addr);
    message.fields.push((header::CONTENT_TYPE, "application/x-www-form-urlencoded"));
    message.fields.push((header::ACCEPT, "application/json"));
    message.body = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &request.client_id)
        .append_pair("response_type", "code")
        .append_pair("redirect_uri", &request.redirect_uri)
        .append_pair("scope", &request.scope)
        .finish();
    fetch::send(net, &message, opened, deadline, limit).await
}

async fn read(answer: Answer, deadline: Instant, limit: Duration, fact: &mut ParFact) {
    let head = &answer.head;
    fact.status = Some(head.status.as_u16());
    fact.content_type = head.headers.get(header::CONTENT_TYPE).map(|value| Text::from_bytes(value.as_bytes()));
    fact.headers = body::kept_headers(&head.headers);
    fact.headers.retain(|name, _| PAR_HEADERS.contains(&name.as_str()));
    let success = head.status.is_success();
    let (_, read) = answer.read(deadline, limit).await;
    judge(&read.bytes, success, fact);
    fact.failure = read.failure;
}

/// Reads the answer: `error` and `error_description` (RFC 6749, section 5.2), or XRPC's `error` and `message`.
fn judge(body: &[u8], success: bool, fact: &mut ParFact) {
    let value = json::parse(body);
    let field = |name: &str| value.as_ref().and_then(|value| value.get(name)).and_then(Value::as_str);
    fact.error = field("error").map(Text::new);
    fact.description = field("error_description").or_else(|| field("message")).map(Text::new);
    fact.accepted = success && field(REQUEST_URI).is_some();
    let understood = fact.accepted || fact.error.is_some() || fact.description.is_some();
    if !understood && !body.is_empty() {
        fact.excerpt = Some(if mentions_request_uri(body) {
            Text::new("(withheld: it contains a request URI)")
        } else {
            body::excerpt(body)
        });
    }
}

fn mentions_request_uri(body: &[u8]) -> bool {
    body.windows(REQUEST_URI.len()).any(|part| part.eq_ignore_ascii_case(REQUEST_URI.as_bytes()))
}
