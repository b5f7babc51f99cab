//! The PDS's log: JSON lines of pino. Only the end is read, only errors of a closed set are kept, with the host that
//! was asked: no line, no name of a user, no token ever leaves.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::Value;
use url::Url;

use crate::{
    fact::{FactBody, ProbeName},
    files,
    log_fact::{LogCode, LogError, LogFact},
    net::{Job, Net},
    text::Text,
    wire::json,
};

/// The most bytes of a log that are read: its end. A login that fails is some 3 KiB of it.
pub const BYTES: u64 = 1024 * 1024;
/// The most lines.
pub const LINES: usize = 2_000;
/// The longest line that is read: a stack trace and the headers of a request.
const LINE: usize = 64 * 1024;
/// The most different errors that are kept.
const ERRORS: usize = 64;
/// The name of the logger of logins (`@atproto/pds`, logger.ts). Hosts in lines of others may be users' own.
const OAUTH: &str = "pds:oauth";

/// Reads the end of a file.
pub async fn file(net: &Net, path: &Path) {
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()).into_owned();
    let job = net.begin(ProbeName::PdsLog, format!("the log {name}"));
    let path = path.to_owned();
    // On a thread of its own: a file may be on a disk that is gone.
    let (tell, told) = tokio::sync::oneshot::channel();
    let reading = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        let _ = tell.send(end_of(&path));
    });
    if let Err(error) = reading {
        let needs = "a machine that allows one more thread";
        return net.not_measured(ProbeName::PdsLog, &format!("the log {name}: {error}"), needs);
    }
    match told.await {
        Ok(Ok(bytes)) => note_read(net, job, &name, &bytes),
        Ok(Err(error)) => {
            net.not_measured(ProbeName::PdsLog, &format!("the log {name}: {error}"), "a log that may be read");
        }
        Err(_) => net.not_measured(ProbeName::PdsLog, &format!("the log {name}"), "a log that can be read"),
    }
}

/// Records what was read, and says what was not.
pub(crate) fn note_read(net: &Net, job: Job, name: &str, bytes: &[u8]) {
    let fact = read(name, bytes);
    let too_long = fact.too_long;
    job.finish(FactBody::Log(fact));
    if too_long > 0 {
        let lines = if too_long == 1 { "one line".to_owned() } else { format!("{too_long} lines") };
        let why = format!("the log {name}: {lines} longer than {} KiB not read", LINE / 1024);
        net.not_measured(ProbeName::PdsLog, &why, "a look at the newest lines of the log itself");
    }
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would wait for ever, and has no end.
    let mut file = files::ordinary(path)?;
    let start = file.metadata()?.len().saturating_sub(BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    if start > 0 {
        // The first line was cut.
        drop_first_line(&mut bytes);
    }
    Ok(bytes)
}

/// The first line was cut, unless there is no other: then that one is too long, and is left to be counted.
fn drop_first_line(bytes: &mut Vec<u8>) {
    if let Some(end) = bytes.iter().position(|byte| *byte == b'\n').filter(|end| end + 1 < bytes.len()) {
        bytes.drain(..=end);
    }
}

/// Reads lines. They may be anything.
pub fn read(source: &str, bytes: &[u8]) -> LogFact {
    let mut fact = LogFact { source: Text::limited(source, 120), ..LogFact::default() };
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    for line in lines.into_iter().rev().take(LINES) {
        let entry = if line.len() <= LINE { entry(line) } else { None };
        let Some(entry) = entry else {
            fact.other_lines += 1;
            fact.too_long += u32::from(line.len() > LINE);
            // Node's own last words are no JSON.
            let text = String::from_utf8_lossy(&line[..line.len().min(400)]);
            if LogCode::of(&text) == Some(LogCode::NodeAborted) {
                note(&mut fact.errors, "node", None, LogCode::NodeAborted, None);
            }
            continue;
        };
        fact.lines += 1;
        fact.to_ms = fact.to_ms.or(entry.time);
        fact.from_ms = entry.time.or(fact.from_ms);
        if let Some((host, code)) = entry.error {
            note(&mut fact.errors, &entry.logger, host, code, entry.time);
        }
    }
    fact
}

/// The lines come latest first.
fn note(errors: &mut Vec<LogError>, logger: &str, host: Option<Text>, code: LogCode, time: Option<i64>) {
    let same = |known: &&mut LogError| known.logger.as_str() == logger && known.host == host && known.code == code;
    let room = errors.len() < ERRORS;
    match errors.iter_mut().find(same) {
        Some(known) => known.count = known.count.saturating_add(1),
        None if room => {
            errors.push(LogError { logger: Text::limited(logger, 40), host, code, count: 1, last_ms: time });
        }
        None => {}
    }
}

struct Entry {
    logger: String,
    time: Option<i64>,
    error: Option<(Option<Text>, LogCode)>,
}

/// One line of the PDS; `None`: it is none.
fn entry(line: &[u8]) -> Option<Entry> {
    let document = json::parse(line)?;
    let logger = document.get("name")?.as_str().filter(|name| is_logger(name))?.to_owned();
    let time = document.get("time").and_then(Value::as_i64);
    let error = document.get("err").and_then(|error| {
        let part = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        // The message has those of the causes after it (pino's serializer); the code is that of the last.
        let message = part("message");
        let code = LogCode::of(message).or_else(|| LogCode::of(part("code"))).or_else(|| inner(error))?;
        let host = (logger == OAUTH).then(|| host_in(message)).flatten();
        Some((host, code))
    });
    Some(Entry { logger, time, error })
}

/// The causes, where the serializer left them apart.
fn inner(error: &Value) -> Option<LogCode> {
    let text = |value: &Value| {
        let part = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        LogCode::of(part("code")).or_else(|| LogCode::of(part("message")))
    };
    let mut cause = error.get("cause");
    for _ in 0..4 {
        let Some(found) = cause else { break };
        if let Some(code) = text(found) {
            return Some(code);
        }
        cause = found.get("cause");
    }
    error.get("aggregateErrors")?.as_array()?.iter().find_map(text)
}

fn is_logger(name: &str) -> bool {
    (name == "pds" || name.starts_with("pds:"))
        && name.len() <= 40
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b':' | b'-'))
}

/// The host of the first address in a message: `Unable to obtain client metadata for "https://…"`.
fn host_in(message: &str) -> Option<Text> {
    let at = message.find("\"https://")? + 1;
    let rest = message.get(at..)?;
    let url = rest.get(..rest.find('"')?)?;
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    (host.len() <= 253).then(|| Text::limited(host, 253))
}

/// Docker's stream of two streams: each piece has a head of eight bytes, of which the first says which stream and the
/// last four how long it is (Engine API, "Attach to a container"). A container with a terminal has no heads.
pub fn demultiplexed(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [stream, 0, 0, 0, a, b, c, d] = *head else { return raw.to_vec() };
        if stream > 2 {
            return raw.to_vec();
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let piece = after.get(..length).unwrap_or(after);
        out.extend_from_slice(piece);
        rest = after.get(length..).unwrap_or_default();
    }
    if out.is_empty() { raw.to_vec() } else { out }
}

/// The same of the end of an answer, which begins anywhere: from the first place at which a head stands from which heads
/// lead to the end. The first line, which was cut, is left out.
pub fn demultiplexed_end(raw: &[u8]) -> Vec<u8> {
    // A head comes at least as often as this (Docker splits lines at 16 KiB, `moby`, logger/copier.go).
    const APART: usize = 64 * 1024;
    let leads_to_the_end = |mut rest: &[u8]| {
        let mut pieces = 0;
        while let Some((head, after)) = rest.split_first_chunk::<8>() {
            let [0..=2, 0, 0, 0, a, b, c, d] = *head else { return false };
            match after.get(u32::from_be_bytes([a, b, c, d]) as usize..) {
                Some(next) => rest = next,
                // The last piece may be cut; one alone may be anything.
                None => return pieces > 1,
            }
            pieces += 1;
        }
        pieces > 0 && rest.is_empty()
    };
    let start =
        (0..raw.len().min(APART)).find(|at| raw[*at] <= 2 && raw.len() - at >= 8 && leads_to_the_end(&raw[*at..]));
    let mut lines = start.map_or_else(|| raw.to_vec(), |at| demultiplexed(&raw[at..]));
    drop_first_line(&mut lines);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "https://tangled.org/oauth/client-metadata.json";

    fn line(name: &str, time: i64, message: &str) -> String {
        serde_json::json!({
            "level": 50, "time": time, "pid": 7, "hostname": "x", "name": name,
            "err": {"type": "InvalidClientMetadataError", "message": message, "stack": "topsecret1"},
            "req": {"headers": {"authorization": "DPoP topsecret2"}, "url": "/oauth/par?topsecret3"},
            "msg": "PAR error topsecret4",
        })
        .to_string()
    }

    fn failed(tail: &str) -> String {
        format!("Unable to obtain client metadata for \"{CLIENT}\": {tail}")
    }

    #[test]
    fn the_hidden_reason() {
        let text = [
            line("pds:oauth", 1_000, &failed("500 ETIMEDOUT error: fetch failed: ")),
            r#"{"level":30,"time":1500,"name":"pds:fetch","method":"GET","uri":"https://other.example/topsecret5"}"#.to_owned(),
            "plain words".to_owned(),
            line("pds:oauth", 2_000, &failed("500 ETIMEDOUT error: fetch failed: ")),
            line("pds:oauth", 3_000, "Unable to obtain client metadata for \"https://b.example/c\": Hostname resolved to non-unicast address"),
            line("pds:did-cache", 4_000, "getaddrinfo EAI_AGAIN \"https://alice.example/\""),
            line("other", 5_000, &failed("ECONNREFUSED")),
        ]
        .join("\n");
        let fact = read("pds.log", text.as_bytes());
        assert_eq!((fact.lines, fact.other_lines, fact.from_ms, fact.to_ms), (5, 2, Some(1_000), Some(4_000)));
        let errors: Vec<_> = fact
            .errors
            .iter()
            .map(|error| (error.host.as_deref().unwrap_or("-").to_owned(), error.code, error.count, error.last_ms))
            .collect();
        assert_eq!(
            errors,
            [
                ("-".to_owned(), LogCode::TryAgain, 1, Some(4_000)),
                ("b.example".to_owned(), LogCode::NonUnicast, 1, Some(3_000)),
                ("tangled.org".to_owned(), LogCode::TimedOut, 2, Some(2_000)),
            ]
        );
        let kept = serde_json::to_string(&fact).expect("JSON");
        assert!(!kept.contains("topsecret") && !kept.contains("alice"), "{kept}");
    }

    #[test]
    fn every_tail_that_was_seen() {
        for (tail, code) in [
            ("getaddrinfo ENOTFOUND host", LogCode::NotFound),
            ("getaddrinfo EAI_AGAIN host", LogCode::TryAgain),
            ("This operation was aborted", LogCode::Aborted),
            ("connect ECONNREFUSED 1.2.3.4:443", LogCode::Refused),
            ("read ECONNRESET", LogCode::Reset),
            ("connect ENETUNREACH 2606::1", LogCode::NetworkUnreachable),
            ("connect EHOSTUNREACH", LogCode::HostUnreachable),
            ("connect EACCES", LogCode::Prohibited),
            ("ETIMEDOUT error: fetch failed:", LogCode::TimedOut),
            ("ERR_SSL_WRONG_VERSION_NUMBER", LogCode::NotTls),
            ("CERT_HAS_EXPIRED error", LogCode::CertificateExpired),
            ("DEPTH_ZERO_SELF_SIGNED_CERT", LogCode::CertificateUntrusted),
            ("SELF_SIGNED_CERT_IN_CHAIN", LogCode::CertificateUntrusted),
            ("ERR_TLS_CERT_ALTNAME_INVALID", LogCode::CertificateName),
            ("Hostname resolved to non-unicast address", LogCode::NonUnicast),
            ("UND_ERR_CONNECT_TIMEOUT error", LogCode::UndiciTimeout),
        ] {
            let fact = read("x", line("pds:oauth", 1, &failed(tail)).as_bytes());
            assert_eq!(fact.errors.first().map(|error| error.code), Some(code), "{tail}");
        }
        let fact = read("x", b"node[7]: Assertion failed: (env) != nullptr\n");
        assert_eq!(fact.errors[0].code, LogCode::NodeAborted);
        let nested = r#"{"name":"pds:oauth","time":1,"err":{"message":"fetch failed","cause":{"message":"","cause":{"code":"ETIMEDOUT"}}}}"#;
        assert_eq!(read("x", nested.as_bytes()).errors[0].code, LogCode::TimedOut);
    }

    #[test]
    fn whatever_a_log_holds_little_is_kept() {
        let mut state = 7_u64;
        let mut roll = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let good = line("pds:oauth", 1_000, &failed("ETIMEDOUT"));
        for _ in 0..400 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..1 + roll() % 6 {
                let at = usize::try_from(roll()).unwrap_or(0) % bytes.len();
                match roll() % 3 {
                    0 => bytes[at] = u8::try_from(roll() % 256).unwrap_or(0),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b'"'),
                }
            }
            let fact = read("x", &bytes);
            assert!(serde_json::to_string(&fact).expect("JSON").len() < 2_000);
            let _ = demultiplexed(&bytes);
        }
        let hosts: String = (0..500)
            .map(|n| line("pds:oauth", n, &format!("for \"https://h{n}.example/\" ETIMEDOUT")) + "\n")
            .collect();
        assert_eq!(read("x", hosts.as_bytes()).errors.len(), ERRORS);
        let deep = format!("{{\"name\":\"pds\",\"err\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(read("x", deep.as_bytes()).lines, 0);
        let long = format!("{{\"name\":\"pds\",\"x\":\"{}\"}}", "x".repeat(LINE));
        assert_eq!(read("x", long.as_bytes()).other_lines, 1);
        assert_eq!(read("x", "{}\n".repeat(5_000).as_bytes()).other_lines, 2_000);
    }

    #[test]
    fn two_streams_in_one() {
        let piece = |stream: u8, text: &str| {
            let length = u32::try_from(text.len()).unwrap_or(0).to_be_bytes();
            [&[stream, 0, 0, 0][..], &length, text.as_bytes()].concat()
        };
        let both = [piece(1, "{\"a\":1}\n"), piece(2, "oops\n")].concat();
        assert_eq!(demultiplexed(&both), b"{\"a\":1}\noops\n");
        assert_eq!(demultiplexed(b"{\"plain\":1}\n"), b"{\"plain\":1}\n");
        assert_eq!(demultiplexed(&both[..both.len() - 3]), b"{\"a\":1}\noo");
        assert_eq!(demultiplexed(&[1, 0, 0, 0, 255, 255, 255, 255, b'x']), b"x");
        assert_eq!(demultiplexed(b""), b"");
    }

    #[test]
    fn two_streams_that_begin_anywhere() {
        let piece = |text: &str| {
            let length = u32::try_from(text.len()).unwrap_or(0).to_be_bytes();
            [&[1, 0, 0, 0][..], &length, text.as_bytes()].concat()
        };
        let whole: Vec<u8> = (0..20).flat_map(|n| piece(&format!("{{\"line\":{n:03}}}\n"))).collect();
        let one = whole.len() / 20;
        for cut in 1..one * 3 {
            let lines = demultiplexed_end(&whole[cut..]);
            let text = String::from_utf8(lines).expect("no head is left");
            let kept = text.lines().count();
            assert!(text.ends_with("{\"line\":019}\n") && (15..20).contains(&kept), "{cut}: {text:?}");
            assert!(text.lines().all(|line| line.starts_with("{\"line\":")), "{cut}: {text:?}");
        }
        assert_eq!(demultiplexed_end(b"ut\n{\"plain\":1}\n"), b"{\"plain\":1}\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pds.log");
        std::fs::write(&path, format!("{{\"name\":\"pds:oauth\",\"x\":\"{}", "x".repeat(3_000_000))).expect("a file");
        let bytes = end_of(&path).expect("its end");
        assert_eq!((read("x", &bytes).too_long, read("x", &bytes).other_lines), (1, 1));
        let short = line("pds:oauth", 1_000, &failed("ECONNREFUSED"));
        assert_eq!(read("x", short.as_bytes()).too_long, 0);
    }

    #[test]
    fn only_the_end_of_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pds.log");
        let old = line("pds:oauth", 1, &failed("ECONNREFUSED")) + "\n";
        let mut text = old.repeat(usize::try_from(BYTES).unwrap_or(0) / old.len() + 100);
        text.push_str(&line("pds:oauth", 9, &failed("ETIMEDOUT")));
        std::fs::write(&path, text).expect("a file");
        let bytes = end_of(&path).expect("bytes");
        assert!(bytes.len() <= usize::try_from(BYTES).unwrap_or(0) && bytes.starts_with(b"{"));
        assert_eq!(read("x", &bytes).errors[0].code, LogCode::TimedOut);
        assert!(end_of(folder.path()).is_err());
        assert!(end_of(Path::new("/dev/zero")).is_err());
    }
}
