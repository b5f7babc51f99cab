//! Remedies for the PDS's way out. What is done to Node is only what Node's own model says would cure every theory
//! that fits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::login_words::{IN_CONTAINER, LOOK_UP};
use crate::diagnose::{
    Code, Remedy,
    arms::{
        Arm,
        theory::{Theory, V6},
    },
    evidence::Evidence,
    node_model::{
        Address, Options, Path, Release, Remedy as Cure, Runtime, Situation, Undici, candidates, order::Libc,
    },
    step::{Command, HostName, Step, Url, command, compose, prose, quoted, run, say, word, write},
};

/// A round trip that Node's timer does not allow for.
const FAR_MS: u64 = 350;

/// What to do, best first.
pub(super) fn remedies(evidence: &Evidence<'_>, code: Code, app: &Arm<'_>, theories: &[Theory]) -> Vec<Remedy> {
    let verify = evidence.verify();
    let own = |title: &'static str, steps: Vec<Step>| Remedy::new(title, steps, verify.clone());
    let host = || HostName::new(&app.host);
    let resolver = || {
        own(
            "Give the PDS's container a resolver that works",
            vec![
                write("dns: [1.1.1.1, 9.9.9.9]").at("in compose.yaml, for the PDS's service"),
                compose("sudo docker compose up -d"),
            ],
        )
        .disruptive()
        .undo(say("remove the line"))
        .undo(run("sudo docker compose up -d"))
    };
    let look_up = || run(command![LOOK_UP, host()]);
    match code {
        Code::NodeHe250ms => cures(&verify, theories, &[]),
        Code::V6BlackholeEgress | Code::V6UlaIntoHole => {
            cures(&verify, theories, &[Cure::RepairIpv6, Cure::RemoveIpv6])
        }
        Code::DnsContainerResolverDead | Code::DnsContainerResolverFlaky => vec![
            own(
                "See which resolver the PDS has, and what it says",
                vec![run("sudo docker exec pds cat /etc/resolv.conf"), look_up()],
            ),
            resolver(),
        ],
        Code::DnsSplitHorizonSsrf => vec![
            own(
                "See what the PDS's resolver says: a private address (10., 192.168., 100.64., fd…) is refused",
                vec![look_up()],
            ),
            resolver(),
        ],
        Code::EgressTlsIntercepted => vec![own(
            "Let the PDS's traffic pass the proxy or filter that opens TLS untouched; its issuer says whose it is",
            vec![run(command![
                IN_CONTAINER,
                "openssl s_client -connect",
                word![host(), ":443"],
                "-servername",
                host(),
                "</dev/null | grep -i issuer"
            ])],
        )],
        Code::MtuContainerOverTunnel => vec![
            own(
                "See how large a packet may be",
                vec![
                    run(command![IN_CONTAINER, "ping -c1 -M do -s 1372", host()]),
                    run("ip link | grep -o 'mtu [0-9]*'"),
                ],
            ),
            own(
                "Let TCP agree on packets that fit the tunnel",
                vec![run(
                    "sudo iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
                )],
            )
            .undo(run(
                "sudo iptables -t mangle -D FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            )),
        ],
        _ => vec![own(
            "Let the PDS out: find the rule that stops TCP 443, on this machine, its router or at its provider",
            vec![
                run(command![IN_CONTAINER, "curl -4 -sv -o /dev/null", Url::at("https", &app.host, None, "/")]),
                run("sudo nft list ruleset | grep -iE 'drop|reject'")
                    .note("and ufw status, the cloud's outbound rules"),
                say(prose!["only ", quoted(&app.host), "? Its operators may block this machine's address: ask them"]),
            ],
        )],
    }
}

/// What Node's model recommends for every theory, the preferred ones first.
fn cures(verify: &Command, theories: &[Theory], preferred: &[Cure]) -> Vec<Remedy> {
    let helps = |cure: Cure| {
        theories.iter().filter_map(|theory| situation(theory.v6)).all(|(situation, options)| {
            [Libc::Glibc, Libc::Musl].iter().all(|libc| {
                let release = Release::new(20, 20, 0);
                let runtime =
                    Runtime { release, undici: Undici::of(release), libc: *libc, options, repaired_v6_ms: None };
                candidates(&situation, &runtime).iter().any(|it| it.remedy == cure && it.recommendable())
            })
        })
    };
    let mut cures: Vec<Cure> = Cure::ALL.into_iter().filter(|cure| helps(*cure)).collect();
    cures.sort_by_key(|cure| !preferred.contains(cure));
    cures.into_iter().filter_map(|cure| words(cure, verify)).collect()
}

/// A far host as the theory has it, and the options of Node with which it fails.
fn situation(v6: V6) -> Option<(Situation, Options)> {
    let far = Address::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), Path::Connects { after_ms: FAR_MS });
    let other = |path| Address::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), path);
    let (addresses, options) = match v6 {
        V6::NoRoute => (vec![far, other(Path::fails(0, "ENETUNREACH"))], Options::default()),
        V6::HoleBehindV4 => (vec![far, other(Path::Silent)], Options::default()),
        V6::Hole => (vec![other(Path::Silent), far], Options { auto_select: Some(false), ..Options::default() }),
        V6::Works | V6::Unasked | V6::Rejected => return None,
    };
    Some((Situation { addresses, caller_limit_ms: Some(10_000), ..Situation::default() }, options))
}

fn words(cure: Cure, verify: &Command) -> Option<Remedy> {
    let restart = || run("sudo systemctl restart pds");
    let verify = verify.clone();
    let remedy = match cure {
        Cure::AttemptTimeout => Remedy::new(
            "Give each connection attempt of the PDS 5 s",
            [
                write("NODE_OPTIONS=--network-family-autoselection-attempt-timeout=5000").note("in /pds/pds.env"),
                restart(),
            ],
            verify,
        )
        .disruptive()
        .undo(say("remove the line"))
        .undo(run("sudo systemctl restart pds")),
        Cure::RepairIpv6 => Remedy::new(
            "Give the PDS IPv6 that works",
            [
                run("ip -6 route show default; ip -6 addr show scope global").note("on its machine: are there any?"),
                run("sysctl net.ipv6.conf.all.forwarding net.ipv6.conf.all.accept_ra")
                    .note("1 and 1: the router is ignored"),
                run("sudo pdsdoctor check").note("on the PDS's machine: names the setting"),
            ],
            verify,
        ),
        Cure::RemoveIpv6 => Remedy::new(
            "Take IPv6 away from the PDS altogether",
            [
                write("sysctls: [net.ipv6.conf.all.disable_ipv6=1]").at("in compose.yaml, for the PDS's service"),
                compose("sudo docker compose up -d"),
            ],
            verify,
        )
        .disruptive()
        .undo(say("remove the line"))
        .undo(run("sudo docker compose up -d")),
        Cure::Ipv4Only => Remedy::new(
            "Let Node use IPv4 only: both flags or neither",
            [
                write("NODE_OPTIONS=--dns-result-order=ipv4first --no-network-family-autoselection")
                    .note("in /pds/pds.env, without quotes"),
                restart(),
            ],
            verify,
        )
        .disruptive()
        .undo(say("remove the line"))
        .undo(run("sudo systemctl restart pds")),
        // It cures only where the C library drops the family; and halves are never recommended.
        Cure::RemoveIpv6FromInterface | Cure::Ipv4FirstAlone | Cure::NoAutoSelectAlone => return None,
    };
    Some(remedy)
}
