//! Whose handle a name is, where neither its records nor an answer of its host says so: a PDS that is down takes the answers
//! of its handles' hosts with it, and what is wrong is then to be told of the PDS.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    outside::fetch,
};
use tokio::{sync::oneshot, time};

use super::{
    Context,
    addresses::addresses,
    ahead::Host,
    identity::{self, Txt, handle_txt},
    lines::{Answer, Depth, Lines, first_working, lines},
    way_out::OVERDUE,
};

/// How long the known-good PDS has to say whose a handle is: the 3 s that it gives its own look-up (`@atproto/identity`),
/// and the way.
const KNOWN: Duration = Duration::from_millis(4_000);

/// What the records of a name, its host and those who know the account say.
#[derive(Default)]
pub(super) struct Record {
    /// The TXT record.
    pub(super) txt: Txt,
    /// The DID that its host gives; `None`: it was not asked.
    pub(super) by_host: Option<Option<String>>,
    /// The DID as others know it.
    pub(super) known: Option<String>,
}

/// Asks them, each only where the one before it gave nothing. `line` tells whether the name's host answers as a PDS (`None`:
/// it gives no answer at all).
pub(super) async fn record(context: &Arc<Context>, name: &str, mut line: oneshot::Receiver<Option<bool>>) -> Record {
    let probe = ProbeName::Identity;
    let txt = handle_txt(context, probe, Role::Handle, name).await;
    let settled = txt.any || !txt.definite;
    let mut record = Record { txt, ..Record::default() };
    if settled {
        return record;
    }
    // Others need not be asked after the end of a silence only.
    let ended = time::timeout(OVERDUE, &mut line).await.ok().map(Result::unwrap_or_default);
    match ended {
        Some(Some(true)) => return record,
        Some(Some(false)) => {
            let did = identity::well_known(context, probe, Role::Handle, name).await.did;
            let found = did.is_some();
            record.by_host = Some(did);
            if found {
                return record;
            }
        }
        Some(None) | None => {}
    }
    // Whoever answers as a PDS after all needs nobody's word.
    let answers_after_all = async {
        if line.await != Ok(Some(true)) {
            std::future::pending::<()>().await;
        }
    };
    record.known = tokio::select! {
        biased;
        () = answers_after_all, if ended.is_none() => None,
        known = known_elsewhere(context, name) => known,
    };
    record
}

/// The DID of a handle as the network remembers it, through the known-good PDS, which asks its AppView
/// (`com.atproto.identity.resolveHandle`). Only of an account that claims the handle.
pub(super) async fn known_elsewhere(context: &Arc<Context>, handle: &str) -> Option<String> {
    if !context.measures(ProbeName::Identity) {
        return None;
    }
    let mut known = context.reference_at.subscribe();
    let known = time::timeout(KNOWN, known.wait_for(Option::is_some)).await.ok()?.ok()?.clone();
    let (origin, addr) = known.flatten()?;
    let url = format!("{origin}/xrpc/com.atproto.identity.resolveHandle?handle={handle}");
    let request =
        fetch::Request { role: Role::Reference, purpose: HttpPurpose::ResolveHandle, url: &url, addr, limit: KNOWN };
    let fact = fetch::get(&context.net, ProbeName::Identity, &request).await;
    let did = match &fact.content {
        Some(Content::ResolvedHandle { did }) if fact.status == Some(200) => did.to_string(),
        _ => return None,
    };
    // What is remembered may be old.
    claims(context, &did, handle).await.then_some(did)
}

/// Does the DID's document claim the handle? One that cannot be read denies nothing.
pub(super) async fn claims(context: &Arc<Context>, did: &str, handle: &str) -> bool {
    identity::document_of(context, did).await.is_none_or(|document| document.claims(handle))
}

/// What is known of a name before its parent is looked at.
pub(super) enum Said {
    /// The user says that it is a handle.
    Handle,
    /// It may as well be a host; what its own host answers.
    Name(Option<Answer>),
}

/// A PDS that is found one label up.
pub(super) struct Above {
    /// Its host.
    pub(super) host: String,
    /// Its other answers.
    pub(super) answers: Lines,
    /// Its first.
    pub(super) first: Answer,
}

/// The PDS one label up, if there is one and it offers handles like this name, or would, if it were up.
pub(super) async fn pds_above(context: &Arc<Context>, name: &str, said: Said) -> Option<Above> {
    let (_, parent) = name.split_once('.')?;
    if !parent.contains('.') || !context.resolver_answered.load(Ordering::Relaxed) {
        return None;
    }
    let itself = resolve(context, Role::Target, parent).await;
    // What answers elsewhere is somebody else's.
    if matches!(&said, Said::Name(Some(own)) if !itself.contains(&own.addr)) {
        return None;
    }
    let mut answers = lines(context, Host::target(parent, 443), Depth::Full, None);
    let found = first_working(&mut answers, |answer| answer.healthy).await;
    let domain = format!(".{parent}");
    if let Some(first) = found {
        let offers = matches!(&first.described, Some((_, domains)) if domains.contains(&domain));
        let is_front =
            offers || (is_down(&first) && is_front_of_one_that_is_down(context, parent, &itself, &said).await);
        if is_front {
            return Some(Above { host: parent.to_owned(), answers, first });
        }
    }
    // What was begun is waited for, or it would count as cut short.
    answers.finish().await;
    None
}

/// The proxy there answers for whom it does not reach.
fn is_down(answer: &Answer) -> bool {
    !answer.healthy && answer.status.is_some_and(|status| status >= 500)
}

/// Nobody can say any more whether the PDS at `parent`, where a proxy answers 5xx, offers handles like the name. What makes
/// it plausible: the name has no answer of its own either, it exists only as every name below the parent does, and the
/// parent is no zone's apex, below which other hosts are as likely.
async fn is_front_of_one_that_is_down(
    context: &Arc<Context>,
    parent: &str,
    itself: &BTreeSet<IpAddr>,
    said: &Said,
) -> bool {
    match said {
        Said::Handle => return true,
        Said::Name(Some(own)) if !is_down(own) => return false,
        Said::Name(_) => {}
    }
    let sample = format!("{}.{parent}", context.label);
    let (anybody, zone) = tokio::join!(
        resolve(context, Role::HandleSample, &sample),
        identity::zone_of(context, ProbeName::Identity, Role::Target, parent),
    );
    !anybody.is_disjoint(itself) && zone.is_some_and(|zone| zone != parent)
}

/// All addresses of a name.
async fn resolve(context: &Arc<Context>, role: Role, name: &str) -> BTreeSet<IpAddr> {
    let mut found = addresses(context, ProbeName::Identity, role, name, 443);
    let mut all = BTreeSet::new();
    while let Some(addr) = found.recv().await {
        all.insert(addr);
    }
    all
}
