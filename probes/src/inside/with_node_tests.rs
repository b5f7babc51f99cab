//! A real Node, run in the place of another process. Where this machine has none, or this user may not enter
//! namespaces, the test says so and ends.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // a test's own

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
};

use super::*;
use crate::{net::NoObserver, roots::Roots};

fn net() -> Net {
    Net::new(Vantage::Here, Roots::load(Vec::new()), "pdsdoctor/test".to_owned(), Arc::new(NoObserver))
}

/// A Node that only waits, in a network namespace of its own with a server on its loopback.
fn pds() -> Option<(Child, u16)> {
    let script = "require('http').createServer((q, r) => r.end(q.headers['user-agent'])).listen(0, '127.0.0.1', \
                  function () { console.log(this.address().port) })";
    let up = format!("ip link set lo up && exec node -e \"{script}\"");
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-c", &up])
        .env("NODE_EXTRA_CA_CERTS", "/nowhere.pem")
        .env("PDS_JWT_SECRET", "topsecret")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    match line.trim().parse() {
        Ok(port) => Some((child, port)),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            None
        }
    }
}

fn facts(net: &Net) -> Vec<NodeFetchFact> {
    let (facts, _) = net.take("the test ended");
    let of = |body| match body {
        FactBody::NodeFetch(fact) => Some(fact),
        _ => None,
    };
    let mut found: Vec<_> = facts.into_iter().filter_map(|fact| of(fact.body)).collect();
    found.sort_by_key(|fact| fact.arm);
    found
}

fn arms() -> Vec<(NodeArm, String)> {
    vec![
        (NodeArm::AsItIs, String::new()),
        (NodeArm::AttemptTimeout, "--network-family-autoselection-attempt-timeout=5000".to_owned()),
        (NodeArm::Ipv4Only, "--no-such-flag".to_owned()),
    ]
}

#[tokio::test]
async fn a_real_node_in_the_place_of_the_pds() {
    let Some((mut pds, port)) = pds() else {
        eprintln!("skipped: no node here, or no right to make a namespace");
        return;
    };
    let net = net();
    let url = format!("http://127.0.0.1:{port}/");
    with_node(&net, &Vantage::Process(pds.id()), pds.id(), &url, &arms(), "sudo x").await;
    let found = facts(&net);
    pds.kill().unwrap();
    pds.wait().unwrap();
    assert_eq!(found.len(), 3);
    // The server is in that namespace and in no other.
    assert_eq!((found[0].status, found[0].code.clone()), (Some(200), None), "{found:?}");
    assert_eq!(found[1].status, Some(200), "{found:?}");
    assert!(found[2].failure.as_deref().is_some_and(|why| why.contains("status 9")), "{found:?}");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_time() {
    let Some((mut pds, _)) = pds() else {
        eprintln!("skipped: no node here, or no right to make a namespace");
        return;
    };
    let net = net();
    with_node(&net, &Vantage::Here, pds.id(), "http://127.0.0.1:9/", &arms()[..1], "sudo x").await;
    let found = facts(&net);
    pds.kill().unwrap();
    pds.wait().unwrap();
    assert_eq!(found[0].status, None, "{found:?}");
    assert!(found[0].ms.is_some_and(|ms| ms < 2_000) && found[0].code.is_some(), "{found:?}");
}

#[tokio::test]
async fn what_is_no_node_is_not_run() {
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    let net = net();
    with_node(&net, &Vantage::Here, child.id(), "http://127.0.0.1:9/", &arms(), "sudo x").await;
    child.kill().unwrap();
    child.wait().unwrap();
    let (facts, missed) = net.take("the test ended");
    assert!(facts.is_empty());
    assert!(missed.iter().any(|missing| missing.why.contains("no Node")), "{missed:?}");
}

/// The program is the container's: it may print anything, for ever, and leave children behind.
#[tokio::test]
async fn a_hostile_program_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("node");
    let mut file = File::create(&program).unwrap();
    file.write_all(b"#!/bin/sh\nyes '{\"status\":200,\"ms\":1}' &\nexec sleep 600\n").unwrap();
    drop(file);
    Command::new("chmod").arg("755").arg(&program).arg(folder.path()).status().unwrap();
    let seat = Seat { program, user: NOBODY, group: NOBODY, namespaces: vec![], own_files: false, environment: vec![] };
    let running = seat.start("http://127.0.0.1:9/", "x", "").await.unwrap();
    let group = running.0.id();
    sleep(Duration::from_millis(200)).await;
    drop(running);
    sleep(Duration::from_millis(100)).await;
    let left = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        fields.get(2) == Some(&group.to_string().as_str()) && fields.first() != Some(&"Z")
    });
    assert!(!left, "children of the program are still there");
}

#[test]
fn whatever_it_says_is_cleaned() {
    let said = |out: &str| {
        let mut fact = NodeFetchFact {
            arm: NodeArm::AsItIs,
            url: Text::new("https://app.example/"),
            node_options: Text::default(),
            status: None,
            ms: None,
            code: None,
            inner: Vec::new(),
            failure: None,
        };
        let status = Some(ExitStatus::from_raw(0));
        Ended { status, out: out.as_bytes().to_vec(), err: b"\x1b[2J".to_vec() }.into_fact(&mut fact);
        fact
    };
    let fact = said("{\"ms\":252,\"code\":\"ETIMEDOUT\",\"inner\":[\"ETIMEDOUT 1.2.3.4\",7]}\nmore");
    assert_eq!((fact.ms, fact.code.as_deref(), fact.inner.len()), (Some(252), Some("ETIMEDOUT"), 1));
    for hostile in ["", "[]", "{", "\u{1b}[2J", "{\"status\":99999999}", "{\"ms\":-1}", "null"] {
        let fact = said(hostile);
        assert!(fact.failure.is_some_and(|why| !why.contains('\u{1b}')), "{hostile}");
    }
    let long = said(&format!("{{\"code\":\"{}\"}}", "x".repeat(4_000)));
    assert!(long.code.unwrap().chars().count() <= 61);
}
