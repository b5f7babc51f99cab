//! Who acts on router advertisements, and who made this machine forward: from what runs and what it
//! left behind, not from the name of the distribution.

use super::{find::Daemon, network::Network, read, root::Root, sysctl::Boot};
use crate::{
    fact::{FactBody, ProbeName},
    host_fact::{ForwardingFact, InterfaceFact, RaHandler, RaHandlerFact},
    net::Net,
    text::Text,
};

/// Programs that switch forwarding on when they start or when they make a network: moby
/// `libnetwork/drivers/bridge` and `setupIPForwarding`, netavark, libvirt's networks, LXD's bridges,
/// flannel and kube-proxy; tailscaled asks for it where it is a subnet router or an exit node.
const FORWARDERS: &[&str] = &[
    "dockerd",
    "podman",
    "netavark",
    "libvirtd",
    "virtnetworkd",
    "tailscaled",
    "k3s-server",
    "k3s-agent",
    "k3s",
    "kubelet",
    "lxd",
    "incusd",
];

/// The interfaces through which this machine may reach a router: up, and neither the inside of a
/// bridge, nor a container's cable, nor a tunnel.
pub(super) fn uplinks(interfaces: &[InterfaceFact]) -> Vec<&InterfaceFact> {
    /// Kinds (`ip -d link`) on which no router advertises to this machine as to a host.
    const NOT: &[&str] = &["wireguard", "tun", "dummy", "ifb", "vxlan", "nlmon", "vcan", "geneve"];
    let is_uplink = |interface: &&InterfaceFact| {
        let name = interface.name.as_str();
        let made =
            ["docker", "br-", "veth", "virbr", "lxdbr", "incusbr", "cni", "flannel", "cali", "podman", "tailscale"];
        interface.up
            && interface.bridge.is_none()
            && name != "lo"
            && !made.iter().any(|prefix| name.starts_with(prefix))
            && !interface.device.as_deref().is_some_and(|kind| NOT.contains(&kind))
    };
    interfaces.iter().filter(is_uplink).collect()
}

/// Records [`RaHandlerFact`] for each uplink of this machine, and [`ForwardingFact`].
pub(super) fn examine(net: &Net, network: &Network, daemons: &[Daemon], root: &Root, boot: &Boot) {
    for interface in uplinks(&network.interfaces) {
        let job = net.begin(ProbeName::RaHandler, format!("who handles advertisements at {}", interface.name));
        job.finish(FactBody::RaHandler(handler(network, interface, daemons, root)));
    }
    let job = net.begin(ProbeName::RaHandler, "who forwards");
    let whole = |key: &str| {
        let mut values = network.settings.iter().flat_map(|fact| &fact.values);
        values.find(|value| value.key.as_str() == key)?.live.map(|live| live != 0)
    };
    let mut programs: Vec<Text> = daemons
        .iter()
        .filter(|daemon| FORWARDERS.contains(&daemon.name))
        .map(|daemon| Text::new(daemon.name))
        .collect();
    programs.sort();
    programs.dedup();
    job.finish(FactBody::Forwarding(ForwardingFact {
        v4: whole("net/ipv4/ip_forward"),
        v6: whole("net/ipv6/conf/all/forwarding"),
        programs,
        files: boot.forwarding(),
    }));
}

fn handler(network: &Network, interface: &InterfaceFact, daemons: &[Daemon], root: &Root) -> RaHandlerFact {
    let name = interface.name.as_str();
    let setting = |key: &str| network.setting("ipv6", name, key);
    let accept_ra = setting("accept_ra");
    let mut because = Vec::new();
    let mut say = |words: String| because.push(Text::limited(&words, 160));
    let runs = |wanted: &str| daemons.iter().any(|daemon| daemon.name == wanted);
    let networkd = runs("systemd-network").then(|| networkd(root, interface.index)).flatten();
    let manager = runs("NetworkManager").then(|| network_manager(root, interface.index)).flatten();
    let dhcpcd = runs("dhcpcd") && accept_ra == Some(0);
    let ifupdown = ifupdown(root, name);
    let handler = if let Some(words) = networkd {
        say(words);
        RaHandler::SystemdNetworkd
    } else if let Some(words) = manager {
        say(words);
        RaHandler::NetworkManager
    } else if dhcpcd {
        // dhcpcd solicits by itself and sets accept_ra to 0 for that (dhcpcd, src/if-linux.c).
        say("dhcpcd runs, and accept_ra is 0".to_owned());
        RaHandler::Dhcpcd
    } else {
        match (accept_ra, ifupdown) {
            (None, _) => {
                say("the kernel has no IPv6 on it".to_owned());
                RaHandler::Nobody
            }
            (Some(0), _) => RaHandler::Nobody,
            (Some(_), Some(file)) => {
                say(format!("{file} lists it"));
                RaHandler::Ifupdown
            }
            (Some(_), None) => RaHandler::Kernel,
        }
    };
    if let Some(value) = accept_ra {
        say(format!("net.ipv6.conf.{name}.accept_ra = {value}"));
    }
    // ip-sysctl: 0 never, 1 unless forwarding (the default), 2 always.
    let kernel_accepts = accept_ra.map(|value| {
        let on = setting("disable_ipv6") != Some(1);
        on && (value == 2 || (value == 1 && setting("forwarding") == Some(0)))
    });
    RaHandlerFact { interface: interface.name.clone(), handler, because, kernel_accepts }
}

/// networkd keeps the state of each link it knows in `/run/systemd/netif/links/INDEX`.
fn networkd(root: &Root, index: u32) -> Option<String> {
    let path = format!("/run/systemd/netif/links/{index}");
    let state = root.text(&path, read::SMALL).ok()?;
    let value = |key: &str| state.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let admin = value("ADMIN_STATE")?;
    if !matches!(admin, "configured" | "configuring" | "pending" | "initialized") {
        return None;
    }
    let file = value("NETWORK_FILE").map_or(String::new(), |file| format!(" by {file}"));
    Some(format!("systemd-networkd runs and calls it {admin}{file}"))
}

/// NetworkManager keeps the state of each device in `/run/NetworkManager/devices/INDEX`.
fn network_manager(root: &Root, index: u32) -> Option<String> {
    let state = root.text(&format!("/run/NetworkManager/devices/{index}"), read::SMALL).ok()?;
    let managed = |line: &str| matches!(line.trim(), "managed=true" | "managed=full");
    state.lines().any(managed).then(|| "NetworkManager runs and manages it".to_owned())
}

/// ifupdown notes what it has set up in `/run/network/ifstate`, as `eth0=eth0`.
fn ifupdown(root: &Root, name: &str) -> Option<&'static str> {
    const STATE: &str = "/run/network/ifstate";
    let state = root.text(STATE, read::SMALL).ok()?;
    state.lines().any(|line| line.split('=').next() == Some(name)).then_some(STATE)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host_fact::{SysctlFact, SysctlValue};

    fn handled(accept_ra: i64, forwarding: i64, daemons: &[&'static str], files: &[(&str, &str)]) -> RaHandlerFact {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let interface = InterfaceFact {
            name: "eth0".into(),
            index: 2,
            device: None,
            up: true,
            running: true,
            mtu: 1500,
            bridge: None,
            addresses: Vec::new(),
        };
        let value = |name: &str, live| SysctlValue {
            key: Text::new(&format!("net/ipv6/conf/eth0/{name}")),
            live: Some(live),
            boot: None,
        };
        let values = vec![value("accept_ra", accept_ra), value("forwarding", forwarding), value("disable_ipv6", 0)];
        let settings = vec![SysctlFact { interface: Some("eth0".into()), values }];
        let network = Network { interfaces: vec![interface.clone()], settings, ..Network::default() };
        let daemons: Vec<Daemon> = daemons.iter().map(|name| Daemon { name, pid: 1 }).collect();
        handler(&network, &interface, &daemons, &Root::open(folder.path().to_owned()).expect("a root"))
    }

    #[test]
    fn what_runs_and_what_it_left_behind_decide() {
        let networkd =
            ("run/systemd/netif/links/2", "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/a.network");
        let unmanaged = ("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n");
        let manager = ("run/NetworkManager/devices/2", "[device]\nmanaged=true\n");
        let state = ("run/network/ifstate", "lo=lo\neth0=eth0\n");
        for (fact, who, accepts) in [
            (handled(1, 0, &[], &[]), RaHandler::Kernel, true),
            (handled(1, 1, &["dockerd"], &[]), RaHandler::Kernel, false),
            (handled(2, 1, &[], &[]), RaHandler::Kernel, true),
            (handled(0, 0, &[], &[]), RaHandler::Nobody, false),
            (handled(0, 0, &["systemd-network"], &[networkd]), RaHandler::SystemdNetworkd, false),
            // It ran once; it does not now.
            (handled(1, 0, &[], &[networkd]), RaHandler::Kernel, true),
            (handled(1, 0, &["systemd-network"], &[unmanaged]), RaHandler::Kernel, true),
            (handled(0, 0, &["NetworkManager"], &[manager]), RaHandler::NetworkManager, false),
            (handled(0, 0, &["dhcpcd"], &[]), RaHandler::Dhcpcd, false),
            (handled(1, 0, &[], &[state]), RaHandler::Ifupdown, true),
        ] {
            assert_eq!((fact.handler, fact.kernel_accepts), (who, Some(accepts)), "{fact:?}");
        }
    }
}
