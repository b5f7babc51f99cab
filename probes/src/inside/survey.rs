//! The whole examination of this machine, in the order in which its parts need each other.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use tokio::sync::watch;

use super::{
    advertisement,
    claims::{self, Claim},
    engine::{self, Missing},
    env_file,
    find::{self, Scan},
    listeners, managers, name_files,
    namespace::{Namespace, network_here, network_of},
    network::{self, Network},
    owner, proc_fs, process,
    root::Root,
    sysctl::{self, Boot},
};
use crate::{
    fact::{FactBody, ProbeName, Vantage},
    net::Net,
    pds_log,
    process_fact::{ConfinementKind, Engine, FoundBy, ProcessFact},
    text::Text,
};

/// What to examine, and how.
#[derive(Clone, Debug, Default)]
pub struct InsideOptions {
    /// `--pid`: this process is the PDS.
    pub pid: Option<u32>,
    /// `--container`: the PDS is in the container of this name or id.
    pub container: Option<String>,
    /// The command line, such as `pdsdoctor check pds.example.com`: what is not allowed is measured
    /// by the same with `sudo` before it.
    pub command: String,
    /// Sockets of container engines; empty: the usual ones.
    pub engine_sockets: Vec<PathBuf>,
    /// Destinations whose source addresses are wanted, beside "the internet".
    pub destinations: Vec<IpAddr>,
    /// A file of settings that the PDS may have; `None`: where the official installer puts it.
    pub env_file: Option<PathBuf>,
    /// The PDS's host name, as soon as it is known: of many PDSes that one is examined first.
    pub wanted: Option<watch::Receiver<Wanted>>,
}

/// The PDS that is meant, which a handle or DID may have to be followed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its host name, so far as is known.
    pub host: Option<String>,
    /// Nothing more will become known.
    pub complete: bool,
}

impl Wanted {
    fn is(&self, candidate: &find::Candidate) -> bool {
        let host = self.host.as_deref().map(|host| host.trim_end_matches('.'));
        host.zip(candidate.hostname.as_deref()).is_some_and(|(host, name)| name.eq_ignore_ascii_case(host))
    }
}

impl InsideOptions {
    /// The line that measures what this user may not.
    pub fn sudo(&self) -> String {
        let command = if self.command.is_empty() { "pdsdoctor check" } else { &self.command };
        format!("sudo {command}")
    }

    fn sockets(&self, engine: Engine) -> Vec<PathBuf> {
        if self.engine_sockets.is_empty() { engine::sockets(engine) } else { self.engine_sockets.clone() }
    }
}

/// A place from which something can be measured: a network namespace, under the name it has in facts.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub vantage: Vantage,
    /// The name of its view of files: a container in this machine's network has files of its own.
    pub files: Vantage,
    /// The namespace.
    pub namespace: Namespace,
    /// A process whose files are those seen there; `None`: this machine's own.
    pub pid: Option<u32>,
}

/// A PDS on this machine.
#[derive(Clone, Debug)]
pub struct PdsProcess {
    /// What is known of it.
    pub fact: ProcessFact,
    /// Where it sees the network from. [`Vantage::Here`] if it shares this machine's.
    pub place: Option<Place>,
    /// When it was started, in ticks since boot: its number may be given away again.
    pub(super) started: Option<u64>,
    /// The engine of its container, where it answered.
    pub(super) engine: Option<engine::Known>,
    /// The id of its container, where the engine made that with the host name that the process has.
    pub(super) vouched: Option<Text>,
}

impl PdsProcess {
    /// It in words: number, user, program.
    pub fn words(&self) -> String {
        owner::words(self.fact.pid)
    }

    /// An engine of this machine made its container with the host name that the process has: more than its own word.
    pub fn is_vouched(&self) -> bool {
        self.vouched.is_some()
    }

    /// That it is the PDS is the word of another ordinary user, whom neither an engine nor root stands behind.
    pub fn is_a_strangers_word(&self) -> bool {
        !self.is_vouched() && owner::is_a_strangers(self.fact.pid)
    }

    /// Who else holds the port that it says is its own, in words.
    pub fn port_of_another(&self) -> Option<String> {
        claims::port_of_another(self)
    }
}

impl Place {
    /// This machine.
    pub fn here() -> Self {
        Self { vantage: Vantage::Here, files: Vantage::Here, namespace: Namespace::here(), pid: None }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The PDSes, the best first.
    pub processes: Vec<PdsProcess>,
    /// This machine's addresses.
    pub own_addresses: Vec<IpAddr>,
    /// Processes that say which PDS they are, and are not taken for it.
    pub claims: Vec<Claim>,
    /// Processes that may be PDSes and tell no host name, of other owners than those that do: number and words.
    pub unnamed: Vec<(u32, String)>,
    /// JavaScript processes of other users, whose environment may not be read: one may be the PDS.
    pub unreadable: Vec<u32>,
    /// Interfaces on which a router may advertise, with their numbers.
    uplinks: Vec<(Text, u32)>,
}

impl Survey {
    /// The places from which this machine's PDSes, and this machine itself, see the network.
    pub fn places(&self) -> Vec<Place> {
        let mut places = vec![Place::here()];
        for place in self.processes.iter().filter_map(|process| process.place.clone()) {
            if !places.iter().any(|known| (&known.vantage, &known.files) == (&place.vantage, &place.files)) {
                places.push(place);
            }
        }
        places
    }

    /// Listens for router advertisements at this machine's uplinks ([`super::LISTEN`] is long enough).
    /// Records [`crate::host_fact::RouterAdvertisementFact`]s.
    pub async fn listen(&self, net: &Net, options: &InsideOptions, time: Duration) {
        let (there, interfaces) = (net.clone(), self.uplinks.clone());
        let work = move || async move { advertisement::listen(&there, &interfaces, time).await };
        if let Err(error) = Namespace::here().run(work).await.and_then(|heard| heard) {
            let why = format!("router advertisements: {error}");
            net.not_measured(ProbeName::RouterAdvertisement, &why, &options.sudo());
        }
    }
}

/// Reads the end of the log of the PDS's container from its engine. Records a [`crate::log_fact::LogFact`].
pub async fn container_log(net: &Net, options: &InsideOptions, process: &ProcessFact) {
    let engine = match process.confinement.kind {
        ConfinementKind::Docker => Engine::Docker,
        ConfinementKind::Podman => Engine::Podman,
        _ => return,
    };
    let Some(id) = process.confinement.id.as_deref() else { return };
    let job = net.at(process.own_view()).begin(ProbeName::PdsLog, "the container's log");
    if let Some((bytes, cut)) = engine::log(&options.sockets(engine), id).await {
        let name = format!("of the container {}", process.confinement.name.as_deref().unwrap_or(id));
        pds_log::note_read(net, job, &name, &bytes);
        if cut {
            let why = format!("the log {name}: of its last lines only the newest were read; they are very long");
            net.not_measured(ProbeName::PdsLog, &why, "a look at the older lines of the log itself");
        }
    }
}

/// Why this is the machine of a PDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostReason {
    /// An address of the PDS is one of this machine's.
    OwnAddress(IpAddr),
    /// A process here has the PDS's host name in its environment, and an engine made its container with that name.
    Hostname(u32),
    /// A process here has the PDS's host name in its environment: its own word.
    Claimed(u32),
}

/// Is this the machine of the PDS `host` with these `addresses`?
pub fn is_pds_host(host: &str, addresses: &[IpAddr], survey: &Survey) -> Option<HostReason> {
    let host = host.trim_end_matches('.');
    let named = |name: Option<&Text>| name.is_some_and(|name| name.eq_ignore_ascii_case(host));
    let processes = || survey.processes.iter().filter(|process| named(process.fact.hostname.as_ref()));
    if let Some(process) = processes().find(|process| process.vouched.is_some()) {
        return Some(HostReason::Hostname(process.fact.pid));
    }
    // A loopback address is this machine's whether or not it was listed.
    let ours = |addr: &&IpAddr| addr.is_loopback() || survey.own_addresses.contains(addr);
    let own = addresses.iter().find(ours).copied().map(HostReason::OwnAddress);
    let claims = survey.claims.iter().filter(|claim| named(Some(&claim.hostname))).map(|claim| claim.pid);
    let claimed = processes().map(|process| process.fact.pid).chain(claims).next();
    own.or_else(|| claimed.map(HostReason::Claimed))
}

/// How long all of it may take: a container may have put anything in the place of a file.
const SURVEY: Duration = Duration::from_secs(8);

/// Examines this machine: finds the PDS, then measures from here and from where the PDS is. Answers
/// without listening for router advertisements: see [`Survey::listen`].
pub async fn survey(net: &Net, options: &InsideOptions) -> Survey {
    let mut survey = Survey::default();
    let all = async {
        let scan = async { Namespace::here().run(|| async { find::scan() }).await.unwrap_or_default() };
        let (scan, (network, boot)) = tokio::join!(scan, this_network(net, options));
        survey.own_addresses = network.addresses();
        survey.uplinks = uplinks(&network);
        survey.unreadable = scan.unreadable.clone();
        if scan.cut_short {
            let why = "not every process of this machine was looked at: there are too many, or it is busy";
            net.not_measured(ProbeName::PdsProcess, why, "--pid or --container with the PDS's");
        }
        (survey.processes, survey.claims) = processes(net, options, &scan).await;
        survey.unnamed = claims::unnamed(&scan.candidates, &survey.processes);
        env_file::examine(net, options.env_file.clone(), options.sudo(), !survey.processes.is_empty()).await;
        let places = survey.places();
        let ports: Vec<u16> = survey.processes.iter().map(|process| process.fact.effective_port()).collect();
        let others = futures_util::future::join_all(places.iter().map(|place| one_place(net, options, place, &ports)));
        let here = Namespace::here();
        let own = net.clone();
        let handlers = here.run(move || async move {
            if let Ok(root) = Root::here() {
                managers::examine(&own, &network, &scan.daemons, &root, &boot);
            }
        });
        let _ = tokio::join!(others, handlers);
    };
    if tokio::time::timeout(SURVEY, all).await.is_err() {
        net.not_measured(
            ProbeName::PdsProcess,
            "the examination of this machine did not end in time",
            "an idle machine",
        );
    }
    survey
}

/// The network of this machine, and what its files say of the next boot.
async fn this_network(net: &Net, options: &InsideOptions) -> (Network, Boot) {
    let (net, destinations) = (net.clone(), options.destinations.clone());
    let work = move || async move {
        let boot = Root::here().map(|root| sysctl::boot(&root)).unwrap_or_default();
        (network::examine(&net, &destinations, &boot).await, boot)
    };
    Namespace::here().run(work).await.unwrap_or_default()
}

/// Where a router may be heard.
fn uplinks(network: &Network) -> Vec<(Text, u32)> {
    /// The most interfaces: each costs two small packets.
    const INTERFACES: usize = 4;
    let has_link_local = |interface: &&crate::host_fact::InterfaceFact| {
        let mut addresses = interface.addresses.iter();
        interface.running
            && addresses.any(|found| found.addr.is_ipv6() && found.range == crate::host_fact::Range::LinkLocal)
    };
    let uplinks = managers::uplinks(&network.interfaces).into_iter().filter(has_link_local);
    uplinks.take(INTERFACES).map(|interface| (interface.name.clone(), interface.index)).collect()
}

/// What is measured at each place: who listens, the files, and the network where it is another one.
async fn one_place(net: &Net, options: &InsideOptions, place: &Place, ports: &[u16]) {
    let (there, files) = (net.at(place.vantage.clone()), net.at(place.files.clone()));
    let (ports, destinations, pid) = (ports.to_vec(), options.destinations.clone(), place.pid);
    let other = place.vantage != Vantage::Here;
    let new_files = pid.is_none() || place.files != Vantage::Here;
    let work = move || async move {
        // Two places in one network differ in their files alone.
        if other || pid.is_none() {
            let job = there.begin(ProbeName::PdsProcess, "the listening sockets");
            job.finish(FactBody::Listeners(listeners::fact("thread-self", &ports)));
        }
        if let (true, Ok(root)) = (new_files, pid.map_or_else(Root::here, Root::of)) {
            let job = files.begin(ProbeName::NameFiles, "the resolver's files");
            job.finish(FactBody::NameFiles(name_files::read(&root)));
        }
        if other {
            network::examine(&there, &destinations, &Boot::default()).await;
        }
    };
    if let Err(error) = place.namespace.run(work).await {
        let why = format!("the network of {} may not be entered: {error}", String::from(place.vantage.clone()));
        net.not_measured(ProbeName::HostNetwork, &why, &options.sudo());
    }
}

/// Facts about the PDS processes, and who is not taken for one.
async fn processes(net: &Net, options: &InsideOptions, scan: &Scan) -> (Vec<PdsProcess>, Vec<Claim>) {
    if let Some(wanted) = &options.container {
        return (of_container(net, options, wanted).await.into_iter().collect(), Vec::new());
    }
    if let Some(pid) = options.pid {
        return (of_pid(net, options, pid, FoundBy::Pid, "--pid", None).await.into_iter().collect(), Vec::new());
    }
    let mut examined = Vec::new();
    let wanted = wanted(options, &scan.candidates).await;
    let candidates = wanted_first(&scan.candidates, &wanted);
    let (first, rest) = candidates.split_at(candidates.len().min(find::FOUND));
    if !rest.is_empty() {
        let pids: Vec<String> = rest.iter().take(8).map(|candidate| candidate.pid.to_string()).collect();
        let why =
            format!("{} more processes here that may be PDSes were not examined ({})", rest.len(), pids.join(", "));
        net.not_measured(ProbeName::PdsProcess, &why, "--pid or --container, to name the one that is meant");
    }
    for candidate in first {
        // What is recorded of it counts once it is taken for a PDS.
        let aside = net.aside();
        let process = of_pid(&aside, options, candidate.pid, FoundBy::Scan, &candidate.because, None).await;
        match process {
            Some(process) => examined.push((process, aside)),
            None => net.adopt(&aside),
        }
    }
    let made = made(options, scan, &examined).await;
    let decided = claims::decide(examined, &scan.candidates, &made);
    for (why, needs) in &decided.said {
        net.not_measured(ProbeName::PdsProcess, why, needs);
    }
    let taken: Vec<PdsProcess> = decided
        .taken
        .into_iter()
        .map(|(process, aside)| {
            net.adopt(&aside);
            process
        })
        .collect();
    if taken.is_empty() && decided.claims.is_empty() && !scan.unreadable.is_empty() {
        let pids: Vec<String> = scan.unreadable.iter().take(5).map(ToString::to_string).collect();
        let why = format!("Node processes of other users run here ({}); one may be the PDS", pids.join(", "));
        net.not_measured(ProbeName::PdsProcess, &why, &options.sudo());
    }
    (taken, decided.claims)
}

/// What the engine has that was made for a PDS, where a process outside of its containers says that it is one. It is
/// asked only where it runs: to open an idle socket would start it.
async fn made(options: &InsideOptions, scan: &Scan, examined: &[(PdsProcess, Net)]) -> Vec<engine::Named> {
    let in_question = examined.iter().any(|(process, _)| process.fact.hostname.is_some() && process.vouched.is_none());
    let runs = scan.daemons.iter().any(|daemon| daemon.name == "dockerd") || !options.engine_sockets.is_empty();
    if !in_question || !runs {
        return Vec::new();
    }
    engine::named(&options.sockets(Engine::Docker)).await
}

/// How long it is waited for which of too many PDSes is meant: a handle leads there in a few round trips, more where its PDS
/// is down, and half of [`SURVEY`] is left.
const NAMED: Duration = Duration::from_secs(4);

/// The PDS that is meant. It is waited for where more may be one than are examined.
async fn wanted(options: &InsideOptions, candidates: &[find::Candidate]) -> Wanted {
    let Some(mut wanted) = options.wanted.clone() else { return Wanted::default() };
    if candidates.len() > find::FOUND {
        let is_known = |wanted: &Wanted| wanted.complete || candidates.iter().any(|candidate| wanted.is(candidate));
        // Too late, or nobody is left to say it: then what is known is all.
        let _ = tokio::time::timeout(NAMED, wanted.wait_for(is_known)).await;
    }
    wanted.borrow().clone()
}

/// The candidates, those that have the target's host name before all others.
fn wanted_first<'a>(candidates: &'a [find::Candidate], wanted: &Wanted) -> Vec<&'a find::Candidate> {
    let mut sorted: Vec<&find::Candidate> = candidates.iter().collect();
    sorted.sort_by_key(|candidate| !wanted.is(candidate));
    sorted
}

/// One process, with what its container engine says of it.
#[expect(clippy::too_many_arguments, reason = "what one look at this machine gathers, handed from step to step")]
async fn of_pid(
    net: &Net,
    options: &InsideOptions,
    pid: u32,
    how: FoundBy,
    because: &str,
    known: Option<engine::Found>,
) -> Option<PdsProcess> {
    let job = net.begin(ProbeName::PdsProcess, format!("process {pid}"));
    let because_owned = because.to_owned();
    let examined = Namespace::here().run(move || async move { process::examine(pid, how, &because_owned) }).await;
    let Some(mut fact) = examined.ok().flatten() else {
        net.not_measured(
            ProbeName::PdsProcess,
            &format!("there is no process {pid}"),
            "the number of a running process",
        );
        return None;
    };
    let engine = match (known, fact.confinement.kind) {
        (Some(known), _) => Some(known),
        (None, ConfinementKind::Docker) => ask(net, options, Engine::Docker, &fact).await,
        (None, ConfinementKind::Podman) => ask(net, options, Engine::Podman, &fact).await,
        _ => None,
    };
    let started = proc_fs::started_ticks(pid);
    let known = engine.as_ref().map(|engine| engine.known.clone());
    let made_for = engine.as_ref().and_then(|engine| engine.environment.hostname());
    if let Some(engine) = engine {
        fact.confinement.name = Some(engine.fact.name.clone()).filter(|name| !name.is_empty());
        if fact.confinement.kind == ConfinementKind::None {
            let docker = engine.engine == Engine::Docker;
            fact.confinement.kind = if docker { ConfinementKind::Docker } else { ConfinementKind::Podman };
            fact.confinement.id = Some(engine.fact.id.clone());
        }
        process::add_environment(&mut fact, &engine.environment);
    }
    if !fact.environment_read {
        let why = format!("the environment of process {pid} is another user's");
        net.not_measured(ProbeName::PdsProcess, &why, &options.sudo());
    }
    let place = place(net, options, &fact);
    job.finish(FactBody::Process(fact.clone()));
    // Only who may ask the engine can make a container: what that was made with is no stranger's word.
    let vouched =
        known.as_ref().map(|known| known.id.clone()).filter(|_| made_for.is_some() && made_for == fact.hostname);
    Some(PdsProcess { fact, place, started, engine: known, vouched })
}

async fn ask(net: &Net, options: &InsideOptions, engine: Engine, fact: &ProcessFact) -> Option<engine::Found> {
    let id = fact.confinement.id.as_deref()?;
    let aside = net.aside();
    let asked = engine::container(&aside, &options.sockets(engine), id).await;
    // Whoever has control groups of his own gives them the name of any container.
    let is_in = |first: Option<u32>| first.is_some_and(|first| find::shares_container(first, fact.pid));
    if asked.as_ref().is_ok_and(|found| !is_in(found.known.first)) {
        return None;
    }
    net.adopt(&aside);
    match asked {
        Ok(found) => Some(found),
        Err(Missing::NotAllowed(socket)) => {
            let why = format!("{} may not be opened by this user", socket.display());
            net.not_measured(ProbeName::ContainerEngine, &why, &options.sudo());
            None
        }
        Err(_) => None,
    }
}

/// The PDS in the container that the user named.
async fn of_container(net: &Net, options: &InsideOptions, wanted: &str) -> Option<PdsProcess> {
    let mut sockets = options.sockets(Engine::Docker);
    if options.engine_sockets.is_empty() {
        sockets.extend(engine::sockets(Engine::Podman));
    }
    let missed = |why: &str, needs: &str| net.not_measured(ProbeName::PdsProcess, why, needs);
    let found = match engine::container(net, &sockets, wanted).await {
        Ok(found) => found,
        Err(Missing::NotAllowed(socket)) => {
            missed(&format!("{} may not be opened by this user", socket.display()), &options.sudo());
            return None;
        }
        Err(Missing::NoEngine) => {
            missed("no Docker or Podman answers here", "a running container engine, or --pid");
            return None;
        }
        Err(Missing::NotKnown) => {
            let words = Text::limited(wanted, 80);
            missed(&format!("no container is called {words:?}"), "the name or id of a container on this machine");
            return None;
        }
    };
    let Some(first) = found.fact.pid else {
        missed(&format!("container {} is not running ({})", found.fact.name, found.fact.status), "a running container");
        return None;
    };
    // What an engine says is not taken on trust: the process must be of that container.
    let id = found.fact.id.to_string();
    let chosen = Namespace::here().run(move || async move { find::in_container(&id, first) }).await.ok().flatten();
    let Some(pid) = chosen else {
        missed(&format!("process {first}, which the engine names, is not of that container"), "--pid");
        return None;
    };
    of_pid(net, options, pid, FoundBy::Container, "--container", Some(found)).await
}

/// Where a PDS sees the network from.
fn place(net: &Net, options: &InsideOptions, fact: &ProcessFact) -> Option<Place> {
    let pid = fact.pid;
    let own = fact.own_view();
    // Files of this machine, read in a network that is not, are asked for names in that network.
    let shares = fact.own_files == Some(false);
    if network_of(pid).is_some() && network_of(pid) == network_here() {
        let files = if shares { Vantage::Here } else { own };
        let pid = (!shares).then_some(pid);
        return Some(Place { vantage: Vantage::Here, files, namespace: Namespace::here(), pid });
    }
    match Namespace::of(pid) {
        Ok(namespace) => Some(Place { vantage: own.clone(), files: own, namespace, pid: Some(pid) }),
        Err(_) => {
            let why = format!("the network of process {pid} may not be entered");
            net.not_measured(ProbeName::HostNetwork, &why, &options.sudo());
            None
        }
    }
}

#[cfg(test)]
mod tests;
