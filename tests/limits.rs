//! The program's bounds, as a user meets them: files that are none, signals, pipes that nobody reads, too little of
//! everything. Nothing here may hang, take memory without end, or blame somebody else.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in a test an error is a failure

mod peak;
mod samples;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pdsdoctor::saved;
use serde_json::Value;

/// More than any of these may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// The peak that a hostile saved run may cost.
const PEAK_KB: u64 = 64 * 1024;

/// The program with its usual environment.
fn program() -> Command {
    alone(Command::new(env!("CARGO_BIN_EXE_pdsdoctor")))
}

fn alone(mut command: Command) -> Command {
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "TERM", "LC_ALL"] {
        command.env_remove(name);
    }
    command.env("LANG", "C.UTF-8").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A check of nobody: an address at which nothing listens.
fn check(more: &[&str]) -> Command {
    let mut command = program();
    command.args(["check", "pds.example.com", "--no-reference", "--no-third-party", "--host-probes", "never"]);
    command.args(["--resolve", "pds.example.com:443:127.0.0.1", "--nameserver", "127.0.0.1:9", "--timeout", "4"]);
    command.args(more);
    command
}

/// A check of a server that accepts and says nothing, at some addresses, with a time limit. The listener must be kept.
fn check_of_a_silent_server(addresses: &str, seconds: u32, more: &[&str]) -> (Command, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Whoever runs these tests in the background may ignore Ctrl-C, and what is ignored stays ignored.
    let mut command = alone(Command::new("env"));
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_pdsdoctor")]);
    command.args(["check", &format!("https://pds.example.com:{port}"), "--no-reference", "--no-third-party"]);
    command.args(["--resolve", &format!("pds.example.com:{port}:{addresses}"), "--nameserver", "127.0.0.1:9"]);
    command.args(["--host-probes", "never", "--timeout", &seconds.to_string()]).args(more);
    (command, listener)
}

struct Ended {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Waits for the end, which must come soon.
fn ended(mut child: Child) -> Ended {
    let began = Instant::now();
    // Its output is read meanwhile: a full pipe must not be what holds it up.
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut bytes).unwrap();
            }
            String::from_utf8(bytes).unwrap()
        })
    };
    let out = read(out.map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let err = read(err.map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let status = wait(&mut child, began);
    Ended { status: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }
}

fn wait(child: &mut Child, began: Instant) -> std::process::ExitStatus {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn run(command: &mut Command) -> Ended {
    ended(command.spawn().unwrap())
}

fn fifo(folder: &Path) -> String {
    let path = folder.join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_pipe_in_the_place_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path());
    for option in ["--ca-cert", "--output", "--save"] {
        let ended = run(&mut check(&[option, &fifo]));
        assert_eq!(ended.status, Some(2), "{option}: {}", ended.err);
        assert!(ended.err.contains("fifo") && ended.out.is_empty(), "{option}: {}", ended.err);
    }
    let ended = run(program().args(["replay", &fifo]));
    assert_eq!((ended.status, ended.err.contains("fifo")), (Some(2), true), "{}", ended.err);
    for (name, value) in [("SSL_CERT_FILE", fifo.as_str()), ("SSL_CERT_FILE", "/dev/zero"), ("SSL_CERT_DIR", "/dev/fd")]
    {
        assert!(run(check(&[]).env(name, value)).status.is_some(), "{name}={value}");
    }
    let ended = run(check(&[]).env("SSL_CERT_FILE", "/dev/zero"));
    assert!(ended.err.contains("SSL_CERT_FILE: /dev/zero: larger than 4 MiB"), "{}", ended.err);
    let ended = run(&mut check(&["--ca-cert", "/dev/zero"]));
    assert!(ended.status == Some(2) && ended.err.contains("larger than 4 MiB"), "{}", ended.err);
    let report = run(&mut check(&["--log", &fifo, "--format", "json"])).out;
    assert!(not_measured(&report).iter().any(|why| why.contains("the log fifo: not an ordinary file")), "{report}");
}

fn not_measured(report: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap();
    let all = report["not_measured"].as_array().unwrap().iter();
    all.map(|missing| missing["why"].as_str().unwrap().to_owned()).collect()
}

/// What shells make of `<(…)` and `>(…)` is a pipe with somebody at the other end.
#[test]
fn process_substitution_works() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("run.json"), folder.path().join("report"));
    fs::write(&input, saved::to_json(&samples::healthy().run).unwrap()).unwrap();
    let line = format!(
        "{} replay <(cat {}) --output >(cat > {}); wait $!",
        env!("CARGO_BIN_EXE_pdsdoctor"),
        input.display(),
        output.display()
    );
    let done = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    let began = Instant::now();
    while fs::read(&output).map_or(0, |bytes| bytes.len()) == 0 && began.elapsed() < SOON {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(fs::read_to_string(&output).unwrap().contains("healthy"));
}

#[test]
fn one_file_has_one_use() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("run.json"), saved::to_json(&samples::healthy().run).unwrap()).unwrap();
    fs::write(at("one"), "kept").unwrap();
    fs::hard_link(at("one"), at("hard")).unwrap();
    for other in [at("one"), at("hard"), format!("{}/./one", folder.path().display())] {
        let ended = run(&mut check(&["--save", &at("one"), "--output", &other]));
        assert!(ended.status == Some(2) && ended.err.contains("same file"), "{other}: {}", ended.err);
    }
    let ended = run(&mut check(&["--save", &at("one"), "--log", &at("hard")]));
    assert!(ended.status == Some(2) && ended.err.contains("--log"), "{}", ended.err);
    let ended = run(program().args(["replay", &at("run.json"), "--output", &at("run.json")]));
    assert!(ended.status == Some(2) && ended.err.contains("FILE"), "{}", ended.err);
    // Standard output is a file too.
    let out = fs::File::create(at("out")).unwrap();
    let ended = run(check(&["--save", "/dev/stdout"]).stdout(out));
    assert!(ended.status == Some(2) && ended.err.contains("standard output"), "{}", ended.err);
    assert_eq!(fs::read_to_string(at("one")).unwrap(), "kept");
}

#[test]
fn every_signal_that_ends_leaves_the_report() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let folder = tempfile::tempdir().unwrap();
        let save = folder.path().join("run.json");
        let (mut command, server) =
            check_of_a_silent_server("127.0.0.1", 60, &["--save", save.to_str().unwrap(), "--format", "json"]);
        let child = command.spawn().unwrap();
        // It has connected, so it listens to signals.
        let connection = server.accept().unwrap();
        assert!(!save.exists(), "nothing is there before there is something to say");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let ended = ended(child);
        drop(connection);
        assert_eq!(ended.status, Some(130), "{signal}: {}", ended.err);
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(report["verdict"], "inconclusive", "{signal}");
        assert!(saved::read(&save).is_ok(), "{signal}");
    }
}

/// `nohup`, and `&` of a shell without job control.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let (command, server) = check_of_a_silent_server("127.0.0.1", 60, &[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _connection = server.accept().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGHUP).unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = ended(child);
    // Of two that count the second would have left no report.
    assert_eq!(ended.status, Some(130), "{}", ended.err);
    assert!(!ended.out.is_empty());
}

#[test]
fn who_stopped_reading_does_not_keep_it_from_ending() {
    // Many addresses make a long report.
    let addresses: Vec<String> = (1..=8).map(|host| format!("127.0.0.{host}")).collect();
    let (mut command, server) = check_of_a_silent_server(&addresses.join(","), 1, &["--format", "json"]);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    // As small as a pipe can be: the report does not fit.
    let room = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1)).unwrap();
    let mut child = command.stdout(writer).spawn().unwrap();
    drop(command);
    let _connection = server.accept().unwrap();
    // It writes: the first that is there to be read is as much as there is room for.
    let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(SOON).unwrap();
    assert_eq!(poll(&mut polled, patience).unwrap(), 1, "nothing is written");
    assert!(child.try_wait().unwrap().is_none(), "it waits for a reader");
    let began = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut child, began).code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let mut left = Vec::new();
    fs::File::from(reader).read_to_end(&mut left).unwrap();
    assert!(left.len() <= usize::try_from(room).unwrap(), "{} bytes of {room}", left.len());
    assert!(serde_json::from_slice::<Value>(&left).is_err(), "a report that is not whole");
}

#[test]
fn a_file_of_settings_is_looked_for_where_the_user_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rel.env"), "PDS_HOSTNAME=a.example\n").unwrap();
    let mut command = program();
    command.args(["check", "pds.example.com", "--no-reference", "--no-third-party", "--host-probes", "always"]);
    command.args(["--only", "pds-process", "--env-file", "rel.env", "--format", "json", "--timeout", "10"]);
    command.args(["--nameserver", "127.0.0.1:9"]);
    let report: Value = serde_json::from_str(&run(command.current_dir(folder.path())).out).unwrap();
    let mut kinds = report["facts"].as_array().unwrap().iter().map(|fact| fact["body"]["kind"].as_str().unwrap());
    assert!(!cfg!(target_os = "linux") || kinds.any(|kind| kind == "env_file"), "{report}");
}

/// The program under a shell's `ulimit`.
fn under(limit: &str, command: &Command) -> Ended {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    run(shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Whatever fails for want of descriptors is this side's, never the PDS's.
#[test]
fn too_few_of_everything() {
    let many: Vec<String> = (1..=8).map(|n| format!("127.0.0.{n}")).collect();
    let (command, _server) = check_of_a_silent_server(&many.join(","), 2, &["--format", "json"]);
    for files in [8, 9, 10, 12, 14, 16, 17, 18, 20, 24] {
        let ended = under(&format!("-n {files}"), &command);
        assert!(!ended.err.contains("panicked"), "{files}: {}", ended.err);
        let status = ended.status.unwrap();
        if ended.out.is_empty() {
            assert!(status == 3 && ended.err.contains("open files"), "{files}: {status} {}", ended.err);
            continue;
        }
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        let lacking = ended.out.contains("this_side_resources") || ended.out.contains("not_asked");
        let first = report["causes"][0]["code"].as_str();
        assert!(!lacking || (status, first) == (3, Some("this-side-no-resources")), "{files}: {report}");
    }
    for limit in ["-v 100000", "-s 100"] {
        let ended = under(limit, &check(&[]));
        assert_eq!(ended.status, Some(3), "{limit}: {}", ended.err);
        assert!(ended.err.contains("cannot measure"), "{limit}: {}", ended.err);
    }
    // A file that may not grow: the report is printed all the same (64 blocks of 512 bytes, dash; of 1 KiB, bash).
    let folder = tempfile::tempdir().unwrap();
    let save = folder.path().join("run.json");
    let ended = under("-f 0", &check(&["--save", save.to_str().unwrap()]));
    assert_eq!(ended.status, Some(2), "{}", ended.err);
    assert!(ended.err.contains("cannot write") && !ended.out.is_empty(), "{}", ended.err);
}

#[test]
fn standard_output_that_takes_nothing_is_told() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    for args in [&["list", "causes"][..], &["--help"], &["explain", "tls-expired"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = run(program().args(args).stdout(full));
        assert_eq!(ended.status, Some(2), "{args:?}: {}", ended.err);
        assert!(
            ended.err.contains("cannot write to standard output") && !ended.err.contains("internal"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn what_was_typed_is_not_obeyed() {
    let hostile = "\u{1b}[31mred\u{7}\u{9b}31m\u{202e}";
    for args in [
        &["check", "--format", hostile][..],
        &["check", hostile],
        &[hostile],
        &["check", "a.example", hostile],
        &["check", &format!("--{hostile}")],
        &["explain", hostile],
        &["replay", hostile],
        &["check", "a.example", "--ca-cert", hostile],
        &["check", "a.example", "--save", &format!("/nonexistent/{hostile}")],
    ] {
        let ended = run(program().args(args).env("CLICOLOR_FORCE", "1"));
        assert_eq!(ended.status, Some(2), "{args:?}");
        let obeyed = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!ended.err.contains(obeyed), "{args:?}: {:?}", ended.err);
        assert!(!ended.err.is_empty() && ended.out.is_empty());
    }
}

/// A saved run of nearly 32 MiB made of lists, wherever one stands, costs little more than the file.
#[test]
fn lists_of_a_saved_run_are_bounded() {
    const HERE: &str = "the long list";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let run_of = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(samples::healthy().run).unwrap();
        change(&mut value);
        value.to_string()
    };
    let set_in = |value: &mut Value, kind: &str, path: &str| {
        let facts = value["facts"].as_array_mut().unwrap();
        let body = facts.iter_mut().map(|fact| &mut fact["body"]).find(|body| body["kind"] == kind).unwrap();
        *body.pointer_mut(path).unwrap() = HERE.into();
    };
    let fact = serde_json::to_string(&samples::healthy().run.facts[0]).unwrap();
    let cases = [
        ("facts", run_of(&|value| value["facts"] = HERE.into()), fact.as_str()),
        (
            "not measured",
            run_of(&|value| value["not_measured"] = HERE.into()),
            r#"{"probe":"tcp","why":"","needs":""}"#,
        ),
        ("client ids", run_of(&|value| value["settings"]["client_ids"] = HERE.into()), r#""x""#),
        ("records", run_of(&|value| set_in(value, "dns", "/records")), r#""""#),
        ("names", run_of(&|value| set_in(value, "tls", "/certificate/names")), r#""a.example""#),
        ("unknown", run_of(&|value| value["unknown"] = HERE.into()), "0"),
        ("lists of lists", run_of(&|value| value["unknown"] = HERE.into()), "[0,0,0,0,0,0,0,0]"),
    ];
    for (what, text, item) in &cases {
        let (before, after) = text.split_once(&format!("{HERE:?}")).unwrap();
        let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
        write!(file, "{before}[{item}").unwrap();
        for _ in 0..31 * 1024 * 1024 / (item.len() + 1) {
            write!(file, ",{item}").unwrap();
        }
        write!(file, "]{after}").unwrap();
        drop(file);
        let (ended, peak) = peak::output(program().args(["replay", path.to_str().unwrap()]));
        let (status, err) = (ended.status.code(), String::from_utf8_lossy(&ended.stderr));
        assert!(status == Some(2) && err.contains("no run has one"), "{what}: {status:?} {err}");
        assert!(peak < PEAK_KB, "{what}: peak {peak} KiB");
    }
}

#[test]
fn a_reader_who_left_is_no_error() {
    let line = format!("{} list causes | true; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_pdsdoctor"));
    let Output { status, stdout, stderr } = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout).trim(), "0", "{}", String::from_utf8_lossy(&stderr));
    assert!(status.signal().is_none() && stderr.is_empty());
}
