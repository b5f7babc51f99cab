//! Names: direct questions to one server at a time, and what the system's resolver says.

use std::{net::SocketAddr, path::Path, time::Duration};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType};
use hickory_resolver::{
    config::ResolverConfig,
    proto::{
        op::{Message, ResponseCode},
        rr::{self, Name, RData, Record, rdata::opt::EdnsOption},
    },
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, RecordType, ResolverFact, SystemDnsFact, SystemDnsOutcome},
    fact::{FactBody, FailureKind, ProbeName, Role},
    failure, files, limits,
    net::Net,
    text::Text,
    wire::dns_message::{self, Reply},
};

/// The most aliases that are followed: BIND gives up at 16 as well.
const ALIASES: usize = 16;

/// The most name servers of `/etc/resolv.conf` that count (`MAXNS`, resolv.conf(5)).
const CONFIGURED_SERVERS: usize = 3;

/// The name servers to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// In order of preference; may be empty.
    pub servers: Vec<SocketAddr>,
    /// The user named them.
    pub given: bool,
}

/// A question and why it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose name.
    pub role: Role,
    /// Why.
    pub purpose: DnsPurpose,
    /// The name in ASCII form; a final dot makes no difference, search domains are never added.
    pub name: String,
    /// The type.
    pub record_type: RecordType,
}

/// The name servers that are `given`, else those this machine is configured with
/// (`/etc/resolv.conf`, on other systems their counterpart). Records [`ResolverFact`].
pub fn configured_resolvers(net: &Net, given: &[SocketAddr]) -> Resolvers {
    let job = net.begin(ProbeName::Dns, "the resolver configuration");
    let (servers, problem) = if given.is_empty() { configured() } else { (given.to_vec(), None) };
    let given = !given.is_empty();
    job.finish(FactBody::Resolver(ResolverFact { servers: servers.clone(), given, problem }));
    Resolvers { servers, given }
}

fn configured() -> (Vec<SocketAddr>, Option<Text>) {
    let config = match system_config() {
        Ok(config) => config,
        Err(error) => return (Vec::new(), Some(Text::limited(&error, 200))),
    };
    let mut servers = Vec::new();
    for server in config.name_servers {
        let port = server.connections.first().map_or(53, |connection| connection.port);
        let addr = with_scope(SocketAddr::new(server.ip, port));
        if !servers.contains(&addr) && servers.len() < CONFIGURED_SERVERS {
            servers.push(addr);
        }
    }
    let problem = servers.is_empty().then(|| Text::new("no name server is configured"));
    (servers, problem)
}

/// What resolv.conf(5) is read of. A resolver looks at three servers and a few options.
const RESOLV_CONF_BYTES: u64 = 64 * 1024;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// hickory would read the file whole, and wait for a pipe in its place.
#[cfg(not(target_vendor = "apple"))]
fn system_config() -> Result<ResolverConfig, String> {
    let problem = |error: &dyn std::fmt::Display| format!("{RESOLV_CONF}: {error}");
    let mut bytes = files::beginning(Path::new(RESOLV_CONF), RESOLV_CONF_BYTES).map_err(|error| problem(&error))?;
    if bytes.len() as u64 == RESOLV_CONF_BYTES {
        // The last line may have been cut.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    let parsed = hickory_resolver::system_conf::parse_resolv_conf(bytes).map_err(|error| problem(&error))?;
    Ok(parsed.0)
}

#[cfg(target_vendor = "apple")]
fn system_config() -> Result<ResolverConfig, String> {
    hickory_resolver::system_conf::read_system_conf().map(|parsed| parsed.0).map_err(|error| error.to_string())
}

/// A link-local name server, as routers announce them (RFC 8106), needs its interface, which hickory
/// drops: `nameserver fe80::1%eth0`.
fn with_scope(addr: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(mut v6) = addr else { return addr };
    if !v6.ip().is_unicast_link_local() {
        return addr;
    }
    let file = files::beginning(Path::new(RESOLV_CONF), RESOLV_CONF_BYTES).unwrap_or_default();
    let file = String::from_utf8_lossy(&file);
    let wanted = *v6.ip();
    let interface = file.lines().find_map(|line| {
        let value = line.trim().strip_prefix("nameserver")?.trim();
        let (ip, interface) = value.split_once('%')?;
        (ip.parse() == Ok(wanted)).then(|| interface.trim().to_owned())
    });
    let index = interface.and_then(|name| nix::net::if_::if_nametoindex(name.as_str()).ok());
    v6.set_scope_id(index.unwrap_or(0));
    SocketAddr::V6(v6)
}

/// Asks `server` the question within [`limits::DNS_QUERY`]. Every attempt is a fact of its own,
/// [`limits::DNS_ATTEMPTS`] in all; a further one follows only silence, or a refusal of EDNS. It goes
/// without EDNS (RFC 6891, section 6.2.2): the system's resolver works with old routers that drop or
/// refuse it, so they must not pass for broken. Gives the last.
pub async fn ask(net: &Net, probe: ProbeName, server: SocketAddr, q: &Question) -> DnsFact {
    ask_within(net, probe, server, q, limits::DNS_QUERY).await
}

pub(crate) async fn ask_within(
    net: &Net,
    probe: ProbeName,
    server: SocketAddr,
    q: &Question,
    limit: Duration,
) -> DnsFact {
    let mut attempt = 1;
    loop {
        let job = net.begin(probe, format!("the {} records of {} from {server}", q.record_type, q.name));
        let mut fact = DnsFact {
            role: q.role,
            purpose: q.purpose,
            name: Text::new(q.name.trim_end_matches('.')),
            record_type: q.record_type,
            server,
            attempt,
            outcome: DnsOutcome::Malformed,
            records: Vec::new(),
            cname_chain: Vec::new(),
            zone: None,
            detail: None,
        };
        let edns = attempt == 1;
        let mut refuses_edns = false;
        match dns_message::question(&q.name, wire_type(q.record_type), edns) {
            Err(words) => fact.detail = Some(Text::limited(&format!("the name cannot be asked: {words}"), 200)),
            Ok(question) => match dns_message::exchange(server, &question, limit).await {
                Reply::Message(message) => {
                    judge(&message, &question, &mut fact);
                    let code = message.metadata.response_code;
                    refuses_edns =
                        edns && matches!(code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS);
                }
                Reply::Silent(words) => fail(&mut fact, DnsOutcome::Timeout, &words),
                Reply::Unreachable(words) => fail(&mut fact, DnsOutcome::Unreachable, &words),
                Reply::NotAsked(words) => fail(&mut fact, DnsOutcome::NotAsked, &words),
                Reply::Malformed(words) => fail(&mut fact, DnsOutcome::Malformed, &words),
            },
        }
        job.finish(FactBody::Dns(fact.clone()));
        let again = fact.outcome == DnsOutcome::Timeout || refuses_edns;
        if !again || attempt >= limits::DNS_ATTEMPTS {
            return fact;
        }
        attempt += 1;
    }
}

fn fail(fact: &mut DnsFact, outcome: DnsOutcome, words: &str) {
    fact.outcome = outcome;
    fact.detail = Some(Text::limited(words, 200));
}

fn wire_type(record_type: RecordType) -> rr::RecordType {
    match record_type {
        RecordType::A => rr::RecordType::A,
        RecordType::Aaaa => rr::RecordType::AAAA,
        RecordType::Cname => rr::RecordType::CNAME,
        RecordType::Txt => rr::RecordType::TXT,
        RecordType::Ns => rr::RecordType::NS,
        RecordType::Soa => rr::RecordType::SOA,
        RecordType::Caa => rr::RecordType::CAA,
    }
}

/// What an answer says.
fn judge(message: &Message, question: &Message, fact: &mut DnsFact) {
    let Some(asked) = question.queries.first() else { return };
    let wanted = asked.query_type;
    let mut owner = asked.name.clone();
    if wanted != rr::RecordType::CNAME {
        // Records may come in any order (RFC 1034, section 3.6), so the chain is followed by name.
        while let Some(alias) = alias_of(&message.answers, &owner) {
            if fact.cname_chain.len() == ALIASES {
                return fail(fact, DnsOutcome::Malformed, "the aliases go round in a circle, or are too many");
            }
            fact.cname_chain.push(name_text(alias));
            owner = alias.clone();
        }
    }
    let found = message.answers.iter().filter(|record| record.record_type() == wanted && record.name == owner);
    fact.records = found.filter_map(|record| record_text(&record.data)).collect();
    fact.records.sort();
    fact.records.truncate(limits::DNS_RECORDS);
    let soa = message.authorities.iter().find(|record| record.record_type() == rr::RecordType::SOA);
    let code = message.metadata.response_code;
    fact.detail = extended_error(message);
    fact.outcome = match code {
        ResponseCode::NoError if !fact.records.is_empty() => DnsOutcome::Answer,
        ResponseCode::NoError if is_referral(message) => {
            return fail(fact, DnsOutcome::OtherCode, "a referral: this server does not look names up for others");
        }
        ResponseCode::NoError => DnsOutcome::NoData,
        ResponseCode::NXDomain => DnsOutcome::NxDomain,
        ResponseCode::ServFail => DnsOutcome::ServFail,
        ResponseCode::Refused => DnsOutcome::Refused,
        other => {
            fact.detail = Some(Text::limited(&format!("response code {}: {other}", u16::from(other)), 200));
            DnsOutcome::OtherCode
        }
    };
    if matches!(fact.outcome, DnsOutcome::NoData | DnsOutcome::NxDomain) {
        fact.zone = soa.map(|record| name_text(&record.name));
    }
    if fact.outcome != DnsOutcome::Answer {
        fact.records.clear();
    }
}

fn alias_of<'a>(answers: &'a [Record], owner: &Name) -> Option<&'a Name> {
    answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *owner => Some(&target.0),
        _ => None,
    })
}

/// An empty answer of a server that does not recurse and points elsewhere (RFC 2308, section 2.2):
/// that says nothing about the name.
fn is_referral(message: &Message) -> bool {
    let has = |wanted| message.authorities.iter().any(|record| record.record_type() == wanted);
    let recursive = message.metadata.recursion_available || message.metadata.authoritative;
    !recursive && message.answers.is_empty() && has(rr::RecordType::NS) && !has(rr::RecordType::SOA)
}

fn name_text(name: &Name) -> Text {
    let ascii = name.to_ascii().to_ascii_lowercase();
    Text::limited(if ascii == "." { "." } else { ascii.trim_end_matches('.') }, 260)
}

/// A record in short: addresses, names without the final dot, and the text of TXT records with
/// their strings joined (RFC 7208, section 3.3, whose reading of long records everybody follows).
fn record_text(data: &RData) -> Option<Text> {
    Some(match data {
        RData::A(a) => Text::new(&a.0.to_string()),
        RData::AAAA(aaaa) => Text::new(&aaaa.0.to_string()),
        RData::CNAME(target) => name_text(&target.0),
        RData::NS(target) => name_text(&target.0),
        RData::SOA(soa) => Text::new(&format!("{} {} {}", name_text(&soa.mname), name_text(&soa.rname), soa.serial)),
        RData::TXT(txt) => Text::from_bytes(&txt.txt_data.concat()),
        RData::CAA(caa) => {
            let value = String::from_utf8_lossy(&caa.value);
            Text::new(&format!("{} {} \"{value}\"", caa.flags(), caa.tag))
        }
        _ => return None,
    })
}

/// An extended error (RFC 8914), where the server gives one: it says *why* there is no answer.
fn extended_error(message: &Message) -> Option<Text> {
    let edns = message.edns.as_ref()?;
    let options: &[(_, EdnsOption)] = edns.options().as_ref();
    options.iter().find_map(|(_, option)| {
        let EdnsOption::Unknown(15, raw) = option else { return None };
        let (code, words) = raw.split_first_chunk::<2>()?;
        let code = u16::from_be_bytes(*code);
        let meaning = extended_error_name(code);
        let words = Text::from_bytes(words);
        let text = format!("extended error {code} ({meaning}) {words}");
        Some(Text::limited(text.trim_end(), 200))
    })
}

/// Names of the codes that matter here (IANA, "Extended DNS Error Codes").
fn extended_error_name(code: u16) -> &'static str {
    match code {
        1 => "unsupported DNSKEY algorithm",
        2 => "unsupported DS digest type",
        3 => "stale answer",
        4 => "forged answer",
        5 => "DNSSEC indeterminate",
        6 => "DNSSEC bogus",
        7 => "signature expired",
        8 => "signature not yet valid",
        9 => "DNSKEY missing",
        10 => "RRSIGs missing",
        12 => "NSEC missing",
        13 => "cached error",
        14 => "not ready",
        15 => "blocked",
        16 => "censored",
        17 => "filtered",
        18 => "prohibited",
        19 => "stale NXDOMAIN answer",
        20 => "not authoritative",
        22 => "no reachable authority",
        23 => "network error",
        24 => "invalid data",
        _ => "other",
    }
}

/// Asks the system's resolver (`getaddrinfo`) for the addresses of `name`, as an ordinary program
/// does, within [`limits::SYSTEM_DNS`]. Records [`SystemDnsFact`].
pub async fn system(net: &Net, probe: ProbeName, role: Role, name: &str) -> SystemDnsFact {
    let job = net.begin(probe, format!("the system's resolver for {name}"));
    let fact = |outcome, addresses, detail: Option<Text>| SystemDnsFact {
        role,
        name: Text::new(name),
        outcome,
        addresses,
        detail,
    };
    let fact = match timeout(limits::SYSTEM_DNS, in_own_thread(name.to_owned())).await {
        Err(_) => {
            let limit = limits::SYSTEM_DNS.as_secs();
            fact(SystemDnsOutcome::Timeout, Vec::new(), Some(Text::new(&format!("no answer within {limit} s"))))
        }
        Ok(Ok(addresses)) => fact(SystemDnsOutcome::Answer, addresses, None),
        Ok(Err((outcome, words))) => fact(outcome, Vec::new(), Some(Text::limited(&words, 200))),
    };
    job.finish(FactBody::SystemDns(fact.clone()));
    fact
}

type SystemAnswer = Result<Vec<std::net::IpAddr>, (SystemDnsOutcome, String)>;

/// A thread of its own, not the runtime's pool of blocking threads: a runtime waits for those when it
/// ends, and glibc may need half a minute to give up.
async fn in_own_thread(name: String) -> SystemAnswer {
    let (tell, told) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("getaddrinfo".to_owned()).spawn(move || {
        // Nobody listens any more when the time was up.
        let _ = tell.send(getaddrinfo(&name));
    });
    if let Err(error) = spawned {
        return Err((SystemDnsOutcome::NotAsked, error.to_string()));
    }
    told.await.unwrap_or_else(|_| Err((SystemDnsOutcome::Failed, "the resolver thread died".to_owned())))
}

/// What a look-up needs at once: a file of the configuration and a socket or two.
fn is_out_of_files() -> bool {
    let sockets: Vec<_> = (0..3).map(|_| std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))).collect();
    sockets
        .iter()
        .any(|made| made.as_ref().is_err_and(|error| failure::from_io(error).kind == FailureKind::ThisSideResources))
}

fn getaddrinfo(name: &str) -> SystemAnswer {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(name), None, Some(hints)).map_err(|error| {
        let outcome = match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => SystemDnsOutcome::NotFound,
            LookupErrorKind::Again => SystemDnsOutcome::TryAgain,
            _ => SystemDnsOutcome::Failed,
        };
        // Without an open file the library cannot read its own configuration, and says that there is no such name.
        let outcome = if is_out_of_files() { SystemDnsOutcome::NotAsked } else { outcome };
        let number = error.error_num();
        (outcome, format!("{} (getaddrinfo {number})", std::io::Error::from(error)))
    })?;
    let mut addresses = Vec::new();
    for info in found.flatten().take(limits::DNS_RECORDS) {
        let ip = info.sockaddr.ip();
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
