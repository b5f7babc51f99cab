//! What to do about IPv6 on the PDS's machine, for whoever manages its network.

use pdsdoctor_probes::{
    fact::Vantage,
    host_fact::RaHandler,
    process_fact::{Engine, EngineFact},
};

use super::uplink::{Uplink, without_way_out};
use crate::diagnose::{Remedy, evidence::Evidence, inside::place_words};

/// The file that is proposed for settings of the kernel.
const FILE: &str = "/etc/sysctl.d/90-accept-ra.conf";

/// The command that measures again, with the right to listen for routers and to look into containers.
pub(super) fn verify(evidence: &Evidence<'_>) -> String {
    evidence.verify()
}

/// A name as it may stand in a line to paste: a saved run may call an interface anything.
pub(super) fn plain(name: &str) -> &str {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(sound) { name } else { "INTERFACE" }
}

/// The name of a setting of an interface: with `/` where the interface has a `.` of its own (sysctl.d(5)).
pub(super) fn key(interface: &str, setting: &str) -> String {
    let interface = plain(interface);
    if interface.contains('.') {
        format!("net/ipv6/conf/{interface}/{setting}")
    } else {
        format!("net.ipv6.conf.{interface}.{setting}")
    }
}

/// Let the uplink take advertisements, whoever handles them there.
pub(super) fn take_advertisements(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Vec<Remedy> {
    match uplink.handler.body.handler {
        RaHandler::SystemdNetworkd => vec![networkd(evidence, uplink)],
        RaHandler::Ifupdown => vec![sysctl(evidence, uplink.name), ifupdown(evidence, uplink.name)],
        _ => vec![sysctl(evidence, uplink.name)],
    }
}

/// The interface's own key, now and at every boot.
pub(super) fn sysctl(evidence: &Evidence<'_>, interface: &str) -> Remedy {
    let key = key(interface, "accept_ra");
    Remedy::new(
        format!("Let the kernel take advertisements at {interface} although it forwards, now and at every boot"),
        [
            format!("sudo sysctl -w {key}=2"),
            format!("echo '{key} = 2' | sudo tee {FILE}"),
            format!(
                "sudo rdisc6 {}     # asks the router; without it the next advertisement may take ten minutes",
                plain(interface)
            ),
        ],
        verify(evidence),
    )
    .undo(format!("sudo sysctl -w {key}=1"))
    .undo(format!("sudo rm {FILE}"))
}

fn ifupdown(evidence: &Evidence<'_>, interface: &str) -> Remedy {
    let name = plain(interface);
    Remedy::new(
        format!("Or, where /etc/network/interfaces has IPv6 for {interface}, say it there"),
        [
            format!("below \"iface {name} inet6 auto\":     accept_ra 2"),
            format!("sudo ifdown {name} && sudo ifup {name}     # interrupts the network: not over ssh through {name}"),
        ],
        verify(evidence),
    )
    .disruptive()
    .undo("remove the line, and ifdown and ifup again")
}

fn networkd(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Remedy {
    // "systemd-networkd runs and calls it configured by /etc/systemd/network/10-eth0.network"
    let file = uplink.handler.body.because.iter().find_map(|words| {
        let (_, path) = words.split_once(" by ")?;
        let name = path.rsplit('/').next()?;
        (name.ends_with(".network") && plain(name) == name).then(|| name.to_owned())
    });
    let name = plain(uplink.name);
    let file = file.unwrap_or_else(|| format!("10-{name}.network"));
    let folder = format!("/etc/systemd/network/{file}.d");
    Remedy::new(
        format!("Tell systemd-networkd to take advertisements at {} although it forwards", uplink.name),
        [
            format!("sudo mkdir -p {folder}"),
            format!("printf '[Network]\\nIPv6AcceptRA=yes\\n' | sudo tee {folder}/accept-ra.conf"),
            format!("sudo networkctl reload && sudo networkctl reconfigure {name}"),
            format!("with netplan instead: \"accept-ra: true\" under ethernets: {name}: and sudo netplan apply"),
        ],
        verify(evidence),
    )
    .disruptive()
    .undo(format!("sudo rm {folder}/accept-ra.conf && sudo networkctl reload && sudo networkctl reconfigure {name}"))
}

/// What the repair of this machine does not reach.
pub(super) fn out_of_reach(evidence: &Evidence<'_>) -> Option<String> {
    let inside = evidence.inside();
    let place = inside.place();
    if place == Vantage::Here {
        return None;
    }
    without_way_out(inside, &place)?;
    Some(format!(
        "{} has a network of its own without IPv6: this machine's accept_ra does not reach it (network_mode: host would)",
        place_words(&place)
    ))
}

/// The Docker here, with its major version.
pub(super) fn docker<'a>(evidence: &Evidence<'a>) -> Option<(&'a EngineFact, Option<u32>)> {
    let seen = evidence.inside().engines().find(|seen| seen.body.engine == Engine::Docker)?;
    let major = seen.body.version.as_deref().and_then(|version| version.split('.').next()?.parse().ok());
    Some((seen.body, major))
}

/// A setting of `daemon.json`, as written there.
pub(super) fn daemon_setting<'a>(engine: &'a EngineFact, key: &str) -> Option<&'a str> {
    engine.settings.iter().find(|setting| setting.key.as_str() == key).map(|setting| setting.value.as_str())
}

/// Since 27.0 Docker writes IPv6 rules by itself, and gives a network with `enable_ipv6` a prefix
/// (docs.docker.com, "Engine 27.0 release notes": `ip6tables` is on by default).
pub(super) const TRANSLATES: u32 = 27;

/// Give the container's network IPv6 that reaches the internet.
pub(super) fn network_with_v6(evidence: &Evidence<'_>, title: &str) -> Remedy {
    let modern = docker(evidence).and_then(|(_, major)| major).is_none_or(|major| major >= TRANSLATES);
    let mut steps = Vec::new();
    if !modern {
        steps.push(
            "in /etc/docker/daemon.json: \"experimental\": true, \"ip6tables\": true; then: sudo systemctl restart docker"
                .to_owned(),
        );
    }
    steps.push("in compose.yaml, for the network that the PDS is in (\"default\" unless it names another):".to_owned());
    steps.extend(["networks:", "  default:", "    enable_ipv6: true"].map(str::to_owned));
    if !modern {
        steps.push("    ipam: { config: [ { subnet: \"fd00:9d5:1::/64\" } ] }".to_owned());
    }
    steps.push("docker compose down && docker compose up -d".to_owned());
    Remedy::new(title, steps, verify(evidence))
        .disruptive()
        .undo("remove enable_ipv6, then docker compose down && docker compose up -d")
}

/// Take the container's network away.
pub(super) fn host_network(evidence: &Evidence<'_>) -> Remedy {
    Remedy::new(
        "Let the PDS use the machine's own network, as the official compose file does",
        [
            "in compose.yaml, under the PDS's service, instead of ports: and networks:",
            "    network_mode: host",
            "the proxy then finds the PDS at 127.0.0.1, on the port that PDS_PORT names",
            "docker compose down && docker compose up -d",
        ],
        verify(evidence),
    )
    .disruptive()
    .undo("put ports: and networks: back, then docker compose down && docker compose up -d")
}
