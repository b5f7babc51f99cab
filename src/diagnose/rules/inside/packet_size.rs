//! Connections come about, and then the handshake hangs: its large packets get lost, and nobody says so
//! (RFC 2923, section 2.1). The same handshake in small packets is the experiment.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{FailureKind, Family, Vantage},
    tls_fact::TlsFact,
};

use super::{keeper::Keeper, way_out::handshakes};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen},
    inside::place_words,
    outermost::outermost,
    rules::{Found, Rule, list},
    step::{InterfaceName, Settle, command, entry, prose, run, say, write},
};

pub(in crate::diagnose) const RULE: Rule = Rule { codes: &[Code::MtuContainerOverTunnel], judge };

/// So many hosts that have nothing to do with each other do not hang by chance.
const HOSTS: usize = 2;
/// A handshake of which so much came had a packet of full size: Ethernet's 1,500 bytes hold less, and a
/// server's first flight is sent in one piece.
const FULL: u64 = 1_500;
/// What a WireGuard tunnel leaves of 1,500 bytes: for a network whose own size is not known.
const TUNNEL_MTU: u32 = 1_420;

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let place = inside.place();
    let all = handshakes(evidence, &place);
    let hung: Vec<_> = all.iter().filter(|seen| hangs(seen)).copied().collect();
    // The same host at the same address, in small packets.
    let beside = inside.handshakes().filter(|seen| seen.fact.vantage == place && seen.body.max_segment.is_some());
    let (small, hung_small): (Vec<_>, Vec<_>) = beside
        .filter(|seen| hung.iter().any(|other| same(other, seen)))
        .filter(|seen| seen.body.failure.is_none() || hangs(seen))
        .partition(|seen| seen.body.failure.is_none());
    if small.is_empty() {
        // Silence whatever the size is no matter of size.
        if let Some(seen) = hung_small.first() {
            let why = format!(
                "TLS with {} from {} hangs as well where no packet has more than {} bytes of data",
                seen.body.sni,
                place_words(&place),
                seen.body.max_segment.unwrap_or_default()
            );
            let scope = Bounds::seen(&seen.body.sni, &place);
            found.rule_out(Code::MtuContainerOverTunnel, scope, why, hung_small.iter().map(Seen::id));
            return;
        }
        if hung.len() < HOSTS || hung.len() < all.len() {
            let whole = |seen: &&Seen<'_, TlsFact>| {
                seen.body.failure.is_none() && seen.body.received.is_some_and(|bytes| bytes >= FULL)
            };
            if let Some(seen) = all.iter().find(whole).filter(|_| hung.is_empty()) {
                let (host, bytes) = (&seen.body.sni, seen.body.received.unwrap_or(0));
                let why = format!(
                    "TLS with {host} was completed from {}: {bytes} bytes, so packets of full size arrive",
                    place_words(&place)
                );
                found.rule_out(Code::MtuContainerOverTunnel, Bounds::seen(host, &place), why, [seen.id()]);
            }
            return;
        }
    }
    let hosts: BTreeSet<&str> = hung.iter().map(|seen| seen.body.sni.as_str()).collect();
    let attempts =
        inside.handshakes().filter(|seen| seen.body.max_segment.is_none() && hosts.contains(seen.body.sni.as_str()));
    let blame = outermost(&place, attempts, |body| body.failure.is_none());
    let (at, elsewhere) = (blame.at(&place), blame.works_here());
    let uplink = |at: &Vantage| {
        let way = inside.way_out(at, Family::V4)?;
        let name = way.body.interface.as_ref()?;
        inside.interfaces(at).into_iter().find(|seen| seen.body.name == *name)
    };
    let sizes = uplink(&place).zip(uplink(&Vantage::Here)).map(|(inner, outer)| (inner.body.mtu, outer.body.mtu));
    let larger = sizes.is_some_and(|(inner, outer)| inner > outer);
    let confidence = match (small.len(), &elsewhere, larger) {
        // One handshake in small packets may have had the luck that the other had not.
        (HOSTS.., ..) | (1.., Some(_), _) | (1.., _, true) => Confidence::Confirmed,
        (1.., ..) => Confidence::Likely,
        // The experiment was not made: a firewall that drops all data looks the same.
        _ => Confidence::Possible,
    };
    let summary = format!("The PDS connects, and then TLS stays silent for {}: large packets get lost.", list(&hosts));
    let mut cause = Cause::new(Code::MtuContainerOverTunnel, Impact::Broken, confidence, summary)
        .scope(Scope::at(&at))
        .because(hung.iter().map(Seen::id))
        .because(blame.alike().iter().cloned());
    if blame.is_machine() && place != Vantage::Here {
        cause = cause.saw("it is the same from this machine itself: the container's network is not what is too large");
    }
    if let Some((inner, outer)) = sizes.filter(|_| place != Vantage::Here) {
        cause =
            cause.saw(format!("packets of {inner} bytes from {}, of {outer} from this machine", place_words(&place)));
    }
    if let Some(seen) = small.first() {
        cause = cause.because(small.iter().map(Seen::id)).contrast(
            format!("a TLS handshake with {} from {}", seen.body.sni, place_words(&place)),
            "packets of any size: silent after the connection",
            format!(
                "at most {} bytes in each: completed in {} ms",
                seen.body.max_segment.unwrap_or_default(),
                seen.took()
            ),
        );
    }
    if let Some(other) = elsewhere {
        cause = cause.because([other.id()]).contrast(
            format!("a TLS handshake with {}", other.body.sni),
            format!("{}: silent after the connection", place_words(&place)),
            format!("{}: completed in {} ms", place_words(&other.fact.vantage), other.took()),
        );
    }
    if confidence < Confidence::Confirmed {
        cause = cause.settle(Settle::run("ping -c3 -M do -s 1372 1.1.1.1").then(", and then less, until it answers"));
    }
    let mtu = sizes.filter(|_| larger).map_or(TUNNEL_MTU, |(_, outer)| outer);
    let interface = uplink(&place).map(|seen| seen.body.name.as_str());
    for remedy in remedies(evidence, mtu, at == Vantage::Here, interface) {
        cause = cause.remedy(remedy);
    }
    found.cause(cause);
}

/// The same host at the same address.
pub(super) fn same(one: &Seen<'_, TlsFact>, other: &Seen<'_, TlsFact>) -> bool {
    (&one.body.sni, one.body.addr) == (&other.body.sni, other.body.addr)
}

/// It connected, and the server's answer does not arrive, or not whole.
pub(super) fn hangs(seen: &Seen<'_, TlsFact>) -> bool {
    let failure = seen.body.failure.as_ref();
    failure.is_some_and(|failure| matches!(failure.kind, FailureKind::Timeout | FailureKind::TooSlow))
}

fn remedies(evidence: &Evidence<'_>, mtu: u32, is_machine: bool, interface: Option<&str>) -> Vec<Remedy> {
    // What leaves the machine passes POSTROUTING, whoever sends it (iptables-extensions(8), TCPMSS).
    let chain = if is_machine { "POSTROUTING" } else { "FORWARD" };
    // Headers of IPv4 and TCP take 40 bytes.
    let segment = mtu.saturating_sub(40);
    let rule = |what: &'static str| {
        let clamp = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss";
        run(command!["sudo iptables -t mangle", what, chain, clamp, segment])
    };
    let clamp = Remedy::new(
        "Tell the servers in every connection to send smaller packets",
        [rule("-A"), say("to keep it over a boot: iptables-persistent, or the firewall you use")],
        evidence.verify(),
    )
    .undo(rule("-D"));
    if is_machine {
        return vec![clamp];
    }
    if let (Keeper::Namespace(pid), Some(interface)) = (Keeper::of(evidence), interface) {
        let set = |mtu: u32| {
            run(command!["sudo nsenter -t", pid, "-n ip link set", InterfaceName::new(interface), "mtu", mtu])
        };
        let network = Remedy::new(
            prose!["Give the PDS's network packets of at most ", mtu, " bytes"],
            [set(mtu), say("and the same where the namespace is made, or it is gone at its next start")],
            evidence.verify(),
        )
        .undo(say("set the old size again"));
        return vec![network, clamp];
    }
    let network = Remedy::new(
        prose!["Give the container's network packets of at most ", mtu, " bytes"],
        [
            write(entry!["networks: { default: { driver_opts: { com.docker.network.driver.mtu: ", mtu, " } } }"])
                .at("in compose.yaml"),
            run("sudo docker compose -f /pds/compose.yaml down && sudo docker compose -f /pds/compose.yaml up -d"),
        ],
        evidence.verify(),
    )
    .disruptive()
    .undo(say("remove the option, then down and up again"));
    vec![network, clamp]
}
