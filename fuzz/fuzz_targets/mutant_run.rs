//! A run of the judging tests with changes that the fuzzer chooses: judged and shown without a panic,
//! the same whatever the order of its facts.
#![no_main]
// The worlds bring their tests along, which are none here.
#![allow(unused)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pdsdoctor::{diagnose::diagnose, saved};
use serde_json::Value;

#[path = "../../tests/judge/catalogue.rs"]
mod catalogue;
#[path = "../../tests/judge/change.rs"]
mod change;
#[path = "../../tests/judge/facts.rs"]
mod facts;
#[path = "../../tests/judge/handles.rs"]
mod handles;
#[path = "../../tests/judge/host.rs"]
mod host;
#[path = "../../tests/judge/host_change.rs"]
mod host_change;
#[path = "../../tests/judge/inside_names.rs"]
mod inside_names;
#[path = "../../tests/judge/inside_node.rs"]
mod inside_node;
#[path = "../../tests/judge/inside_node_proof.rs"]
mod inside_node_proof;
#[path = "../../tests/judge/inside_paths.rs"]
mod inside_paths;
#[path = "../../tests/judge/inside_ports.rs"]
mod inside_ports;
#[path = "../../tests/judge/inside_v6.rs"]
mod inside_v6;
#[path = "../../tests/judge/inside_ways.rs"]
mod inside_ways;
#[path = "../../tests/judge/invariants.rs"]
mod invariants;
#[path = "../../tests/judge/limits.rs"]
mod limits;
#[path = "../../tests/judge/login.rs"]
mod login;
#[path = "../../tests/judge/mutants.rs"]
mod mutants;
#[path = "../../tests/judge/names.rs"]
mod names;
#[path = "../../tests/judge/outbound.rs"]
mod outbound;
#[path = "../../tests/judge/reach.rs"]
mod reach;
#[path = "../../tests/judge/side.rs"]
mod side;
#[path = "../../tests/judge/tls.rs"]
mod tls;
#[path = "../../tests/judge/web.rs"]
mod web;
#[path = "../../tests/judge/world.rs"]
mod world;

static RUNS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let value = |(_, run)| serde_json::from_str(&saved::to_json(&run).expect("JSON")).expect("read again");
    catalogue::runs().into_iter().map(value).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let original = &RUNS[usize::from(*first) % RUNS.len()];
    let mut dice = mutants::Dice::of(rest);
    let mutant = mutants::mutant(original, &mut dice);
    let Ok(run) = saved::parse(mutant.to_string().as_bytes()) else { return };
    mutants::survives(&run);
    invariants::hold(&run, &diagnose(&run));
    let mut shuffled = run.clone();
    dice.shuffle(&mut shuffled.facts);
    assert_eq!(diagnose(&shuffled), diagnose(&run));
});
