//! Remedies for the network that the PDS is in, for whoever made it.

use std::net::IpAddr;

use pdsdoctor_probes::fact::{Family, Vantage};

use super::{
    keeper::Keeper,
    remedies::{COMPOSE_ANEW, Key, modern_docker, verify},
};
use crate::diagnose::{
    Remedy,
    evidence::Evidence,
    step::{InterfaceName, Prose, Step, command, compose, prose, run, say, write, write_all},
};

/// Where another engine's networks are changed.
const ELSEWHERE: &str = "where the container's network is made:";

/// What Podman makes anew, whoever runs it.
fn podman(make: &'static str, use_it: &'static str) -> Vec<Step> {
    vec![run(make).note("without sudo where the container is an ordinary user's"), say(use_it)]
}

/// A namespace is changed now, and where it is made.
const WHERE_MADE: &str = "and the same where the namespace is made, or it is gone at its next start";

/// Give the PDS's network IPv6 that reaches the internet.
pub(super) fn network_with_v6(evidence: &Evidence<'_>, title: &'static str) -> Remedy {
    let steps = match Keeper::of(evidence) {
        Keeper::Machine | Keeper::Docker => return docker_with_v6(evidence, title),
        Keeper::Podman => podman(
            "sudo podman network create --ipv6 pds6",
            "start the PDS's container in it: --network pds6, or Network=pds6 in its Quadlet file",
        ),
        Keeper::Kubernetes | Keeper::Engine => {
            vec![say(prose![ELSEWHERE, " a prefix of IPv6 that is routed, or translated, to the internet"])]
        }
        Keeper::Namespace(pid) => vec![
            run(command!["sudo nsenter -t", pid, "-n ip -6 route show default"]).note("must name a router"),
            say(
                "where the namespace is made: an IPv6 prefix of its own, an address of it on either end, and a default route inside to the outer one",
            ),
            run("sudo sysctl net.ipv6.conf.all.forwarding")
                .note("must be 1; then accept_ra of an uplink that takes advertisements must be 2"),
        ],
    };
    Remedy::new(title, steps, verify(evidence)).disruptive().undo(say("take it out again"))
}

fn docker_with_v6(evidence: &Evidence<'_>, title: &'static str) -> Remedy {
    let modern = modern_docker(evidence);
    let mut steps = Vec::new();
    if !modern {
        steps.push(write("\"experimental\": true, \"ip6tables\": true").at("in /etc/docker/daemon.json"));
        steps.push(run("sudo systemctl restart docker"));
    }
    let place = "in compose.yaml, for the network that the PDS is in (\"default\" unless it names another)";
    let mut lines = vec!["networks:", "  default:", "    enable_ipv6: true"];
    if !modern {
        lines.push("    ipam: { config: [ { subnet: \"fd00:9d5:1::/64\" } ] }");
    }
    steps.push(write_all(lines).at(place));
    steps.push(compose(COMPOSE_ANEW));
    Remedy::new(title, steps, verify(evidence)).disruptive().undo(say("remove enable_ipv6")).undo(run(COMPOSE_ANEW))
}

/// Take the network of its own away from the PDS.
pub(super) fn host_network(evidence: &Evidence<'_>) -> Remedy {
    const AT_LOOPBACK: &str = "the proxy then finds the PDS at 127.0.0.1, on the port that PDS_PORT names";
    let (title, steps) = match Keeper::of(evidence) {
        Keeper::Machine | Keeper::Docker => {
            return Remedy::new(
                "Let the PDS use the machine's own network, as the official compose file does",
                [
                    write("    network_mode: host")
                        .at("in compose.yaml, under the PDS's service, instead of its ports and networks"),
                    say(AT_LOOPBACK),
                    compose(COMPOSE_ANEW),
                ],
                verify(evidence),
            )
            .disruptive()
            .undo(say("put ports: and networks: back"))
            .undo(run(COMPOSE_ANEW));
        }
        Keeper::Podman => (
            "Let the PDS use the machine's own network",
            vec![
                write("Network=host")
                    .at("in the Quadlet file of the PDS's container")
                    .note("or --network host for podman run"),
                say(AT_LOOPBACK),
                say("make the container anew"),
            ],
        ),
        Keeper::Kubernetes => (
            "Let the PDS use the node's own network",
            vec![
                write("hostNetwork: true").at("in the pod's template, under spec"),
                run("kubectl apply -f FILE").note("FILE has that template; the pod is made anew"),
            ],
        ),
        Keeper::Engine => (
            "Let the PDS use the machine's own network",
            vec![say(prose![ELSEWHERE, " none for the PDS"]), say(AT_LOOPBACK)],
        ),
        Keeper::Namespace(_) => (
            "Let the PDS use the machine's own network",
            vec![
                say("start it without \"ip netns exec\"; in a unit: without NetworkNamespacePath= and PrivateNetwork="),
                say(AT_LOOPBACK),
            ],
        ),
    };
    Remedy::new(title, steps, verify(evidence)).disruptive().undo(say("put the network of its own back"))
}

/// Take IPv6 away from the PDS's network: `title` says what for.
pub(super) fn without_v6(evidence: &Evidence<'_>, title: impl Into<Prose>, interface: &str) -> Remedy {
    let verify = verify(evidence);
    let remedy = match Keeper::of(evidence) {
        Keeper::Machine | Keeper::Docker => {
            let lines = ["networks:", "  default:", "    enable_ipv6: false"];
            return Remedy::new(
                title,
                [write_all(lines).at("in compose.yaml, for the network that the PDS is in"), compose(COMPOSE_ANEW)],
                verify,
            )
            .disruptive()
            .undo(say("remove the line"))
            .undo(run(COMPOSE_ANEW));
        }
        Keeper::Podman => Remedy::new(
            title,
            podman(
                "sudo podman network create pds4",
                "start the PDS's container in it: --network pds4, or Network=pds4 in its Quadlet file",
            ),
            verify,
        )
        .undo(say("put its old network back")),
        Keeper::Kubernetes | Keeper::Engine => {
            Remedy::new(title, [say(prose![ELSEWHERE, " no prefix of IPv6"])], verify).undo(say("put the prefix back"))
        }
        Keeper::Namespace(pid) => {
            let key = Key::disable_ipv6(interface);
            let set = |to: &'static str| run(command!["sudo nsenter -t", pid, "-n sysctl -w", key.set(to)]);
            Remedy::new(title, [set("=1"), say(WHERE_MADE)], verify).undo(set("=0"))
        }
    };
    remedy.disruptive()
}

/// Have the private IPv6 addresses of a namespace translated by this machine, as an engine would do it.
pub(super) fn translate(evidence: &Evidence<'_>, source: Option<IpAddr>) -> Remedy {
    let way = evidence.inside().way_out(&Vantage::Here, Family::V6);
    let uplink = || way.and_then(|seen| InterfaceName::new(seen.body.interface.as_deref()?));
    let rule = |what: &'static str| {
        let rule = source.and_then(|source| {
            command!["sudo ip6tables -t nat", what, "POSTROUTING -s", source, "-o", uplink(), "-j MASQUERADE"]
        });
        run(rule)
    };
    let steps = match Keeper::of(evidence) {
        Keeper::Podman => podman(
            "sudo podman network reload --all",
            "it writes its rules again, if a firewall's reload has thrown them out",
        ),
        Keeper::Kubernetes | Keeper::Engine => {
            vec![say(prose![ELSEWHERE, " its private addresses are to be translated (masquerading of IPv6)"])]
        }
        _ => vec![
            rule("-A"),
            run("sudo sysctl net.ipv6.conf.all.forwarding")
                .note("must be 1; then accept_ra of an uplink that takes advertisements must be 2"),
        ],
    };
    let remedy = Remedy::new(
        "Let this machine translate the private IPv6 addresses of the PDS's network",
        steps,
        verify(evidence),
    );
    match Keeper::of(evidence) {
        Keeper::Namespace(_) => remedy.undo(rule("-D")),
        _ => remedy.undo(say("put it back as it was")),
    }
}
