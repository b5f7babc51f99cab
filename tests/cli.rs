//! The program as a user meets it: help, exit status, streams, environment.

mod samples;

use std::{fs, path::Path};

use assert_cmd::Command;
use pdsdoctor::{diagnose::Code, exit, saved};
use pdsdoctor_probes::fact::ProbeName;
use strum::IntoEnumIterator;
use tempfile::TempDir;

/// The program, free of everything in the environment that changes what it prints.
fn pdsdoctor(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdsdoctor"));
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "TERM", "LC_ALL", "LC_CTYPE"] {
        command.env_remove(name);
    }
    command.env("LANG", "C.UTF-8").args(args);
    command
}

struct Ended {
    status: i32,
    out: String,
    err: String,
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("it runs");
    Ended {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
        err: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
    }
}

fn run(args: &[&str]) -> Ended {
    ended(&mut pdsdoctor(args))
}

/// A folder with `run.json`, the saved run of a sample.
fn saved_run(sample: &samples::Sample) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.json");
    fs::write(&path, saved::to_json(&sample.run).expect("JSON")).expect("a file");
    let path = path.to_str().expect("a plain path").to_owned();
    (folder, path)
}

#[test]
fn help_of_every_command() {
    insta::assert_snapshot!("help", run(&["--help"]).out);
    for command in ["check", "replay", "explain", "list", "completions", "man"] {
        let long = run(&[command, "--help"]);
        assert_eq!((long.status, long.err.as_str()), (0, ""));
        assert!(long.out.lines().all(|line| line.chars().count() <= 80), "{command}");
        assert_eq!(long.out, run(&[command, "-h"]).out, "one help, short and long");
        insta::assert_snapshot!(format!("help_{command}"), long.out);
    }
}

#[test]
fn the_table_of_exit_statuses_is_quoted_everywhere() {
    let usage = include_str!("../docs/usage.md");
    let help = [run(&["--help"]).out, run(&["check", "--help"]).out];
    for (status, meaning) in exit::TABLE {
        let code = status.code();
        assert!(usage.contains(&format!("| {code} | {meaning} |")), "docs/usage.md: {code}");
        let line = format!("{code:>3}  {meaning}");
        assert!(help.iter().all(|help| help.lines().any(|help| help.trim_start() == line.trim_start())), "{line}");
    }
    let codes: Vec<u8> = exit::TABLE.iter().map(|(status, _)| status.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 130]);
}

#[test]
fn wrong_command_lines_end_with_2_and_say_why() {
    for (args, word) in [
        (&[][..], "Usage"),
        (&["check", "--host-probes", "never"], "TARGET"),
        (&["check", "a.example", "--host-probes", "never", "--pid", "1"], "--pid"),
        (&["check", "a.example", "--container", "pds", "--pid", "1"], "cannot be used with"),
        (&["check", "a.example", "--host-probes", "often"], "auto, always, never"),
        (&["frobnicate"], "frobnicate"),
        (&["check", "a.example", "-4", "-6"], "cannot be used with"),
        (&["check", "a.example", "--against", "b.example", "--no-reference"], "cannot be used with"),
        (&["check", "a.example", "-q", "-v"], "cannot be used with"),
        (&["check", "a.example", "--only", "dsn"], "own-network, dns, tcp"),
        (&["check", "a.example", "--only", "dns", "--skip", "dns"], "no probe"),
        (&["check", "a.example", "--timeout", "0"], "1..=600"),
        (&["check", "a.example", "--timeout", "601"], "1..=600"),
        (&["check", "a.example", "--resolve", "a.example:443"], "HOST:PORT:ADDR"),
        (&["check", "a.example", "--nameserver", "dns.example"], "no IP address"),
        (&["check", "a.example", "--client-id", "tangled.org"], "not a URL"),
        (&["check", "a.example", "--against", "did:plc:abc"], "--against"),
        (&["check", "a.example", "--fail-on", "worse"], "broken, degraded, risk, never"),
        (&["check", "a.example", "--format", "yaml"], "text, json"),
        (&["check", "a.example", "--ca-cert", "/nonexistent.pem"], "--ca-cert /nonexistent.pem"),
        (&["check", "a.example", "--save", "/nonexistent/run.json"], "cannot write /nonexistent/run.json"),
        (&["check", "a.example", "--output", "/nonexistent/r.txt"], "cannot write /nonexistent/r.txt"),
        (&["check", "a.example", "--output", "x", "--save", "x"], "the same file"),
        (&["check", "a b"], "TARGET"),
        (&["replay", "/nonexistent.json"], "/nonexistent.json"),
        (&["explain", "dns-no-wildcart"], "dns-no-wildcard"),
        (&["list", "rules"], "probes, causes"),
        (&["completions", "tcsh"], "bash"),
    ] {
        let ended = run(args);
        assert_eq!(ended.status, 2, "{args:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{args:?}");
        let words = ended.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(word), "{args:?}: {word:?} is not in {words}");
    }
}

#[test]
fn a_certificate_file_without_certificates_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, word) in [
        ("", "no PEM certificate"),
        ("hello", "no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "none of its certificates"),
    ] {
        let path = folder.path().join("ca.pem");
        fs::write(&path, text).expect("a file");
        let ended = run(&["check", "a.example", "--ca-cert", path.to_str().expect("a path")]);
        assert_eq!(ended.status, 2);
        assert!(ended.err.contains(word), "{}", ended.err);
    }
}

#[test]
fn other_files_are_no_saved_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, word) in [
        ("hello", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "not a saved run"),
        ("{\"schema\":\"other\"}", "not a saved run"),
        ("{\"schema\":\"pdsdoctor/report/v1\"}", "a report, not a saved run"),
        ("{\"schema\":\"pdsdoctor/run/v2\"}", "newer pdsdoctor"),
        ("{\"schema\":\"pdsdoctor/run/v1\"}", "damaged"),
        (&"[".repeat(100_000), "not a JSON object"),
    ] {
        let path = folder.path().join("run.json");
        fs::write(&path, text).expect("a file");
        let ended = run(&["replay", path.to_str().expect("a path")]);
        assert_eq!((ended.status, ended.out.as_str()), (2, ""));
        assert!(ended.err.contains(word), "{word}: {}", ended.err);
    }
    let large = folder.path().join("large.json");
    fs::File::create(&large).and_then(|file| file.set_len(saved::SIZE_LIMIT + 1)).expect("a large file");
    let ended = run(&["replay", large.to_str().expect("a path")]);
    assert_eq!(ended.status, 2);
    assert!(ended.err.contains("32 MiB"), "{}", ended.err);
}

#[test]
fn a_saved_run_judged_again_gives_the_same_bytes() {
    for sample in samples::all() {
        let (_folder, path) = saved_run(&sample);
        for format in ["text", "json"] {
            let once = run(&["replay", &path, "--format", format]);
            let twice = run(&["replay", &path, "--format", format]);
            assert!([0, 1, 3].contains(&once.status), "{}: {}", sample.name, once.err);
            assert_eq!((once.status, &once.out), (twice.status, &twice.out), "{}", sample.name);
            assert_eq!(once.err, "");
            assert!(once.out.ends_with('\n'));
        }
        let json = run(&["replay", &path, "--format", "json"]).out;
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["schema"], "pdsdoctor/report/v1");
        assert_eq!(value["facts"].as_array().map(Vec::len), Some(sample.run.facts.len()));
        assert_eq!(run(&["replay", &path]).status, run(&["replay", &path, "--format", "json"]).status);
    }
}

#[test]
fn a_run_of_a_newer_program_is_judged_as_far_as_it_goes() {
    let of = |change: &dyn Fn(&mut serde_json::Value)| {
        let text = saved::to_json(&samples::healthy().run).expect("JSON");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["version"] = "7.0.0".into();
        change(&mut value);
        ended(pdsdoctor(&["replay", "-", "--format", "json"]).write_stdin(value.to_string()))
    };
    let known = of(&|_| ());
    let newer = of(&|run| {
        let facts = run["facts"].as_array_mut().expect("facts");
        let tcp = facts.iter().find(|fact| fact["probe"] == "tcp").expect("a connect").clone();
        let changed = |at: &str, word: &str| {
            let mut fact = tcp.clone();
            *fact.pointer_mut(at).expect("a field") = word.into();
            fact
        };
        let mut failed = tcp.clone();
        failed["body"]["failure"] = serde_json::json!({"kind": "turned_away", "detail": ""});
        facts.extend([
            changed("/probe", "http3"),
            changed("/body/kind", "quic"),
            changed("/body/kind", "quic"),
            changed("/vantage", "node:eu-1"),
            failed,
        ]);
        let missing = serde_json::json!({"probe": "http3", "why": "no UDP", "needs": "UDP"});
        run["not_measured"].as_array_mut().expect("a list").push(missing);
        run["settings"]["left_out"] = serde_json::json!(["http3"]);
    });
    assert_eq!((newer.status, newer.err.as_str()), (known.status, ""));
    let report: serde_json::Value = serde_json::from_str(&newer.out).expect("JSON");
    let before: serde_json::Value = serde_json::from_str(&known.out).expect("JSON");
    assert_eq!((&report["causes"], &report["facts"]), (&before["causes"], &before["facts"]));
    assert!(before.get("not_understood").is_none());
    assert_eq!(
        report["not_understood"],
        serde_json::json!([
            "of the probe tcp, a measurement with \"node:eu-1\"",
            "of the probe tcp, a measurement with \"quic\" (2 times)",
            "of the probe tcp, a measurement with \"turned_away\"",
            "the probe \"http3\" (3 times)",
        ])
    );
    // Not all of it was judged: that is not said to be healthy.
    assert!(report["headline"].as_str().is_some_and(|line| line.contains("in what was measured")), "{}", newer.out);

    // What is wrong in another way is damaged, whoever wrote it; so is what says how all of it is meant.
    let damaged = of(&|run| run["facts"][0]["took_ms"] = "long".into());
    assert!((damaged.status, damaged.err.contains("damaged")) == (2, true), "{}", damaged.err);
    let elsewhere = of(&|run| run["ended"] = "handed_over".into());
    assert!((elsewhere.status, elsewhere.err.contains("newer pdsdoctor (7.0.0)")) == (2, true), "{}", elsewhere.err);
    let list = ended(pdsdoctor(&["replay", "-"]).write_stdin("[\"pdsdoctor/run/v1\",0]"));
    assert_eq!((list.status, list.out.as_str()), (2, ""));
}

#[test]
fn standard_input_is_a_file_too() {
    let sample = samples::healthy();
    let text = saved::to_json(&sample.run).expect("JSON");
    let (_folder, path) = saved_run(&sample);
    assert_eq!(ended(pdsdoctor(&["replay", "-"]).write_stdin(text)).out, run(&["replay", &path]).out);
}

#[test]
fn terminal_escapes_in_a_saved_run_do_not_reach_the_terminal() {
    let (_folder, path) = saved_run(&samples::hostile());
    for args in [&["replay", &path][..], &["replay", &path, "-v"], &["replay", &path, "--format", "json"]] {
        let ended = run(args);
        assert!([0, 1, 3].contains(&ended.status), "{}", ended.err);
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
        assert!(!ended.out.contains(obeyed), "{args:?}");
    }
}

#[test]
fn colour_follows_the_environment() {
    let explain = || pdsdoctor(&["explain", "tls-expired"]);
    let has_colour = |command: &mut Command| ended(command).out.contains('\u{1b}');
    assert!(!has_colour(&mut explain()), "no terminal, no colour");
    assert!(has_colour(explain().env("CLICOLOR_FORCE", "1")));
    assert!(!has_colour(explain().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(has_colour(explain().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "")));
    assert!(has_colour(explain().env("NO_COLOR", "1").args(["--color", "always"])));
    assert!(!has_colour(explain().env("CLICOLOR_FORCE", "1").args(["--color", "never"])));
    let (_folder, path) = saved_run(&samples::first_field_report());
    assert!(has_colour(pdsdoctor(&["replay", &path]).env("CLICOLOR_FORCE", "1")));
}

#[test]
fn without_utf_8_the_text_is_ascii() {
    let (_folder, path) = saved_run(&samples::hostile());
    for args in [&["replay", &path, "-v"][..], &["explain", "oauth-client-metadata-egress"], &["list", "causes"]] {
        let ended = ended(pdsdoctor(args).env("LC_ALL", "C"));
        assert!(ended.out.is_ascii(), "{args:?}: {}", ended.out);
    }
}

#[test]
fn lines_keep_to_the_width() {
    let (_folder, path) = saved_run(&samples::healthy());
    for (columns, most) in [("60", 60), ("80", 80), ("200", 110)] {
        for args in [&["list", "causes"][..], &["replay", &path, "-v"]] {
            let ended = ended(pdsdoctor(args).env("COLUMNS", columns));
            for line in ended.out.lines().filter(|line| !line.starts_with("Again:")) {
                assert!(line.chars().count() <= most, "{columns}: {line}");
            }
        }
    }
}

#[test]
fn every_cause_and_probe_is_listed_and_explained() {
    let causes = run(&["list", "causes"]).out;
    insta::assert_snapshot!("list_causes", causes);
    insta::assert_snapshot!("list_probes", run(&["list", "probes"]).out);
    for code in Code::iter() {
        assert!(causes.contains(<&str>::from(code)), "{code}");
    }
    for probe in ProbeName::iter() {
        assert!(run(&["list", "probes"]).out.contains(<&str>::from(probe)), "{probe}");
    }
    let explained = run(&["explain", "oauth-client-metadata-egress"]);
    assert_eq!(explained.status, 0);
    insta::assert_snapshot!("explain", explained.out);
}

/// The whole program, as the administrator runs it on the PDS's machine: nothing is opened for writing but what
/// the user named, nothing is run, nothing is removed.
#[cfg(target_os = "linux")]
#[test]
fn the_machine_is_only_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let calls = "trace=open,openat,openat2,creat,truncate,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,\
                 mkdirat,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,fchownat,mknod,mknodat,mount,\
                 umount2,kill,tgkill,ptrace,execve,execveat";
    let traced = Command::new("strace")
        .args(["-f", "-e", calls, "-o"])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_pdsdoctor"))
        .args(["check", "--host-probes", "always", "--only", "host-network,host-settings,ra-handler,name-files"])
        .output();
    let Ok(output) = traced else {
        assert!(std::env::var_os("PDSDOCTOR_LAB").is_none_or(|lab| lab != "require"), "strace is not installed");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: strace is not installed\n");
        return;
    };
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = fs::read_to_string(&log).expect("a log");
    let mut runs = 0;
    for line in log.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        if call.starts_with("open") {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag));
            assert!(!writes || line.contains("\"/dev/null\""), "{line}");
        } else if call.starts_with("execve") {
            runs += 1;
        } else {
            // Signals, ends of threads, and the second halves of calls whose first halves were looked at.
            assert!(["---", "+++", "<..."].iter().any(|mark| call.starts_with(mark)), "{line}");
        }
    }
    assert_eq!(runs, 1, "strace itself starts the program, which starts nothing");
}

#[test]
fn the_report_goes_to_the_file_and_only_there() {
    let (folder, path) = saved_run(&samples::healthy());
    let output = folder.path().join("report.txt");
    fs::write(&output, "an older and longer report\n".repeat(1000)).expect("a file");
    let output = output.to_str().expect("a path");
    let ended = run(&["replay", &path, "--output", output]);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    assert_eq!(fs::read_to_string(output).expect("a report"), run(&["replay", &path]).out);
    // A file that cannot be read leaves an older report alone.
    let kept = fs::read_to_string(output).expect("a report");
    assert_eq!(run(&["replay", "/nonexistent.json", "--output", output]).status, 2);
    assert_eq!(fs::read_to_string(output).expect("a report"), kept);
    // And leaves no empty one behind.
    let fresh = folder.path().join("fresh.txt");
    assert_eq!(run(&["replay", "/nonexistent.json", "--output", fresh.to_str().expect("a path")]).status, 2);
    assert!(!fresh.exists());
}

#[test]
fn a_full_device_is_told() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let (_folder, path) = saved_run(&samples::healthy());
    let ended = run(&["replay", &path, "--output", "/dev/full"]);
    assert_eq!(ended.status, 2, "{}", ended.err);
    assert!(ended.err.contains("cannot write /dev/full"), "{}", ended.err);
}

#[test]
#[cfg(unix)]
fn a_reader_who_leaves_is_no_panic() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_pdsdoctor"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn completions_and_the_manual_page_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&["completions", shell]);
        assert_eq!(ended.status, 0);
        assert!(ended.out.contains("replay"), "{shell}");
    }
    let man = run(&["man"]).out;
    for word in [".TH pdsdoctor", "COMMAND CHECK", "no\\-third\\-party", "interrupted"] {
        assert!(man.contains(word), "{word}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let said = ended(pdsdoctor(&["check", "pds.example.com"]).env("PDSDOCTOR_EGRESS_HOSTS", "near=http://a.example/"));
    assert_eq!(said.status, 2, "{}", said.err);
    assert!(said.err.contains("PDSDOCTOR_EGRESS_HOSTS") && said.err.contains("https://"), "{}", said.err);
    assert!(said.out.is_empty(), "{}", said.out);
}
