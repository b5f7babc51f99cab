//! From a handle to a DID, from a DID to a PDS: every hop a fact.

use std::{net::IpAddr, sync::Arc};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsPurpose, RecordType},
    fact::{ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    identifier::{self, TxtValue},
    limits,
    outside::{
        dns::{self, Question},
        fetch::{self, OPEN_AT_MOST},
        http::Line,
        tcp::{self, Connection},
    },
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Context,
    addresses::addresses,
    clients::https_host,
    open::{open, open_over},
};

/// The public PLC directory (did:plc method specification).
pub(super) const PLC_DIRECTORY: &str = "https://plc.directory";

/// What the `_atproto` TXT record of a name says.
#[derive(Default)]
pub(super) struct Txt {
    /// There is a record of some kind: the name is meant as a handle.
    pub(super) any: bool,
    /// A resolver said something definite: its zone can be asked about other names.
    pub(super) definite: bool,
    /// The DID, if there is exactly one and it is well formed (atproto handle specification:
    /// several differing records are an error).
    pub(super) did: Option<String>,
    /// Every DID that is in it somehow, to find out what was meant.
    pub(super) candidates: Vec<String>,
}

/// Reads the handle's `_atproto` TXT record.
pub(super) async fn handle_txt(context: &Arc<Context>, probe: ProbeName, role: Role, handle: &str) -> Txt {
    let question = Question {
        role,
        purpose: DnsPurpose::HandleTxt,
        name: format!("_atproto.{handle}"),
        record_type: RecordType::Txt,
    };
    let answers = ask_all(context, probe, question).await;
    let mut txt = Txt::default();
    for answer in &answers {
        txt.any |= !answer.records.is_empty();
        txt.definite |= answer.outcome.is_definite();
        txt.did = txt.did.or_else(|| did_of(answer));
        for record in &answer.records {
            if let TxtValue::Did(did) | TxtValue::Quoted(did) | TxtValue::MissingPrefix(did) =
                identifier::did_of_txt(record)
                && !txt.candidates.contains(&did)
            {
                txt.candidates.push(did);
            }
        }
    }
    txt
}

fn did_of(answer: &DnsFact) -> Option<String> {
    let mut dids = answer.records.iter().filter_map(|record| match identifier::did_of_txt(record) {
        TxtValue::Did(did) => Some(did),
        _ => None,
    });
    let first = dids.next()?;
    dids.all(|other| other == first).then_some(first)
}

/// How many of the DIDs that a broken record names are looked at.
const CANDIDATES: usize = 3;

/// Of several DIDs, the one whose document claims the handle; else the first that leads to a PDS.
pub(super) async fn most_likely(context: &Arc<Context>, handle: &str, candidates: &[String]) -> Option<String> {
    let documents = candidates.iter().take(CANDIDATES).map(|did| document_of(context, did));
    let documents = futures_util::future::join_all(documents).await;
    let claims = |document: &Option<Document>| document.as_ref().is_some_and(|document| document.claims(handle));
    let leads = |document: &Option<Document>| document.as_ref().is_some_and(|document| document.pds.is_some());
    let best = documents.iter().position(claims).or_else(|| documents.iter().position(leads)).unwrap_or(0);
    candidates.get(best).cloned()
}

/// Asks every configured server the same.
async fn ask_all(context: &Arc<Context>, probe: ProbeName, question: Question) -> Vec<DnsFact> {
    let servers = context.resolvers.servers.iter().take(3);
    let asked = servers.map(|server| dns::ask(&context.net, probe, *server, &question));
    futures_util::future::join_all(asked).await
}

/// The DID that `https://<handle>/.well-known/atproto-did` names, the first that any address gives.
/// All addresses are asked, and waited for.
pub(super) async fn well_known(context: &Arc<Context>, probe: ProbeName, role: Role, handle: &str) -> WellKnown {
    well_known_once(context, probe, role, handle, None).await
}

/// The same; with `may` no more is done, before it says so, than to look the name up and to connect to the target.
pub(super) async fn well_known_once(
    context: &Arc<Context>,
    probe: ProbeName,
    role: Role,
    handle: &str,
    may: Option<watch::Receiver<bool>>,
) -> WellKnown {
    let mut addrs = addresses(context, probe, role, handle, 443);
    let mut tasks = JoinSet::new();
    let mut any_address = false;
    while let Some(addr) = addrs.recv().await {
        any_address = true;
        if context.can_try(addr) {
            let (context, handle, may) = (Arc::clone(context), handle.to_owned(), may.clone());
            tasks.spawn(async move {
                let connection = match may {
                    Some(may) => connected_until(&context, probe, role, &handle, addr, may).await,
                    None => None,
                };
                match connection {
                    Some(connection) => {
                        let line = open_over(&context, probe, role, &handle, connection).await?;
                        did_over(&context, probe, line).await
                    }
                    None => well_known_at(&context, probe, role, &handle, addr).await,
                }
            });
        }
    }
    // What was left alone is there all the same.
    any_address |= addrs.refused();
    let mut did = None;
    while let Some(done) = tasks.join_next().await {
        did = did.or(done.ok().flatten());
    }
    WellKnown { any_address, did }
}

/// The DID of an account by that handle, as the PDS that answers as `host` at `addr` knows it: its own accounts need no
/// DNS (`com.atproto.identity.resolveHandle`).
pub(super) async fn account(context: &Context, host: &str, handle: &str, addr: IpAddr) -> Option<String> {
    let probe = ProbeName::Identity;
    if !context.measures(probe) {
        return None;
    }
    let mut line = open(context, probe, Role::Handle, host, host, 443, addr).await?;
    let path = format!("/xrpc/com.atproto.identity.resolveHandle?handle={handle}");
    let fact = line.get(&context.net, probe, HttpPurpose::ResolveHandle, &path).await;
    match &fact.content {
        Some(Content::ResolvedHandle { did }) if fact.status == Some(200) => Some(did.to_string()),
        _ => None,
    }
}

/// What the well-known method gave.
pub(super) struct WellKnown {
    /// The name has an address at all.
    pub(super) any_address: bool,
    /// The DID.
    pub(super) did: Option<String>,
}

/// The same at one address, whatever DNS says.
pub(super) async fn well_known_at(
    context: &Context,
    probe: ProbeName,
    role: Role,
    handle: &str,
    addr: IpAddr,
) -> Option<String> {
    let line = open(context, probe, role, handle, handle, 443, addr).await?;
    did_over(context, probe, line).await
}

/// Waits for leave to go on, connected where this is an address of the target's; gives the connection if it is still good.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
async fn connected_until(
    context: &Context,
    probe: ProbeName,
    role: Role,
    handle: &str,
    addr: IpAddr,
    mut may: watch::Receiver<bool>,
) -> Option<Connection> {
    let connection = async {
        if !context.contacts.is_targets(addr, 443).await {
            return None;
        }
        let connection = tcp::connect(&context.net, probe, role, handle, addr, 443).await.ok()?;
        Some((connection, Instant::now()))
    };
    let granted = async {
        // Whoever would say so may be gone: then this task is ended, too.
        if may.wait_for(|may| *may).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let (connection, ()) = tokio::join!(connection, granted);
    connection.filter(|(_, since)| since.elapsed() < OPEN_AT_MOST).map(|(connection, _)| connection)
}

async fn did_over(context: &Context, probe: ProbeName, mut line: Line) -> Option<String> {
    let fact = line.get(&context.net, probe, HttpPurpose::AtprotoDid, "/.well-known/atproto-did").await;
    match &fact.content {
        Some(Content::AtprotoDid { did: Some(did) }) if fact.status == Some(200) => Some(did.to_string()),
        _ => None,
    }
}

/// Looks where people put the record by mistake: at the parent, with the zone twice, without the label.
pub(super) async fn misplaced_txt(
    context: &Arc<Context>,
    probe: ProbeName,
    role: Role,
    handle: &str,
) -> Option<String> {
    let zone = zone_of(context, probe, role, handle).await;
    let mut names = vec![handle.to_owned()];
    if let Some((_, parent)) = handle.split_once('.')
        && parent.contains('.')
    {
        names.push(format!("_atproto.{parent}"));
    }
    if let Some(zone) = zone {
        names.push(format!("_atproto.{handle}.{zone}"));
        let apex = format!("_atproto.{zone}");
        if zone != handle && !names.contains(&apex) {
            names.push(apex);
        }
    }
    let asked = names.into_iter().map(|name| {
        let question = Question { role, purpose: DnsPurpose::MisplacedTxt, name, record_type: RecordType::Txt };
        ask_all(context, probe, question)
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.iter().flatten().find_map(did_of)
}

/// The zone a name lies in: the SOA's owner, of the answer or of the negative answer (RFC 2308).
pub(super) async fn zone_of(context: &Arc<Context>, probe: ProbeName, role: Role, name: &str) -> Option<String> {
    let server = *context.resolvers.servers.first()?;
    let question = Question { role, purpose: DnsPurpose::Zone, name: name.to_owned(), record_type: RecordType::Soa };
    let answer = dns::ask(&context.net, probe, server, &question).await;
    let own = (!answer.records.is_empty()).then(|| name.to_owned());
    answer.zone.map(|zone| zone.to_string()).or(own).filter(|zone| zone.contains('.'))
}

/// What a DID document says that matters here.
pub(super) struct Document {
    /// The first PDS endpoint.
    pub(super) pds: Option<String>,
    /// The handles it claims.
    handles: Vec<String>,
}

impl Document {
    /// It claims this handle; handles are the same in upper and lower case.
    pub(super) fn claims(&self, handle: &str) -> bool {
        self.handles.iter().any(|name| name.eq_ignore_ascii_case(handle))
    }
}

/// The DID's document, from the PLC directory or the host of a `did:web`.
pub(super) async fn document_of(context: &Arc<Context>, did: &str) -> Option<Document> {
    let probe = ProbeName::Identity;
    let url = if did.starts_with("did:plc:") {
        if context.options.no_third_party {
            context.net.not_measured(
                probe,
                "--no-third-party: the PLC directory was not asked",
                "the PDS's host name as TARGET",
            );
            return None;
        }
        format!("{PLC_DIRECTORY}/{did}")
    } else {
        identifier::did_web_url(did)?
    };
    let (host, port) = https_host(&url)?;
    let mut addrs = addresses(context, probe, Role::Directory, &host, port);
    let mut tasks = JoinSet::new();
    while let Some(addr) = addrs.recv().await {
        if context.can_try(addr) {
            let (context, url) = (Arc::clone(context), url.clone());
            tasks.spawn(async move {
                let request = fetch::Request {
                    role: Role::Directory,
                    purpose: HttpPurpose::DidDocument,
                    url: &url,
                    addr,
                    limit: limits::FETCH,
                };
                fetch::get(&context.net, probe, &request).await
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        let Ok(fact) = done else { continue };
        if !fact.is_expected() {
            continue;
        }
        if let Some(Content::DidDocument { pds_endpoints, also_known_as, .. }) = &fact.content {
            // The rest of the addresses say nothing new about the document.
            return Some(Document {
                pds: pds_endpoints.first().map(ToString::to_string),
                handles: also_known_as
                    .iter()
                    .filter_map(|name| name.strip_prefix("at://").map(str::to_owned))
                    .collect(),
            });
        }
    }
    None
}
