//! The real binary against servers that mean harm: each run must end in a clear finding, within its
//! time limit, without a panic, in little memory, and without a byte that a terminal would obey.

#![allow(clippy::unwrap_used)] // in a test an error is a failure

mod peak;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::Value;

/// The whole run's limit that the tool is given, in seconds.
const LIMIT: u64 = 6;
/// What it may take beyond that on a busy machine.
const GRACE: Duration = Duration::from_secs(5);
/// The peak that a check may reach.
const PEAK_KB: u64 = 64 * 1024;

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Starts a TLS server that treats every connection as `serve` says.
fn server(names: Vec<String>, serve: fn(&mut Tls) -> std::io::Result<()>) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    plain(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        serve(&mut StreamOwned::new(connection, stream))
    })
}

/// Starts a TCP server; its threads end with the test program.
fn plain(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    // At every address of the loopback network.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                // The other side hanging up is what these servers are for.
                let _ = serve(stream);
            });
        }
    });
    addr
}

/// Reads a request's head; gives its first line.
fn request(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16_384 {
        if stream.read(&mut byte)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned())
}

fn names() -> Vec<String> {
    vec!["hostile.example.com".to_owned()]
}

/// Runs the tool against a server on this machine.
fn check(addr: SocketAddr, more: &[&str]) -> (Output, Value, Duration) {
    let target = format!("https://hostile.example.com:{}", addr.port());
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdsdoctor"));
    command
        .args(["check", &target, "--no-reference", "--no-third-party", "--format", "json"])
        .args(["--timeout", &LIMIT.to_string()])
        .args(["--resolve", &format!("hostile.example.com:{}:127.0.0.1", addr.port())])
        .args(["--nameserver", "127.0.0.1:9"])
        .args(more);
    let (output, peak) = peak::output(&mut command);
    let took = began.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(took < Duration::from_secs(LIMIT) + GRACE, "took {took:?}");
    assert!(peak < PEAK_KB, "peak {peak} KiB");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    for byte in &output.stdout {
        assert!(*byte >= 0x20 || *byte == b'\n', "control character {byte:#x} in the report");
    }
    (output, report, took)
}

/// A finding that names what is wrong: exit status 1, and a sentence.
fn finds(addr: SocketAddr, codes: &[&str]) -> Value {
    let (output, report, _) = check(addr, &[]);
    let first = report["causes"][0]["code"].as_str().unwrap_or("nothing");
    let mut all: Vec<&str> = report["causes"].as_array().unwrap().iter().filter_map(|c| c["code"].as_str()).collect();
    for cause in report["causes"].as_array().unwrap() {
        all.extend(cause["symptoms"].as_array().unwrap().iter().filter_map(|symptom| symptom["code"].as_str()));
    }
    assert_eq!(output.status.code(), Some(1), "{first}: {}", report["headline"]);
    assert!(codes.iter().all(|code| all.contains(code)), "{all:?}, expected {codes:?}");
    report
}

/// Answers every request on a connection with these bytes.
fn answers(stream: &mut Tls, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        request(stream)?;
        stream.write_all(bytes)?;
        stream.flush()?;
    }
}

fn json(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

#[test]
fn an_endless_body() {
    let addr = server(names(), |stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")?;
        loop {
            stream.write_all(&[b'['; 65_536])?;
        }
    });
    finds(addr, &["pds-not-answering"]);
}

#[test]
fn one_byte_a_second() {
    let addr = server(names(), |stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")?;
        loop {
            stream.write_all(b" ")?;
            stream.flush()?;
            // The fault itself: there is nothing to wait for.
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    // The run's limit comes before the exchange's: nothing can be said of such a server.
    let (output, report, _) = check(addr, &[]);
    assert!(matches!(output.status.code(), Some(1 | 3)), "{}", report["headline"]);
}

#[test]
fn ten_megabytes_of_headers() {
    let addr = server(names(), |stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        let line = format!("X-Much: {}\r\n", "x".repeat(1000));
        for _ in 0..10_000 {
            stream.write_all(line.as_bytes())?;
        }
        stream.write_all(b"\r\n")
    });
    finds(addr, &["pds-not-answering"]);
}

/// Interim answers without end: given up long before the time is up, and called by their name.
#[test]
fn a_flood_of_interim_answers() {
    let addr = server(names(), |stream| {
        request(stream)?;
        let many = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1_000);
        loop {
            stream.write_all(many.as_bytes())?;
        }
    });
    let report = finds(addr, &["pds-not-answering"]);
    let facts = report["facts"].as_array().unwrap();
    let mut kinds = facts.iter().map(|fact| &fact["body"]["failure"]["kind"]);
    assert!(kinds.any(|kind| kind == "flood"), "{facts:?}");
    assert!(report["elapsed_ms"].as_u64().unwrap() < LIMIT * 1_000, "{}", report["elapsed_ms"]);
}

/// Every body as large as any that is read, and held open, at eight addresses.
#[test]
fn many_large_bodies_at_once() {
    const PEAK_OF_MANY_KB: u64 = 56 * 1024;
    let here = server(names(), |stream| {
        request(stream)?;
        let body = vec![b' '; 512 * 1024 - 1];
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 524288\r\n\r\n")?;
        stream.write_all(&body)?;
        stream.read_exact(&mut [0])
    });
    let many: Vec<String> = (1..=8).map(|n| format!("127.0.0.{n}")).collect();
    let resolve = format!("hostile.example.com:{}:{}", here.port(), many.join(","));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdsdoctor"));
    command
        .args(["check", &format!("https://hostile.example.com:{}", here.port()), "--no-reference", "--no-third-party"])
        .args([
            "--format",
            "json",
            "--timeout",
            &LIMIT.to_string(),
            "--nameserver",
            "127.0.0.1:9",
            "--resolve",
            &resolve,
        ]);
    let (output, peak) = peak::output(&mut command);
    assert!(matches!(output.status.code(), Some(1 | 3)), "{output:?}");
    assert!(peak < PEAK_OF_MANY_KB, "peak {peak} KiB");
}

#[test]
fn a_redirect_loop() {
    let addr =
        server(names(), |stream| answers(stream, b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"));
    finds(addr, &["proxy-redirects-api"]);
}

#[test]
fn a_gzip_bomb() {
    let addr = server(names(), |stream| {
        // The head of a gzip member; what is not asked for is not unpacked, so the rest does not matter.
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: 1010\r\n\r\n"
            .to_vec();
        bytes.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend([0; 1000]);
        answers(stream, &bytes)
    });
    finds(addr, &["host-not-a-pds"]);
}

#[test]
fn invalid_utf8_and_terminal_escapes() {
    let addr = server(names(), |stream| {
        let body = b"\x1b]0;owned\x07\xff\xfe\x1b[2J<html>";
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\nServer: \u{9b}31mred\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend(body);
        answers(stream, &bytes)
    });
    finds(addr, &["host-not-a-pds"]);
}

#[test]
fn escapes_in_every_string() {
    let addr = server(names(), |stream| {
        answers(
            stream,
            &json(
                r#"{"did":"did:web:\u001b[31m","version":"\u001b]0;x\u0007\u202e","availableUserDomains":["\u001b[2J","."],"resource":"\u0000","authorization_servers":["\u001b"],"issuer":"\u009b","error":"\u001b[1m","error_description":"\u001b"}"#,
            ),
        )
    });
    let (_, report, _) = check(addr, &[]);
    obeys_nothing(&report);
}

/// No string holds a character that a terminal would obey.
fn obeys_nothing(value: &Value) {
    match value {
        Value::String(text) => {
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
        Value::Array(items) => items.iter().for_each(obeys_nothing),
        Value::Object(fields) => fields.values().for_each(obeys_nothing),
        _ => {}
    }
}

#[test]
fn json_nested_deeply() {
    let addr =
        server(names(), |stream| answers(stream, &json(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)))));
    finds(addr, &["host-not-a-pds"]);
}

#[test]
fn a_certificate_with_ten_thousand_names() {
    // Short names: rustls itself refuses certificates beyond 64 KiB.
    let many = (0..10_000).map(|n| format!("{n:x}")).collect();
    let addr = server(many, |stream| answers(stream, &json(r#"{"version":"1"}"#)));
    let (output, report, _) = check(addr, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", report["headline"]);
}

#[test]
fn silence_after_the_handshake() {
    let addr = server(names(), |stream| {
        request(stream)?;
        stream.read_exact(&mut [0])
    });
    let (output, report, _) = check(addr, &[]);
    assert!(matches!(output.status.code(), Some(1 | 3)), "{}", report["headline"]);
}

#[test]
fn plain_http_and_garbage() {
    let http = plain(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let _ = stream.read(&mut [0; 4096]);
        Ok(())
    });
    finds(http, &["tls-plain-http-on-443"]);
    let garbage = plain(|mut stream| {
        let _ = stream.write_all(&[0xff; 100_000]);
        Ok(())
    });
    let (output, report, _) = check(garbage, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", report["headline"]);
}

#[test]
fn an_authorization_server_that_points_inside() {
    // A foreign document must not make the tool send requests to where it points.
    let addr = server(names(), |stream| {
        answers(
            stream,
            &json(
                r#"{"version":"1","did":"did:web:x","availableUserDomains":[],"resource":"https://hostile.example.com","authorization_servers":["https://127.0.0.1:1"],"pushed_authorization_request_endpoint":"http://169.254.169.254/latest"}"#,
            ),
        )
    });
    let (_, report, _) = check(addr, &[]);
    let facts = report["facts"].as_array().unwrap();
    assert!(facts.iter().all(|fact| fact["body"]["kind"] != "par"), "a PAR was sent");
    assert!(!report["facts"].to_string().contains("\"addr\":\"169.254"), "the inner address was asked");
}

/// What is begun ahead of knowing that it is a PDS (`src/run/ahead.rs`).
#[test]
fn what_is_no_pds_gets_no_login_request() {
    static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let addr = server(names(), |stream| {
        loop {
            ASKED.lock().unwrap().push(request(stream)?);
            answers(stream, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")?;
        }
    });
    let client = ["--client-id", "https://app.example.com/client.json", "--resolve", "app.example.com:443:127.0.0.1"];
    let report = check(addr, &client).1;
    assert_eq!(report["verdict"], "broken", "{report}");
    let mut asked = ASKED.lock().unwrap().clone();
    asked.sort();
    // Once on the line; what is asked ahead may have come, and not more than once.
    let ahead = ["oauth-authorization-server", "oauth-protected-resource", "listRepos"];
    asked.retain(|line| !line.contains("_health") && !line.contains("describeServer"));
    assert!(asked.iter().all(|line| line.starts_with("GET ")), "{asked:?}");
    assert!(asked.iter().all(|line| ahead.iter().any(|known| line.contains(known))), "{asked:?}");
    asked.dedup();
    assert!(asked.len() <= ahead.len(), "{asked:?}");
    // It is no answer that was asked for, and in no report.
    let facts = report["facts"].as_array().unwrap();
    let of_ahead =
        |fact: &&Value| fact["body"]["url"].as_str().is_some_and(|url| ahead.iter().any(|it| url.contains(it)));
    assert!(!facts.iter().any(|fact| of_ahead(&fact)), "{facts:?}");
}
