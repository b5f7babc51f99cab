//! The real binary among strangers: where their documents may send it, and what of theirs and of the user's is kept.

#![allow(clippy::unwrap_used)] // in a test an error is a failure

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::{Value, json};

const HOST: &str = "hostile.example.com";

/// Answers of a server by path: status line with headers, and body.
type Answers = BTreeMap<&'static str, (String, String)>;

fn ok(body: &Value) -> (String, String) {
    ("200 OK\r\nContent-Type: application/json".to_owned(), body.to_string())
}

/// An honest little PDS at `origin`.
fn honest(origin: &str) -> Answers {
    BTreeMap::from([
        ("/xrpc/_health", ok(&json!({"version": "0.4.200"}))),
        (
            "/xrpc/com.atproto.server.describeServer",
            ok(&json!({"did": format!("did:web:{HOST}"), "availableUserDomains": [format!(".{HOST}")]})),
        ),
        ("/.well-known/oauth-protected-resource", ok(&json!({"resource": origin, "authorization_servers": [origin]}))),
        (
            "/.well-known/oauth-authorization-server",
            ok(&json!({"issuer": origin, "pushed_authorization_request_endpoint": format!("{origin}/oauth/par"),
                "authorization_endpoint": format!("{origin}/oauth/authorize"), "token_endpoint": format!("{origin}/oauth/token")})),
        ),
        ("/xrpc/com.atproto.sync.listRepos", ok(&json!({"repos": []}))),
    ])
}

/// Starts a TLS server with what `answers` makes of its origin; gives its address.
fn server(answers: impl FnOnce(&str) -> Answers) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let answers = Arc::new(answers(&format!("https://{HOST}:{}", addr.port())));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, answers) = (Arc::clone(&config), Arc::clone(&answers));
            std::thread::spawn(move || serve(stream, config, &answers));
        }
    });
    addr
}

/// Until the other side has enough.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, answers: &Answers) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config).map_err(std::io::Error::other)?, stream);
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        stream.read_exact(&mut vec![0; length.unwrap_or(0)])?;
        let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let found = answers.get(path.as_str()).cloned();
        let (head, body) = found.unwrap_or_else(|| ("404 Not Found".to_owned(), String::new()));
        write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        stream.flush()?;
    }
}

/// A server that nobody should find: how many connections came.
fn inner() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (addr, count)
}

/// A name server: every name has these addresses, in turn; a TXT record where there is one.
fn name_server(addresses: &'static [Ipv4Addr], txt: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        let mut asked = 0;
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[12..length];
            let Some(end) = question.iter().position(|byte| *byte == 0) else { continue };
            let kind = question[end + 2];
            let mut record = vec![0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60];
            match kind {
                1 => {
                    record.extend([0, 4]);
                    record.extend(addresses[asked % addresses.len()].octets());
                    asked += 1;
                }
                16 if !txt.is_empty() => {
                    let length = u8::try_from(txt.len()).unwrap();
                    record.extend([0, length + 1, length]);
                    record.extend(txt.bytes());
                }
                _ => record.clear(),
            }
            let mut answer = buffer[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(!record.is_empty()), 0, 0, 0, 0]);
            answer.extend(&question[..end + 5]);
            answer.extend(record);
            let _ = socket.send_to(&answer, from);
        }
    });
    addr
}

struct Ended {
    status: i32,
    out: String,
    err: String,
}

fn pdsdoctor(words: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdsdoctor"));
    for name in ["COLUMNS", "PDSDOCTOR_EGRESS_HOSTS"] {
        command.env_remove(name);
    }
    let output = command.args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Checks the server at `addr`.
fn check(addr: SocketAddr, names: SocketAddr, more: &[&str]) -> Ended {
    let (target, resolve) = (format!("https://{HOST}:{}", addr.port()), format!("{HOST}:{}:127.0.0.1", addr.port()));
    let names = names.to_string();
    let words = ["check", &target, "--no-reference", "--timeout", "8", "--resolve", &resolve, "--nameserver", &names];
    let default = if more.contains(&"--host-probes") { &[][..] } else { &["--host-probes", "never"] };
    pdsdoctor(&[&words[..], default, more].concat())
}

fn facts<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = report["facts"].as_array().unwrap().iter();
    all.map(|fact| &fact["body"]).filter(|body| body["kind"] == kind).collect()
}

/// Every connection that was made led to the target, or, by a name in `named`, where the user said.
fn stayed(ended: &Ended) -> Value {
    let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}", ended.err));
    for kind in ["connect", "tls", "http", "par"] {
        for body in facts(&report, kind) {
            let host =
                body["host"].as_str().or(body["sni"].as_str()).or(body["url"].as_str()).or(body["server"].as_str());
            assert!(host.unwrap().contains(HOST) && body["addr"] == "127.0.0.1", "{body}");
        }
    }
    report
}

#[test]
fn documents_lead_to_no_inner_place() {
    const INNER: &[Ipv4Addr] = &[Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1)];
    let names = name_server(INNER, "");
    let (inner, count) = inner();
    let port = inner.port();
    for named in [
        format!("https://127.0.0.1:{port}"),
        format!("https://inner.example.org:{port}"),
        format!("https://[::ffff:127.0.0.1]:{port}"),
        "https://inner.example.org".to_owned(),
        "https://169.254.169.254".to_owned(),
        "https://localhost".to_owned(),
        "https://$(id).example.org".to_owned(),
        // The target itself, at a port that the user did not name.
        format!("https://{HOST}:{port}"),
    ] {
        for more in [&["--format", "json"][..], &["--format", "json", "--no-third-party"]] {
            let addr = server(|origin| {
                let mut answers = honest(origin);
                let resource = json!({"resource": origin, "authorization_servers": [named]});
                answers.insert("/.well-known/oauth-protected-resource", ok(&resource));
                answers.insert("/.well-known/oauth-authorization-server", ("404 Not Found".to_owned(), String::new()));
                answers
            });
            let more = [more, &["--skip", "client-document,handles"]].concat();
            let report = stayed(&check(addr, names, &more));
            let left = facts(&report, "not_asked");
            assert!(left.iter().any(|fact| fact["role"] == "target_auth_server"), "{named}: {left:?}");
            assert!(report["not_measured"].to_string().contains("was not asked"), "{named}");
            assert!(!report["headline"].to_string().contains("is healthy"), "{named}: {}", report["headline"]);
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn the_user_may_name_such_a_place() {
    let names = name_server(&[Ipv4Addr::LOCALHOST], "");
    let auth = server(honest);
    let named = format!("https://auth.example.org:{}", auth.port());
    let addr = server(|origin| {
        let mut answers = honest(origin);
        let resource = json!({"resource": origin, "authorization_servers": [named]});
        answers.insert("/.well-known/oauth-protected-resource", ok(&resource));
        answers
    });
    let resolve = format!("auth.example.org:{}:127.0.0.1", auth.port());
    let more = ["--format", "json", "--skip", "client-document,handles", "--resolve", &resolve];
    let report: Value = serde_json::from_str(&check(addr, names, &more).out).unwrap();
    let asked = |body: &&Value| body["role"] == "target_auth_server" && body["status"] == 200;
    assert!(facts(&report, "http").iter().any(asked), "{}", report["not_measured"]);
}

/// Handles and handle domains that lead inside; a name that leads elsewhere each time it is asked for.
#[test]
fn handles_lead_to_no_inner_place() {
    const TURNS: &[Ipv4Addr] = &[Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(169, 254, 169, 254)];
    let names = name_server(TURNS, "");
    let addr = server(|origin| {
        let mut answers = honest(origin);
        let domains: Vec<String> = (0..40).map(|n| format!(".d{n}.example.org")).collect();
        let described = json!({"did": "did:web:x.example.org", "availableUserDomains": domains});
        answers.insert("/xrpc/com.atproto.server.describeServer", ok(&described));
        let repos = json!({"repos": [{"did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}]});
        answers.insert("/xrpc/com.atproto.sync.listRepos", ok(&repos));
        let repo = json!({"handle": "alice.example.org", "did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"});
        answers.insert("/xrpc/com.atproto.repo.describeRepo", ok(&repo));
        answers
    });
    let report = stayed(&check(addr, names, &["--format", "json", "--no-third-party"]));
    let left = facts(&report, "not_asked");
    assert!(left.iter().any(|fact| fact["host"] == "alice.example.org"), "{left:?}");
    let codes = report["causes"].to_string();
    assert!(!codes.contains("handle-unverified"), "of what was not asked nothing is concluded: {codes}");
}

/// Redirects are recorded, never followed.
#[test]
fn a_redirect_leads_nowhere() {
    let names = name_server(&[Ipv4Addr::LOCALHOST], "");
    let (inner, count) = inner();
    let addr = server(|origin| {
        let to =
            |path: &str| (format!("302 Found\r\nLocation: https://127.0.0.1:{}{path}", inner.port()), String::new());
        let paths: Vec<&'static str> = honest(origin).into_keys().collect();
        paths.into_iter().map(|path| (path, to(path))).collect()
    });
    stayed(&check(addr, names, &["--format", "json", "--skip", "client-document,handles"]));
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

const CANARY: &str = "CANARYpw1";

/// No output of any kind holds the canary, nor a replay of what was saved.
fn no_canary(run: impl Fn(&[&str]) -> Ended) {
    let folder = tempfile::tempdir().unwrap();
    let save = folder.path().join("run.json");
    let save = save.to_str().unwrap();
    for more in [&["--format", "json"][..], &["-v"], &[], &["-q"]] {
        let ended = run(&[more, &["--save", save]].concat());
        assert!(ended.status == 0 || ended.status == 1 || ended.status == 3, "{}", ended.err);
        let replayed = pdsdoctor(&[&["replay", save][..], more].concat());
        for text in [&ended.out, &ended.err, &fs::read_to_string(save).unwrap(), &replayed.out, &replayed.err] {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains("CANARY")).collect();
            assert!(lines.is_empty(), "{more:?}: {lines:#?}");
        }
    }
}

#[test]
fn secrets_in_answers_are_not_kept() {
    const TXT: &str = "google-site-verification=CANARYpw1";
    let names = name_server(&[Ipv4Addr::LOCALHOST], TXT);
    let words = format!(
        "password={CANARY} Bearer {CANARY}{CANARY} a@{CANARY}.example https://u:{CANARY}@h.example/p?t={CANARY} \
         eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.{CANARY} urn:ietf:params:oauth:request_uri:{CANARY}"
    );
    let headers = format!(
        "Content-Type: application/json\r\nSet-Cookie: s={CANARY}\r\nWWW-Authenticate: Bearer realm=\"{CANARY}\"\r\n\
         DPoP-Nonce: {CANARY}\r\nLocation: /x?token={CANARY}\r\nServer: x token={CANARY}"
    );
    let pars = [
        (format!("400 Bad Request\r\n{headers}"), json!({"error": words, "error_description": words}).to_string()),
        (
            format!("201 Created\r\n{headers}"),
            json!({"request_uri": format!("urn:x:{CANARY}"), "expires_in": 9}).to_string(),
        ),
        (format!("200 OK\r\n{headers}"), format!("{{\"access_token\":\"{CANARY}\", \"refresh")),
        (format!("200 OK\r\n{headers}"), format!("<html><input name=csrf value={CANARY}><a href='/?x={CANARY}'>")),
    ];
    for par in pars {
        let addr = server(|origin| {
            let mut answers = honest(origin);
            answers.insert("/oauth/par", par.clone());
            answers.insert("/xrpc/_health", (format!("500 Oops\r\n{headers}"), words.clone()));
            answers
        });
        no_canary(|more| {
            check(addr, names, &[more, &["--no-third-party", "--client-id", "https://app.example.org/c"]].concat())
        });
    }
}

/// What stands behind the `?` is sent, as it belongs to who the client is, and is not kept.
#[test]
fn a_query_of_the_users_is_sent_and_not_kept() {
    let names = name_server(&[Ipv4Addr::LOCALHOST], "");
    let addr = server(|origin| {
        let mut answers = honest(origin);
        // The PDS's own words repeat it.
        let error = json!({"error": "invalid_client_metadata", "error_description":
            format!("Unable to obtain client metadata for \"https://app.example.org/c.json?k={CANARY}\"")});
        answers.insert("/oauth/par", ("400 Bad Request".to_owned(), error.to_string()));
        answers
    });
    let target = format!("https://{HOST}:{}/x/{CANARY}?y={CANARY}#{CANARY}", addr.port());
    let (client, egress) =
        (format!("https://app.example.org/c.json?k={CANARY}"), format!("near=https://b.example.org/x?k={CANARY}"));
    let (resolve, names) = (format!("{HOST}:{}:127.0.0.1", addr.port()), names.to_string());
    let words = [
        "check",
        &target,
        "--no-reference",
        "--no-third-party",
        "--timeout",
        "8",
        "--resolve",
        &resolve,
        "--nameserver",
        &names,
        "--host-probes",
        "never",
        "--client-id",
        &client,
        "--egress-host",
        &egress,
    ];
    no_canary(|more| pdsdoctor(&[&words[..], more].concat()));
}

#[test]
fn secrets_in_a_log_and_a_file_of_settings_are_not_kept() {
    let names = name_server(&[Ipv4Addr::LOCALHOST], "");
    let addr = server(honest);
    let folder = tempfile::tempdir().unwrap();
    let (log, env) = (folder.path().join("log"), folder.path().join("env"));
    let line = json!({"name": "pds:oauth", "time": 1, "did": CANARY, "req": {"headers": {"authorization": CANARY}},
        "err": {"message": format!("Unable to obtain client metadata for \"https://u:{CANARY}@app.example.org/x?t={CANARY}\" ETIMEDOUT {CANARY}")}});
    let other = json!({"name": format!("pds:token={CANARY}"), "time": 2, "err": {"message": "ETIMEDOUT"}});
    fs::write(&log, format!("{line}\n{other}\n{CANARY}\n")).unwrap();
    let flags = format!(
        "--title={CANARY} --{CANARY} --secret={CANARY} --require=/{CANARY} --dns-result-order={CANARY} {CANARY}"
    );
    fs::write(
        &env,
        format!("NODE_OPTIONS='{flags}'\nPDS_JWT_SECRET={CANARY}\n{CANARY}\nPDS_EMAIL_SMTP_URL=smtps://u:{CANARY}@m.example/\n"),
    )
    .unwrap();
    let more = [
        "--no-third-party",
        "--host-probes",
        "always",
        "--log",
        log.to_str().unwrap(),
        "--env-file",
        env.to_str().unwrap(),
    ];
    no_canary(|how| check(addr, names, &[&more[..], how].concat()));
}

#[test]
fn credentials_on_the_command_line_are_refused_and_not_repeated() {
    let url = format!("https://me:{CANARY}@app.example.org/x");
    let short = format!("me:{CANARY}@app.example.org");
    let egress = format!("near={url}");
    for words in [
        &["check", &url][..],
        &["check", &short],
        &["check", &format!("@{short}")],
        &["check", "a.example", "--against", &url],
        &["check", "a.example", "--against", &short],
        &["check", "a.example", "--client-id", &url],
        &["check", "a.example", "--client-id", &short],
        &["check", "a.example", "--client-id", &format!("https://app.example.org/c#{CANARY}")],
        &["check", "a.example", "--egress-host", &egress],
        &["check", "a.example", "--egress-host", &url],
        // What clap itself refuses, whose messages repeat what was typed.
        &["check", "a.example", &url],
        &["check", "a.example", &format!("--clientid={url}")],
        &["check", "a.example", "--timeout", &url],
        &["check", "a.example", &format!("--resolve={url}")],
        &["check", "a.example", "--format", &short],
        &["check", "a.example", "--nameserver", &short],
        &["check", "a.example", "--resolve", &format!("a.example:443:{CANARY}@192.0.2.1")],
        &["chekc", &url],
        &[&url],
    ] {
        let ended = pdsdoctor(words);
        assert_eq!(ended.status, 2, "{words:?}");
        assert!(!ended.err.is_empty() && !ended.err.contains(CANARY) && !ended.out.contains(CANARY), "{}", ended.err);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdsdoctor"));
    let output = command.args(["check", "a.example"]).env("PDSDOCTOR_EGRESS_HOSTS", &egress).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains(CANARY));
}
