//! From a target to facts: which probe starts when. Each starts the moment what it needs is there:
//! per address, connect, TLS and HTTP are a line of their own; the first line that answers as a PDS
//! feeds OAuth and handles at once; a dead path costs one time limit in total.

mod addresses;
mod ahead;
mod bridge;
mod clients;
mod contact;
mod handles;
mod identity;
mod inside;
mod lines;
mod oauth;
mod open;
mod reference;
mod target;
mod way_out;
mod whose;
#[cfg(target_os = "linux")]
mod with_node;

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use pdsdoctor_probes::{
    fact::{Family, ProbeName, Vantage},
    identifier::TargetInput,
    net::{Net, Observer},
    outside::{
        dns::{self, Resolvers},
        own_network::own_network,
    },
    record::{Ended, RUN_SCHEMA, Reference, Run, Settings, Target, TargetKind},
    redact::Hidden,
    roots::Roots,
    text::Text,
};
use tokio::{
    sync::{oneshot, watch},
    time,
};

use crate::options::CheckOptions;

/// Who we are, to the servers we ask (design, section 6).
pub const USER_AGENT: &str = concat!("pdsdoctor/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

/// What every part of a run is given: where its facts go, and what all share.
struct Context {
    net: Net,
    shared: Arc<Shared>,
}

impl Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Context {
    /// The same for what may turn out to be in vain: its facts count once they are [adopted](Net::adopt).
    fn aside(&self) -> Arc<Self> {
        Arc::new(Self { net: self.net.aside(), shared: Arc::clone(&self.shared) })
    }
}

/// What every part of a run shares.
struct Shared {
    options: CheckOptions,
    /// Who may be asked.
    contacts: contact::Contacts,
    resolvers: Resolvers,
    /// This machine can send on the family, and the user allows it.
    has_v4: bool,
    has_v6: bool,
    /// A label nobody has: what a wildcard must answer for.
    label: String,
    /// Any resolver has said anything: asking for more names is not in vain.
    resolver_answered: AtomicBool,
    /// Whether the PDS's way out is examined.
    way_out: way_out::Decision,
    /// Whether a login at the target failed, or takes too long.
    login_failed: way_out::Decision,
    /// The reference is made to fetch from the target: where this machine does not reach it, or is the PDS's own.
    second_look: way_out::Decision,
    /// `Some`: it is known whether a reference answers, and its origin and address.
    reference_at: watch::Sender<Option<Option<(String, IpAddr)>>>,
    /// The target does not get to its own address.
    own_url_failed: AtomicBool,
    /// Between the view from outside and the view from inside.
    bridge: bridge::Bridge,
    found: Mutex<Found>,
}

/// What is known so far; a run that is cut short reports it.
struct Found {
    target: Target,
    reference: Option<Reference>,
    /// Names whose zone was asked about.
    zones_asked: HashSet<String>,
    /// Why this is the PDS's own machine.
    pds_host: Option<Text>,
}

impl Shared {
    fn measures(&self, probe: ProbeName) -> bool {
        self.options.probes.contains(&probe)
    }

    /// Can and may this address be tried from here?
    fn can_try(&self, addr: IpAddr) -> bool {
        match Family::of(addr) {
            Family::V4 => self.has_v4 || addr.is_loopback(),
            Family::V6 => self.has_v6 || addr.is_loopback(),
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures. Ends early, with what is there, at the time limit or when `interrupt` fires.
pub async fn check(
    options: &CheckOptions,
    roots: Roots,
    observer: Arc<dyn Observer>,
    interrupt: oneshot::Receiver<()>,
) -> Run {
    let started = jiff::Timestamp::now();
    let urls = options.client_ids.iter().chain(options.egress_hosts.iter().map(|host| &host.url));
    let hidden = Hidden::of(urls.map(String::as_str));
    let net = Net::hiding(hidden.clone(), Vantage::Here, roots, USER_AGENT.to_owned(), observer);
    let has_v4 = own_network(&net, Family::V4) && !options.only_v6;
    let has_v6 = own_network(&net, Family::V6) && !options.only_v4;
    let resolvers = dns::configured_resolvers(&net, &options.nameservers);
    let label = format!("pdsdoctor-{:08x}", random() & 0xffff_ffff);
    let shared = Shared {
        options: options.clone(),
        contacts: contact::Contacts::new(options),
        resolvers,
        has_v4,
        has_v6,
        label: label.clone(),
        resolver_answered: AtomicBool::new(false),
        way_out: way_out::Decision::new(options.egress_hosts_given),
        login_failed: way_out::Decision::new(false),
        second_look: way_out::Decision::new(false),
        reference_at: watch::Sender::new(None),
        own_url_failed: AtomicBool::new(false),
        bridge: bridge::Bridge::new(),
        found: Mutex::new(Found {
            target: unresolved(options),
            reference: None,
            zones_asked: HashSet::new(),
            pds_host: None,
        }),
    };
    let context = Arc::new(Context { net: net.clone(), shared: Arc::new(shared) });

    let work = everything(Arc::clone(&context));
    tokio::pin!(work);
    let interrupted = async {
        // A sender that is gone means that nobody can interrupt any more.
        if interrupt.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        biased;
        () = &mut work => Ended::Complete,
        () = interrupted => Ended::Interrupted,
        () = time::sleep(options.timeout) => Ended::TimeLimit,
    };
    // Taken before the work is dropped: what is in flight must be known.
    let (facts, not_measured) = net.take(match ended {
        Ended::Interrupted => "stopped by the user",
        Ended::TimeLimit => "the time limit of the run came",
        Ended::Complete => "given up, as nothing rested on it,",
    });
    let elapsed_ms = net.elapsed_ms();
    let found = context.found();
    let mut run = Run {
        schema: RUN_SCHEMA.to_owned(),
        version: Text::new(env!("CARGO_PKG_VERSION")),
        started: Text::new(&started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        elapsed_ms,
        ended,
        target: found.target.clone(),
        reference: found.reference.clone(),
        settings: settings(options, &label, found.pds_host.clone()),
        facts,
        not_measured,
        not_understood: Vec::new(),
    };
    reference::without_the_target(&mut run);
    without(&hidden, &mut run);
    run.put_in_order();
    run
}

/// Takes what the user wrote behind a `?` out of everything that is kept.
fn without(hidden: &Hidden, run: &mut Run) {
    if hidden.is_empty() {
        return;
    }
    let clean = serde_json::to_value(&*run).and_then(|mut value| {
        hidden.value(&mut value);
        serde_json::from_value(value)
    });
    match clean {
        Ok(clean) => *run = clean,
        // Nothing of a run that cannot be cleaned may leave.
        Err(_) => {
            run.facts.clear();
            run.not_measured.clear();
            run.settings.client_ids.clear();
        }
    }
}

/// The lines of a run: this machine, the target, the reference, the applications' documents.
async fn everything(context: Arc<Context>) {
    let inside = inside::examine(&context);
    let outside = async {
        // Without a PDS there is nobody to ask, and nothing to compare.
        let Some(input) = target_input(&context).await else { return context.bridge.complete() };
        let clients = clients::Clients::start(&context);
        let reference = reference::examine(&context, &clients, &input);
        let target = async {
            target::examine(&context, &clients, &input).await;
            // Where the target was not asked, the reference need not be.
            context.way_out.make(false);
            context.login_failed.make(false);
            context.bridge.complete();
            // On the PDS's own machine it may be wanted after all, however fast the target was.
            context.bridge.placed().await;
            context.second_look.make(false);
        };
        tokio::join!(reference, target);
        clients.finish().await;
    };
    tokio::join!(inside, outside);
    // Last, so that the failures of this very run are in it.
    if let (Some(log), true) = (&context.options.log, context.measures(ProbeName::PdsLog)) {
        pdsdoctor_probes::pds_log::file(&context.net, log).await;
    }
}

/// What to examine: what the user named, else the PDS on this machine.
async fn target_input(context: &Context) -> Option<TargetInput> {
    match &context.options.target {
        Some(input) => Some(input.clone()),
        // Without a probe that asks it, its name is of no use.
        None if ProbeName::of_outside().all(|probe| probe == ProbeName::OwnNetwork || !context.measures(probe)) => None,
        None => {
            let host = context.bridge.pds_here().await?;
            // Whoever examines this machine means the PDS on it.
            context.contacts.name(&host, 443);
            let mut found = context.found();
            found.target.kind = TargetKind::Host;
            found.target.input = Text::new(&host);
            Some(TargetInput::Url { host, port: 443 })
        }
    }
}

fn unresolved(options: &CheckOptions) -> Target {
    let (kind, host, port, handle, did) = match &options.target {
        None => (TargetKind::Machine, None, 443, None, None),
        Some(TargetInput::Did(did)) => (TargetKind::Did, None, 443, None, Some(did.as_str())),
        Some(TargetInput::Handle(handle)) => (TargetKind::Handle, None, 443, Some(handle.as_str()), None),
        Some(TargetInput::Url { host, port }) => (TargetKind::Host, Some(host.as_str()), *port, None, None),
        Some(TargetInput::Name(name)) => (TargetKind::Host, Some(name.as_str()), 443, None, None),
    };
    Target {
        input: Text::new(&options.input),
        kind,
        host: host.map(Text::new),
        port,
        origin: host.map(|host| Text::new(&origin(host, port))),
        handle: handle.map(Text::new),
        did: did.map(Text::new),
    }
}

fn settings(options: &CheckOptions, label: &str, pds_host: Option<Text>) -> Settings {
    Settings {
        only_v4: options.only_v4,
        only_v6: options.only_v6,
        no_reference: options.no_reference,
        no_third_party: options.no_third_party,
        resolved_by_user: options.resolve.iter().map(|resolve| Text::new(&resolve.host)).collect(),
        also_given: options.also_given.iter().map(|option| Text::new(option)).collect(),
        client_ids: options.client_ids.iter().map(|id| Text::new(id)).collect(),
        left_out: ProbeName::of_outside().filter(|probe| !options.probes.contains(probe)).collect(),
        sample_label: Text::new(label),
        pds_host,
    }
}

/// `https://host` or `https://host:port`; the default port is left out, as an origin has it (RFC 6454).
fn origin(host: &str, port: u16) -> String {
    let host = if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
}

/// 64 random bits. Only for labels and cache busters: nothing secret rests on it.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
