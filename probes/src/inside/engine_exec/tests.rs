use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Child, Command},
    sync::Arc,
};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;
use crate::text::Text;

#[test]
fn users_are_numbered_as_in_the_container() {
    assert_eq!(mapped("         0          0 4294967295\n", 1000), Some(1000));
    assert_eq!(mapped("0 100000 65536\n", 101_000), Some(1000));
    assert_eq!(mapped("0 100000 65536\n", 1000), None);
    assert_eq!(mapped("0 1000 1\n1 100000 65536\n", 1000), Some(0));
    for odd in ["", "x y z", "0 0", "0 0 -1", "18446744073709551615 0 5"] {
        assert_eq!(mapped(odd, 1), None, "{odd}");
    }
}

#[test]
fn nothing_of_the_containers_environment_comes_along() {
    let keys = ["PATH", "PDS_JWT_SECRET", "NODE_OPTIONS", "SSL_CERT_FILE", "LD_PRELOAD", "NODE_COMPILE_CACHE"];
    let keys = keys.map(str::to_owned).to_vec();
    let known = Known { socket: "/run/x.sock".into(), id: Text::new("0"), first: None, keys };
    let given = environment(&known, "--dns-result-order=ipv4first");
    let wanted = ["PDS_JWT_SECRET=", "LD_PRELOAD=", "NODE_COMPILE_CACHE=", "NODE_OPTIONS=--dns-result-order=ipv4first"];
    assert_eq!(given, wanted);
}

#[test]
fn frames_of_any_kind() {
    let frame = |stream: u8, words: &[u8]| {
        let length = u32::try_from(words.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, words].concat()
    };
    let all = [frame(1, b"one "), frame(2, b"two"), frame(1, b"three")].concat();
    assert_eq!(apart(&all), (b"one three".to_vec(), b"two".to_vec()));
    let endless = [frame(1, &[b'x'; 3 * ANSWER]), frame(2, &[b'y'; 3 * ANSWER])].concat();
    let (out, err) = apart(&endless);
    assert_eq!((out.len(), err.len()), (ANSWER, ANSWER));
    for cut in 0..all.len() {
        let _ = apart(all.get(..cut).unwrap_or_default());
    }
    let _ = apart(&[1, 0, 0, 0, 255, 255, 255, 255, 7]);
}

#[test]
fn no_id_changes_the_path() {
    assert!(is_id(&"0123456789abcdef".repeat(4)));
    for bad in ["", "../x", "a/b", "x", &"0".repeat(200)] {
        assert!(!is_id(bad), "{bad}");
    }
}

/// An engine that answers like Docker, and keeps what it was asked for: method, path and document.
fn engine(ran: &'static [u8], process: u32) -> (tempfile::TempDir, Known, Asked) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let asked = Asked::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                let mut filled = 0;
                let whole = |bytes: &[u8]| {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head.to_ascii_lowercase();
                    let length =
                        length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
                    (body.len() >= length.unwrap_or(0)).then(|| (head.to_owned(), body.to_owned()))
                };
                let (head, body) = loop {
                    filled += stream.read(&mut bytes[filled..]).await.expect("a request");
                    if let Some(found) = whole(&bytes[..filled]) {
                        break found;
                    }
                };
                let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
                kept.lock().expect("a lock").push((line.clone(), serde_json::from_str(&body).unwrap_or_default()));
                let json = |status: &str, body: String| {
                    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
                };
                let answer = match line.as_str() {
                    "POST /containers/c0/exec" => json("201 Created", r#"{"Id":"ab12"}"#.to_owned()),
                    "POST /exec/ab12/start" => [b"HTTP/1.1 200 OK\r\n\r\n", ran].concat(),
                    "GET /exec/ab12/json" => {
                        json("200 OK", format!(r#"{{"ExitCode":7,"Pid":{process},"Running":true}}"#))
                    }
                    _ => json("404 Not Found", "{}".to_owned()),
                };
                let _ = stream.write_all(&answer).await;
                if ran.is_empty() && line.ends_with("/start") {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    let known = Known { socket, id: Text::new("c0"), first: Some(process), keys: vec!["PDS_JWT_SECRET".to_owned()] };
    (folder, known, asked)
}

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A process whose program is called node.
fn node(user: u32) -> (tempfile::TempDir, Child) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("rights");
    let program = folder.path().join("node");
    fs::copy("/bin/sleep", &program).expect("a copy");
    let mut command = Command::new(program);
    if geteuid().is_root() {
        command.uid(user).gid(user);
    }
    (folder, command.arg("60").spawn().expect("a process"))
}

#[tokio::test]
async fn the_engine_is_asked_for_no_more_than_the_pds_has() {
    let (folder, mut pds) = node(54_321);
    let own = if geteuid().is_root() { 54_321 } else { geteuid().as_raw() };
    let (_engine, known, asked) = engine(b"\x01\0\0\0\0\0\0\x10{\"status\":200}\n\n", pds.id());
    let ended = run(&known, pds.id(), vec!["-e".to_owned()], "--x").await;
    let ended = ended.unwrap_or_else(|trouble| panic!("{trouble:?}"));
    pds.kill().expect("kill");
    pds.wait().expect("wait");
    assert_eq!(
        (ended.status.and_then(|status| status.code()), ended.out.as_slice()),
        (Some(7), &b"{\"status\":200}\n\n"[..])
    );
    let asked = asked.lock().expect("a lock").clone();
    let (line, create) = &asked[0];
    assert_eq!(line, "POST /containers/c0/exec");
    for (key, wanted) in [
        ("AttachStdin", json!(false)),
        ("Tty", json!(false)),
        ("Privileged", json!(false)),
        ("User", json!(if own == 0 { String::new() } else { format!("{own}:{own}") })),
        ("Cmd", json!([folder.path().join("node"), "-e"])),
        ("Env", json!(["PDS_JWT_SECRET=", "NODE_OPTIONS=--x"])),
    ] {
        assert_eq!(create[key], wanted, "{key}");
    }
    assert_eq!(asked[1], ("POST /exec/ab12/start".to_owned(), json!({"Detach": false, "Tty": false})));
}

/// The number that an engine gives is no leave to kill.
#[tokio::test]
async fn what_is_of_no_container_is_not_killed() {
    let (_folder, mut pds) = node(54_321);
    let (_engine, known, _) = engine(b"", pds.id());
    let work = run(&known, pds.id(), Vec::new(), "");
    assert!(tokio::time::timeout(Duration::from_millis(500), work).await.is_err(), "it waits for the end");
    assert!(pds.try_wait().expect("wait").is_none(), "it is in this machine's own namespace");
    pds.kill().expect("kill");
    pds.wait().expect("wait");
}

/// Dropped at any time, it ends what runs in the container.
#[tokio::test]
async fn what_runs_in_the_container_ends_with_the_one_who_waits() {
    if !crate::inside::testing::lab() {
        return;
    }
    let (folder, mut outer) = node(54_321);
    let mut pds = Command::new("unshare");
    let mut pds = pds
        .args(["--pid", "--fork", "--kill-child"])
        .arg(folder.path().join("node"))
        .arg("60")
        .spawn()
        .expect("unshare");
    let children = format!("/proc/{0}/task/{0}/children", pds.id());
    let inner = loop {
        let found = fs::read_to_string(&children).unwrap_or_default().trim().parse::<u32>();
        let is_node = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.ends_with("node"));
        if let Some(pid) = found.ok().filter(is_node) {
            break pid;
        }
        sleep(Duration::from_millis(10)).await;
    };
    let (_engine, known, _) = engine(b"", inner);
    let work = run(&known, inner, Vec::new(), "");
    assert!(tokio::time::timeout(Duration::from_millis(700), work).await.is_err(), "it waits for the end");
    // Its end is the end of `unshare`.
    let status = pds.wait().expect("wait");
    assert!(!status.success(), "{status}");
    outer.kill().expect("kill");
    outer.wait().expect("wait");
}
