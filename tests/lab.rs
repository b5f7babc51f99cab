//! Every scenario of the lab: the real binary in a real world, with its fault and after the remedy.
//!
//! Concurrent-safe: each world has namespaces of its own. Where no lab can be made the tests show as
//! ignored; with `PDSDOCTOR_LAB=require` they fail instead.

#![allow(clippy::print_stderr)] // a test program's own word on why it skips

use std::{path::Path, process::Command};

use libtest_mimic::{Arguments, Failed, Trial};
use pdsdoctor_fixtures::{Expect, Phase, Scenario};
use serde_json::Value;

/// A healthy report is not longer than this.
const HEALTHY_LINES: usize = 8;
/// What a check may hold in memory, whatever it meets.
const PEAK_KB: u64 = 64 * 1024;

fn main() -> std::process::ExitCode {
    if let Some(status) = pdsdoctor_fixtures::enter() {
        return std::process::ExitCode::from(status);
    }
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
    if let Some(folder) = std::env::var_os("PDSDOCTOR_SAVE_RUNS") {
        let path = Path::new(&folder).join(format!("{}.json", scenario.name));
        std::fs::write(&path, &result.faulty.saved).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let logs = || result.logs.iter().map(|(name, log)| format!("--- {name}\n{log}")).collect::<Vec<_>>().join("\n");
    expect(&result.faulty, scenario.expect)
        .and_then(|()| needs(&result.faulty, scenario.needs))
        .map_err(|why| format!("{why}\n{}\n{}\n{}", result.faulty.text, result.faulty.stderr, logs()))?;
    for remedy in scenario.all_remedies() {
        let cured =
            result.cured.get(remedy.name).ok_or_else(|| format!("the remedy {} was not applied", remedy.name))?;
        expect(cured, remedy.expect)
            .map_err(|why| format!("after the remedy {}: {why}\n{}\n{}", remedy.name, cured.text, logs()))?;
    }
    Ok(())
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
    let codes: Vec<&str> = list(&report, "causes").iter().filter_map(|cause| cause["code"].as_str()).collect();
    let verdict = report["verdict"].as_str().unwrap_or("");
    let is = |what: &str, found: &dyn std::fmt::Debug, good: bool| {
        if good { Ok(()) } else { Err(format!("{what}: {found:?} (causes {codes:?}, verdict {verdict})")) }
    };
    match expected {
        Expect::Healthy => {
            is("a false alarm", &codes, codes.is_empty())?;
            is("verdict", &verdict, verdict == "healthy")?;
            is("exit status", &phase.exit, phase.exit == 0)?;
            let lines = phase.text.lines().count();
            is("too many lines for a healthy PDS", &lines, lines <= HEALTHY_LINES)?;
        }
        Expect::Inconclusive { first } => {
            is(&format!("expected {first} first"), &codes, codes.first() == Some(&first))?;
            is("exit status", &phase.exit, phase.exit == 3)?;
        }
        Expect::AtMostRisk { codes: allowed } => {
            is("a false alarm", &codes, codes.iter().all(|code| allowed.contains(code)))?;
            is("verdict", &verdict, matches!(verdict, "healthy" | "risk"))?;
            is("exit status", &phase.exit, phase.exit == 0)?;
        }
        Expect::Cause { first, verdict: wanted, exit, also, confirmed, contributing } => {
            is(&format!("expected {first} first"), &codes, codes.first() == Some(&first))?;
            is("exit status", &phase.exit, phase.exit == exit)?;
            if let Some(wanted) = wanted {
                is(&format!("expected verdict {wanted}"), &verdict, verdict == wanted)?;
            }
            if let Some(wanted) = confirmed {
                let is_so = report["causes"][0]["confidence"] == "confirmed";
                is(&format!("expected confirmed to be {wanted}"), &is_so, is_so == wanted)?;
            }
            let mut all: Vec<&str> = codes.clone();
            for cause in list(&report, "causes") {
                all.extend(list(cause, "symptoms").iter().filter_map(|symptom| symptom["code"].as_str()));
            }
            for code in also {
                is(&format!("expected {code} as well"), &all, all.contains(code))?;
            }
            let named: Vec<&str> = codes.first().map_or(Vec::new(), |_| {
                list(&report["causes"][0], "contributing").iter().filter_map(Value::as_str).collect()
            });
            for code in contributing {
                is(&format!("expected {code} to contribute"), &named, named.contains(code))?;
            }
        }
    }
    evidence(&report)?;
    invariants(phase)?;
    manners(&report)?;
    replay(phase)?;
    is("peak memory in KiB", &phase.peak_rss_kb, phase.peak_rss_kb <= PEAK_KB)
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

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// No PDS gets more than eight login requests in a run (docs/probes.md, "Requests in one run").
fn manners(report: &Value) -> Result<(), String> {
    for role in ["target", "reference"] {
        let is_par = |fact: &&Value| fact["body"]["kind"] == "par" && fact["body"]["role"] == role;
        let sent = list(report, "facts").iter().filter(is_par).count();
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
