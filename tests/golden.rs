//! The kept runs of every scenario, judged again without a lab: what is found, how sure and in which order must be what
//! `tests/golden/summary.txt` says, and some texts what `tests/golden/text/` says.
//!
//! `PDSDOCTOR_BLESS=1 cargo test --test golden` writes both anew; with the lab's `PDSDOCTOR_SAVE_RUNS=DIR` it first keeps
//! the runs in that folder (CONTRIBUTING.md, "Golden runs").
#![cfg(target_os = "linux")] // the scenarios' crate is

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use pdsdoctor::{
    cli::Format,
    diagnose::{FailOn, diagnose, invariants::violations},
    exit::Exit,
    render::{
        report,
        style::{Detail, Style},
    },
    saved,
};
use pdsdoctor_fixtures::{
    Expect,
    golden::{self, Kept},
    scenarios,
};
use serde_json::Value;

const STYLE: Style = Style { width: 80, color: false, unicode: true, detail: Detail::Normal };

/// Runs of which the whole text is kept: at least one for every family of causes, the healthy ones, and what is said where
/// nothing can be said.
const TEXTS: &[&str] = &[
    "app-down.fault",
    "app-metadata-missing.fault",
    "dns-name-not-found.fault",
    "dns-no-wildcard.fault",
    "dns-private-ip-published.fault",
    "dns-stale-aaaa.fault",
    "dns-txt-wrong-owner.fault",
    "edge-bot-challenge.fault",
    "egress-dns.fault",
    "egress-dropped.fault",
    "egress-large-packets.fault",
    "egress-private-v6.fault",
    "first-field-report.cured",
    "first-field-report.fault",
    "fw-ports-closed.fault",
    "healthy-caddy.fault",
    "healthy-did.fault",
    "healthy-no-reference.fault",
    "host-cgnat.fault",
    "host-clock-skew.fault",
    "host-container-has-none.fault",
    "host-default-route-purged.fault",
    "host-egress-closed.fault",
    "host-first-field-report.accept-ra",
    "host-first-field-report.fault",
    "host-hairpin.fault",
    "host-healthy.fault",
    "host-mtu-over-tunnel.fault",
    "host-node-crashes-pds.fault",
    "host-not-a-pds.fault",
    "host-port-2583.fault",
    "host-true-black-hole.fault",
    "host-ula-into-hole.fault",
    "host-v6-not-listening.fault",
    "nat-hairpin.fault",
    "oauth-unsupported-scope.fault",
    "proxy-oauth-routes-missing.fault",
    "proxy-upstream-down.fault",
    "proxy-well-known-kept.fault",
    "reference-down.fault",
    "this-side-no-network.fault",
    "tls-expired.fault",
    "tls-incomplete-chain.fault",
    "tls-internal-ca.fault",
    "tls-wildcard-one-level.fault",
    "tunnel-cf-dns-elsewhere.fault",
    "v6-inbound-closed.fault",
];

/// What no kept run may hold: where things are on the machine that ran the lab.
const MACHINE: &[&str] = &["/root/", "/home/", "/tmp/", "/work/"];

fn path(name: &str) -> PathBuf {
    golden::folder().join(name)
}

fn blessing() -> bool {
    std::env::var_os("PDSDOCTOR_BLESS").is_some()
}

/// What a run is judged to be.
struct Judged {
    name: String,
    violations: Vec<String>,
    report: Value,
    exit: i32,
    text: String,
}

/// Everything that is kept, judged once for all tests. `current` are the scenarios' runs; `old` were saved by earlier
/// programs and are never saved anew.
struct Golden {
    current: Vec<Judged>,
    old: Vec<Judged>,
    /// Scenarios of which nothing is kept so far.
    not_yet: Vec<String>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    if let (true, Some(from)) = (blessing(), std::env::var_os("PDSDOCTOR_SAVE_RUNS")) {
        keep(Path::new(&from));
    }
    let read = |folder: &str| golden::read(&path(folder)).unwrap_or_else(|error| panic!("{error:#}"));
    Golden { current: judge_all(&read("runs")), old: judge_all(&read("old")), not_yet: not_yet() }
});

fn judge_all(runs: &[Kept]) -> Vec<Judged> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts = runs.chunks(runs.len().div_ceil(threads).max(1));
        let parts: Vec<_> = parts.map(|part| scope.spawn(|| part.iter().map(judge).collect::<Vec<Judged>>())).collect();
        parts.into_iter().flat_map(|part| part.join().expect("judging does not panic")).collect()
    })
}

/// Judges a run twice, from its bytes: the same facts give the same bytes.
fn judge(kept: &Kept) -> Judged {
    let name = kept.name();
    let once = || {
        let run = saved::parse(kept.saved.as_bytes()).unwrap_or_else(|why| panic!("{name}: {why}"));
        let diagnosis = diagnose(&run);
        let show = |format| report(&run, &diagnosis, format, &STYLE);
        let exit = Exit::of(&diagnosis, FailOn::default()).code();
        (show(Format::Json), show(Format::Text), exit, violations(&run, &diagnosis))
    };
    let first = once();
    assert!(once() == first, "{name} is judged in two ways");
    let (json, text, exit, violations) = first;
    let report = serde_json::from_str(&json).expect("JSON");
    Judged { name, violations, report, exit: exit.into(), text }
}

/// The phases that belong to each scenario, and what is expected of them.
fn phases() -> BTreeMap<&'static str, BTreeMap<&'static str, Expect>> {
    let of = |scenario: &pdsdoctor_fixtures::Scenario| {
        let remedies = scenario.all_remedies();
        let expected =
            |remedy| remedies.iter().find(|it| Some(it.name) == remedy).map_or(scenario.expect, |it| it.expect);
        golden::phases(scenario).into_iter().map(|(phase, remedy)| (phase, expected(remedy))).collect()
    };
    scenarios().iter().map(|scenario| (scenario.name, of(scenario))).collect()
}

/// Keeps what the lab saved: of each scenario all its phases or none. What is kept of scenarios that are no more goes.
fn keep(from: &Path) {
    let runs = path("runs");
    let known = phases();
    let mut saved: BTreeSet<&str> = BTreeSet::new();
    for (scenario, phases) in &known {
        let text = |phase: &&str| fs::read_to_string(from.join(golden::file_name(scenario, phase))).ok();
        let texts: BTreeMap<&str, String> = phases.keys().filter_map(|phase| Some((*phase, text(phase)?))).collect();
        if texts.is_empty() {
            continue;
        }
        let missing: Vec<_> = phases.keys().filter(|phase| !texts.contains_key(**phase)).collect();
        assert!(missing.is_empty(), "{scenario}: the lab saved no {missing:?} in {}", from.display());
        saved.insert(scenario);
        for (phase, saved) in texts {
            let kept = Kept { scenario: (*scenario).to_owned(), phase: phase.to_owned(), saved };
            assert_eq!(names_the_machine(&kept.saved), None, "{}", kept.name());
            golden::write(&runs, &kept).unwrap_or_else(|error| panic!("{error:#}"));
        }
    }
    assert!(!saved.is_empty(), "{} holds no run of any scenario", from.display());
    for kept in golden::read(&runs).unwrap_or_else(|error| panic!("{error:#}")) {
        let belongs = known.get(kept.scenario.as_str()).is_some_and(|phases| phases.contains_key(kept.phase.as_str()));
        if !belongs {
            fs::remove_file(golden::path(&runs, &kept.scenario, &kept.phase)).expect("remove what is no more");
        }
    }
    let list: String =
        not_yet().iter().filter(|name| !saved.contains(name.as_str())).fold(String::new(), |mut list, name| {
            let _ = writeln!(list, "{name}");
            list
        });
    fs::write(path("not-yet-kept.txt"), list).expect("write the list of what is not yet kept");
}

/// What of the machine that ran the lab is in a saved run.
fn names_the_machine(saved: &str) -> Option<String> {
    let word = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok().map(|it| it.trim().to_owned());
    let own: Vec<String> =
        [word("hostname"), word("osrelease")].into_iter().flatten().map(|it| format!("\"{it}\"")).collect();
    let words = MACHINE.iter().copied().chain(own.iter().map(String::as_str));
    words.into_iter().find(|word| saved.contains(word)).map(str::to_owned)
}

fn not_yet() -> Vec<String> {
    let list = fs::read_to_string(path("not-yet-kept.txt")).expect("tests/golden/not-yet-kept.txt, which may be empty");
    list.lines().map(str::to_owned).collect()
}

/// Compares with a file that is kept, or writes it.
fn is_kept(file: &Path, found: &str) -> Result<(), String> {
    if blessing() {
        fs::create_dir_all(file.parent().expect("a folder")).map_err(|error| error.to_string())?;
        return fs::write(file, found).map_err(|error| format!("{}: {error}", file.display()));
    }
    let kept = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if kept == found { Ok(()) } else { Err(difference(&kept, found)) }
}

/// The paragraphs that differ, line by line: what was kept with `-`, what is found with `+`.
fn difference(kept: &str, found: &str) -> String {
    let paragraphs = |text: &str| -> Vec<String> { text.split("\n\n").map(|it| it.trim_end().to_owned()).collect() };
    let (kept, found) = (paragraphs(kept), paragraphs(found));
    let mut said = String::new();
    let title = |paragraph: &str| paragraph.lines().next().unwrap_or("").split(':').next().unwrap_or("").to_owned();
    let gone = kept.iter().filter(|it| !found.contains(it));
    for old in gone {
        let _ = writeln!(said, "{}", title(old));
        let new = found.iter().find(|it| title(it) == title(old) && !kept.contains(it)).map_or("", String::as_str);
        for line in old.lines().filter(|line| !new.lines().any(|it| it == *line)) {
            let _ = writeln!(said, "- {line}");
        }
        for line in new.lines().filter(|line| !old.lines().any(|it| it == *line)) {
            let _ = writeln!(said, "+ {line}");
        }
    }
    for new in found.iter().filter(|new| !kept.contains(new) && !kept.iter().any(|it| title(it) == title(new))) {
        new.lines().for_each(|line| said += &format!("+ {line}\n"));
    }
    if said.is_empty() { "the same paragraphs in another order".to_owned() } else { said }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn words<'a>(items: impl IntoIterator<Item = &'a Value>) -> String {
    items.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// One run in a few lines, made from the JSON report: its fields are those that do not change.
fn summary(of: &Judged) -> String {
    let report = &of.report;
    let mut said = format!("{}: {}, exit {}\n", of.name, report["verdict"].as_str().unwrap_or("?"), of.exit);
    for (index, cause) in list(report, "causes").iter().enumerate() {
        let what = words([&cause["code"], &cause["confidence"], &cause["impact"]]);
        let _ = writeln!(said, "  {} {what}{}", index + 1, scope(&cause["scope"]));
        let symptoms = words(list(cause, "symptoms").iter().map(|symptom| &symptom["code"]));
        for (title, codes) in [("due to", words(list(cause, "contributing"))), ("explains", symptoms)] {
            if !codes.is_empty() {
                let _ = writeln!(said, "      {title} {codes}");
            }
        }
    }
    for difference in list(report, "differs") {
        let _ = writeln!(said, "  differs: {}", difference["what"].as_str().unwrap_or("?"));
    }
    said
}

/// What it was not, a line each.
fn ruled_out(of: &Judged) -> Option<String> {
    let theories = list(&of.report, "ruled_out");
    let line = |theory: &Value| format!("  {}{}\n", theory["code"].as_str().unwrap_or("?"), scope(&theory["scope"]));
    (!theories.is_empty()).then(|| format!("{}:\n{}", of.name, theories.iter().map(line).collect::<String>()))
}

fn scope(scope: &Value) -> String {
    let about = ["host", "family", "vantage", "from"].iter().filter_map(|it| scope[*it].as_str());
    about.map(|it| format!(" · {it}")).collect()
}

const BLESS: &str = "if that is meant: PDSDOCTOR_BLESS=1 cargo test --test golden, and read the difference";

#[test]
fn runs_are_judged_as_before() {
    let Golden { current, old, .. } = &*GOLDEN;
    assert!(!current.is_empty() && !old.is_empty(), "no run is kept");
    let summaries = |runs: &[Judged]| runs.iter().map(summary).collect::<Vec<_>>().join("\n");
    let ruled_out = current.iter().filter_map(ruled_out).collect::<Vec<_>>().join("\n");
    for (file, found) in
        [("summary.txt", summaries(current)), ("ruled-out.txt", ruled_out), ("old.txt", summaries(old))]
    {
        if let Err(why) = is_kept(&path(file), &found) {
            panic!("{file} differs; {BLESS}\n{why}");
        }
    }
}

#[test]
fn texts_are_as_before() {
    let known = phases();
    let not_yet = &GOLDEN.not_yet;
    let mut wrong = String::new();
    let mut wanted = BTreeSet::new();
    for name in TEXTS {
        let (scenario, phase) = name.split_once('.').expect("SCENARIO.PHASE");
        assert!(known.get(scenario).is_some_and(|phases| phases.contains_key(phase)), "{name} is no run of a scenario");
        let Some(judged) = GOLDEN.current.iter().find(|judged| judged.name == *name) else {
            assert!(not_yet.iter().any(|it| it == scenario), "{name} is not kept");
            continue;
        };
        let file = format!("{name}.txt");
        if let Err(why) = is_kept(&path("text").join(&file), &judged.text) {
            let _ = writeln!(wrong, "{name}\n{why}");
        }
        wanted.insert(file);
    }
    for entry in fs::read_dir(path("text")).expect("tests/golden/text") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if blessing() && !wanted.contains(name) {
            fs::remove_file(&path).expect("remove the text of no run");
        } else if !wanted.contains(name) {
            let _ = writeln!(wrong, "{name} is the text of no run in TEXTS");
        }
    }
    assert!(wrong.is_empty(), "{BLESS}\n{wrong}");
}

#[test]
fn every_scenario_is_kept_whole_or_listed() {
    let known = phases();
    let not_yet = &GOLDEN.not_yet;
    let mut kept: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for judged in &GOLDEN.current {
        let (scenario, phase) = judged.name.split_once('.').expect("SCENARIO.PHASE");
        kept.entry(scenario).or_default().insert(phase);
    }
    let mut wrong = String::new();
    for (scenario, phases) in &known {
        let phases: BTreeSet<&str> = phases.keys().copied().collect();
        let listed = not_yet.iter().any(|it| it == scenario);
        let _ = match kept.get(scenario) {
            None if listed => Ok(()),
            None => writeln!(wrong, "{scenario}: no run is kept (CONTRIBUTING.md, \"Golden runs\")"),
            Some(_) if listed => writeln!(wrong, "{scenario}: kept, and in not-yet-kept.txt"),
            Some(kept) if *kept == phases => Ok(()),
            Some(kept) => writeln!(wrong, "{scenario}: kept are {kept:?}, its phases are {phases:?}"),
        };
    }
    for name in kept.keys().copied().chain(not_yet.iter().map(String::as_str)) {
        if !known.contains_key(name) {
            let _ = writeln!(wrong, "{name}: there is no such scenario");
        }
    }
    let listed: BTreeSet<&String> = not_yet.iter().collect();
    assert!(listed.len() == not_yet.len(), "not-yet-kept.txt names something twice");
    assert!(wrong.is_empty(), "{wrong}");
}

/// What holds of every report holds of these.
#[test]
fn reports_of_kept_runs_are_sound() {
    let runs = || GOLDEN.current.iter().chain(&GOLDEN.old);
    let wrong: Vec<_> =
        runs().filter(|run| !run.violations.is_empty()).map(|run| (&run.name, &run.violations)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the lab expects of a scenario holds of its kept runs too: blessing cannot make a wrong answer right.
#[test]
fn kept_runs_meet_what_their_scenario_expects() {
    let known = phases();
    let mut wrong = String::new();
    for judged in &GOLDEN.current {
        let (scenario, phase) = judged.name.split_once('.').expect("SCENARIO.PHASE");
        let Some(expected) = known.get(scenario).and_then(|phases| phases.get(phase)) else { continue };
        if let Err(why) = expected.met(&judged.report, judged.exit, &judged.text) {
            let _ = writeln!(wrong, "{}: {why}", judged.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn kept_runs_hold_names_of_the_lab_only() {
    LazyLock::force(&GOLDEN); // blessing writes what is read here
    for folder in ["runs", "old"] {
        for kept in golden::read(&path(folder)).expect("kept runs") {
            assert_eq!(names_the_machine(&kept.saved), None, "{}", kept.name());
        }
    }
}
