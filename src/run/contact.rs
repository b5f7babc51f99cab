//! Who may be asked. A document of a stranger (OAuth metadata, a DID document, a list of handles) may name any host; the
//! user who runs this did not. So a host that was learnt from a document is asked
//!
//! - at port 443 only, and only under a name that is one,
//! - at public addresses only, judged after the look-up, on the very address that is then connected to: a name that is
//!   resolved anew cannot lead elsewhere,
//! - under `--no-third-party` only if it is the target's: the PDS that a handle or DID leads to, the host of a `did:web`,
//!   below either's name, or at an address of the target,
//! - and few of them are, at few addresses each.
//!
//! What the user named is asked as it was named: the target, `--against`, `--client-id`, `--egress-host`, and every
//! `--resolve`; so is what this program names itself (`--help` lists it). An address and port of the target's may be
//! asked under any name: it is contacted anyway. No redirect is ever followed (`Policy::none()`; lines of our own
//! follow none).
//!
//! Every look-up of a run goes through [`super::addresses`], and nothing is connected to that did not come out of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pdsdoctor_probes::{
    address_kind::{address_kind, is_public},
    contact_fact::{NotAsked, NotAskedFact},
    fact::{FactBody, ProbeName, Role},
    identifier::{self, TargetInput},
    limits,
    text::Text,
};
use tokio::sync::watch;

use super::{Context, clients::https_host, identity::PLC_DIRECTORY};
use crate::options::{CheckOptions, REFERENCES};

/// The only port at which a host from a document is asked: what atproto puts on the web is https at its usual port, and
/// what listens at others was not meant for strangers.
const PORT: u16 = 443;

/// The most hosts of one run that documents name and that are not at the target's own addresses. A real PDS has its
/// login server, a handle domain or two and three accounts; the known-good PDS has its login server.
const FOREIGN_HOSTS: usize = 8;

/// At how many addresses one of them is asked: two of each family show what there is to show.
const FOREIGN_ADDRESSES: usize = 4;

/// The hosts that may be asked, and those that were.
pub(super) struct Contacts {
    no_third_party: bool,
    known: Mutex<Known>,
    /// How many look-ups of the target's names have not ended.
    looking: watch::Sender<usize>,
}

#[derive(Default)]
struct Known {
    /// Hosts with their ports that the user, or this program, names.
    named: Vec<(String, u16)>,
    /// The target's names: what lies below them is the target's.
    own: Vec<String>,
    /// Addresses and ports of the target.
    doors: BTreeSet<(IpAddr, u16)>,
    /// Others that were asked.
    foreign: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Contacts {
    pub(super) fn new(options: &CheckOptions) -> Self {
        let mut known = Known::default();
        let urls = options.client_ids.iter().chain(options.egress_hosts.iter().map(|host| &host.url));
        known.named.extend(urls.filter_map(|url| https_host(url)));
        let references = options.against.iter().cloned().chain(REFERENCES.iter().map(|host| (*host).to_owned()));
        known.named.extend(references.filter_map(|host| https_host(&format!("https://{host}"))));
        known.named.extend(https_host(PLC_DIRECTORY));
        known.named.extend(options.resolve.iter().map(|resolve| (resolve.host.clone(), resolve.port)));
        let contacts =
            Self { no_third_party: options.no_third_party, known: Mutex::new(known), looking: watch::Sender::new(0) };
        match &options.target {
            Some(TargetInput::Url { host, port }) => contacts.name(host, *port),
            Some(TargetInput::Name(name) | TargetInput::Handle(name)) => contacts.name(name, PORT),
            // Whoever types it names its host, and no port: atproto knows none in a DID.
            Some(TargetInput::Did(did)) => {
                if let Some((host, _)) = identifier::did_web_url(did).and_then(|url| https_host(&url)) {
                    contacts.name(&host, PORT);
                }
            }
            None => {}
        }
        contacts
    }

    /// The user means this host.
    pub(super) fn name(&self, host: &str, port: u16) {
        let mut known = self.known();
        known.named.push((host.to_owned(), port));
        known.own.push(host.to_owned());
    }

    /// The user, or this program, named it.
    pub(super) fn is_named(&self, host: &str, port: u16) -> bool {
        self.known().is_named(host, port)
    }

    /// May this host be looked up, to be asked?
    pub(super) fn host(&self, role: Role, host: &str, port: u16) -> Result<(), NotAsked> {
        let known = self.known();
        if known.is_named(host, port) {
            return Ok(());
        }
        if host.parse::<IpAddr>().is_err() && !identifier::is_host_name(host) {
            return Err(NotAsked::NoName);
        }
        if port != PORT {
            return Err(NotAsked::Port);
        }
        // What DNS says of a handle is measured in any case, and it may lead to the target.
        let by_address = matches!(role, Role::Target | Role::Handle | Role::HandleSample | Role::HostedHandle);
        if self.no_third_party && !by_address && !known.is_own(host) {
            return Err(NotAsked::ThirdParty);
        }
        Ok(())
    }

    /// May it be asked at this address? The one who asks for leave connects to no other.
    pub(super) async fn address(&self, role: Role, host: &str, port: u16, addr: IpAddr) -> Result<(), NotAsked> {
        let first = self.known().admit(self.no_third_party, role, host, port, addr);
        match first {
            // It may be an address of the target, as which it is not known yet.
            Err(NotAsked::NotPublic | NotAsked::ThirdParty) if role != Role::Target => {
                // The sender is here: it cannot be gone.
                let _ = self.looking.subscribe().wait_for(|looking| *looking == 0).await;
                self.known().admit(self.no_third_party, role, host, port, addr)
            }
            known => known,
        }
    }

    /// Is this an address of the target's? Known once all of its names were looked up.
    pub(super) async fn is_targets(&self, addr: IpAddr, port: u16) -> bool {
        let is = || self.known().doors.contains(&(addr, port));
        if !is() {
            // The sender is here: it cannot be gone.
            let _ = self.looking.subscribe().wait_for(|looking| *looking == 0).await;
        }
        is()
    }

    /// A look-up of one of the target's names begins; it ends when the guard goes.
    pub(super) fn looking(&self) -> Looking<'_> {
        self.looking.send_modify(|looking| *looking += 1);
        Looking(self)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it is there, a name of the target is being looked up.
pub(super) struct Looking<'a>(&'a Contacts);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.looking.send_modify(|looking| *looking -= 1);
    }
}

impl Known {
    /// A host that was named is named at the usual port as well, and at no other than it was named with.
    fn is_named(&self, host: &str, port: u16) -> bool {
        self.named.iter().any(|(named, at)| named == host && (*at == port || port == PORT))
    }

    fn is_own(&self, host: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.ends_with('.');
        self.own.iter().any(|own| host.strip_suffix(own.as_str()).is_some_and(below))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "role, host, address and port are an endpoint, and no type says so yet"
    )]
    fn admit(&mut self, no_third_party: bool, role: Role, host: &str, port: u16, addr: IpAddr) -> Result<(), NotAsked> {
        let named = self.is_named(host, port);
        if named || self.doors.contains(&(addr, port)) {
            if named && role == Role::Target {
                self.doors.insert((addr, port));
            }
            return Ok(());
        }
        if !is_public(addr) {
            return Err(NotAsked::NotPublic);
        }
        if no_third_party && role != Role::Target && !self.is_own(host) {
            return Err(NotAsked::ThirdParty);
        }
        if self.foreign.len() == FOREIGN_HOSTS && !self.foreign.contains_key(host) {
            return Err(NotAsked::TooMany);
        }
        let asked = self.foreign.entry(host.to_owned()).or_default();
        // Of the PDS itself every address counts.
        let most = if role == Role::Target { limits::ADDRESSES } else { FOREIGN_ADDRESSES };
        if asked.len() >= most && !asked.contains(&addr) {
            return Err(NotAsked::TooManyAddresses);
        }
        asked.insert(addr);
        if role == Role::Target {
            self.doors.insert((addr, port));
            self.own.push(host.to_owned());
        }
        Ok(())
    }
}

/// Notes what was left alone, as a fact and among what was not measured.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub(super) fn left_alone(
    context: &Context,
    probe: ProbeName,
    role: Role,
    (host, port): (&str, u16),
    addr: Option<IpAddr>,
    reason: NotAsked,
) {
    let job = context.net.begin(probe, "leave to ask a host that a document names");
    let fact = NotAskedFact { role, host: Text::limited(host, 253), port, addr, reason };
    let (why, needs) = words(&fact);
    context.net.not_measured(probe, &why, &needs);
    job.finish(FactBody::NotAsked(fact));
}

fn words(fact: &NotAskedFact) -> (String, String) {
    let NotAskedFact { role, host, port, addr, reason } = fact;
    let shown = if *port == PORT { host.to_string() } else { format!("{host}:{port}") };
    let as_target = if *role == Role::Target {
        format!("{shown} itself as TARGET")
    } else {
        format!("--resolve {host}:{port}:ADDRESS, which names it")
    };
    match reason {
        NotAsked::NoName => (
            "a host that a document names was not asked: it is no host name".to_owned(),
            "a host name there".to_owned(),
        ),
        NotAsked::Port => {
            (format!("{shown} was not asked: a host that a document names is asked at port {PORT} only"), as_target)
        }
        NotAsked::NotPublic => {
            let at = addr.map_or(String::new(), |addr| format!(" at {addr} ({})", address_kind(addr)));
            (format!("{shown} was not asked{at}: a document names it, and that is no public address"), as_target)
        }
        NotAsked::ThirdParty => (
            format!("--no-third-party: {shown}, which a document names, was not asked"),
            "a run without --no-third-party".to_owned(),
        ),
        NotAsked::TooMany => {
            (format!("{shown} was not asked: a run asks at most {FOREIGN_HOSTS} hosts that documents name"), as_target)
        }
        NotAsked::TooManyAddresses => {
            (format!("{shown} was asked at {FOREIGN_ADDRESSES} of its addresses only: a document names it"), as_target)
        }
    }
}

/// Host and port of an https address that a document names as the target's PDS, if it may be looked up; else it is noted
/// why not.
pub(super) fn pds_named(context: &Context, endpoint: &str) -> Option<(String, u16)> {
    let (host, port) = https_host(endpoint)?;
    match context.contacts.host(Role::Target, &host, port) {
        Ok(()) => Some((host, port)),
        Err(reason) => {
            left_alone(context, ProbeName::Identity, Role::Target, (&host, port), None, reason);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Resolve;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn contacts(target: &str, change: impl FnOnce(&mut CheckOptions)) -> Contacts {
        let words = ["pdsdoctor", "check", target];
        let mut options = crate::cli::tests_support::options(words);
        change(&mut options);
        Contacts::new(&options)
    }

    #[tokio::test]
    async fn what_the_user_names_is_asked_as_it_was_named() {
        let at = |host: &str, port| Resolve { host: host.to_owned(), port, addrs: vec![ip("127.0.0.1")] };
        let contacts = contacts("https://pds.example.com:8443", |options| {
            options.against = Some("ref.example:9443".to_owned());
            options.resolve = vec![at("auth.example.com", 444)];
        });
        for (host, port, asked) in [
            ("pds.example.com", 8443, true),
            ("pds.example.com", 443, true),
            ("pds.example.com", 22, false),
            ("ref.example", 9443, true),
            ("ref.example", 8443, false),
            ("auth.example.com", 444, true),
            ("plc.directory", 443, true),
            ("other.example.com", 443, true),
            ("other.example.com", 8443, false),
            ("169.254.169.254", 2375, false),
            ("$(id).example.com", 443, false),
        ] {
            let role = Role::TargetAuthServer;
            assert_eq!(contacts.host(role, host, port).is_ok(), asked, "{host}:{port}");
        }
        assert_eq!(contacts.address(Role::Target, "pds.example.com", 8443, ip("10.0.0.1")).await, Ok(()));
        assert_eq!(contacts.address(Role::TargetAuthServer, "auth.example.com", 444, ip("127.0.0.1")).await, Ok(()));
    }

    #[tokio::test]
    async fn a_host_of_a_document_is_asked_at_public_addresses_and_those_of_the_target() {
        let contacts = contacts("pds.example.com", |_| {});
        let may = async |role, host: &str, addr: &str| contacts.address(role, host, 443, ip(addr)).await;
        assert_eq!(may(Role::Target, "pds.example.com", "10.0.0.5").await, Ok(()));
        let inner = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "100.64.0.1", "::1", "fe80::1", "fd00::1"];
        let disguised = ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "::", "224.0.0.1"];
        for addr in inner.into_iter().chain(disguised) {
            assert_eq!(may(Role::TargetAuthServer, "auth.example.com", addr).await, Err(NotAsked::NotPublic), "{addr}");
            assert_eq!(may(Role::Target, "elsewhere.example.com", addr).await, Err(NotAsked::NotPublic), "{addr}");
        }
        assert_eq!(may(Role::HostedHandle, "alice.pds.example.com", "10.0.0.5").await, Ok(()), "the target's own");
        assert_eq!(may(Role::TargetAuthServer, "auth.example.com", "8.8.8.8").await, Ok(()));
        // The same address at another port is another door.
        assert_eq!(
            contacts.address(Role::HostedHandle, "alice.example", 22, ip("10.0.0.5")).await,
            Err(NotAsked::NotPublic)
        );
    }

    #[tokio::test]
    async fn an_address_that_turns_out_to_be_the_targets_is_waited_for() {
        let contacts = contacts("pds.example.com", |_| {});
        let looking = contacts.looking();
        let handle = contacts.address(Role::HostedHandle, "alice.pds.example.com", 443, ip("10.0.0.5"));
        let target = async {
            assert_eq!(contacts.address(Role::Target, "pds.example.com", 443, ip("10.0.0.5")).await, Ok(()));
            drop(looking);
        };
        assert_eq!(tokio::join!(handle, target).0, Ok(()));
    }

    #[tokio::test]
    async fn a_did_names_its_host_and_no_port() {
        let contacts = contacts("did:web:inner.example.com%3A22", |options| options.no_third_party = true);
        assert_eq!(contacts.host(Role::Directory, "inner.example.com", 22), Err(NotAsked::Port));
        assert_eq!(contacts.host(Role::Directory, "inner.example.com", 443), Ok(()));
        let at = async |host, addr| contacts.address(Role::Target, host, 443, ip(addr)).await;
        assert_eq!(at("inner.example.com", "10.0.0.1").await, Ok(()), "the name was typed");
        assert_eq!(at("pds.example.com", "10.0.0.2").await, Err(NotAsked::NotPublic), "the document's word");
        assert_eq!(at("pds.example.com", "8.8.8.8").await, Ok(()));
    }

    #[tokio::test]
    async fn few_hosts_and_few_addresses() {
        let contacts = contacts("pds.example.com", |_| {});
        let may = async |host: usize, addr: usize| {
            let (host, addr) = (format!("h{host}.example"), format!("8.8.{host}.{addr}"));
            contacts.address(Role::HostedHandle, &host, 443, ip(&addr)).await
        };
        for host in 0..FOREIGN_HOSTS {
            for addr in 0..FOREIGN_ADDRESSES {
                assert_eq!(may(host, addr).await, Ok(()));
            }
            assert_eq!(may(host, FOREIGN_ADDRESSES).await, Err(NotAsked::TooManyAddresses));
            assert_eq!(may(host, 0).await, Ok(()), "the same once more");
        }
        assert_eq!(may(FOREIGN_HOSTS, 0).await, Err(NotAsked::TooMany));
    }

    #[tokio::test]
    async fn without_third_parties_only_what_is_the_targets() {
        let contacts = contacts("pds.example.com", |options| options.no_third_party = true);
        assert_eq!(contacts.address(Role::Target, "pds.example.com", 443, ip("8.8.8.8")).await, Ok(()));
        for (role, host, addr, asked) in [
            (Role::HostedHandle, "alice.pds.example.com", "8.8.4.4", true),
            (Role::HostedHandle, "alice.example.org", "8.8.8.8", true),
            (Role::HostedHandle, "alice.example.org", "8.8.4.4", false),
            (Role::HostedHandle, "evilpds.example.com", "8.8.4.4", false),
            (Role::TargetAuthServer, "auth.example.org", "8.8.4.4", false),
            (Role::Directory, "auth.example.org", "8.8.4.4", false),
            (Role::Target, "its-pds.example.org", "8.8.4.4", true),
        ] {
            let may = match contacts.host(role, host, 443) {
                Ok(()) => contacts.address(role, host, 443, ip(addr)).await,
                refused => refused,
            };
            assert_eq!(may, if asked { Ok(()) } else { Err(NotAsked::ThirdParty) }, "{role} {host}");
        }
    }

    #[test]
    fn the_pages_name_the_bounds() {
        let security = include_str!("../../docs/security.md");
        let words = format!(
            "at most {FOREIGN_HOSTS} hosts that are not at an address of the target, at {FOREIGN_ADDRESSES} addresses each"
        );
        assert!(security.contains(&words), "docs/security.md");
        let words = format!("at most {FOREIGN_HOSTS} of one run, at {FOREIGN_ADDRESSES} addresses each");
        assert!(include_str!("../../docs/usage.md").contains(&words), "docs/usage.md");
    }
}
