//! What is made of a program's words. That one is run, and with what rights, is tried with the real program:
//! `tests/with_node.rs`.

#![allow(clippy::unwrap_used)] // a test's own

use std::process::Stdio;

use super::*;

#[test]
fn whatever_it_says_is_cleaned() {
    let said = |out: &str| {
        let mut fact = NodeFetchFact::blank(NodeArm::AsItIs, "https://app.example/", "");
        let status = Some(ExitStatus::from_raw(0));
        Ended { status, out: out.as_bytes().to_vec(), err: b"\x1b[2J".to_vec() }.into_fact(&mut fact);
        fact
    };
    let fact = said("{\"ms\":252,\"code\":\"ETIMEDOUT\",\"inner\":[\"ETIMEDOUT 1.2.3.4\",7]}\nmore");
    assert_eq!((fact.ms, fact.code.as_deref(), fact.inner.len()), (Some(252), Some("ETIMEDOUT"), 1));
    let found = said("{\"ms\":2,\"status\":200,\"addresses\":[\"10.20.30.40\",\"x\",7]}").addresses;
    assert_eq!(found, ["10.20.30.40".parse::<std::net::IpAddr>().unwrap()]);
    for hostile in ["", "[]", "{", "\u{1b}[2J", "{\"status\":99999999}", "{\"ms\":-1}", "null"] {
        let fact = said(hostile);
        assert!(fact.failure.is_some_and(|why| !why.contains('\u{1b}')), "{hostile}");
    }
    let long = said(&format!("{{\"code\":\"{}\"}}", "x".repeat(4_000)));
    assert!(long.code.unwrap().chars().count() <= 61);
}

/// In a container nothing is left of a program that was killed: the Node there has its own end, wherever it hangs, and
/// before anybody stops waiting for it.
#[test]
fn a_node_that_nobody_waits_for_ends_by_itself() {
    if std::process::Command::new("node").arg("--version").output().is_err() {
        return crate::inside::testing::skip("no Node here");
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let began = Instant::now();
    let start = |script: &str| {
        let mut arguments = arguments(&url, "a test");
        arguments[2] = script.to_owned();
        let mut command = std::process::Command::new("node");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let endless = SCRIPT.replace("AbortSignal.timeout(10000)", "new AbortController().signal");
    assert_ne!(endless, SCRIPT);
    let (mut by_its_limit, mut by_its_timer) = (start(SCRIPT), start(&endless));
    assert!(by_its_limit.wait().unwrap().success());
    assert_eq!(by_its_timer.wait().unwrap().code(), Some(3));
    assert!(began.elapsed() < ARM + END, "{:?}", began.elapsed());
}
