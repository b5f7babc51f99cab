//! What to do about IPv6 on the PDS's machine, for whoever manages its network.

use pdsdoctor_probes::{
    fact::Vantage,
    host_fact::RaHandler,
    process_fact::{Engine, EngineFact},
};

use super::{
    keeper::Keeper,
    uplink::{Uplink, without_way_out},
};
use crate::diagnose::{
    Remedy,
    evidence::Evidence,
    inside::place_words,
    step::{Command, InterfaceName, Line, NetworkFile, Word, command, entry, prose, quoted, run, say, word, write},
};

/// The command that measures again, with the right to listen for routers and to look into containers.
pub(super) fn verify(evidence: &Evidence<'_>) -> Command {
    evidence.verify()
}

/// A setting of an interface in the kernel: with `/` where the interface has a `.` of its own (sysctl.d(5)).
pub(super) struct Key {
    interface: Option<InterfaceName>,
    before: &'static str,
    behind: &'static str,
}

impl Key {
    /// `accept_ra` of an interface.
    pub(super) fn accept_ra(interface: &str) -> Self {
        Self::of(interface, ["/accept_ra", ".accept_ra"])
    }

    /// `accept_ra_defrtr` of an interface.
    pub(super) fn accept_ra_defrtr(interface: &str) -> Self {
        Self::of(interface, ["/accept_ra_defrtr", ".accept_ra_defrtr"])
    }

    /// `disable_ipv6` of an interface.
    pub(super) fn disable_ipv6(interface: &str) -> Self {
        Self::of(interface, ["/disable_ipv6", ".disable_ipv6"])
    }

    fn of(interface: &str, [slash, dot]: [&'static str; 2]) -> Self {
        let (before, behind) =
            if interface.contains('.') { ("net/ipv6/conf/", slash) } else { ("net.ipv6.conf.", dot) };
        Self { interface: InterfaceName::new(interface), before, behind }
    }

    /// The word that sets it.
    pub(super) fn set(&self, equals: &'static str) -> Word {
        word![self.before, self.interface.clone(), self.behind, equals]
    }

    /// The line of a file that sets it.
    pub(super) fn line(&self, before: &'static str, equals: &'static str) -> Option<Line> {
        entry![before, self.before, self.interface.clone(), self.behind, equals]
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
    let key = Key::accept_ra(interface);
    Remedy::new(
        prose![
            "Let the kernel take advertisements at ",
            quoted(interface),
            " although it forwards, now and at every boot"
        ],
        [
            run(command!["sudo sysctl -w", key.set("=2")]),
            run(command!["echo", key.set(" = 2"), "| sudo tee /etc/sysctl.d/90-accept-ra.conf"]),
            run(command!["sudo rdisc6", InterfaceName::new(interface)])
                .note("asks the router (package ndisc6); without it the next advertisement may take ten minutes"),
        ],
        verify(evidence),
    )
    .undo(run(command!["sudo sysctl -w", key.set("=1")]))
    .undo(run("sudo rm /etc/sysctl.d/90-accept-ra.conf"))
}

fn ifupdown(evidence: &Evidence<'_>, interface: &str) -> Remedy {
    let name = || InterfaceName::new(interface);
    Remedy::new(
        prose!["Where /etc/network/interfaces has IPv6 for ", quoted(interface), ", say it there"],
        [
            write("accept_ra 2").at(prose![
                "in /etc/network/interfaces, below \"iface ",
                quoted(interface),
                " inet6 auto\""
            ]),
            run(command!["sudo ifdown", name(), "&& sudo ifup", name()])
                .note("interrupts the network: not over ssh through this interface"),
        ],
        verify(evidence),
    )
    .disruptive()
    .undo(say("remove the line, and ifdown and ifup again"))
}

fn networkd(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Remedy {
    // "systemd-networkd runs and calls it configured by /etc/systemd/network/10-eth0.network"
    let file = uplink.handler.body.because.iter().find_map(|words| {
        let (_, path) = words.split_once(" by ")?;
        let name = path.rsplit('/').next()?;
        NetworkFile::new(name)
    });
    let name = || InterfaceName::new(uplink.name);
    let file = file.or_else(|| NetworkFile::new(&format!("10-{}.network", name()?.as_str())));
    let within = |behind: &'static str| word!["/etc/systemd/network/", file.clone(), behind];
    const RELOAD: &str = "sudo networkctl reload && sudo networkctl reconfigure";
    Remedy::new(
        prose!["Tell systemd-networkd to take advertisements at ", quoted(uplink.name), " although it forwards"],
        [
            run(command!["sudo mkdir -p", within(".d")]),
            run(command!["printf '[Network]\\nIPv6AcceptRA=yes\\n' | sudo tee", within(".d/accept-ra.conf")]),
            run(command![RELOAD, name()]),
            write("accept-ra: true")
                .at(prose!["with netplan instead, in its file, below ethernets and ", quoted(uplink.name)]),
            run("sudo netplan apply").note("with netplan instead"),
        ],
        verify(evidence),
    )
    .disruptive()
    .undo(run(command!["sudo rm", within(".d/accept-ra.conf"), "&&", RELOAD, name()]))
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
        "{} has a network of its own without IPv6: this machine's accept_ra does not reach it{}",
        place_words(&place),
        if Keeper::of(evidence) == Keeper::Docker { " (network_mode: host would)" } else { "" }
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

/// The Docker here is one that does.
pub(super) fn modern_docker(evidence: &Evidence<'_>) -> bool {
    docker(evidence).and_then(|(_, major)| major).is_none_or(|major| major >= TRANSLATES)
}

/// Makes the containers and their networks anew.
pub(super) const COMPOSE_ANEW: &str = "sudo docker compose down && sudo docker compose up -d";
