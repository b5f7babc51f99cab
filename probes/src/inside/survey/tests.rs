use std::{io::Write, os::unix::process::CommandExt, process::Command, time::Duration};

use super::*;
use crate::{
    fact::Fact,
    inside::testing::{Process, in_new_network, ip, lab, measure, skip},
    secret::Form,
};

const ENVIRONMENT: &[(&str, &str)] = &[
    ("PDS_HOSTNAME", "pds.example.com"),
    ("PDS_PORT", "3000"),
    ("PDS_JWT_SECRET", "topsecret-jwt"),
    ("PDS_ADMIN_PASSWORD", "topsecret-admin"),
    ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", "70707365637265747070736563726574707073656372657470707365637265aa"),
    ("PDS_EMAIL_SMTP_URL", "smtps://topsecret-user:topsecret-password@smtp.example.com:465"),
    ("PDS_DID_PLC_URL", "https://topsecret-url@plc.example.com/topsecret-path"),
    ("NODE_OPTIONS", "--dns-result-order=ipv4first --require=/topsecret-file"),
    ("NODE_VERSION", "20.20.0"),
];

fn options(pid: Option<u32>) -> InsideOptions {
    InsideOptions { pid, command: "pdsdoctor check pds.example.com".into(), ..InsideOptions::default() }
}

fn process_fact(facts: &[Fact]) -> &ProcessFact {
    facts
        .iter()
        .find_map(|fact| match &fact.body {
            FactBody::Process(fact) => Some(fact),
            _ => None,
        })
        .expect("a process")
}

#[test]
fn a_pds_is_found_and_its_secrets_are_not_kept() {
    let process = Process::node(ENVIRONMENT);
    // Other PDSes may run on this machine, and only so many are examined.
    let scan = find::scan();
    let candidate = scan.candidates.iter().find(|candidate| candidate.pid == process.pid()).expect("a candidate");
    assert_eq!(candidate.because, "PDS_HOSTNAME in its environment");
    let wanted = options(Some(process.pid()));
    let (survey, facts, _) = measure(|net| async move { survey(&net, &wanted).await });
    let found = &survey.processes[0];
    assert_eq!((found.fact.pid, found.fact.found), (process.pid(), FoundBy::Pid));
    assert_eq!(found.fact.effective_port(), 3000);
    assert_eq!(found.fact.own_network, Some(false));
    assert_eq!(found.place.as_ref().map(|place| place.vantage.clone()), Some(Vantage::Here));
    assert_eq!(found.fact.node.as_ref().map(|node| node.version.as_str()), Some("20.20.0"));
    assert_eq!(found.fact.node_options, [Text::new("--dns-result-order=ipv4first"), Text::new("--require")]);
    assert!(found.fact.uptime_s.is_some_and(|uptime| uptime < 60));
    assert!(found.fact.libc.is_some() && found.fact.open_files.is_some_and(|files| files.soft != Some(0)));
    let form =
        |key: &str| found.fact.environment.iter().find(|entry| entry.key.as_str() == key).map(|entry| entry.form);
    assert_eq!(form("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX"), Some(Form::Hex32Bytes));
    assert_eq!(form("PDS_EMAIL_SMTP_URL"), Some(Form::Url));
    assert_eq!(found.fact.services[0].host.as_str(), "plc.example.com");
    let all = format!("{}{survey:?}", serde_json::to_string(&facts).expect("JSON"));
    assert!(!all.contains("topsecret") && !all.contains("7070736563"), "{all}");
    // Which machine is whose.
    let reason = |host: &str, addr: &str| {
        let own_addresses = vec!["192.0.2.7".parse().expect("an address")];
        let survey = Survey { own_addresses, processes: survey.processes.clone(), ..Survey::default() };
        is_pds_host(host, &[addr.parse().expect("an address")], &survey)
    };
    assert_eq!(reason("PDS.example.com.", "203.0.113.9"), Some(HostReason::Claimed(process.pid())));
    assert_eq!(reason("x.example", "192.0.2.7"), Some(HostReason::OwnAddress("192.0.2.7".parse().expect("addr"))));
    assert_eq!(reason("x.example", "203.0.113.9"), None);
}

#[test]
fn a_shell_with_the_same_environment_is_no_pds() {
    let mut shell = Command::new("sleep").arg("60").env("PDS_HOSTNAME", "shell.example.com").spawn().expect("sleep");
    let scan = find::scan();
    assert!(!scan.candidates.iter().any(|candidate| candidate.pid == shell.id()));
    shell.kill().expect("kill");
    shell.wait().expect("wait");
}

#[test]
fn a_process_in_a_network_of_its_own_is_a_vantage_of_its_own() {
    if !lab() {
        return;
    }
    let process = in_new_network(|| {
        ip("link set lo up");
        Process::node(ENVIRONMENT)
    });
    let wanted = options(Some(process.pid()));
    let (survey, facts, missed) = measure(|net| async move { survey(&net, &wanted).await });
    let fact = process_fact(&facts);
    assert_eq!((fact.found, fact.own_network), (FoundBy::Pid, Some(true)));
    let place = survey.processes[0].place.clone().expect("a place");
    assert_eq!(place.vantage, Vantage::Process(fact.pid));
    assert!(missed.iter().all(|missed| missed.probe != ProbeName::HostNetwork), "{missed:?}");
    // The work is done there, and this thread stays where it is.
    let before = network_here();
    let (inside, ..) = measure(|_| async move { place.namespace.run(|| async { network_here() }).await });
    assert_eq!(inside.expect("entered"), network_of(survey.processes[0].fact.pid));
    assert_eq!(network_here(), before);
}

#[test]
fn processes_that_are_not_there_and_containers_without_an_engine() {
    let options = InsideOptions { pid: Some(u32::MAX - 1), ..options(None) };
    let (survey, _, missed) = measure(|net| async move { super::survey(&net, &options).await });
    assert!(survey.processes.is_empty());
    assert!(missed.iter().any(|missed| missed.why.starts_with("there is no process")), "{missed:?}");
    let options = InsideOptions {
        container: Some("pds".into()),
        engine_sockets: vec!["/nonexistent".into()],
        ..InsideOptions::default()
    };
    let (_, _, missed) = measure(|net| async move { super::survey(&net, &options).await });
    assert!(missed.iter().any(|missed| missed.why.starts_with("no Docker or Podman")), "{missed:?}");
}

/// What the tests below start again as another user, or under strace.
const CHILD: &str = "PDSDOCTOR_TEST_CHILD";

#[test]
fn child() {
    let Ok(pid) = std::env::var(CHILD) else { return };
    let options = options(pid.parse().ok());
    let (_, facts, missed) = measure(|net| async move {
        survey(&net, &options).await.listen(&net, &options, Duration::from_millis(200)).await;
    });
    let line = serde_json::to_string(&(facts, missed)).expect("JSON");
    writeln!(std::io::stdout(), "\nCHILD {line}").expect("stdout");
}

fn start_again(command: &mut Command, pid: u32) -> std::process::Output {
    let this = std::env::current_exe().expect("this program");
    command.arg(this).args(["inside::survey::tests::child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, pid.to_string()).env_remove("PDSDOCTOR_LAB");
    command.output().expect("the child")
}

fn child_facts(output: &std::process::Output) -> (Vec<Fact>, Vec<crate::fact::NotMeasured>) {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("CHILD ")).unwrap_or_else(|| panic!("{output:?}"));
    serde_json::from_str(line).expect("facts")
}

#[test]
fn an_ordinary_user_gets_what_needs_no_right_and_the_line_for_the_rest() {
    if !lab() {
        return;
    }
    let process = in_new_network(|| Process::node(ENVIRONMENT));
    let output = start_again(Command::new("env").uid(65534).gid(65534), process.pid());
    let (facts, missed) = child_facts(&output);
    let fact = process_fact(&facts);
    assert!(!fact.environment_read && fact.hostname.is_none() && fact.uptime_s.is_some());
    let needs = |part: &str| missed.iter().find(|missed| missed.why.contains(part)).map(|missed| missed.needs.as_str());
    let sudo = Some("sudo pdsdoctor check pds.example.com");
    assert_eq!(needs("the environment of process"), sudo, "{missed:?}");
    assert_eq!(needs("may not be entered"), sudo, "{missed:?}");
    assert!(facts.iter().any(|fact| matches!(fact.body, FactBody::Listeners(_))));
}

/// Opens for writing below `/proc` and `/sys`, and netlink messages that are no questions.
#[test]
fn nothing_is_written() {
    let strace = Command::new("strace").arg("-V").output();
    if !strace.is_ok_and(|output| output.status.success()) {
        return skip("strace (Debian package strace) is not installed");
    }
    if !lab() {
        return;
    }
    let process = in_new_network(|| {
        ip("link set lo up");
        Process::node(ENVIRONMENT)
    });
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let calls = "trace=open,openat,openat2,creat,truncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,\
                 linkat,symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,fchownat,mknod,mknodat,mount,umount2,kill,\
                 tkill,ptrace,sendto,sendmsg,sendmmsg,write,pwrite64,writev,execve,setns,ioctl";
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-v", "-s", "256", "-e", calls, "-o"]).arg(&log);
    let output = start_again(&mut command, process.pid());
    let (facts, _) = child_facts(&output);
    assert!(facts.len() > 1, "{facts:?}");
    let log = std::fs::read_to_string(&log).expect("a log");
    let mut executed = 0;
    let mut netlink = 0;
    for line in log.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let has = |part: &str| line.contains(part);
        let refused = has(" = -1 ");
        if call.starts_with("open") || call.starts_with("creat") {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| has(flag));
            // The test harness and the runtime open nothing for writing but these.
            assert!(!writes || has("\"/dev/null\"") || has("\"/dev/tty\""), "{line}");
        }
        for changes in [
            "truncate(",
            "rename",
            "unlink",
            "mkdir",
            "link",
            "symlink",
            "chmod",
            "fch",
            "mknod",
            "mount",
            "umount",
            "kill",
            "ptrace",
        ] {
            assert!(!call.starts_with(changes) || refused && call.starts_with("unlink"), "{line}");
        }
        if call.starts_with("write") || call.starts_with("pwrite") {
            assert!(!has("</proc") && !has("</sys"), "{line}");
        }
        if call.starts_with("execve") {
            executed += 1;
        }
        if call.starts_with("send") && has("NETLINK") {
            netlink += 1;
            // strace knows the names only where it knows the socket. NEW, DEL, GET and SET follow each
            // other from 16 on (linux/rtnetlink.h), so questions leave 2 when divided by 4.
            let number = line.split_once("nlmsg_type=0x").and_then(|(_, rest)| rest.get(..2));
            let question = number.and_then(|hex| u16::from_str_radix(hex.trim(), 16).ok()).is_some_and(|n| n % 4 == 2);
            assert!(question || has("nlmsg_type=RTM_GET"), "{line}");
        }
    }
    // strace starts the test program: nothing else is ever run.
    assert_eq!(executed, 1);
    assert!(netlink > 4, "{netlink}");
    assert!(log.contains("setns("), "the process's namespace was entered");
}

#[test]
fn the_examination_is_quick() {
    let process = Process::node(ENVIRONMENT);
    let wanted = options(Some(process.pid()));
    let begun = std::time::Instant::now();
    let _ = measure(|net| async move { survey(&net, &wanted).await });
    // 300 ms on an idle machine; tests share theirs.
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn the_target_is_examined_however_many_pdses_are_older() {
    let candidate = |pid: u32, name: &str| find::Candidate {
        pid,
        because: "a test".to_owned(),
        hostname: (!name.is_empty()).then(|| name.to_owned()),
    };
    let all: Vec<_> = (1..=6)
        .map(|pid| candidate(pid, &format!("pds{pid}.example")))
        .chain([candidate(7, ""), candidate(8, "Target.example")])
        .collect();
    let wanted = |host: Option<&str>| Wanted { host: host.map(str::to_owned), complete: false };
    let order = |host: Option<&str>| wanted_first(&all, &wanted(host)).iter().map(|it| it.pid).collect::<Vec<_>>();
    assert_eq!(order(Some("target.example.")), [8, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(order(Some("other.example")), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(order(None), [1, 2, 3, 4, 5, 6, 7, 8]);
}

/// A handle leads to its PDS only after a while; which of many is meant is then waited for, and of few it is not.
#[tokio::test]
async fn the_target_of_a_handle_is_waited_for_where_there_are_many() {
    let candidate =
        |pid: u32| find::Candidate { pid, because: "a test".to_owned(), hostname: Some(format!("pds{pid}.example")) };
    let (tell, told) = watch::channel(Wanted { host: Some("alice.pds6.example".to_owned()), complete: false });
    let options = InsideOptions { wanted: Some(told), ..InsideOptions::default() };
    let few: Vec<_> = (1..=4).map(candidate).collect();
    assert_eq!(super::wanted(&options, &few).await.host.as_deref(), Some("alice.pds6.example"));
    let many: Vec<_> = (1..=6).map(candidate).collect();
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tell.send_replace(Wanted { host: Some("pds6.example".to_owned()), complete: false });
    };
    let (wanted, ()) = tokio::join!(super::wanted(&options, &many), later);
    assert_eq!(wanted_first(&many, &wanted).first().map(|it| it.pid), Some(6));
    // Nothing more will become known.
    tell.send_replace(Wanted { host: Some("elsewhere.example".to_owned()), complete: true });
    assert_eq!(super::wanted(&options, &many).await.host.as_deref(), Some("elsewhere.example"));
}
