//! The PDS's way out, seen through what it can be made to fetch and to look up without an account. Sent where a
//! login fails or takes its time, and where the user names hosts for it: a healthy PDS is not bothered.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use pdsdoctor_probes::{
    fact::{Family, ProbeName, Role},
    http_fact::{HttpFact, HttpPurpose},
    limits,
    outside::{fetch, tcp},
    par_fact::ParFact,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Context,
    addresses::addresses,
    clients::{Clients, https_host, usual_host},
    random,
};
use crate::{
    diagnose::par_stage::{FetchFailure, Stage, stage},
    egress::EgressHost,
};

/// A login that the PDS has not answered this long after it answered the request for which it fetches nothing is
/// not going well: a fetch over 300 ms takes four round trips, 1.2 s.
pub(super) const OVERDUE: Duration = Duration::from_millis(1_500);

/// A look-up that failed before the PDS's own limit on it (3 s, `@atproto/identity`) could have ended it.
const SOON: Duration = Duration::from_millis(2_500);
/// How often the failing look-up at the application's host is timed again, at most,
const TIMED_AGAIN: usize = 3;
/// and for how long: a silent host would cost its limit each time.
const TIMING: Duration = Duration::from_millis(1_000);

/// A handle that is not the target's own and is there as long as the network is: its AppView's.
const FOREIGN_HANDLE: &str = "bsky.app";

/// A method that nobody has (`com.example` is reserved for examples): it is never called, as the PDS resolves
/// where it would go and then asks who we are.
const NO_METHOD: &str = "/xrpc/com.example.pdsdoctor.probe";

/// Something that the target's answers decide, for both sides: whether the way out is to be examined, and whether a
/// login failed.
pub(super) struct Decision(watch::Sender<Option<bool>>);

impl Decision {
    /// Not made yet; made at once where the user wants it anyway.
    pub(super) fn new(wanted: bool) -> Self {
        Self(watch::Sender::new(wanted.then_some(true)))
    }

    /// Makes it, unless it is made.
    pub(super) fn make(&self, wanted: bool) {
        self.0.send_if_modified(|made| {
            made.is_none() && {
                *made = Some(wanted);
                true
            }
        });
    }

    /// Waits for it.
    pub(super) async fn made(&self) -> bool {
        let mut made = self.0.subscribe();
        made.wait_for(Option::is_some).await.is_ok_and(|made| *made == Some(true))
    }
}

/// The PDS did not get the document or its keys, or whoever stands before it gave up waiting.
pub(super) fn has_failed(answer: &ParFact) -> bool {
    // The time does not matter for this question.
    match stage(answer, 0, 0) {
        Stage::DocumentNotObtained(_) | Stage::KeysNotObtained | Stage::NoRoute(_) => true,
        Stage::NotAPds => answer.status == Some(504),
        _ => false,
    }
}

/// Everything about the way out, once it is wanted; whether the look-up at the application's host failed soon. `fetch`
/// sends the PAR for a host.
#[expect(clippy::too_many_arguments, reason = "who is made to fetch, by whom, and from where")]
pub(super) async fn examine(
    context: &Arc<Context>,
    clients: &Clients,
    role: Role,
    pds: (&str, IpAddr),
    take: impl Fn(usize) -> usize,
    fetch: impl AsyncFn(&EgressHost),
) -> bool {
    if !context.way_out.made().await {
        return false;
    }
    let room = take(context.options.egress_hosts.len());
    let hosts: Vec<&EgressHost> = context.options.egress_hosts.iter().take(room).collect();
    if role == Role::Target && hosts.is_empty() {
        let (why, needs) = if !context.options.egress_hosts.is_empty() {
            ("the applications named leave no login request (PAR) for other hosts", "a run with one application")
        } else {
            ("--no-third-party: no host was named for the PDS's way out", "--egress-host FAMILY=URL")
        };
        context.net.not_measured(ProbeName::Par, why, needs);
    }
    let pars = futures_util::future::join_all(hosts.iter().map(|host| fetch(host)));
    let from_here = async {
        // Once is enough: the reference is asked about the same hosts.
        if role == Role::Target {
            futures_util::future::join_all(hosts.iter().map(|host| look(context, &host.url))).await;
        }
    };
    let (_, (), failed_soon) = tokio::join!(pars, from_here, lookups(context, clients, role, pds));
    failed_soon
}

/// Look-ups at the hosts in question, now that the PDS has nothing else to do for us. At the application's, where one
/// failed soon: how quickly it can fail. All of them at once hold each other up, and then a failure at once takes as long
/// as one by Node's timer. At each host where a timer ended the fetch: whether it is reached now.
pub(super) async fn again(
    context: &Arc<Context>,
    clients: &Clients,
    pds: (&str, IpAddr),
    failed_soon: bool,
    cut_off: BTreeSet<String>,
) {
    let started = Instant::now();
    let app = app(clients).filter(|_| failed_soon);
    if let Some(app) = &app {
        for _ in 0..TIMED_AGAIN {
            if !look_up_web(context, app, pds).await || started.elapsed() >= TIMING {
                break;
            }
        }
    }
    for host in cut_off.iter().filter(|host| app.as_ref() != Some(host)) {
        look_up_web(context, host, pds).await;
    }
}

/// Node's timer may have ended the fetch, as far as `elapsed`, the time of the request, tells.
pub(super) fn is_cut_off(answer: &ParFact, elapsed: Duration) -> bool {
    let took_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    stage(answer, took_ms, 0) == Stage::DocumentNotObtained(FetchFailure::AttemptCap)
}

/// The host as this machine sees it: is it there, and which families has it?
async fn look(context: &Arc<Context>, url: &str) {
    let Some((host, port)) = https_host(url) else { return };
    let mut addrs = addresses(context, ProbeName::Par, Role::Egress, &host, port);
    let (mut tried, mut tasks) = (Vec::new(), JoinSet::new());
    while let Some(addr) = addrs.recv().await {
        // One of each family shows that it is there.
        if !context.can_try(addr) || tried.contains(&Family::of(addr)) {
            continue;
        }
        tried.push(Family::of(addr));
        let (context, host) = (Arc::clone(context), host.clone());
        tasks.spawn(async move {
            drop(tcp::connect(&context.net, ProbeName::Par, Role::Egress, &host, addr, port).await);
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// What the PDS looks up for anybody: a DID at the PLC directory, one at the application's host, a foreign handle.
/// Whether the application's failed soon.
async fn lookups(context: &Arc<Context>, clients: &Clients, role: Role, pds: (&str, IpAddr)) -> bool {
    let third_parties = !context.options.no_third_party;
    let plc = async {
        if third_parties {
            look_up(context, role, HttpPurpose::ProxyPlc, nobodys_did(), pds).await;
        }
    };
    let web = async {
        let asked = role == Role::Target && context.login_failed.made().await;
        match app(clients).filter(|_| asked) {
            Some(app) => look_up_web(context, &app, pds).await,
            None => false,
        }
    };
    let handle = async {
        if third_parties {
            let (origin, addr) = pds;
            let url = format!("{origin}/xrpc/com.atproto.identity.resolveHandle?handle={FOREIGN_HANDLE}");
            let purpose = HttpPurpose::ResolveHandle;
            let request = fetch::Request { role, purpose, url: &url, addr, limit: limits::LOOKUP };
            fetch::get(&context.net, ProbeName::Par, &request).await;
        }
    };
    let ((), failed_soon, ()) = tokio::join!(plc, web, handle);
    failed_soon
}

/// The host of the first application that a `did:web` can name.
fn app(clients: &Clients) -> Option<String> {
    clients.all.iter().find_map(|client| usual_host(&client.id))
}

/// The `did:web` of a host; whether it failed, and soon. The PDS keeps what it finds there, and where it cannot fetch
/// from the host, that is nothing.
async fn look_up_web(context: &Context, host: &str, pds: (&str, IpAddr)) -> bool {
    let did = format!("did:web:{host}");
    let (seen, took) = look_up(context, Role::Target, HttpPurpose::ProxyDidWeb, did, pds).await;
    seen.status == Some(500) && took < SOON
}

async fn look_up(
    context: &Context,
    role: Role,
    purpose: HttpPurpose,
    did: String,
    (origin, addr): (&str, IpAddr),
) -> (HttpFact, Duration) {
    // The PDS takes no notice of the query; whoever reads the fact does.
    let url = format!("{origin}{NO_METHOD}?did={did}");
    let request = fetch::Request { role, purpose, url: &url, addr, limit: limits::LOOKUP };
    fetch::get_proxied(&context.net, ProbeName::Par, &request, &format!("{did}#pdsdoctor")).await
}

/// A well-formed `did:plc` (24 characters of base32) that nobody has.
fn nobodys_did() -> String {
    const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let halves = [random(), random()];
    let letters = halves.iter().flat_map(|half| (0..12).map(move |index| (half >> (5 * index)) & 31));
    let name: String =
        letters.filter_map(|letter| BASE32.get(usize::try_from(letter).ok()?)).map(|b| char::from(*b)).collect();
    format!("did:plc:{name}")
}

#[cfg(test)]
mod tests {
    use pdsdoctor_probes::identifier;

    use super::*;

    #[test]
    fn nobodys_did_is_well_formed() {
        let did = nobodys_did();
        assert!(identifier::is_did(&did) && did.len() == "did:plc:".len() + 24, "{did}");
        assert_ne!(did, nobodys_did());
    }

    #[tokio::test]
    async fn a_decision_is_made_once() {
        let decision = Decision::new(false);
        decision.make(true);
        decision.make(false);
        assert!(decision.made().await);
        assert!(Decision::new(true).made().await);
        let decision = Decision::new(false);
        decision.make(false);
        assert!(!decision.made().await);
    }
}
