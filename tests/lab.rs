//! Every scenario of the lab: the real binary in a real world, with its fault and after the remedy.
//!
//! Concurrent-safe: each world has namespaces of its own. Where no lab can be made the tests show as
//! ignored; with `PDSDOCTOR_LAB=require` they fail instead.

#![allow(clippy::print_stderr)] // a test program's own word on why it skips

use std::{path::Path, process::Command};

use libtest_mimic::{Arguments, Failed, Trial};
use pdsdoctor_fixtures::{Expect, Phase, RunResult, Scenario, golden};
use serde_json::Value;

/// What a check may hold in memory, whatever it meets.
const PEAK_KB: u64 = 64 * 1024;

fn main() -> std::process::ExitCode {
    if let Some(status) = pdsdoctor_fixtures::enter() {
        return std::process::ExitCode::from(status);
    }
    // As many scenarios at once as there are processors. With three for each, a quiet machine needs half the time; but those
    // that are built then make the times of those that are checked, and with other work beside them that is seen as a fault.
    let arguments = Arguments::from_args();
    let unavailable = pdsdoctor_fixtures::available().err();
    let required = std::env::var_os("PDSDOCTOR_LAB").is_some_and(|value| value == "require");
    if let Some(why) = &unavailable {
        eprintln!("the lab cannot run here: {why}");
    }
    let trials = pdsdoctor_fixtures::scenarios()
        .into_iter()
        .map(|scenario| {
            let why = unavailable.clone().or_else(|| scenario.missing());
            let ignored = why.is_some() && !required;
            Trial::test(scenario.name, move || match why {
                Some(why) => Err(format!("the lab cannot run here: {why}").into()),
                None => check(&scenario),
            })
            .with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn tool() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pdsdoctor"))
}

fn check(scenario: &Scenario) -> Result<(), Failed> {
    let result = pdsdoctor_fixtures::run_scenario(scenario.name, tool()).map_err(|error| format!("{error:#}"))?;
    let outcome = judged(scenario, &result);
    if let Some(folder) = std::env::var_os("PDSDOCTOR_SAVE_RUNS") {
        save(Path::new(&folder), scenario, &result, outcome.is_ok())
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(outcome?)
}

fn judged(scenario: &Scenario, result: &RunResult) -> Result<(), String> {
    let logs = || result.logs.iter().map(|(name, log)| format!("--- {name}\n{log}")).collect::<Vec<_>>().join("\n");
    expect(&result.faulty, scenario.expect)
        .and_then(|()| needs(&result.faulty, scenario.needs))
        .and_then(|()| origin(&result.faulty, scenario.origin))
        .and_then(|()| own_node(&result.faulty, scenario.args))
        .map_err(|why| format!("{why}\n{}\n{}\n{}", result.faulty.text, result.faulty.stderr, logs()))?;
    for remedy in scenario.all_remedies() {
        let cured =
            result.cured.get(remedy.name).ok_or_else(|| format!("the remedy {} was not applied", remedy.name))?;
        expect(cured, remedy.expect)
            .map_err(|why| format!("after the remedy {}: {why}\n{}\n{}", remedy.name, cured.text, logs()))?;
    }
    Ok(())
}

/// Keeps what a scenario measured, for `PDSDOCTOR_BLESS=1 cargo test --test golden`; of a scenario that is not right, in
/// `wrong/`, where it can be looked at and is taken for no golden run.
fn save(folder: &Path, scenario: &Scenario, result: &RunResult, right: bool) -> std::io::Result<()> {
    let wrong = folder.join("wrong");
    std::fs::create_dir_all(&wrong)?;
    let (to, not_to) = if right { (folder, wrong.as_path()) } else { (wrong.as_path(), folder) };
    for (phase, remedy) in golden::phases(scenario) {
        let name = golden::file_name(scenario.name, phase);
        let of = remedy.map_or(Some(&result.faulty), |remedy| result.cured.get(remedy));
        // What an earlier run of the lab left there is not of this one.
        let _ = std::fs::remove_file(not_to.join(&name));
        if let Some(of) = of {
            std::fs::write(to.join(&name), &of.saved)?;
        }
    }
    Ok(())
}

/// What was asked of the PDS's own Node it did, as it is and with each remedy.
fn own_node(phase: &Phase, args: &[&str]) -> Result<(), String> {
    let report: Value = serde_json::from_str(&phase.json).map_err(|error| error.to_string())?;
    let fetches: Vec<&Value> = list(&report, "facts")
        .iter()
        .map(|fact| &fact["body"])
        .filter(|body| body["kind"] == "node_fetch" && body["failure"].is_null())
        .collect();
    if !args.contains(&"--with-node") || fetches.len() >= 3 {
        return Ok(());
    }
    Err(format!("the PDS's own Node did not try: {fetches:?}, {}", report["not_measured"]))
}

/// It is told of this PDS.
fn origin(phase: &Phase, wanted: Option<&str>) -> Result<(), String> {
    let report: Value = serde_json::from_str(&phase.json).map_err(|error| error.to_string())?;
    let found = report["target"]["origin"].as_str();
    if wanted.is_none_or(|wanted| found == Some(wanted)) { Ok(()) } else { Err(format!("told of {found:?}")) }
}

/// What could not be measured is said together with what it would take.
fn needs(phase: &Phase, words: &[&str]) -> Result<(), String> {
    let report: Value = serde_json::from_str(&phase.json).map_err(|error| error.to_string())?;
    let needs: Vec<&str> = list(&report, "not_measured").iter().filter_map(|entry| entry["needs"].as_str()).collect();
    match words.iter().find(|word| !needs.iter().any(|need| need.contains(**word))) {
        Some(word) => Err(format!("nothing needs {word:?}: {needs:?}")),
        None => Ok(()),
    }
}

fn expect(phase: &Phase, expected: Expect) -> Result<(), String> {
    let report: Value =
        serde_json::from_str(&phase.json).map_err(|error| format!("not JSON ({error}): {:?}", phase.json))?;
    expected.met(&report, phase.exit, &phase.text)?;
    evidence(&report)?;
    invariants(phase)?;
    manners(&report)?;
    replay(phase)?;
    if phase.peak_rss_kb > PEAK_KB {
        return Err(format!("peak memory: {} KiB", phase.peak_rss_kb));
    }
    Ok(())
}

/// Every claim points to facts that are in the report; a confirmed one shows a contrast.
fn evidence(report: &Value) -> Result<(), String> {
    let facts: Vec<&str> = list(report, "facts").iter().filter_map(|fact| fact["id"].as_str()).collect();
    for cause in list(report, "causes") {
        let because: Vec<&str> = list(cause, "because").iter().filter_map(Value::as_str).collect();
        if because.is_empty() || !because.iter().all(|id| facts.contains(id)) {
            return Err(format!("{} rests on {because:?}", cause["code"]));
        }
        let confirmed = cause["confidence"] == "confirmed";
        let this_side = cause["code"].as_str().is_some_and(|code| code.starts_with("this-side"));
        if confirmed && !this_side && list(cause, "contrast").is_empty() {
            return Err(format!("{} is confirmed without a contrast", cause["code"]));
        }
        if list(cause, "remedies").is_empty() {
            return Err(format!("{} has no remedy", cause["code"]));
        }
    }
    Ok(())
}

/// What holds of every report holds of this one.
fn invariants(phase: &Phase) -> Result<(), String> {
    let run = pdsdoctor::saved::parse(phase.saved.as_bytes()).map_err(|error| error.to_string())?;
    let violations = pdsdoctor::diagnose::invariants::violations(&run, &pdsdoctor::diagnose::diagnose(&run));
    if violations.is_empty() { Ok(()) } else { Err(violations.join("\n")) }
}

/// Answered by a limit on requests (429, or 503 as nginx says it by itself).
fn is_turned_away(fact: &Value) -> bool {
    matches!(fact["body"]["status"].as_u64(), Some(429 | 503))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// No PDS gets more than eight login requests in a run (docs/probes.md, "Requests in one run"). What a limit before it
/// turned away does not come to it, and is sent once more at the most ("The pace").
fn manners(report: &Value) -> Result<(), String> {
    for role in ["target", "reference"] {
        let is_par = |fact: &&Value| fact["body"]["kind"] == "par" && fact["body"]["role"] == role;
        let (away, came): (Vec<&Value>, Vec<&Value>) =
            list(report, "facts").iter().filter(is_par).partition(|fact| is_turned_away(fact));
        if away.len() > 8 {
            return Err(format!("{} login requests to the {role} after it said that they were too many", away.len()));
        }
        let sent = came.len();
        if sent > 8 {
            return Err(format!("{sent} login requests to the {role}"));
        }
    }
    Ok(())
}

/// The saved run judged again gives the same bytes.
fn replay(phase: &Phase) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), &phase.saved).map_err(|error| error.to_string())?;
    let output = Command::new(tool())
        .args(["replay", "--format", "json"])
        .arg(file.path())
        .output()
        .map_err(|error| error.to_string())?;
    if output.stdout == phase.json.as_bytes() && output.status.code() == Some(phase.exit) {
        Ok(())
    } else {
        Err(format!("replay differs, exit {:?}: {}", output.status.code(), String::from_utf8_lossy(&output.stderr)))
    }
}
