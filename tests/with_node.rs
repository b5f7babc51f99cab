//! `--with-node`, with the real program, run by root beside a PDS that is hostile. What holds what is run is asserted
//! from inside it: `tests/confined/node.c` writes down all that it has.
//!
//! It takes root and namespaces: seen as ignored elsewhere, and failing under `PDSDOCTOR_LAB=require`.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, clippy::unwrap_used)] // a test program's own

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getsid},
};
use serde_json::Value;

mod confined;
use confined::*;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let unavailable = unavailable().err();
    let required = std::env::var_os("PDSDOCTOR_LAB").is_some_and(|value| value == "require");
    if let Some(why) = &unavailable {
        eprintln!("these tests cannot run here: {why}");
    }
    let tests: &[(&'static str, fn())] = &[
        ("nothing_of_roots", nothing_of_roots),
        ("a_false_dev_null_is_not_read", a_false_dev_null_is_not_read),
        ("a_pipe_in_place_of_dev_null_costs_no_time", a_pipe_in_place_of_dev_null_costs_no_time),
        ("a_user_namespace_is_refused", a_user_namespace_is_refused),
        ("a_filter_of_system_calls_is_refused", a_filter_of_system_calls_is_refused),
        ("groups_that_cannot_be_joined_are_refused", groups_that_cannot_be_joined_are_refused),
        ("the_limit_of_processes_is_obeyed", the_limit_of_processes_is_obeyed),
        ("a_pds_of_roots_is_run_as_nobody", a_pds_of_roots_is_run_as_nobody),
        ("a_process_namespace_of_its_own", a_process_namespace_of_its_own),
        ("nothing_is_left_at_the_end_of_the_run", nothing_is_left_at_the_end_of_the_run),
        ("nothing_is_left_after_sigterm", || nothing_is_left_after(Signal::SIGTERM)),
        ("nothing_is_left_after_sigint", || nothing_is_left_after(Signal::SIGINT)),
        ("nothing_is_left_after_sigkill", || nothing_is_left_after(Signal::SIGKILL)),
        ("nothing_is_left_when_the_helper_is_killed", nothing_is_left_when_the_helper_is_killed),
        ("an_impostor_is_not_run_and_not_read", an_impostor_is_not_run_and_not_read),
        ("a_claim_that_something_speaks_against_is_not_run", a_claim_that_something_speaks_against_is_not_run),
        ("what_is_no_node_is_not_run", what_is_no_node_is_not_run),
        ("an_ordinary_user_runs_his_own", an_ordinary_user_runs_his_own),
        ("the_real_node_answers", the_real_node_answers),
        ("in_a_container_of_docker", confined::docker::in_a_container_of_docker),
    ];
    let trials = tests
        .iter()
        .map(|(name, test)| {
            let why = unavailable.clone();
            let ignored = why.is_some() && !required;
            Trial::test(*name, move || match why {
                Some(why) => Err(format!("cannot run here: {why}").into()),
                None => {
                    test();
                    Ok(())
                }
            })
            .with_ignored_flag(ignored)
        })
        .collect();
    // One at a time: each looks at all processes of this machine.
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, trials).exit_code()
}

fn unavailable() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("users and namespaces need root".to_owned());
    }
    for program in ["cc", "unshare", "setpriv", "setsid"] {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map_err(|error| format!("{program}: {error}"))?;
    }
    Ok(())
}

/// On a terminal, with a file of root's open, beside a PDS in control groups that hold it.
fn nothing_of_roots() {
    let place = Place::new();
    let devices = Group::new("devices").filter(|group| group.set("devices.deny", "b *:* rwm"));
    let processes = Group::new("pids").filter(|group| group.set("pids.max", "40"));
    let groups: String = devices.iter().chain(&processes).map(Group::enter).collect();
    // Any block device that its own user may open if the group lets him.
    let disk =
        Command::new("mknod").args(["-m", "666"]).arg(place.path("disk")).args(["b", "7", "0"]).status().unwrap();
    assert!(disk.success());
    let pds = place.pds(&format!("{groups}{}", as_user(USER)), &[("SSL_CERT_FILE", "/certs.pem")]);
    let secret = place.path("secret");
    fs::write(&secret, "CANARY").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();

    let terminal = nix::pty::openpty(None, None).unwrap();
    // A shell of root's own, with the terminal, whose script has descriptors open.
    let line = format!("exec 7<>{0} 9<{0}; exec \"$0\" \"$@\"", secret.display());
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "bash", "-c", &line, env!("CARGO_BIN_EXE_pdsdoctor")]);
    command.args(arguments(&["--pid", &pds.pid.to_string()]));
    command.stdin(terminal.slave.try_clone().unwrap()).stderr(terminal.slave.try_clone().unwrap());
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(fetches(&report).len(), 3, "{:?}", missed(&report));
    assert!(fetches(&report).iter().all(|fetch| fetch["status"] == 200));
    let reports = place.reports();
    assert_eq!(reports.len(), 3);
    for report in &reports {
        assert_eq!(report.one("stdin"), "0");
        // Ids, groups, capabilities.
        let id = USER.to_string();
        assert_eq!((report.status("Uid"), report.status("Gid")), ([&*id; 4].join(" "), [&*id; 4].join(" ")));
        assert_eq!(report.status("Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(report.status(set), "0".repeat(16), "{set}");
        }
        assert_eq!(report.status("NoNewPrivs"), "1");
        assert_eq!(report.one("setuid"), "Operation not permitted");
        // The namespaces are the PDS's, but that of processes, which is nobody else's.
        for name in ["net", "mnt", "uts", "ipc", "cgroup", "user"] {
            assert_eq!(report.namespace(name), pds.link(&format!("ns/{name}")), "{name}");
        }
        assert_ne!(report.namespace("pid"), pds.link("ns/pid"));
        assert_ne!(report.namespace("net"), fs::read_link("/proc/self/ns/net").unwrap().display().to_string());
        // Control groups.
        assert_eq!(report.all("cgroup"), pds.text("cgroup").lines().collect::<Vec<_>>());
        if devices.is_some() {
            assert_eq!(report.one("disk"), "Operation not permitted", "the device group is not obeyed");
        }
        // Descriptors: standard streams, of this machine's.
        let fds: BTreeSet<&str> = report.all("fd").iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(fds, BTreeSet::from(["0", "1", "2"]), "{report:?}");
        assert!(report.all("fd").contains(&"0 /dev/null") && !report.0.contains("CANARY"));
        // No terminal.
        assert_ne!(report.one("tty"), "OPEN");
        assert_ne!(report.one("tiocsti"), "DONE");
        let own = getsid(None).unwrap();
        assert!(!report.one("session").starts_with(&format!("session {own} ")));
        assert!(report.one("session").contains("pid 2 parent 1"), "{report:?}");
        // Limits.
        assert!(
            report
                .all("limits")
                .iter()
                .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == "Max core file size 0 0 bytes")
        );
        assert!(report.all("limits").iter().any(|line| line.starts_with("Max cpu time") && line.contains("15")));
        assert_eq!(report.one("oom"), "1000");
        // What it was given of the environment.
        let keys: BTreeSet<&str> = report.all("env").iter().filter_map(|line| line.split('=').next()).collect();
        let given = BTreeSet::from(["PATH", "SSL_CERT_FILE", "NODE_OPTIONS"]);
        assert!(keys.is_subset(&given) && keys.contains("SSL_CERT_FILE"), "{keys:?}");
        assert!(report.all("end").is_empty() && report.0.trim_end().ends_with("end"), "{report:?}");
    }
    place.wait_until("children of the program are still there", || place.left().is_empty());
    // Nothing was typed into the terminal, and nothing written to it that the program chose.
    drop(terminal.slave);
}

/// A mount namespace in which the standard streams' file is another: `what` is put over it.
fn over_dev_null(what: &Path) -> String {
    format!("mount --bind {} /dev/null; {}", what.display(), as_user(USER))
}

fn a_false_dev_null_is_not_read() {
    let place = Place::new();
    let secret = place.path("rootonly");
    fs::write(&secret, "CANARY").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let pds = place.pds(&over_dev_null(&secret), &[]);
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    assert_eq!(fetches(&report).len(), 3, "{:?}", missed(&report));
    for report in place.reports() {
        assert_eq!(report.one("stdin"), "0", "{report:?}");
    }
}

fn a_pipe_in_place_of_dev_null_costs_no_time() {
    let place = Place::new();
    let fifo = place.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let pds = place.pds(&over_dev_null(&fifo), &[]);
    let begun = Instant::now();
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    let fetches = fetches(&report);
    assert!(fetches.len() == 3 && fetches.iter().all(|fetch| fetch["status"] == 200), "{fetches:?}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

fn a_user_namespace_is_refused() {
    let place = Place::new();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups", "--inh-caps=-all"]);
    command.args(["unshare", "--user", "--map-root-user", "--mount"]).arg(place.node()).arg("index.js");
    let pds = Pds::start(&mut command, &[]);
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    refused(&report, &place, "user namespace");
}

fn a_filter_of_system_calls_is_refused() {
    let place = Place::new();
    let pds = place.with("filter").pds(&as_user(USER), &[]);
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    refused(&report, &place, "seccomp");
}

fn groups_that_cannot_be_joined_are_refused() {
    let place = Place::new();
    let Some(group) = Group::new("pids") else { return };
    let pds = place.pds(&format!("{}{}", group.enter(), as_user(USER)), &[]);
    // A machine that shows pdsdoctor no control groups.
    let line = "mount -t tmpfs none /sys/fs/cgroup; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", line, env!("CARGO_BIN_EXE_pdsdoctor")]);
    let report = check(command.args(arguments(&["--pid", &pds.pid.to_string()])));
    refused(&report, &place, "cannot be joined");
}

fn the_limit_of_processes_is_obeyed() {
    let place = Place::new();
    let Some(group) = Group::new("pids") else { return };
    let pds = place.pds(&format!("{}{}", group.enter(), as_user(USER)), &[]);
    assert!(group.set("pids.max", "1"));
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    refused(&report, &place, "could not be started");
}

fn a_pds_of_roots_is_run_as_nobody() {
    let place = Place::new();
    let pds = place.pds("exec \"$1\"/node index.js", &[]);
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    assert_eq!(fetches(&report).len(), 3, "{:?}", missed(&report));
    for report in place.reports() {
        assert_eq!(
            (report.status("Uid"), report.status("Gid")),
            ("65534 ".repeat(4).trim().to_owned(), "65534 ".repeat(4).trim().to_owned())
        );
        assert_eq!((report.status("CapBnd"), report.status("Groups")), ("0".repeat(16), String::new()));
    }
}

/// Its own `/proc` shows no process of pdsdoctor's, so that its root cannot reach this program's file.
fn a_process_namespace_of_its_own() {
    let place = Place::new();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount-proc", "--fork", "--kill-child", "--", "sh", "-c", &as_user(USER), "sh"]);
    let pds = Pds::start(command.arg(place.0.path()), &[]);
    place.with("stay");
    let mut run = doctor();
    run.args(arguments(&["--pid", &pds.pid.to_string()])).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = run.spawn().unwrap();
    place.wait_until("the program was not run", || !place.left().is_empty());
    let shown = Command::new("nsenter")
        .args(["--target", &pds.pid.to_string(), "--mount", "--", "ls", "/proc"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let processes: Vec<&str> = shown.lines().filter(|name| name.parse::<u32>().is_ok()).collect();
    run.kill().unwrap();
    run.wait().unwrap();
    place.wait_until("it is still there", || place.left().is_empty());
    assert_eq!(processes, ["1"], "the PDS's own is the only one");
}

fn nothing_is_left_at_the_end_of_the_run() {
    let place = Place::new();
    let pds = place.with("stay").pds(&as_user(USER), &[]);
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    assert!(fetches(&report).iter().all(|fetch| fetch["status"].is_null()), "{report:#}");
    assert_eq!(place.reports().len(), 3);
    place.wait_until("children of the program are still there", || place.left().is_empty());
}

fn nothing_is_left_after(signal: Signal) {
    let place = Place::new();
    let pds = place.with("stay").pds(&as_user(USER), &[]);
    let mut command = doctor();
    command.args(arguments(&["--pid", &pds.pid.to_string()])).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    // All of them, and their orphans, are there.
    let all = || place.reports().iter().filter(|report| report.0.contains("end\n")).count() == 3;
    place.wait_until("the program was not run", || all() && place.left().len() >= 12);
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
    run.wait().unwrap();
    place.wait_until("children of the program are still there", || place.left().is_empty());
}

/// As the kernel does where memory runs out.
fn nothing_is_left_when_the_helper_is_killed() {
    let place = Place::new();
    let pds = place.with("stay").pds(&as_user(USER), &[]);
    let mut command = doctor();
    command.args(arguments(&["--pid", &pds.pid.to_string()])).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let all = || place.reports().iter().filter(|report| report.0.contains("end\n")).count() == 3;
    place.wait_until("the program was not run", || all() && place.left().len() >= 12);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
    let helpers: Vec<i32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(helpers.len(), 3);
    for helper in helpers {
        kill(Pid::from_raw(helper), Signal::SIGKILL).unwrap();
    }
    place.wait_until("children of the program are still there", || place.left().is_empty());
    run.wait().unwrap();
}

/// In the network of this machine.
fn start(place: &Place, user: u32, environment: &[(&str, &str)]) -> Pds {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups", "--inh-caps=-all"]);
    Pds::start(command.arg(place.node()).arg("index.js"), environment)
}

fn a_claim_that_something_speaks_against_is_not_run() {
    let (place, other) = (Place::new(), Place::new());
    // The port that it says is its own is somebody else's, who says nothing of himself.
    let holder = start(&other, USER + 1, &[("PDS_HOSTNAME", ""), ("PDS_PORT", "34003")]);
    let claimant = start(&place, USER, &[("PDS_PORT", "34003")]);
    let report = check(doctor().args(arguments(&[])));
    refused(&report, &place, "port 34003, which it says is its own, is held by");
    drop(holder);
    let words = format!("the word of process {} (user {USER}, program node) alone", claimant.pid);
    // Beside one that may be it as well: a PDS that reads its settings from a file.
    let unnamed =
        start(&other, USER + 1, &[("PDS_HOSTNAME", ""), ("PDS_DATA_DIRECTORY", "/pds"), ("PDS_PORT", "34004")]);
    let report = check(doctor().args(arguments(&[])));
    refused(&report, &place, "which is the PDS is not clear");
    assert!(other.reports().is_empty());
    // The target's address is a loopback one, which is this machine's: no claim is needed for that.
    assert!(!missed(&report).iter().any(|(why, _)| why.contains(&words)));
    let mut away = arguments(&[]);
    away.iter_mut().filter(|word| word.contains("127.0.0.1") && word.starts_with("pds")).for_each(|word| {
        *word = "pds.example.com:9444:192.0.2.7".to_owned();
    });
    let report = check(doctor().args(away));
    assert!(missed(&report).iter().any(|(why, _)| why.contains(&words)), "{:?}", missed(&report));
    drop((claimant, unnamed));
    // One that calls itself otherwise.
    let elsewhere = start(&place, USER, &[("PDS_HOSTNAME", "other.example.com"), ("PDS_PORT", "34005")]);
    let report = check(doctor().args(arguments(&["--host-probes", "always"])));
    refused(&report, &place, "--with-node");
    drop(elsewhere);
}

fn an_impostor_is_not_run_and_not_read() {
    let (place, other) = (Place::new(), Place::new());
    for impostor_first in [true, false] {
        let (first, second) = if impostor_first { (USER + 1, USER) } else { (USER, USER + 1) };
        let (first_place, second_place) = if impostor_first { (&other, &place) } else { (&place, &other) };
        let one = start(first_place, first, &[("PDS_PORT", "34001")]);
        let two = start(second_place, second, &[("PDS_PORT", "34002")]);
        let report = check(doctor().args(arguments(&[])));
        refused(&report, &place, "which is the PDS is not clear");
        refused(&report, &other, "which is the PDS is not clear");
        let facts = report["facts"].as_array().unwrap();
        let of = |fact: &&Value| [one.pid, two.pid].map(Value::from).contains(&fact["body"]["pid"]);
        assert_eq!(facts.iter().filter(of).count(), 0, "neither is read as the PDS");
        for pds in [&one, &two] {
            let named = format!("process {} (user ", pds.pid);
            let all = missed(&report);
            assert!(all.iter().any(|(why, _)| why.contains(&named)), "{all:?}");
            assert!(all.iter().any(|(_, needs)| needs.contains("--pid")), "{all:?}");
        }
        // Named by the user, it is run.
        let pid = if impostor_first { two.pid } else { one.pid };
        let report = check(doctor().args(arguments(&["--pid", &pid.to_string()])));
        assert_eq!(fetches(&report).len(), 3, "{:?}", missed(&report));
        assert_eq!((place.reports().len(), other.reports().len()), (3, 0));
        for report in fs::read_dir(place.0.path()).unwrap().flatten() {
            if report.file_name().to_string_lossy().starts_with("report.") {
                fs::remove_file(report.path()).unwrap();
            }
        }
    }
}

fn what_is_no_node_is_not_run() {
    let mut child = Command::new("sleep").arg("60").uid(USER).gid(USER).spawn().unwrap();
    let report = check(doctor().args(arguments(&["--pid", &child.id().to_string()])));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fetches(&report).is_empty());
    assert!(missed(&report).iter().any(|(why, _)| why.contains("no Node")), "{:?}", missed(&report));
}

/// Without root there is no namespace that ends all: the orphans are looked after.
fn an_ordinary_user_runs_his_own() {
    let place = Place::new();
    let reachable = place.path("pdsdoctor");
    fs::copy(env!("CARGO_BIN_EXE_pdsdoctor"), &reachable).unwrap();
    let mut command = Command::new(place.node());
    let pds = Pds::start(command.arg("index.js").uid(USER).gid(USER), &[]);
    let mut command = Command::new(&reachable);
    let report = check(command.uid(USER).gid(USER).args(arguments(&["--pid", &pds.pid.to_string()])));
    assert_eq!(fetches(&report).len(), 3, "{:?}", missed(&report));
    place.wait_until("children of the program are still there", || place.left().is_empty());
    for report in place.reports() {
        assert_eq!((report.status("NoNewPrivs").as_str(), report.status("CapEff")), ("1", "0".repeat(16)));
        assert_ne!(report.one("tty"), "OPEN");
    }
    // Another user's is not run.
    let mut command = Command::new(&reachable);
    let report = check(command.uid(USER + 1).gid(USER + 1).args(arguments(&["--pid", &pds.pid.to_string()])));
    assert!(fetches(&report).is_empty(), "{report:#}");
    let needs = missed(&report).into_iter().find(|(why, _)| why.contains("--with-node")).unwrap().1;
    assert!(needs.starts_with("sudo "), "{needs}");
}

/// In a tree and a namespace of processes that are not this one's, where `/proc` does not show it.
fn the_real_node_answers() {
    if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("no node here: that part is left out");
        return;
    }
    let script = "require('https').createServer((q, r) => r.end()).listen(0, '127.0.0.1', () => console.log('ready'))";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--", "sh", "-c"]);
    let line = format!(
        "ip link set lo up; exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all node -e \"{script}\""
    );
    let pds = Pds::start(command.arg(line), &[]);
    let report = check(doctor().args(arguments(&["--pid", &pds.pid.to_string()])));
    let fetches = fetches(&report);
    assert_eq!(fetches.len(), 3, "{:?}", missed(&report));
    // It came as far as asking for a name that nobody has.
    for fetch in fetches {
        assert!(matches!(fetch["code"].as_str(), Some("EAI_AGAIN" | "ENOTFOUND")), "{fetch}");
    }
}
