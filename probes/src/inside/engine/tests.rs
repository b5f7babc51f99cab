use std::{future::pending, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;
use crate::testing;

/// An engine that gives these answers by path.
fn engine(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                assert!(head.starts_with("GET "), "{head}");
                let answer = answer(&path);
                if answer.is_empty() {
                    pending::<()>().await;
                }
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    (folder, vec![socket])
}

fn json(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

const INSPECT: &str = r#"{"Id":"0123","Name":"/pds","RestartCount":3,"State":{"Status":"running","Running":true,"Pid":77,
 "ExitCode":0,"OOMKilled":true,"StartedAt":"2026-11-21T00:00:00Z","Health":{"Status":"unhealthy","Log":[{"Output":"x"}]}},
 "Config":{"Image":"ghcr.io/bluesky-social/pds:0.4","Env":["PDS_HOSTNAME=pds.example.com","PDS_JWT_SECRET=topsecret"]},
 "HostConfig":{"NetworkMode":"pds_default","Sysctls":{"net.ipv6.conf.all.disable_ipv6":"1"},"Dns":["9.9.9.9"]},
 "NetworkSettings":{"Ports":{"3000/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],
 "80/tcp":null,"x/tcp":[{}]},"Networks":{"pds_default":{"NetworkID":"abc"}}}}"#;

#[tokio::test]
async fn a_container_with_its_engine_and_network() {
    let (_folder, sockets) = engine(|path| match path {
        "/containers/pds/json" => json(INSPECT),
        "/version" => json(r#"{"Version":"27.1.0","Components":[{"Name":"Engine"}]}"#),
        "/networks/abc" => json(
            r#"{"Name":"pds_default","Driver":"bridge","EnableIPv6":false,"Options":{"com.docker.network.driver.mtu":"1400"},
            "IPAM":{"Config":[{"Subnet":"172.18.0.0/16"}]}}"#,
        ),
        other => panic!("{other}"),
    });
    let net = testing::net();
    let found = container(&net, &sockets, "pds").await.unwrap_or_else(|_| panic!("no container"));
    assert_eq!((found.engine, found.fact.pid), (Engine::Docker, Some(77)));
    assert_eq!(found.environment.hostname().as_deref(), Some("pds.example.com"));
    let (facts, missed) = net.take("");
    assert_eq!((facts.len(), missed.len()), (3, 0));
    let text = serde_json::to_string(&facts).expect("JSON");
    for part in [
        r#""restarts":3"#,
        r#""oom_killed":true"#,
        r#""health":"unhealthy""#,
        r#""host_addr":"::""#,
        r#""version":"27.1.0""#,
        r#""mtu":1400"#,
        r#""ipv6":false"#,
        r#""subnets":["172.18.0.0/16"]"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("topsecret"));
}

#[tokio::test]
async fn hostile_engines_are_survived() {
    let endless = || {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec();
        answer.resize(3 * 1024 * 1024, b'[');
        answer
    };
    let cases: [(&str, Vec<u8>); 8] = [
        ("silence", Vec::new()),
        ("not HTTP", b"SSH-2.0-OpenSSH\r\n".to_vec()),
        ("too much", endless()),
        ("nested", json(&"[".repeat(100_000))),
        ("not an object", json("[1,2,3]")),
        ("not JSON", json("<html>")),
        ("huge header", format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(200_000)).into()),
        ("cut short", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Id\":".to_vec()),
    ];
    let jobs = cases.into_iter().map(|(name, answer)| async move {
        let (_folder, sockets) = engine(move |_| answer.clone());
        let net = testing::net();
        let begun = Instant::now();
        assert!(container(&net, &sockets, "pds").await.is_err(), "{name}");
        assert!(begun.elapsed() < QUESTION + Duration::from_secs(1), "{name}");
    });
    futures_util::future::join_all(jobs).await;
    // Answers of the wrong shape are an empty container, not a panic.
    let odd = r#"{"State":7,"Config":{"Env":[1,{"a":2}]},"NetworkSettings":{"Ports":[],"Networks":{"x":3}},"Name":{}}"#;
    let (_folder, sockets) = engine(|_| json(odd));
    let found = container(&testing::net(), &sockets, "pds").await.unwrap_or_else(|_| panic!("no container"));
    assert_eq!(found.fact.pid, None);
}

#[tokio::test]
async fn names_cannot_change_the_path() {
    for name in ["", "../images", "a/b", "a?b", "a b", "-x", &"x".repeat(200)] {
        assert!(matches!(container(&testing::net(), &[], name).await, Err(Missing::NotKnown)), "{name}");
    }
    assert!(matches!(container(&testing::net(), &["/nonexistent".into()], "pds").await, Err(Missing::NoEngine)));
}

#[tokio::test]
async fn the_end_of_a_containers_log() {
    let line = r#"{"time":1,"name":"pds:oauth","err":{"message":"for \"https://app.example/\": ETIMEDOUT topsecret"}}"#;
    let mut body = vec![1, 0, 0, 0];
    body.extend(u32::try_from(line.len()).expect("short").to_be_bytes());
    body.extend(line.as_bytes());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let whole = [head.into_bytes(), body].concat();
    let (_folder, sockets) = engine(move |path| {
        assert_eq!(path, "/containers/pds/logs?stdout=1&stderr=1&tail=100");
        whole.clone()
    });
    let (bytes, cut) = log(&sockets, "pds").await.expect("a log");
    assert!(!cut);
    let fact = pds_log::read("x", &bytes);
    assert_eq!(fact.errors[0].host.as_deref(), Some("app.example"));
    assert!(!format!("{fact:?}").contains("topsecret"));
    assert!(log(&sockets, "../images").await.is_none());
}

/// Lines so long that not all that were asked for are kept: the newest are, and it is said.
#[tokio::test]
async fn of_very_long_lines_the_newest_are_kept() {
    let mut body = Vec::new();
    for n in 0..100 {
        let stack = "x".repeat(9_000);
        let line = format!(
            "{{\"time\":{n},\"name\":\"pds:oauth\",\"err\":{{\"message\":\"for \\\"https://app{n}.example/\\\": ETIMEDOUT\",\"stack\":\"{stack}\"}}}}\n"
        );
        body.extend([1, 0, 0, 0]);
        body.extend(u32::try_from(line.len()).expect("short").to_be_bytes());
        body.extend(line.as_bytes());
    }
    let whole = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), body].concat();
    let (_folder, sockets) = engine(move |_| whole.clone());
    let (bytes, cut) = log(&sockets, "pds").await.expect("a log");
    let fact = pds_log::read("x", &bytes);
    assert!(cut);
    assert_eq!(fact.errors[0].host.as_deref(), Some("app99.example"));
    assert!((50..64).contains(&fact.lines), "{} {}", fact.lines, fact.other_lines);
    assert_eq!(fact.other_lines, 0);
}
