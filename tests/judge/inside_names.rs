//! What a name means where the PDS is: its hosts file and its search domains, as the C library reads them.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{ConnectFact, FactBody, FailureKind, ProbeName, Role},
    host_fact::{HostsEntry, NameFilesFact},
    process_fact::NodeArm,
};

use crate::{host::*, inside_node_proof, world::*};

const INNER: &str = "10.20.30.40";
const OLD: &str = "203.0.114.9";

fn files(world: World, change: impl Fn(&mut NameFilesFact)) -> World {
    world.there(&container(), |fact| {
        if let FactBody::NameFiles(body) = &mut fact.body {
            change(body);
        }
    })
}

fn login_fails(world: World) -> World {
    world.pars(Role::Target, (400, "invalid_client_metadata", &not_obtained("")), 95)
}

/// A line of the hosts file, and what a connection to it comes to.
pub fn listed(world: World, addr: &str, ends: Option<FailureKind>) -> World {
    let entry = HostsEntry { addr: ip(addr), names: vec![t(APP)] };
    files(world, |body| body.hosts = vec![entry.clone()]).with(|world| {
        let failure = ends.map(fail);
        let body = ConnectFact { role: Role::Client, host: t(APP), addr: ip(addr), port: 443, failure };
        world.inside(&container(), ProbeName::Egress, FactBody::Connect(body));
    })
}

/// The login fails, for the PDS goes to an old address.
pub fn old_line() -> World {
    login_fails(listed(machine(), OLD, Some(FailureKind::Timeout)))
}

/// The login fails, for the PDS asks for another name.
pub fn wildcard() -> World {
    login_fails(completed(machine(), 5, Some(INNER)))
}

#[test]
fn an_old_line_in_the_pds_s_hosts_file() {
    for (addr, ends) in [(OLD, Some(FailureKind::Timeout)), (INNER, Some(FailureKind::Timeout)), (OLD, None)] {
        let judged = login_fails(listed(machine(), addr, ends)).finds(
            Code::DnsHostsFileStale,
            Impact::Broken,
            Confidence::Confirmed,
        );
        let cause = judged.cause(Code::DnsHostsFileStale);
        assert!(cause.summary.contains(addr) && cause.contrast[0].that.contains(APP_V4), "{cause:?}");
        assert!(cause.symptoms.iter().any(|it| it.code == Code::OauthClientMetadataEgress), "{}", judged.show());
        assert!(!judged.rules_out(Code::DnsSplitHorizonSsrf), "{}", judged.show());
    }
    // The login works all the same.
    listed(machine(), OLD, None).never_says(Code::DnsHostsFileStale);
    // The DNS has that address too: the login fails for another reason.
    login_fails(listed(machine(), APP_V4, None)).never_says(Code::DnsHostsFileStale);
    // The DNS stands before it.
    let behind = files(login_fails(listed(machine(), OLD, None)), |body| body.nsswitch = vec![t("dns"), t("files")]);
    behind.never_says(Code::DnsHostsFileStale);
    // It is this machine's file, which the PDS does not see.
    let other = login_fails(machine()).there(&pdsdoctor_probes::fact::Vantage::Here, |fact| {
        if let FactBody::NameFiles(body) = &mut fact.body {
            body.hosts = vec![HostsEntry { addr: ip(OLD), names: vec![t(APP)] }];
        }
    });
    other.never_says(Code::DnsHostsFileStale);
}

/// A search domain, how many dots a name must have, and what the completed name has.
pub fn completed(world: World, ndots: usize, addr: Option<&str>) -> World {
    let option = format!("ndots:{ndots}");
    files(world, |body| {
        body.search = vec![t("corp.example")];
        body.options = vec![t(&option)];
    })
    .with(|world| {
        let records: Vec<&str> = addr.into_iter().collect();
        let name = format!("{APP}.corp.example");
        let mut answer = dns(Role::Client, DnsPurpose::Searched, &name, RecordType::A, &records);
        answer.server = "127.0.0.11:53".parse().unwrap();
        if addr.is_none() {
            answer.outcome = DnsOutcome::NxDomain;
        }
        world.inside(&container(), ProbeName::Egress, FactBody::Dns(answer));
    })
}

#[test]
fn a_wildcard_behind_a_search_domain() {
    let judged = login_fails(completed(machine(), 5, Some(INNER))).finds(
        Code::DnsSearchDomainHijack,
        Impact::Broken,
        // The names were asked for one by one; what the C library does there was not seen.
        Confidence::Likely,
    );
    let cause = judged.cause(Code::DnsSearchDomainHijack);
    assert!(format!("{:?}", cause.settle).contains("--with-node"), "{cause:?}");
    assert!(cause.summary.contains("tangled.org.corp.example") && cause.summary.contains(INNER), "{}", cause.summary);
    assert!(cause.symptoms.iter().any(|it| it.code == Code::OauthClientMetadataEgress), "{}", judged.show());
    assert!(!judged.rules_out(Code::DnsSplitHorizonSsrf), "{}", judged.show());
    // The name has dots enough: the search list is not looked at.
    login_fails(completed(machine(), 1, Some(INNER))).never_says(Code::DnsSearchDomainHijack);
    // No wildcard there.
    login_fails(completed(machine(), 5, None)).never_says(Code::DnsSearchDomainHijack);
    // The PDS gets the document all the same: it asks otherwise (a final dot, another resolver).
    completed(machine(), 5, Some(INNER)).never_says(Code::DnsSearchDomainHijack);
}

/// What the C library gives there, as the PDS's own Node asked it.
fn library_gives(world: World, addr: &str) -> World {
    let world = inside_node_proof::asked(world, NodeArm::AsItIs, Err(("ETIMEDOUT", 10_000)));
    world.each(|fact| {
        if let FactBody::NodeFetch(body) = &mut fact.body {
            body.addresses = vec![ip(addr)];
        }
    })
}

#[test]
fn the_c_library_itself_was_asked() {
    let world = login_fails(completed(machine(), 5, Some(INNER)));
    let judged =
        library_gives(world.clone(), INNER).finds(Code::DnsSearchDomainHijack, Impact::Broken, Confidence::Confirmed);
    let cause = judged.cause(Code::DnsSearchDomainHijack);
    assert!(format!("{:?}", cause.contrast).contains("dns.lookup"), "{cause:?}");
    // It gives what the DNS has for the name as it stands.
    library_gives(world, APP_V4).never_says(Code::DnsSearchDomainHijack);
}

/// What Node would make of the addresses that it never gets is no news.
#[test]
fn nothing_is_said_of_addresses_that_the_pds_does_not_get() {
    let judged = wildcard().judge();
    assert!(!judged.rules_out(Code::NodeHe250ms), "{}", judged.show());
}
