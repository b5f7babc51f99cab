//! IPv6 by advertisements that works, or should: will it last?

use pdsdoctor_probes::{
    fact::{FactId, Family, Vantage},
    host_fact::{BootVia, RaHandler},
};

use super::{
    remedies::{self, Key},
    uplink::{Heard, Uplink, forwarder, offer},
};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::Evidence,
    inside::Inside,
    step::{InterfaceName, Settle, command, entry, prose, quoted, run, say, write_all},
};

/// A router that keeps to the defaults of RFC 4861, section 6.2.1, says every 600 s at the latest
/// (MaxRtrAdvInterval) that it is there for 1800 s (AdvDefaultLifetime, three times as much): what is
/// left of its route never falls below this.
const RENEWED_S: u32 = 1_200;

/// By the same defaults a lifetime spans three advertisements: with less than one part in three left,
/// two in a row have not come.
const PARTS: u32 = 3;

/// What a file wants the uplink's `accept_ra` to be.
pub(super) struct Wanted {
    /// In words.
    pub(super) words: String,
    /// Its fact.
    pub(super) id: FactId,
    why: String,
    named: bool,
}

/// A file that wants it to be 2, by whatever name.
pub(super) fn wanted(inside: &Inside<'_>, uplink: &Uplink<'_>) -> Option<Wanted> {
    let name = uplink.name;
    if let Some((seen, value)) = uplink.accept_ra
        && let Some(boot) = &value.boot
    {
        let (file, two) = (&boot.file, boot.value.as_str() == "2");
        let (words, why, named) = match boot.via {
            BootVia::Default => (
                format!("{file} sets net.ipv6.conf.default.accept_ra = 2"),
                format!("the default is for interfaces that appear later, and {name} was there already"),
                false,
            ),
            BootVia::Unread => (
                format!("{file} sets accept_ra = 2 for {name}"),
                "systemd reads /etc/sysctl.d at boot, and not that file".to_owned(),
                false,
            ),
            _ => (
                format!("{file} sets accept_ra = 2 for {name}"),
                "it was applied before the interface was there, or not yet, or was set back since".to_owned(),
                true,
            ),
        };
        return two.then(|| Wanted { words, id: seen.id(), why, named });
    }
    let (seen, all) = inside.setting(&Vantage::Here, "net/ipv6/conf/all/accept_ra")?;
    let boot = all.boot.as_ref().filter(|boot| boot.value.as_str() == "2")?;
    Some(Wanted {
        words: format!("{} sets net.ipv6.conf.all.accept_ra = 2", boot.file),
        id: seen.id(),
        why: format!("the kernel hands accept_ra of \"all\" to no interface, {name} neither"),
        named: false,
    })
}

/// The kernel ignores the router although a file says that it must not.
pub(super) fn not_applied(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<Cause> {
    if !uplink.ignores() {
        return None;
    }
    let wanted = wanted(evidence.inside(), uplink)?;
    let name = uplink.name;
    let cause = Cause::new(
        Code::V6AcceptRaNotPersistent,
        Impact::Risk,
        Confidence::Confirmed,
        format!("{}, but {name} has 1: {}.", wanted.words, wanted.why),
    )
    .scope(Scope::family(Family::V6))
    .because([wanted.id])
    .because(uplink.ids())
    .contrast(
        format!("accept_ra of {name}"),
        "in effect: 1".to_owned(),
        format!("{}: 2", wanted.words.split(' ').next().unwrap_or_default()),
    );
    let remedy = remedies::sysctl(evidence, name);
    Some(if wanted.named {
        cause.remedy(after_the_interface(evidence, name)).remedy(remedy)
    } else {
        cause.remedy(remedy)
    })
}

/// A unit that sets it when the interface and the programs that forward are there.
fn after_the_interface(evidence: &Evidence<'_>, interface: &str) -> Remedy {
    let key = Key::accept_ra(interface);
    Remedy::new(
        prose!["Set accept_ra of ", quoted(interface), " again once the interface is there, at every boot"],
        [
            run(command!["sudo sysctl -w", key.set("=2")]),
            write_all([
                entry!["[Unit]"],
                entry!["After=network.target docker.service"],
                entry!["[Service]"],
                entry!["Type=oneshot"],
                key.line("ExecStart=/usr/sbin/sysctl -w ", "=2"),
                entry!["[Install]"],
                entry!["WantedBy=multi-user.target"],
            ])
            .at("in /etc/systemd/system/accept-ra.service"),
            run("sudo systemctl enable accept-ra.service"),
        ],
        remedies::verify(evidence),
    )
    .undo(run("sudo systemctl disable accept-ra.service && sudo rm /etc/systemd/system/accept-ra.service"))
}

/// What threatens IPv6 by advertisements, or has ended it, other than the trap itself. `without`: this
/// machine has no way out by IPv6; the facts.
pub(super) fn judge(evidence: &Evidence<'_>, uplink: &Uplink<'_>, without: Option<&[FactId]>) -> Option<Cause> {
    not_at_next_boot(evidence, uplink).or_else(|| match without {
        Some(without) => run_out(evidence, uplink).map(|cause| cause.because(without.to_vec())),
        None => running_out(evidence, uplink),
    })
}

/// `accept_ra` is 2, and no file makes it so.
fn not_at_next_boot(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<Cause> {
    let inside = evidence.inside();
    let name = uplink.name;
    // ifupdown sets it by `accept_ra 2` in its own file.
    let by_kernel = uplink.handler.body.handler == RaHandler::Kernel;
    let by_ra =
        uplink.made_by_kernel().is_some() || uplink.defaults().iter().any(|route| route.protocol.as_str() == "ra");
    if !by_kernel || !by_ra || uplink.accepts() != Some(2) || !uplink.forwards() {
        return None;
    }
    // What forwards now only because somebody said so once will not forward then.
    let forwarding =
        inside.forwarding().filter(|seen| !(seen.body.programs.is_empty() && seen.body.files.is_empty()))?;
    let who = forwarder(inside).0.unwrap_or_default();
    let (seen, value) = uplink.accept_ra?;
    let (confidence, then, words) = match &value.boot {
        Some(boot) if boot.via == BootVia::Unread => (
            Confidence::Likely,
            format!("{}: not read at boot", boot.file),
            format!("only {} says so, which nothing reads at boot here", boot.file),
        ),
        // It is as the files have it, whichever way they name it.
        Some(boot) if boot.value.as_str() == "2" => return None,
        Some(boot) if boot.via == BootVia::Default => return None,
        Some(boot) => (
            Confidence::Confirmed,
            format!("{}: {}", boot.file, boot.value),
            format!("{} sets it to {}", boot.file, boot.value),
        ),
        None => (
            Confidence::Likely,
            "no file: the kernel's default, 1".to_owned(),
            match wanted(inside, uplink) {
                Some(wanted) => format!("{}, and {}", wanted.words, wanted.why),
                None => "no file of sysctl.d sets it".to_owned(),
            },
        ),
    };
    let mut cause = Cause::new(
        Code::V6AcceptRaNotPersistent,
        Impact::Risk,
        confidence,
        format!("IPv6 will be gone after the next boot: accept_ra of {name} is 2 now, but {words}; and forwarding is on ({who})."),
    )
    .scope(Scope::family(Family::V6))
    .because([seen.id(), forwarding.id()])
    .because(uplink.ids())
    .contrast(format!("accept_ra of {name}, now and after the next boot"), "now: 2", then);
    if confidence != Confidence::Confirmed {
        cause = cause.settle(
            Settle::text("what sets it, if anything:")
                .and("sudo grep -rs accept_ra /etc")
                .then("(a script, a unit), or a boot"),
        );
    }
    Some(cause.remedy(file_for(evidence, name)))
}

fn file_for(evidence: &Evidence<'_>, interface: &str) -> Remedy {
    let key = Key::accept_ra(interface);
    Remedy::new(
        prose!["Write down what is in effect, with the key of ", quoted(interface), " itself"],
        [run(command!["echo", key.set(" = 2"), "| sudo tee /etc/sysctl.d/90-accept-ra.conf"])],
        remedies::verify(evidence),
    )
    .undo(run("sudo rm /etc/sysctl.d/90-accept-ra.conf"))
}

/// Programs that do not ask the router again when its route runs out (systemd issue 43285); NetworkManager
/// and dhcpcd do.
fn does_not_ask(uplink: &Uplink<'_>) -> bool {
    uplink.by_kernel() || uplink.handler.body.handler == RaHandler::SystemdNetworkd
}

/// The default route is about to go, and nobody renews it.
fn running_out(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<Cause> {
    let name = uplink.name;
    let defaults = &uplink.routes.body.defaults;
    let by_ra = |route: &pdsdoctor_probes::host_fact::Route| {
        route.protocol.as_str() == "ra" && route.interface.as_deref() == Some(name)
    };
    if !does_not_ask(uplink) || defaults.is_empty() || !defaults.iter().all(by_ra) {
        return None;
    }
    // The last of them counts; one that stays is none of this.
    let left = defaults.iter().map(|route| route.expires_s).collect::<Option<Vec<u32>>>()?.into_iter().max()?;
    let (confidence, summary, heard) = match uplink.heard() {
        Heard::Silence if left < RENEWED_S => (
            Confidence::Likely,
            format!(
                "The IPv6 default route at {name} runs out in {left} s, and the router that made it no longer answers."
            ),
            format!("asked for an advertisement at {name} and listened for {}: none came", uplink.listened()),
        ),
        Heard::Router(router) if left < u32::from(router.lifetime_s) / PARTS => (
            Confidence::Possible,
            format!(
                "The IPv6 default route at {name} had {left} s left of {}: the router may advertise itself only when asked.",
                router.lifetime_s
            ),
            format!("asked, the router {} answers: {}", router.router, offer(router)),
        ),
        _ => return None,
    };
    let gateway = defaults.iter().find_map(|route| route.gateway);
    let cause = Cause::new(Code::V6RaLifetimeExpiry, Impact::Risk, confidence, summary)
        .scope(Scope::family(Family::V6))
        .saw(heard)
        .because(uplink.ids())
        .because(uplink.heard_id())
        .contrast(
            format!("the default route at {name} by the router's advertisement"),
            format!("{left} s left"),
            format!("with a router that keeps to RFC 4861: never less than {RENEWED_S} s of 1800 s"),
        )
        .settle("the same in ten minutes: a router that is there has renewed the route by then");
    Some(with_remedies(cause, evidence, uplink, gateway))
}

/// Address without a route, although advertisements are taken.
fn run_out(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<Cause> {
    let name = uplink.name;
    let address = uplink.public().into_iter().find(|found| found.valid_s.is_some())?;
    let takes = uplink.handler.body.kernel_accepts == Some(true) && uplink.by_kernel();
    let networkd = uplink.handler.body.handler == RaHandler::SystemdNetworkd;
    if !uplink.defaults().is_empty() || !(does_not_ask(uplink) || matches!(uplink.heard(), Heard::Prefix(_))) {
        return None;
    }
    let (summary, that, gateway) = match uplink.heard() {
        Heard::Prefix(router) => (
            format!(
                "{name} has {} and no IPv6 default route: the router {} gives addresses and says that it leads nowhere (lifetime 0).",
                address.addr, router.router
            ),
            format!("the router {}: {}", router.router, offer(router)),
            None,
        ),
        Heard::Router(router) if takes || networkd => (
            format!(
                "{name} has {} and no IPv6 default route: the router {} advertises itself only when asked, and its route ran out.",
                address.addr, router.router
            ),
            format!("the router {}, when asked: {}", router.router, offer(router)),
            Some(router.router),
        ),
        Heard::Silence => (
            format!(
                "{name} has {} and no IPv6 default route: the router that gave the address no longer answers.",
                address.addr
            ),
            format!("routers at {name}: none answers in {}", uplink.listened()),
            None,
        ),
        _ => return None,
    };
    let cause = Cause::new(Code::V6RaLifetimeExpiry, Impact::Risk, Confidence::Likely, summary)
        .scope(Scope::family(Family::V6))
        .because(uplink.ids())
        .because(uplink.heard_id())
        .contrast(
            format!("IPv6 at {name}"),
            format!(
                "this machine: {}, valid for {} s, and no default route",
                address.addr,
                address.valid_s.unwrap_or(0)
            ),
            that,
        )
        .settle(
            Settle::run(command!["sudo rdisc6", InterfaceName::new(name)])
                .and("ip -6 route show default")
                .then(", and again half an hour later"),
        );
    Some(with_remedies(cause, evidence, uplink, gateway))
}

fn with_remedies(
    cause: Cause,
    evidence: &Evidence<'_>,
    uplink: &Uplink<'_>,
    gateway: Option<std::net::IpAddr>,
) -> Cause {
    let name = || InterfaceName::new(uplink.name);
    let route = |what: &'static str| match gateway {
        Some(gateway) => run(command![what, "default via", gateway, "dev", name(), "metric 4096"]),
        None => run(command![what, "default via ROUTER dev", name(), "metric 4096"])
            .note("ROUTER is its link-local address, fe80::..."),
    };
    let verify = remedies::verify(evidence);
    cause
        .remedy(Remedy::new(
            "Let the router advertise itself regularly, and let its advertisements in",
            [
                run(command!["sudo rdisc6", name()]).note("asks it now"),
                run("sudo nft list ruleset | grep -i icmpv6").note("a firewall here must let ICMPv6 type 134 in"),
                say("on the router: advertisements every 600 s at most (radvd: MaxRtrAdvInterval), IGMP/MLD snooping off or with a querier"),
            ],
            verify.clone(),
        ))
        .remedy(
            Remedy::new(
                "Add a route that stays, behind the router's own",
                [route("sudo ip -6 route add"), say("it is gone after a boot")],
                verify,
            )
            .meanwhile()
            .undo(route("sudo ip -6 route del")),
        )
}
