//! Visitors by IPv6 that all come from one inner address.

use pdsdoctor_probes::{
    fact::{FactId, Family, Vantage},
    host_fact::Range,
    process_fact::{ContainerFact, Engine, Listener},
};

use super::{
    super::{Found, Rule},
    networks,
    remedies::{COMPOSE_ANEW, daemon_setting},
};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen},
    net_kinds::{AddressKind, address_kind},
    step::{compose, prose, run, say, told, write},
};

pub(in super::super) const RULE: Rule = Rule { codes: &[Code::V6ClientIpMasked], judge };

/// Docker's program that carries connections where no rule of the firewall does.
pub(super) const USERLAND_PROXY: &str = "docker-proxy";

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let port = evidence.run.target.port;
    // Without an AAAA record nobody comes by IPv6; without Docker nobody is masked.
    let Some(host) = evidence.host() else { return };
    let published = evidence.published(host);
    if !published.iter().any(|addr| addr.is_ipv6() && address_kind(*addr) == AddressKind::Public) {
        return;
    }
    let Some(engine) = inside.engines().find(|seen| seen.body.engine == Engine::Docker) else { return };
    // Everybody's port, on every address of IPv6. A port of the PDS's own that only a proxy on this machine
    // uses is none of this: that proxy hands on whom it sees.
    let by_proxy = |listener: &&Listener| {
        listener.port == port
            && listener.addr.is_ipv6()
            && !listener.addr.is_loopback()
            && listener.owner.as_ref().is_some_and(|owner| owner.program.as_str() == USERLAND_PROXY)
    };
    let Some(listeners) = inside.listeners(&Vantage::Here) else { return };
    let listens = listeners.body.sockets.iter().find(by_proxy);
    let of_pds = inside.containers().find(|seen| publishes(seen.body, port));
    // Caddy or nginx in the machine's own network sees every visitor's address.
    let seen_as_it_is = listeners.body.sockets.iter().any(|listener| {
        listener.port == port && listener.owner.as_ref().is_some_and(|owner| owner.program.as_str() != USERLAND_PROXY)
    });
    if seen_as_it_is {
        return;
    }
    if listens.is_none() && of_pds.is_none() {
        return;
    }
    if daemon_setting(engine.body, "userland-proxy") == Some("false") {
        return;
    }
    // What it was started with says it; where that may not be read, the networks do.
    let hands_to = listens.and_then(|listener| listener.owner.as_ref()?.hands_to);
    let without = match hands_to {
        Some(to) if to.is_ipv4() => Vec::new(),
        Some(_) => return,
        None => match without_v6(evidence, of_pds) {
            Some(ids) => ids,
            None => return,
        },
    };
    let what = match (of_pds, hands_to) {
        (Some(seen), _) => format!("the container {}", seen.body.name),
        (None, Some(to)) => format!("the container at {}", to.ip()),
        (None, None) => "the container behind it (the proxy's, most likely)".to_owned(),
    };
    let sure = hands_to.is_some() || (of_pds.is_some() && listens.is_some());
    let mut cause = Cause::new(
        Code::V6ClientIpMasked,
        Impact::Risk,
        if sure { Confidence::Likely } else { Confidence::Possible },
        format!(
            "All visitors by IPv6 look like one: {USERLAND_PROXY} takes port {port} on IPv6 and hands it on by IPv4 from one inner address."
        ),
    )
    .scope(Scope::family(Family::V6))
    .saw(match hands_to {
        Some(to) => format!("{USERLAND_PROXY} runs to hand what comes to [::]:{port} on to {to}, by IPv4"),
        None => format!("{what} has no IPv6, so Docker's own rules cannot lead IPv6 to it"),
    })
    .saw("the PDS counts requests by address: one busy visitor by IPv6 locks all of them out (429)")
    .because([listeners.id(), engine.id()])
    .because(of_pds.map(|seen| seen.id()))
    .because(without)
    .settle("the addresses in the proxy's log, of a visit by IPv6 and of one by IPv4: curl -6 and curl -4 from outside");
    let whole = Remedy::new(
        prose![
            "Let ",
            told(&what),
            " use the machine's own network, as the official compose file does with Caddy and the PDS"
        ],
        [
            write("    network_mode: host")
                .at("in compose.yaml, under that service, instead of its ports and networks"),
            say("the same for the PDS, or publish its port at 127.0.0.1 only; Caddy then finds it at 127.0.0.1"),
            compose(COMPOSE_ANEW),
        ],
        evidence.verify(),
    )
    .disruptive()
    .undo(say("put ports: and networks: back"))
    .undo(run(COMPOSE_ANEW));
    cause = cause
        .remedy(whole)
        .remedy(networks::network_with_v6(evidence, "Give that container's network IPv6, so that no proxy is needed"));
    found.cause(cause);
}

/// Published for IPv6 on this port.
fn publishes(container: &ContainerFact, port: u16) -> bool {
    container.published.iter().any(|published| {
        published.host_port == port
            && published.protocol.as_str() == "tcp"
            && published.host_addr.is_ipv6()
            && !published.host_addr.is_loopback()
    })
}

/// The container, or the networks that the PDS shares with the proxy, have no IPv6; the facts.
fn without_v6(evidence: &Evidence<'_>, of_pds: Option<Seen<'_, ContainerFact>>) -> Option<Vec<FactId>> {
    let inside = evidence.inside();
    let place = inside.place();
    if of_pds.is_some() && place != Vantage::Here {
        let interfaces = inside.interfaces(&place);
        let has = inside
            .addresses(&place)
            .iter()
            .any(|(_, address)| address.addr.is_ipv6() && matches!(address.range, Range::Global | Range::UniqueLocal));
        return (!interfaces.is_empty() && !has).then(|| interfaces.iter().map(Seen::id).collect());
    }
    let networks: Vec<_> = inside.container_networks().filter(|seen| seen.body.driver.as_str() == "bridge").collect();
    let none = !networks.is_empty() && networks.iter().all(|seen| !seen.body.ipv6);
    none.then(|| networks.iter().map(Seen::id).collect())
}
