//! IPv6 that looks right where the PDS is, and swallows packets.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{ConnectFact, FactId, FailureKind, Family, Role, Vantage},
    host_fact::{Range, SourceFact},
    par_fact::ParArm,
};

use super::{
    super::{Found, Rule, list},
    keeper::Keeper,
    networks,
    node_words::Service,
    remedies::{self, Key, daemon_setting, docker},
};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen, host_of},
    inside::{Fate, fate, place_words},
    node_model::{self, Options, Release, release},
    outermost::{Blame, outermost},
    par_stage::{FetchFailure, Stage},
    situation,
    step::{InterfaceName, command, prose, quoted, run, say, told, write},
};

pub(in super::super) const RULE: Rule = Rule { codes: &[Code::V6UlaIntoHole, Code::V6BlackholeEgress], judge };

/// So many unrelated hosts that are silent are no coincidence; one alone is its own fault, two may share
/// a network that is down.
const UNRELATED: usize = 3;
const NO_ACCIDENT: usize = 2;

/// A refusal by the own kernel comes at once. "Host unreachable" after seconds is a router that answers no
/// neighbour solicitation (RFC 4861, section 7.2.2: three, a second apart): until then it is silence.
const AT_ONCE_MS: u64 = 200;

/// A host that the PDS's place was tried with.
pub(super) struct Tried<'a> {
    pub(super) host: &'a str,
    pub(super) v4: Vec<Seen<'a, ConnectFact>>,
    pub(super) v6: Vec<Seen<'a, ConnectFact>>,
    /// How long the shortest TLS handshake by IPv4 took, in milliseconds.
    v4_handshake_ms: Option<u64>,
}

/// The hosts of other people, as they fared from a place.
pub(super) fn tried<'a>(evidence: &Evidence<'a>, at: &Vantage) -> Vec<Tried<'a>> {
    let inside = evidence.inside();
    let others = inside.hosts(at).into_iter().filter(|host| Some(*host) != evidence.host());
    let one = |host| {
        let all = inside.connects_to(at, host);
        let (v4, v6) = all.into_iter().partition(|seen| Family::of(seen.body.addr) == Family::V4);
        let handshakes = inside.handshakes_with(at, host).into_iter().filter(|seen| seen.body.addr.is_ipv4());
        Tried { host, v4, v6, v4_handshake_ms: handshakes.map(|seen| seen.took()).min() }
    };
    others.map(one).collect()
}

fn answered(seen: &Seen<'_, ConnectFact>) -> bool {
    fate(seen.body.failure.as_ref()) == Fate::Answered
}

fn silent(seen: &Seen<'_, ConnectFact>) -> bool {
    let late = seen.body.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::HostUnreachable)
        && seen.took() > AT_ONCE_MS;
    fate(seen.body.failure.as_ref()) == Fate::Silent || late
}

impl Tried<'_> {
    /// The first IPv6 connection that was answered.
    pub(super) fn v6_works(&self) -> Option<&Seen<'_, ConnectFact>> {
        self.v6.iter().find(|seen| answered(seen))
    }

    /// How long IPv4 takes.
    pub(super) fn v4_ms(&self) -> Option<u64> {
        let times = self.v4.iter().filter(|seen| answered(seen)).map(Seen::took).collect();
        situation::way(times, self.v4_handshake_ms)
    }

    /// IPv6 says nothing, and IPv4 works.
    fn is_swallowed(&self) -> bool {
        !self.v6.is_empty() && self.v6.iter().all(silent) && self.v4_ms().is_some()
    }

    /// The kernel refuses IPv6 at once, and IPv4 works.
    pub(super) fn is_refused(&self) -> bool {
        let at_once = |seen: &Seen<'_, ConnectFact>| {
            fate(seen.body.failure.as_ref()) == Fate::NoRoute && seen.took() <= AT_ONCE_MS
        };
        !self.v6.is_empty() && self.v6.iter().all(at_once) && self.v4_ms().is_some()
    }

    /// Its facts.
    pub(super) fn ids(&self) -> Vec<FactId> {
        self.v4.iter().chain(&self.v6).map(Seen::id).collect()
    }
}

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let place = inside.place();
    let hosts = tried(evidence, &place);
    let place_name = place_words(&place);
    if let Some(works) = hosts.iter().find_map(Tried::v6_works) {
        let why = format!("IPv6 works from {place_name}: {} answered in {} ms", works.body.host, works.took());
        let scope = Bounds::seen(&works.body.host, &place).family(Family::V6);
        found.rule_out(Code::V6BlackholeEgress, scope, why, [works.id()]);
        return;
    }
    if let Some(refused) = hosts.iter().find(|host| host.is_refused()) {
        let why = format!(
            "IPv6 to {} fails at once from {place_name} (no route): a black hole would be silent",
            refused.host
        );
        let scope = Bounds::seen(refused.host, &place).family(Family::V6);
        found.rule_out(Code::V6BlackholeEgress, scope, why, refused.v6.iter().map(Seen::id));
    }
    let swallowed: Vec<&Tried<'_>> = hosts.iter().filter(|host| host.is_swallowed()).collect();
    let Some(way) = inside.way_out(&place, Family::V6).filter(|way| way.body.failure.is_none()) else { return };
    let Some(code) = code(way, swallowed.len()) else { return };
    // The same connections from the machine around it.
    let same = |seen: &Seen<'_, ConnectFact>| {
        seen.body.addr.is_ipv6() && swallowed.iter().any(|host| host.host == seen.body.host.as_str())
    };
    let blame = outermost(&place, inside.connects().filter(same), |body| fate(body.failure.as_ref()) == Fate::Answered);
    let of_pds = code == Code::V6UlaIntoHole;
    if blame.is_machine() && place != Vantage::Here {
        let theirs = tried(evidence, &Vantage::Here);
        let theirs: Vec<&Tried<'_>> = theirs.iter().filter(|host| host.is_swallowed()).collect();
        let way_here = inside.way_out(&Vantage::Here, Family::V6).filter(|way| way.body.failure.is_none());
        if let Some((way, code)) = way_here.and_then(|way| Some((way, self::code(way, theirs.len())?))) {
            let hole = Hole { code, place: &Vantage::Here, way, swallowed: &theirs, blame: &blame, of_pds };
            let line = format!("IPv6 from {place_name} is silent too, which is in no way to blame for that");
            found.cause(hole.cause(evidence).saw(line).because(swallowed.iter().flat_map(|host| host.ids())));
            return;
        }
    }
    found.cause(Hole { code, place: &place, way, swallowed: &swallowed, blame: &blame, of_pds }.cause(evidence));
}

/// What so many silent hosts mean, by the address that packets leave with.
fn code(way: Seen<'_, SourceFact>, swallowed: usize) -> Option<Code> {
    match way.body.range {
        Some(Range::Global) if swallowed >= NO_ACCIDENT => Some(Code::V6BlackholeEgress),
        Some(Range::UniqueLocal) if swallowed > 0 => Some(Code::V6UlaIntoHole),
        _ => None,
    }
}

/// A hole, and where it is.
struct Hole<'h, 'a> {
    code: Code,
    /// The outermost place that has it.
    place: &'h Vantage,
    way: Seen<'a, SourceFact>,
    swallowed: &'h [&'h Tried<'a>],
    blame: &'h Blame<'a, ConnectFact>,
    /// The PDS's own packets leave with a private address, which decides in which order its Node tries.
    of_pds: bool,
}

impl Hole<'_, '_> {
    fn cause(&self, evidence: &Evidence<'_>) -> Cause {
        hole(evidence, self)
    }
}

fn hole(evidence: &Evidence<'_>, hole: &Hole<'_, '_>) -> Cause {
    let Hole { code, place, way, swallowed, blame, of_pds } = *hole;
    let private = code == Code::V6UlaIntoHole;
    let enough = if private { NO_ACCIDENT } else { UNRELATED };
    let confidence = if swallowed.len() >= enough { Confidence::Confirmed } else { Confidence::Likely };
    let confidence = confidence.min(blame.at_most());
    let (impact, why) = impact(evidence, of_pds, swallowed);
    let where_ = place_words(place);
    let source = way.body.source.map(|source| source.to_string()).unwrap_or_default();
    let interface = way.body.interface.as_deref().unwrap_or("the default route");
    let hosts = list(swallowed.iter().map(|host| host.host));
    let summary = if private {
        format!(
            "IPv6 from {where_} leads nowhere: it goes out as {source}, a private address, and {hosts} never answer."
        )
    } else {
        format!(
            "IPv6 from {where_} is a black hole: packets from {source} go out by {interface}, and {hosts} never answer."
        )
    };
    let vantage = (*place != Vantage::Here).then(|| String::from(place.clone()));
    let family = (impact < Impact::Broken).then_some(Family::V6);
    let longest = swallowed.iter().flat_map(|host| &host.v6).map(Seen::took).max().unwrap_or(0);
    let fastest = |host: &&Tried<'_>| format!("{} in {} ms", host.host, host.v4_ms().unwrap_or(0));
    let mut cause = Cause::new(code, impact, confidence, summary)
        .scope(Scope { host: None, family, vantage })
        .because([way.id()])
        .because(swallowed.iter().flat_map(|host| host.ids()))
        .contrast(
            format!("connections from {where_}, the two families"),
            format!("IPv6: {hosts} silent for up to {longest} ms"),
            format!("IPv4: {}", list(swallowed.iter().map(fastest))),
        );
    if let Some((line, ids)) = why {
        cause = cause.saw(line).because(ids);
    }
    if confidence != Confidence::Confirmed {
        cause = cause.settle(prose!["IPv6 connections from ", told(&where_), " to more hosts that have both families"]);
    }
    if let Some(works) = blame.works_here() {
        cause = cause.because([works.id()]).contrast(
            format!("IPv6 to {}, from two places", works.body.host),
            format!("{where_}: silent"),
            format!("this machine: answered in {} ms", works.took()),
        );
    } else if *place != Vantage::Here && blame.is_machine() {
        cause = cause
            .saw("this machine itself has no IPv6 that reaches the internet: nothing that is translated to it gets there")
            .because(blame.alike().iter().cloned());
    } else if *place != Vantage::Here {
        cause = cause.settle("the same IPv6 connections from this machine itself");
    }
    let local = *place != Vantage::Here;
    // What Docker translates leaves by the machine's own IPv6, which must be there.
    let helps = private && !(local && blame.is_machine());
    for remedy in remedies(evidence, helps, local, interface, way.body.source) {
        cause = cause.remedy(remedy);
    }
    if impact == Impact::Broken {
        cause.remedies.extend(more_time(evidence, swallowed));
    }
    cause
}

/// Node's own way round the hole, where the model of its algorithm says that there is one.
fn more_time(evidence: &Evidence<'_>, swallowed: &[&Tried<'_>]) -> Option<Remedy> {
    let stories = swallowed.iter().filter_map(|host| situation::of(evidence, host.host));
    let mut failing = stories.filter(|story| story.works() == Some(false));
    let story = failing.next()?;
    let patient = node_model::Remedy::AttemptTimeout;
    let helps = story.first().candidates.iter().any(|it| it.remedy == patient && it.recommendable());
    let service = Service::of(evidence, story.process.body);
    let title = "Give each connection attempt of Node more time".into();
    helps
        .then(|| service.set(patient.options().as_ref(), title, &remedies::verify(evidence)))
        .flatten()
        .map(Remedy::meanwhile)
}

/// What it does to the PDS, from what was measured. Here, and only here, the model of Node's algorithm
/// can be asked instead.
fn impact(evidence: &Evidence<'_>, private: bool, swallowed: &[&Tried<'_>]) -> (Impact, Option<(String, Vec<FactId>)>) {
    for client in evidence.clients() {
        let Some(host) = host_of(client).filter(|host| swallowed.iter().any(|tried| tried.host == host)) else {
            continue;
        };
        for arm in [ParArm::CacheBusted, ParArm::AsNamed] {
            match evidence.par(Role::Target, Some(client), arm) {
                // Longer than any attempt cap: the PDS waited for what does not come.
                Some((seen, Stage::DocumentNotObtained(FetchFailure::Silence))) => {
                    let line = format!("the login for {host} ends after {} ms: the PDS waits for IPv6", seen.took());
                    return (Impact::Broken, Some((line, vec![seen.id()])));
                }
                Some((_, stage)) if stage.obtained_document() == Some(true) && arm == ParArm::CacheBusted => {
                    let impact = if private && !is_far(evidence, swallowed) { Impact::Risk } else { Impact::Degraded };
                    return (impact, None);
                }
                _ => {}
            }
        }
    }
    match (private, is_far(evidence, swallowed)) {
        // A private source goes to the end of the list (RFC 6724, rule 5): IPv4 is cut off, IPv6 has no timer.
        (true, true) => {
            let line =
                "Node gives the slow IPv4 connection up and then waits 10 s for IPv6, which comes last".to_owned();
            (Impact::Broken, Some((line, Vec::new())))
        }
        (true, false) => (Impact::Risk, None),
        (false, _) => {
            let line = "Node tries IPv6 first and loses the time of its cap on every new connection".to_owned();
            (Impact::Degraded, Some((line, Vec::new())))
        }
    }
}

/// IPv4 takes longer than Node waits for an address that is not the last.
fn is_far(evidence: &Evidence<'_>, swallowed: &[&Tried<'_>]) -> bool {
    cap_ms(evidence).is_some_and(|cap| swallowed.iter().any(|host| host.v4_ms().is_some_and(|ms| ms >= cap)))
}

/// Node's limit for every address but the last; `None`: it tries one address only.
pub(super) fn cap_ms(evidence: &Evidence<'_>) -> Option<u64> {
    let Some(pds) = evidence.inside().pds() else { return Some(release::ATTEMPT_MS) };
    let process = pds.body;
    let Some(release) = process.node.as_ref().and_then(|node| node.version.parse::<Release>().ok()) else {
        return Some(release::ATTEMPT_MS);
    };
    let join = |words: &[pdsdoctor_probes::text::Text]| {
        words.iter().map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
    };
    let arguments: Vec<&str> = process.node_arguments.iter().map(std::ops::Deref::deref).collect();
    let options = Options::read(release, &join(&process.node_options), &arguments).options;
    options.auto_select.unwrap_or(release.auto_selects()).then(|| options.timer_ms(release))
}

fn remedies(
    evidence: &Evidence<'_>,
    private: bool,
    in_container: bool,
    interface: &str,
    source: Option<IpAddr>,
) -> Vec<Remedy> {
    let verify = remedies::verify(evidence);
    if in_container {
        let mut list = Vec::new();
        if private {
            list.push(match Keeper::of(evidence) {
                Keeper::Machine | Keeper::Docker => translate(evidence),
                _ => networks::translate(evidence, source),
            });
        }
        list.push(networks::without_v6(
            evidence,
            "Take IPv6 away from the PDS's network: IPv4 then works without a wait",
            interface,
        ));
        return list;
    }
    if private {
        let key = Key::accept_ra_defrtr(interface);
        return vec![
            Remedy::new(
                "Take no default route from a router that has no IPv6 of the internet",
                [
                    run(command![
                        "sudo sysctl -w",
                        key.set("=0"),
                        "&& sudo ip -6 route del default dev",
                        InterfaceName::new(interface)
                    ]),
                    run(command!["echo", key.set(" = 0"), "| sudo tee /etc/sysctl.d/90-no-ipv6-default.conf"]),
                    say("or on the router: switch IPv6 of the internet on, or its advertisements off"),
                ],
                verify,
            )
            .disruptive()
            .undo(run(command![
                "sudo sysctl -w",
                key.set("=1"),
                "&& sudo rm /etc/sysctl.d/90-no-ipv6-default.conf"
            ])),
        ];
    }
    let key = Key::disable_ipv6(interface);
    let published = evidence.host().is_some_and(|host| evidence.published(host).iter().any(std::net::IpAddr::is_ipv6));
    let records = published.then(|| say("delete the AAAA records of the PDS for as long, and of the wildcard"));
    let undo = run(command!["sudo sysctl -w", key.set("=0")]);
    let undo = if published { undo.note("and put the AAAA records back") } else { undo };
    vec![
        Remedy::new(
            "Find where the packets stop, and repair it there",
            [
                run("tracepath -6 -n 2606:4700:4700::1111").note("the last router that answers"),
                run("sudo nft list ruleset").note("does this machine's own firewall drop IPv6?"),
                say(
                    "then: the router's IPv6 firewall, the provider's prefix (has it changed?), the cloud's route table",
                ),
            ],
            verify.clone(),
        ),
        Remedy::new(
            prose!["Take IPv6 away from ", quoted(interface), ": everything then uses IPv4 at once"],
            [run(command!["sudo sysctl -w", key.set("=1")])].into_iter().chain(records),
            verify,
        )
        .meanwhile()
        .disruptive()
        .undo(undo),
    ]
}

/// Docker can translate private addresses.
fn translate(evidence: &Evidence<'_>) -> Remedy {
    let verify = remedies::verify(evidence);
    let engine = docker(evidence);
    let off = engine.is_some_and(|(engine, _)| daemon_setting(engine, "ip6tables") == Some("false"));
    let modern = engine.and_then(|(_, major)| major).is_some_and(|major| major >= remedies::TRANSLATES);
    let steps = match (modern, off) {
        (true, false) => vec![
            run("sudo ip6tables -t nat -S POSTROUTING").note("must have MASQUERADE for the network's prefix"),
            run("sudo systemctl restart docker").note("writes it again, if a firewall's reload has thrown it out"),
        ],
        (true, true) => vec![
            say("in /etc/docker/daemon.json remove: \"ip6tables\": false"),
            run("sudo systemctl restart docker").note("interrupts every container"),
        ],
        (false, _) => vec![
            write("\"experimental\": true, \"ip6tables\": true")
                .at("in /etc/docker/daemon.json")
                .note("the default since Docker 27"),
            run("sudo systemctl restart docker").note("interrupts every container"),
        ],
    };
    Remedy::new("Let Docker translate the network's private IPv6 addresses", steps, verify)
        .disruptive()
        .undo(say("put /etc/docker/daemon.json back as it was"))
        .undo(run("sudo systemctl restart docker"))
}
