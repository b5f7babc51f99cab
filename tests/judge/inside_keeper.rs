//! What is to be done is done where the fault is: in Docker's network, in Podman's, or in a namespace that nobody's
//! engine made.

use pdsdoctor::diagnose::Code;
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, Vantage},
    host_fact::Range,
    process_fact::{Confinement, ConfinementKind},
};

use crate::{host::*, inside_node, inside_paths, world::*};

/// The PDS's process.
const PID: u32 = 4_123;

/// The same in a network namespace that `ip netns` made: no engine, no container.
fn in_a_namespace(world: World) -> World {
    let place = container();
    world
        .without(|fact| {
            matches!(fact.body, FactBody::Container(_) | FactBody::ContainerNetwork(_) | FactBody::Engine(_))
        })
        .process(|body| {
            body.pid = PID;
            body.confinement = Confinement { kind: ConfinementKind::None, id: None, name: None };
        })
        .each(|fact| {
            if fact.vantage == place {
                fact.vantage = Vantage::Process(PID);
            }
        })
}

fn by_podman(world: World) -> World {
    world.without(|fact| matches!(fact.body, FactBody::Engine(_))).process(|body| {
        body.confinement.kind = ConfinementKind::Podman;
    })
}

fn ula() -> World {
    let there = container();
    machine().with_v6(&there, "fd4b:6f52:7c1e::2", Range::UniqueLocal).reaches(
        &there,
        |addr| addr.is_ipv6(),
        Some(FailureKind::Timeout),
        12_000,
    )
}

fn steps(world: &World, code: Code) -> String {
    let judged = world.judge();
    let cause = judged.cause(code);
    let all = cause.remedies.iter().map(|remedy| {
        let undo = pdsdoctor::diagnose::step::flat(&remedy.undo).concat();
        format!("{} {} {undo}\n", remedy.title, remedy.lines().concat())
    });
    all.collect()
}

#[test]
fn remedies_act_where_the_fault_is() {
    let worlds: [(Code, World, &str); 5] = [
        (Code::V6ContainerHasNone, inside_node::first_field_report(), "ip netns exec"),
        (Code::V6UlaIntoHole, ula(), "sysctl -w net.ipv6.conf.eth0.disable_ipv6=1"),
        (Code::V6UlaIntoHole, ula(), "-s fd4b:6f52:7c1e::2 -o eth0 -j MASQUERADE"),
        (Code::FwEgressClosed, inside_paths::blocked(None, FailureKind::Timeout), "FORWARD"),
        (
            Code::MtuContainerOverTunnel,
            inside_paths::in_small_packets(inside_paths::packets_too_large(true), true),
            "-n ip link set eth0 mtu",
        ),
    ];
    for (code, world, words) in worlds {
        let docker = steps(&world, code);
        assert!(docker.contains("ocker") || docker.contains("OCKER") || docker.contains("compose"), "{docker}");
        let plain = steps(&in_a_namespace(world.clone()), code);
        for engine in ["ocker", "OCKER", "compose", "odman"] {
            assert!(!plain.contains(engine), "{code}: {engine} in {plain}");
        }
        assert!(plain.contains(words), "{code}: no {words} in {plain}");
        if code.to_string().starts_with("v6") {
            let podman = steps(&by_podman(world), code);
            assert!(!podman.contains("docker") && podman.contains("podman"), "{code}: {podman}");
        }
    }
}
