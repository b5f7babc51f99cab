//! The facts of a run, found by subject. Rules look things up here and nowhere else.

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, RecordType, SystemDnsFact},
    fact::{ConnectFact, Fact, FactBody, FactId, FailureKind, Family, OwnNetworkFact, ProbeName, Role},
    http_fact::{Content, HttpFact, HttpPurpose},
    log_fact::{LogCode, LogError, LogFact},
    par_fact::{ParArm, ParFact},
    record::{Run, TargetKind},
    tls_fact::{PathVerdict, TlsFact, TlsOfferFact},
};

pub(super) use super::seen::number;
pub use super::seen::{Seen, host_of};
use super::{
    inside::Inside,
    net_kinds::{AddressKind, address_kind},
    par_stage::{Stage, stage},
    step::{self, Command},
    unheard::{Unheard, sift},
};

/// The facts of a run.
pub struct Evidence<'a> {
    /// The run.
    pub run: &'a Run,
    /// In the order of their names, whichever they have in a file.
    facts: Vec<&'a Fact>,
    own: Vec<Seen<'a, OwnNetworkFact>>,
    dns: Vec<Seen<'a, DnsFact>>,
    system: Vec<Seen<'a, SystemDnsFact>>,
    connects: Vec<Seen<'a, ConnectFact>>,
    tls: Vec<Seen<'a, TlsFact>>,
    offers: Vec<Seen<'a, TlsOfferFact>>,
    http: Vec<Seen<'a, HttpFact>>,
    pars: Vec<Seen<'a, ParFact>>,
    logs: Vec<Seen<'a, LogFact>>,
    inside: Inside<'a>,
    unheard: Unheard,
}

/// What was measured at one address of a host, in the order of layers.
pub struct Line<'a> {
    /// The address.
    pub addr: IpAddr,
    /// TCP.
    pub connect: Option<Seen<'a, ConnectFact>>,
    /// TLS with the host's own name.
    pub tls: Option<Seen<'a, TlsFact>>,
    /// `describeServer`.
    pub describe: Option<Seen<'a, HttpFact>>,
    /// `_health`.
    pub health: Option<Seen<'a, HttpFact>>,
    /// Plain HTTP on the TLS port.
    pub plain: Option<Seen<'a, HttpFact>>,
    /// An upgrade of `subscribeRepos`.
    pub stream: Option<Seen<'a, HttpFact>>,
}

impl Line<'_> {
    /// The family of the address.
    pub fn family(&self) -> Family {
        Family::of(self.addr)
    }

    /// A TCP connection was made.
    pub fn connected(&self) -> bool {
        self.connect.is_some_and(|seen| seen.body.failure.is_none())
    }

    /// Why not.
    pub fn connect_failure(&self) -> Option<FailureKind> {
        self.connect?.body.failure.as_ref().map(|failure| failure.kind)
    }

    /// The TLS handshake was completed.
    pub fn shook_hands(&self) -> bool {
        self.tls.is_some_and(|seen| seen.body.failure.is_none())
    }

    /// An answer as of a PDS came, `describeServer` or `_health`.
    pub fn is_pds(&self) -> bool {
        [self.describe, self.health].into_iter().flatten().any(|seen| seen.body.is_expected())
    }

    /// The HTTP facts that have a status.
    pub fn answers(&self) -> Vec<Seen<'_, HttpFact>> {
        [self.describe, self.health].into_iter().flatten().filter(|seen| seen.body.status.is_some()).collect()
    }

    /// Names of all its facts, for evidence.
    pub fn ids(&self) -> Vec<FactId> {
        let mut ids = Vec::new();
        ids.extend(self.connect.map(|seen| seen.id()));
        ids.extend(self.tls.map(|seen| seen.id()));
        ids.extend([self.describe, self.health, self.plain].into_iter().flatten().map(|seen| seen.id()));
        ids
    }
}

impl<'a> Evidence<'a> {
    /// Sorts the facts by kind.
    pub fn new(run: &'a Run) -> Self {
        let mut evidence = Self {
            run,
            facts: run.facts.iter().collect(),
            own: Vec::new(),
            dns: Vec::new(),
            system: Vec::new(),
            connects: Vec::new(),
            tls: Vec::new(),
            offers: Vec::new(),
            http: Vec::new(),
            pars: Vec::new(),
            logs: Vec::new(),
            inside: Inside::default(),
            unheard: Unheard::default(),
        };
        // A run may have been put together in any order: the ids say which it is.
        evidence.facts.sort_by_key(|fact| (number(&fact.id), fact.id.0.as_str()));
        let (facts, unheard) = sift(evidence.facts.clone());
        evidence.unheard = unheard;
        // What was measured inside answers other questions: these lists are the view from outside.
        let (inside, outside): (Vec<&Fact>, Vec<&Fact>) =
            facts.into_iter().partition(|fact| fact.probe.is_inside() && fact.probe != ProbeName::PdsLog);
        evidence.inside = Inside::new(inside, run.target.host.as_deref());
        for fact in outside {
            match &fact.body {
                FactBody::OwnNetwork(body) => evidence.own.push(Seen { fact, body }),
                FactBody::Dns(body) => evidence.dns.push(Seen { fact, body }),
                FactBody::SystemDns(body) => evidence.system.push(Seen { fact, body }),
                FactBody::Connect(body) => evidence.connects.push(Seen { fact, body }),
                FactBody::Tls(body) => evidence.tls.push(Seen { fact, body }),
                FactBody::TlsOffer(body) => evidence.offers.push(Seen { fact, body }),
                FactBody::Http(body) => evidence.http.push(Seen { fact, body }),
                FactBody::Par(body) => evidence.pars.push(Seen { fact, body }),
                FactBody::Log(body) => evidence.logs.push(Seen { fact, body }),
                // Of the run itself, or of the machine: [`Inside`] and [`super::not_asked`] have them.
                FactBody::Resolver(_)
                | FactBody::NotAsked(_)
                | FactBody::Process(_)
                | FactBody::Listeners(_)
                | FactBody::Engine(_)
                | FactBody::Container(_)
                | FactBody::ContainerNetwork(_)
                | FactBody::Interface(_)
                | FactBody::Routes(_)
                | FactBody::Source(_)
                | FactBody::Sysctl(_)
                | FactBody::RaHandler(_)
                | FactBody::Forwarding(_)
                | FactBody::NameFiles(_)
                | FactBody::RouterAdvertisement(_)
                | FactBody::Hops(_)
                | FactBody::EnvFile(_)
                | FactBody::NodeFetch(_)
                | FactBody::Proxy(_) => {}
            }
        }
        evidence
    }

    /// All facts, in order, also those that no rule sees.
    pub fn facts(&self) -> &[&'a Fact] {
        &self.facts
    }

    /// What was measured and says nothing about whom it asked: no rule sees it.
    pub fn unheard(&self) -> &Unheard {
        &self.unheard
    }

    /// What was measured on the PDS's own machine.
    pub fn inside(&self) -> &Inside<'a> {
        &self.inside
    }

    /// The host of the PDS, once known.
    pub fn host(&self) -> Option<&'a str> {
        self.run.target.host.as_deref()
    }

    /// No PDS was named or found: only this machine was examined.
    pub fn is_machine_only(&self) -> bool {
        self.run.target.kind == TargetKind::Machine
    }

    /// The target in words, for sentences.
    pub fn name(&self) -> &'a str {
        if self.is_machine_only() { "this machine" } else { self.host().unwrap_or(&self.run.target.input) }
    }

    /// The command that measures the target again.
    pub fn verify(&self) -> Command {
        // What was measured inside took the rights of the administrator.
        self.measure_again(!self.inside.is_empty())
    }

    /// The same, with or without the rights of the administrator.
    pub fn measure_again(&self, sudo: bool) -> Command {
        let input = (!self.is_machine_only()).then(|| self.run.target.input.as_str());
        step::measure_again(input, sudo)
    }

    /// The user gave the addresses of this host: DNS is not in question.
    pub fn given_by_user(&self, host: &str) -> bool {
        host.parse::<IpAddr>().is_ok() || self.run.settings.resolved_by_user.iter().any(|given| given.as_str() == host)
    }

    /// The reference's host, unless it is the target itself.
    pub fn reference(&self) -> Option<&'a str> {
        let reference = self.run.reference.as_ref()?;
        (Some(reference.host.as_str()) != self.host()).then_some(reference.host.as_str())
    }

    /// May a contrast with the reference prove something? An entryway runs another program.
    pub fn reference_is_strong(&self) -> bool {
        self.reference().is_some() && self.run.reference.as_ref().is_some_and(|found| !found.entryway)
    }

    /// Which source address this machine has for a family.
    pub fn own_network(&self, family: Family) -> Option<Seen<'a, OwnNetworkFact>> {
        self.own.iter().find(|seen| seen.body.family == family).copied()
    }

    /// All DNS facts.
    pub fn all_dns(&self) -> &[Seen<'a, DnsFact>] {
        &self.dns
    }

    /// All facts about `getaddrinfo`.
    pub fn all_system_dns(&self) -> &[Seen<'a, SystemDnsFact>] {
        &self.system
    }

    /// All connects.
    pub fn all_connects(&self) -> &[Seen<'a, ConnectFact>] {
        &self.connects
    }

    /// All handshakes.
    pub fn all_tls(&self) -> &[Seen<'a, TlsFact>] {
        &self.tls
    }

    /// What servers took of a wide offer.
    pub fn all_offers(&self) -> &[Seen<'a, TlsOfferFact>] {
        &self.offers
    }

    /// All exchanges.
    pub fn all_http(&self) -> &[Seen<'a, HttpFact>] {
        &self.http
    }

    /// All PARs.
    pub fn all_pars(&self) -> &[Seen<'a, ParFact>] {
        &self.pars
    }

    /// Address questions about a name. The last attempt at each server speaks for it.
    pub fn address_answers(&self, name: &str) -> Vec<Seen<'a, DnsFact>> {
        self.answers(name, &[DnsPurpose::Address], &[RecordType::A, RecordType::Aaaa])
    }

    /// TXT questions about a name.
    pub fn txt_answers(&self, name: &str) -> Vec<Seen<'a, DnsFact>> {
        self.answers(name, &[DnsPurpose::HandleTxt, DnsPurpose::MisplacedTxt], &[RecordType::Txt])
    }

    /// Questions about a name; where a server was asked several times, its last answer.
    pub fn answers(&self, name: &str, purposes: &[DnsPurpose], types: &[RecordType]) -> Vec<Seen<'a, DnsFact>> {
        let asked: Vec<_> = self
            .dns
            .iter()
            .filter(|seen| {
                seen.body.name.as_str() == name
                    && purposes.contains(&seen.body.purpose)
                    && types.contains(&seen.body.record_type)
            })
            .copied()
            .collect();
        let is_last = |seen: &Seen<'_, DnsFact>| {
            !asked.iter().any(|other| {
                other.body.server == seen.body.server
                    && other.body.record_type == seen.body.record_type
                    && other.body.role == seen.body.role
                    && other.body.purpose == seen.body.purpose
                    && other.body.attempt > seen.body.attempt
            })
        };
        asked.iter().filter(|seen| is_last(seen)).copied().collect()
    }

    /// `getaddrinfo` about a name.
    pub fn system_answers(&self, name: &str) -> Vec<Seen<'a, SystemDnsFact>> {
        self.system.iter().filter(|seen| seen.body.name.as_str() == name).copied().collect()
    }

    /// Every address that anything named for a host, in order.
    pub fn addresses(&self, name: &str) -> BTreeSet<IpAddr> {
        let mut addrs: BTreeSet<IpAddr> =
            self.address_answers(name).iter().flat_map(|seen| seen.body.addresses()).collect();
        addrs.extend(self.system_answers(name).iter().flat_map(|seen| seen.body.addresses.iter().copied()));
        addrs
    }

    /// How a name that has no address is known to have none. "No such name" is said of all types at
    /// once (RFC 2308); "no such record" must be said of both, for the other type may just have failed.
    pub fn absence(&self, name: &str) -> Option<DnsOutcome> {
        let answers = self.address_answers(name);
        let denied = |outcome: DnsOutcome, record_type: RecordType| {
            answers.iter().any(|seen| seen.body.outcome == outcome && seen.body.record_type == record_type)
        };
        let (v4, v6) = (RecordType::A, RecordType::Aaaa);
        let no_data = denied(DnsOutcome::NoData, v4) || denied(DnsOutcome::NoData, v6);
        let no_name = denied(DnsOutcome::NxDomain, v4) || denied(DnsOutcome::NxDomain, v6);
        if !self.addresses(name).is_empty() {
            None
        } else if no_name && !no_data {
            Some(DnsOutcome::NxDomain)
        } else {
            let both =
                [v4, v6].iter().all(|kind| denied(DnsOutcome::NoData, *kind) || denied(DnsOutcome::NxDomain, *kind));
            both.then_some(DnsOutcome::NoData)
        }
    }

    /// The addresses that DNS itself names for a host: what `/etc/hosts` says beside it is not
    /// published, nor is what a DNS64 resolver makes up (RFC 6147).
    pub fn published(&self, name: &str) -> BTreeSet<IpAddr> {
        let named = self.address_answers(name);
        let addrs = named.iter().flat_map(|seen| seen.body.addresses());
        addrs.filter(|addr| address_kind(*addr) != AddressKind::Nat64).collect()
    }

    /// The lines of a host: what was measured at each address, IPv4 first.
    pub fn lines(&self, role: Role, host: &str, port: u16) -> Vec<Line<'a>> {
        let connects: Vec<_> = self
            .connects
            .iter()
            .filter(|seen| {
                seen.fact.probe == ProbeName::Tcp
                    && seen.body.role == role
                    && seen.body.host.as_str() == host
                    && seen.body.port == port
            })
            .collect();
        let addrs: BTreeSet<IpAddr> = connects.iter().map(|seen| seen.body.addr).collect();
        addrs.into_iter().map(|addr| self.line(role, host, port, addr)).collect()
    }

    fn line(&self, role: Role, host: &str, port: u16, addr: IpAddr) -> Line<'a> {
        let http = |purpose| {
            // A second try after a closed connection comes later: the last one speaks.
            self.http.iter().rev().find(|seen| {
                let body = seen.body;
                body.role == role
                    && body.purpose == purpose
                    && body.addr == Some(addr)
                    && host_of(&body.url).as_deref() == Some(host)
                    && matches!(seen.fact.probe, ProbeName::Http | ProbeName::Tls | ProbeName::Websocket)
            })
        };
        Line {
            addr,
            connect: self
                .connects
                .iter()
                .find(|seen| {
                    let body = seen.body;
                    seen.fact.probe == ProbeName::Tcp
                        && body.role == role
                        && body.host.as_str() == host
                        && body.port == port
                        && body.addr == addr
                })
                .copied(),
            tls: self
                .tls
                .iter()
                .find(|seen| {
                    let body = seen.body;
                    seen.fact.probe == ProbeName::Tls
                        && body.role == role
                        && body.sni.as_str() == host
                        && body.port == port
                        && body.addr == addr
                })
                .copied(),
            describe: http(HttpPurpose::DescribeServer).copied(),
            health: http(HttpPurpose::Health).copied(),
            plain: http(HttpPurpose::PlainOnTlsPort).copied(),
            stream: http(HttpPurpose::SubscribeRepos).copied(),
        }
    }

    /// The lines of the target.
    pub fn target_lines(&self) -> Vec<Line<'a>> {
        self.host().map(|host| self.lines(Role::Target, host, self.run.target.port)).unwrap_or_default()
    }

    /// The lines of the reference.
    pub fn reference_lines(&self) -> Vec<Line<'a>> {
        let ports: BTreeSet<u16> =
            self.connects.iter().filter(|seen| seen.body.role == Role::Reference).map(|seen| seen.body.port).collect();
        let Some(host) = self.reference() else { return Vec::new() };
        ports.into_iter().flat_map(|port| self.lines(Role::Reference, host, port)).collect()
    }

    /// Connects to hosts other than the target's own: what this side can do at all.
    pub fn control_connects(&self) -> impl Iterator<Item = &Seen<'a, ConnectFact>> {
        self.connects.iter().filter(|seen| matches!(seen.body.role, Role::Reference | Role::Client | Role::Directory))
    }

    /// Something other than the target answered on this family: this side can use it. A connection
    /// is the better control; a refusal shows at least that packets pass.
    pub fn family_control(&self, family: Family) -> Option<(FactId, String)> {
        let answered = |failure: Option<FailureKind>| {
            self.control_connects().find(|seen| {
                Family::of(seen.body.addr) == family
                    && seen.body.failure.as_ref().map(|failure| failure.kind) == failure
            })
        };
        if let Some(seen) = answered(None) {
            return Some((seen.id(), format!("{}: connected", seen.body.host)));
        }
        let seen = answered(Some(FailureKind::Refused))?;
        Some((seen.id(), format!("{}: answers (refused)", seen.body.host)))
    }

    /// The fact that shows it.
    pub fn family_works(&self, family: Family) -> Option<FactId> {
        self.family_control(family).map(|(id, _)| id)
    }

    /// Other hosts were tried on this family, and every one was silent or unreachable.
    pub fn family_fails(&self, family: Family) -> bool {
        let mut tried = self.control_connects().filter(|seen| Family::of(seen.body.addr) == family).peekable();
        tried.peek().is_some() && self.family_works(family).is_none()
    }

    /// The chain of the reference, or of another host that is not the target's, is trusted by
    /// Mozilla's roots or by one the user named: certificates are what they seem from here.
    pub fn trusted_control(&self) -> Option<FactId> {
        self.tls
            .iter()
            .find(|seen| {
                seen.body.role == Role::Reference
                    && seen.body.certificate.as_ref().is_some_and(|certificate| {
                        certificate.trust_given || certificate.trust_mozilla == PathVerdict::Trusted
                    })
            })
            .map(Seen::id)
    }

    /// Handshakes with the reference happened, and none of its chains leads to a public root.
    pub fn control_is_untrusted(&self) -> bool {
        let mut certificates = self
            .tls
            .iter()
            .filter(|seen| seen.body.role == Role::Reference && seen.body.certificate.is_some())
            .peekable();
        certificates.peek().is_some() && self.trusted_control().is_none()
    }

    /// No handshake with this name at this address showed a certificate that clients refuse.
    pub fn has_sound_certificate(&self, sni: &str, addr: IpAddr) -> bool {
        !self
            .tls
            .iter()
            .filter(|seen| seen.body.sni.as_str() == sni && seen.body.addr == addr)
            .any(|seen| seen.body.certificate.as_ref().is_some_and(|certificate| !self.accepts(certificate)))
    }

    /// The handles that were looked at: the one that was named, and those of accounts of the target.
    /// A name that was only tried because it might have been a handle is none.
    pub fn handles(&self) -> BTreeSet<&'a str> {
        self.dns
            .iter()
            .filter(|seen| seen.body.purpose == DnsPurpose::HandleTxt)
            .filter_map(|seen| Some((seen.body.role, seen.body.name.as_str().strip_prefix("_atproto.")?)))
            .filter(|(role, handle)| *role == Role::HostedHandle || self.is_named_handle(handle))
            .map(|(_, handle)| handle)
            .collect()
    }

    /// Is this the handle the user asked about?
    pub fn is_named_handle(&self, handle: &str) -> bool {
        self.run.target.handle.as_deref() == Some(handle)
    }

    /// The exchanges of a purpose for a role.
    pub fn http(&self, role: Role, purpose: HttpPurpose) -> Vec<Seen<'a, HttpFact>> {
        self.http.iter().filter(|seen| seen.body.role == role && seen.body.purpose == purpose).copied().collect()
    }

    /// `describeServer` of the target, from the first address that gave it.
    pub fn described(&self) -> Option<(Seen<'a, HttpFact>, Option<&'a str>, Vec<&'a str>)> {
        let host = self.host()?;
        self.http(Role::Target, HttpPurpose::DescribeServer).into_iter().find_map(|seen| {
            if host_of(&seen.body.url).as_deref() != Some(host) {
                return None;
            }
            match &seen.body.content {
                Some(Content::DescribeServer { did, available_user_domains }) if seen.body.is_expected() => {
                    Some((seen, did.as_deref(), available_user_domains.iter().map(std::ops::Deref::deref).collect()))
                }
                _ => None,
            }
        })
    }

    /// The version that `_health` of a role gives.
    pub fn version(&self, role: Role) -> Option<&'a str> {
        self.http(role, HttpPurpose::Health).into_iter().find_map(|seen| match &seen.body.content {
            Some(Content::Health { version }) => Some(version.as_str()),
            _ => None,
        })
    }

    /// The PAR of an arm, with how far it got. What a busy PDS failed at in a bad moment counts as not asked
    /// ([`Self::is_bad_moment`]).
    pub fn par(&self, role: Role, client: Option<&str>, arm: ParArm) -> Option<(Seen<'a, ParFact>, Stage)> {
        let found = self.pars.iter().find(|seen| {
            seen.body.role == role
                && seen.body.arm == arm
                && client.is_none_or(|client| seen.body.client.as_str() == client)
        })?;
        (!self.is_bad_moment(found)).then(|| (*found, self.stage_of(*found)))
    }

    /// The PAR with which the reference got the client metadata of an application, asked for with a new query.
    pub fn fetched_by_reference(&self, client: &str) -> Option<(Seen<'a, ParFact>, Stage)> {
        let there = self.par(Role::Reference, Some(client), ParArm::CacheBusted);
        there.filter(|(_, stage)| stage.obtained_document() == Some(true))
    }

    /// How far a PAR got.
    pub fn stage_of(&self, seen: Seen<'_, ParFact>) -> Stage {
        stage(seen.body, seen.took(), self.par_base(seen.body.role))
    }

    /// The clients that PARs were about, in order.
    pub fn clients(&self) -> Vec<&'a str> {
        let ids: BTreeSet<&str> =
            self.pars.iter().filter(|seen| seen.body.arm.is_login()).map(|seen| seen.body.client.as_str()).collect();
        let in_order = self.run.settings.client_ids.iter().map(std::ops::Deref::deref);
        in_order.filter(|id| ids.contains(id)).collect()
    }

    /// The last error that the PDS's own log has of a host: the reason that its answers leave out.
    pub fn log_error(&self, host: &str) -> Option<(Seen<'a, LogFact>, &'a LogError)> {
        let of_host = |seen: &Seen<'a, LogFact>| {
            let mut errors = seen.body.errors.iter();
            Some((*seen, errors.find(|error| error.host.as_deref() == Some(host))?))
        };
        self.logs.iter().filter_map(of_host).max_by_key(|(_, error)| error.last_ms)
    }

    /// Whether the log has an error of this kind, of whichever host.
    pub fn log_code(&self, code: LogCode) -> Option<(Seen<'a, LogFact>, &'a LogError)> {
        self.logs.iter().find_map(|seen| Some((*seen, seen.body.errors.iter().find(|error| error.code == code)?)))
    }

    /// Was a probe cut short or left out?
    pub fn is_unmeasured(&self, probe: ProbeName) -> bool {
        let limited = &self.unheard.limited;
        self.run.not_measured.iter().chain(limited).any(|missing| missing.probe == probe)
    }
}
