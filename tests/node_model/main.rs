//! The Node model against the real Nodes: every cell is one `fetch` of a real Node, in a real namespace with the real
//! kernel's IPv6, over a slow wire. What the model says must be what happened.
//!
//! All cells run in one world, which the first test to need it builds. Where no lab can be made they show as ignored;
//! with `PDSDOCTOR_LAB=require` they fail instead.

#![allow(clippy::print_stderr)] // a test program's own word on why it skips

mod cells;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use cells::{Question, questions, runs};
use libtest_mimic::{Arguments, Failed, Trial};
use pdsdoctor::diagnose::node_model::order::{Configured, Destination, Libc, Source, resolve};
use pdsdoctor::diagnose::node_model::{
    Address, Attempt, AttemptEnd, Options, Outcome, Path, Prediction, Release, ResultOrder, SYN_RETRANSMIT_MS,
    Situation, Undici, predict,
};
use pdsdoctor_fixtures::node_grid::{self, Behaviour, Peer, Seen, SeenCell, Vantage};

/// Node's timers count whole milliseconds of a clock that is read once per turn of the event loop: a timer, and what is
/// counted from it, may seem early by that much.
const EARLY_MS: f64 = 5.0;
/// What comes on top of the model's time: the wire's own copying, and the wait for a processor, while up to 56 Nodes share
/// two of them with whatever else runs. For how long the process itself was kept waiting is known and added.
const LATE_MS: f64 = 150.0;
/// undici's limit is a row of 21 timers, each of which waits for a processor.
const LATE_TICKS_MS: u64 = 200;
/// How far from every edge the cells are: nearer ones would depend on that wait.
const MARGIN_MS: u64 = 100;

fn main() -> std::process::ExitCode {
    if let Some(status) = node_grid::enter() {
        return std::process::ExitCode::from(status);
    }
    let arguments = Arguments::from_args();
    let unavailable = node_grid::available().err();
    let required = std::env::var_os("PDSDOCTOR_LAB").is_some_and(|value| value == "require");
    if let Some(why) = &unavailable {
        eprintln!("the lab cannot run here: {why}");
    }
    let questions = Arc::new(questions());
    let trials = (0..questions.len())
        .map(|index| {
            let (why, questions) = (unavailable.clone(), questions.clone());
            let name = questions[index].name();
            Trial::test(name, move || match why {
                Some(why) => Err(format!("the lab cannot run here: {why}").into()),
                None => check(&questions, index),
            })
            .with_ignored_flag(unavailable.is_some() && !required)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What every process saw, and where each question went.
type Answers = (Vec<Seen>, Vec<(usize, usize)>);

fn check(questions: &[Question], index: usize) -> Result<(), Failed> {
    static ANSWERS: OnceLock<Result<Answers, String>> = OnceLock::new();
    let answers = ANSWERS.get_or_init(|| {
        let (runs, places) = runs(questions);
        node_grid::run(runs).map(|seen| (seen, places)).map_err(|error| format!("{error:#}"))
    });
    let (seen, places) = answers.as_ref().map_err(Clone::clone)?;
    let (run, cell) = places[index];
    let (process, cell) = (&seen[run], &seen[run].cells[cell]);
    let question = &questions[index];
    compare(question, process, cell).map_err(|why| format!("{why}\n{question:#?}\n{cell:#?}").into())
}

fn compare(question: &Question, process: &Seen, cell: &SeenCell) -> Result<(), String> {
    let release: Release = process.node.parse().map_err(|error| format!("{error}"))?;
    let undici: Undici = process.undici.parse().map_err(|error| format!("{error}"))?;
    let flags: Vec<&str> = question.flags.iter().map(String::as_str).collect();
    let found = Options::read(release, &question.node_options, &flags);
    if !found.refused.is_empty() || !found.dropped.is_empty() {
        return Err(format!("the options were not read: {found:?}"));
    }
    options(release, &found.options, process)?;

    same("glibc's addresses", &addresses(Libc::Glibc, question), &cell.glibc)?;
    same("musl's addresses", &addresses(Libc::Musl, question), cell.musl.as_ref().unwrap_or(&Vec::new()))?;

    let of = |ip: IpAddr| {
        let lossy = Peer::of(ip).is_some_and(|peer| peer.behaviour == Behaviour::LosesSyn);
        Address { first_syn_lost: lossy, ..Address::new(ip, path(question.vantage, ip)) }
    };
    let situation = Situation {
        addresses: addresses(Libc::Glibc, question).into_iter().map(of).collect(),
        // Given, not predicted: the lookup waits for the lab's name server and for one of four threads.
        lookup_ms: whole(cell.lookup_ms),
        stall_ms: question.stall_ms,
        caller_limit_ms: question.limit_ms,
    };
    let predicted = predict(&situation, release, undici, &found.options);
    if predicted.margin_ms.is_some_and(|margin| margin < MARGIN_MS) {
        return Err(format!("a badly chosen cell, too near the edge: {predicted:#?}"));
    }
    outcome(&predicted, cell).map_err(|why| format!("{why}\npredicted: {predicted:#?}"))
}

/// What Node itself says of its settings.
fn options(release: Release, options: &Options, process: &Seen) -> Result<(), String> {
    let order = match options.result_order {
        None | Some(ResultOrder::Verbatim) => "verbatim",
        Some(ResultOrder::Ipv4First) => "ipv4first",
        Some(ResultOrder::Ipv6First) => "ipv6first",
    };
    let auto_select = options.auto_select.unwrap_or(release.auto_selects());
    same("autoSelectFamily", &auto_select, &process.defaults.0)?;
    #[expect(clippy::cast_precision_loss, reason = "JavaScript does the same")]
    let timeout = options.attempt_timeout_ms.unwrap_or(release.attempt_ms()) as f64;
    same("the attempt timeout", &timeout, &process.defaults.1)?;
    same("the result order", &order, &process.defaults.2.as_str())
}

fn outcome(predicted: &Prediction, cell: &SeenCell) -> Result<(), String> {
    match &predicted.outcome {
        Outcome::Connected { address } => {
            same("the HTTP status", &Some(200), &cell.status)?;
            same("the connection's address", &Some(*address), &cell.address)?;
        }
        Outcome::Failed { code, hidden } => {
            same("the HTTP status", &None, &cell.status)?;
            same("the error's code", &Some(code.as_str()), &cell.code.as_deref())?;
            if hidden.is_some() {
                same("the inner error's code", &hidden.as_ref(), &cell.inner.first())?;
            }
        }
    }
    if let Some(file) = std::env::var_os("PDSDOCTOR_NODE_TIMES") {
        note(&file, "measurements", 0, 0, 0.0, f64::from(cell.measurements));
    }
    let (from, to) = predicted.took();
    let to = if to > from { to + LATE_TICKS_MS } else { to };
    within("the time", from, to, cell, cell.after_ms)?;
    // Node 18 tells of no attempt.
    if cell.attempts.is_empty() {
        return Ok(());
    }
    let tried = |attempts: &mut dyn Iterator<Item = IpAddr>| attempts.collect::<Vec<_>>();
    let wanted = tried(&mut predicted.attempts.iter().map(|it| it.address));
    same("the attempts", &wanted, &tried(&mut cell.attempts.iter().map(|it| it.address)))?;
    for (wanted, seen) in predicted.attempts.iter().zip(&cell.attempts) {
        if !ends(wanted, &seen.end) {
            return Err(format!("an attempt's end: predicted {:?}, seen {:?}", wanted.end, seen.end));
        }
        within("an attempt's start", wanted.started_ms, wanted.started_ms, cell, seen.started_ms)?;
    }
    Ok(())
}

fn ends(predicted: &Attempt, seen: &str) -> bool {
    match &predicted.end {
        AttemptEnd::Connected => seen == "connected",
        // A plain connection does not tell when connect(2) itself fails (`internalConnect`, lib/net.js).
        AttemptEnd::Failed(code) => seen == code || (seen == "open" && predicted.ended_ms == predicted.started_ms),
        AttemptEnd::CutOff => seen == "timeout",
        // `destroy` cancels the request, which only `internalConnectMultiple` tells.
        AttemptEnd::Abandoned => seen == "open" || seen == "ECANCELED",
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some milliseconds")]
fn whole(ms: f64) -> u64 {
    ms.round() as u64
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, predicted: &T, seen: &T) -> Result<(), String> {
    if predicted == seen { Ok(()) } else { Err(format!("{what}: predicted {predicted:?}, seen {seen:?}")) }
}

fn within(what: &str, from: u64, to: u64, cell: &SeenCell, seen: f64) -> Result<(), String> {
    if let Some(file) = std::env::var_os("PDSDOCTOR_NODE_TIMES") {
        note(&file, what, from, to, cell.withheld_ms, seen);
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of seconds")]
    let (from, to) = (from as f64 - EARLY_MS, to as f64 + LATE_MS + cell.withheld_ms);
    if (from..=to).contains(&seen) {
        Ok(())
    } else {
        Err(format!("{what}: predicted {from} to {to} ms, seen {seen} ms"))
    }
}

/// For choosing the tolerances: every predicted and seen time, one a line.
#[expect(clippy::too_many_arguments, reason = "one cell of a table and both its outcomes")]
fn note(file: &std::ffi::OsStr, what: &str, from: u64, to: u64, withheld: f64, seen: f64) {
    use std::io::Write as _;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{what}\t{from}\t{to}\t{seen:.1}\t{withheld:.1}\n").as_bytes());
    }
}

/// What `getaddrinfo` should give.
fn addresses(libc: Libc, question: &Question) -> Vec<IpAddr> {
    let vantage = question.vantage;
    let configured = Configured {
        v4: vantage.v4().is_some(),
        v6: !matches!(vantage, Vantage::Off | Vantage::OffEverywhere),
        loopback_v4: true,
        loopback_v6: vantage != Vantage::OffEverywhere,
    };
    let source = |ip: IpAddr| {
        if ip.is_ipv4() {
            vantage.v4().map(Source::from)
        } else {
            vantage.v6().filter(|_| vantage.has_v6_route()).map(Source::from)
        }
    };
    let found: Vec<Destination> =
        question.addresses.iter().map(|ip| Destination { address: *ip, source: source(*ip) }).collect();
    resolve(libc, &configured, &found)
}

/// What an attempt meets, as the lab was built.
fn path(vantage: Vantage, ip: IpAddr) -> Path {
    if ip.is_ipv4() && vantage == Vantage::V6Only {
        return Path::fails(0, "ENETUNREACH");
    }
    if ip.is_ipv6() {
        match vantage {
            Vantage::LinkLocal | Vantage::Off | Vantage::OffEverywhere | Vantage::Purged => {
                return Path::fails(0, "ENETUNREACH");
            }
            Vantage::Prohibited => return Path::fails(0, "EACCES"),
            Vantage::Hole | Vantage::UlaHole => return Path::Silent,
            // The answer comes from the far side's own address, which is not slow.
            Vantage::Rejecting => return Path::fails(Peer::of(ip).map_or(0, |peer| peer.rtt_ms) / 2, "ENETUNREACH"),
            Vantage::RejectingNear => return Path::fails(SYN_RETRANSMIT_MS, "ENETUNREACH"),
            Vantage::Routed | Vantage::V6Only => {}
        }
    }
    let Some(peer) = Peer::of(ip) else { return Path::Silent };
    match peer.behaviour {
        Behaviour::Serves | Behaviour::LosesSyn => Path::Connects { after_ms: peer.rtt_ms },
        Behaviour::Silent => Path::Silent,
        Behaviour::Refuses => Path::fails(peer.rtt_ms, "ECONNREFUSED"),
        Behaviour::Unreachable => Path::fails(peer.rtt_ms / 2, "EHOSTUNREACH"),
    }
}
