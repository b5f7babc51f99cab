#![allow(clippy::unwrap_used)] // a test's own

use super::*;
use crate::{
    inside::{owner::is_a_strangers, process},
    testing,
};

const HOST: &str = "pds.example.com";

/// This very process and its parent: of one user, in one group.
fn candidate(pid: u32, hostname: &str) -> Candidate {
    Candidate { pid, because: String::new(), hostname: Some(hostname.to_owned()) }
}

fn examined(pid: u32, hostname: &str, vouched: Option<&str>) -> (PdsProcess, Net) {
    let mut fact = process::examine(pid, FoundBy::Scan, "").unwrap();
    fact.hostname = Some(Text::new(hostname));
    (PdsProcess { fact, place: None, started: None, engine: None, vouched: vouched.map(Text::new) }, testing::net())
}

/// A process of another user.
struct Stranger(std::process::Child);

impl Stranger {
    fn start() -> Option<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("sleep");
        // Not root: it is this user's as well.
        command.arg("60").uid(54_321).gid(54_321).spawn().ok().map(Self)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn taken(decided: &Decided) -> Vec<u32> {
    decided.taken.iter().map(|(process, _)| process.fact.pid).collect()
}

#[test]
fn a_claim_of_another_owner_leaves_nobody_but_whom_an_engine_vouches_for() {
    let Some(stranger) = Stranger::start() else {
        return crate::inside::testing::skip("another user's process needs root");
    };
    let (own, other) = (std::process::id(), stranger.0.id());
    let both = [candidate(own, HOST), candidate(other, HOST)];
    // In either order, whoever listens, whoever is older.
    for all in [both.clone(), [both[1].clone(), both[0].clone()]] {
        let decided = decide(vec![examined(own, HOST, None), examined(other, HOST, None)], &all, &[]);
        assert!(taken(&decided).is_empty(), "none is taken");
        assert_eq!(decided.claims.len(), 2);
        let (why, needs) = &decided.said[0];
        assert!(why.contains(&format!("process {other} (user 54321, program sleep)")), "{why}");
        assert!(needs.contains(&format!("--pid {own}")) && needs.contains(&format!("--pid {other}")), "{needs}");
    }
    // Of those that are not even examined any more.
    let decided = decide(vec![examined(own, HOST, None)], &both, &[]);
    assert_eq!((taken(&decided), decided.claims.len()), (vec![], 2));
    // The engine's word on one of them.
    let decided = decide(vec![examined(other, HOST, None), examined(own, HOST, Some("c1"))], &both, &[]);
    assert_eq!(taken(&decided), [own]);
    assert_eq!(decided.claims.iter().map(|claim| claim.pid).collect::<Vec<_>>(), [other]);
    // On both, of two containers.
    let decided = decide(vec![examined(other, HOST, Some("c2")), examined(own, HOST, Some("c1"))], &both, &[]);
    assert!(taken(&decided).is_empty());
    let silent = Candidate { hostname: None, ..candidate(other, "") };
    assert_eq!(unnamed(std::slice::from_ref(&silent), &[examined(own, HOST, None).0])[0].0, other);
    assert!(unnamed(&[silent], &[examined(other, HOST, None).0]).is_empty(), "a helper of the same owner");
    assert!(is_a_strangers(other) && !is_a_strangers(own));
    // Other names are other PDSes.
    let others = [candidate(own, "a.example.com"), candidate(other, "b.example.com")];
    let two = vec![examined(own, "a.example.com", None), examined(other, "b.example.com", None)];
    let decided = decide(two, &others, &[]);
    assert_eq!((taken(&decided), decided.said.len()), (vec![own, other], 0));
}

#[test]
fn a_container_that_was_made_for_the_name_is_it_though_it_does_not_run() {
    let own = std::process::id();
    let made = |hostname: &str| Named {
        id: Text::new("c1"),
        name: Text::new("pds"),
        status: Text::new("exited"),
        hostname: Text::new(hostname),
    };
    let all = [candidate(own, HOST)];
    let decided = decide(vec![examined(own, HOST, None)], &all, &[made(HOST)]);
    assert_eq!((taken(&decided), decided.claims.len()), (vec![], 1));
    assert!(decided.said[0].0.contains("pds (exited)"), "{:?}", decided.said);
    for (vouched, made) in [(None, made("other.example.com")), (Some("c1"), made(HOST))] {
        let decided = decide(vec![examined(own, HOST, vouched)], &all, &[made]);
        assert_eq!((taken(&decided), decided.said.len()), (vec![own], 0));
    }
}

#[test]
fn processes_of_one_owner_are_one_pds() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let (own, other) = (std::process::id(), child.id());
    let all = [candidate(own, HOST), candidate(other, HOST)];
    let decided = decide(vec![examined(own, HOST, None)], &all, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((taken(&decided), decided.said.len()), (vec![own], 0));
}
