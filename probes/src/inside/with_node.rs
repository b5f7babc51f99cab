//! `--with-node`: the PDS's own Node program makes one `fetch`, in the PDS's own network and files, once as it is set and
//! once with each remedy. The only probe that runs a program, and only if it was asked for.
//!
//! What is run is the PDS's, so it is not trusted. In a container of Docker's or Podman's its engine starts it, as it
//! starts whatever else runs there ([`super::engine_exec`]); elsewhere a helper does, which takes the PDS's place and
//! gives up every right before it ([`super::helper`]). It gets nothing of the PDS's environment but where certificates
//! are.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Child, ExitStatus},
    time::Duration,
};

use futures_util::future::join_all;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep, timeout_at},
};

use super::{
    engine_exec,
    helper::{self, Job, Outcome},
    proc_fs,
    seat::Refusal,
    survey::{InsideOptions, PdsProcess},
};
use crate::{
    fact::{FactBody, ProbeName},
    net::Net,
    process_fact::{NodeArm, NodeFetchFact},
    text::Text,
    wire::json,
};

/// One arm: Node's start, the wait for the other arms' starts, and the PDS's own limit of 10 s on the fetch.
pub(super) const ARM: Duration = Duration::from_secs(14);
/// What the helper may take beyond that to end what it started, and to say so.
const END: Duration = Duration::from_secs(2);
/// How often an ended child is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// The most bytes of an answer: one short line is expected.
pub(super) const ANSWER: usize = 8 * 1024;
/// The most inner errors that are kept: two families of a few addresses.
const INNER: usize = 8;

/// The start of several Nodes side by side keeps a small machine busy, and a busy event loop ends attempts by
/// itself: the fetch waits until they are through. What loads at the first use is loaded before the clock starts.
///
/// Which addresses it got is asked after the clock has stopped, and not waited for longer than 1.5 s: a resolver that
/// fails has taken its time already.
///
/// It ends by itself, whoever waits for it, and where memory runs out it is to go before the PDS.
const SCRIPT: &str = r"
setTimeout(() => process.exit(3), 13500);
try { require('fs').writeFileSync('/proc/self/oom_score_adj', '1000'); } catch {}
const [, url, agent] = process.argv;
const code = (e) => String(e?.code ?? e?.name ?? 'Error').slice(0, 60);
const say = (o) => process.stdout.write(JSON.stringify(o) + '\n', () => process.exit(0));
const tell = (o) => {
  const late = setTimeout(() => say(o), 1500);
  require('dns').lookup(new URL(url).hostname, { all: true }, (error, all) => {
    clearTimeout(late);
    say(error ? o : { ...o, addresses: all.map((it) => it.address).slice(0, 8) });
  });
};
new Request(url);
setTimeout(() => {
  const start = performance.now();
  const ms = () => Math.round(performance.now() - start);
  const signal = AbortSignal.timeout(10000);
  fetch(url, { redirect: 'manual', signal, headers: { 'user-agent': agent, accept: 'application/json' } }).then(
    (answer) => tell({ ms: ms(), status: answer.status }),
    (error) => {
      const cause = error?.cause ?? error;
      const inner = (cause?.errors ?? []).map((e) => code(e) + (e?.address ? ' ' + e.address : '')).slice(0, 8);
      tell({ ms: ms(), code: code(cause), inner });
    },
  );
}, 700);
";

/// Runs each of `arms` (with its `NODE_OPTIONS`) side by side. Records [`NodeFetchFact`]s under the PDS's vantage.
pub async fn with_node(net: &Net, pds: &PdsProcess, how: &InsideOptions, url: &str, arms: &[(NodeArm, String)]) {
    let there = &net.at(pds.fact.vantage());
    let sudo = format!("{} --with-node", how.sudo());
    let refused = |refusal: Refusal| {
        let why = format!("--with-node: process {}: {}", pds.fact.pid, refusal.why);
        let needs = refusal.needs.unwrap_or_else(|| "a PDS whose Node can be run in its own place".to_owned());
        there.not_measured(ProbeName::WithNode, &why, if refusal.sudo { &sudo } else { &needs });
    };
    let runs = arms.iter().map(|(arm, options)| async move {
        let job = there.begin(ProbeName::WithNode, format!("the PDS's Node, {}", arm.words()));
        let mut fact = NodeFetchFact::blank(*arm, url, options);
        let arguments = arguments(url, there.user_agent());
        let ended = match &pds.engine {
            _ if proc_fs::started_ticks(pds.fact.pid) != pds.started => {
                Err(Trouble::Refused(Refusal::plain("it has ended")))
            }
            Some(engine) => engine_exec::run(engine, pds.fact.pid, arguments, options).await,
            None => run(pds, arguments, options).await,
        };
        match ended {
            Ok(ended) => ended.into_fact(&mut fact),
            Err(Trouble::Refused(refusal)) => return Some(refusal),
            Err(Trouble::Failed(why)) => fact.failure = Some(Text::limited(&why, 200)),
        }
        job.finish(FactBody::NodeFetch(fact));
        None
    });
    // The same for each of them: said once.
    if let Some(refusal) = join_all(runs).await.into_iter().flatten().next() {
        refused(refusal);
    }
}

/// Why there is nothing that a Node said.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was not run.
    Refused(Refusal),
    /// It should have been, and something broke.
    Failed(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The arguments of Node.
fn arguments(url: &str, agent: &str) -> Vec<String> {
    ["--max-old-space-size=96", "-e", SCRIPT, "--", url, agent].map(str::to_owned).to_vec()
}

/// Runs the program of a process in its place, by the helper.
async fn run(pds: &PdsProcess, arguments: Vec<String>, options: &str) -> Result<Ended, Trouble> {
    let limit_ms = u64::try_from(ARM.as_millis()).unwrap_or(u64::MAX);
    let (pid, started) = (pds.fact.pid, pds.started);
    let job = Job { pid, started, arguments, options: options.to_owned(), limit_ms };
    let deadline = Instant::now() + ARM + END;
    // By the thread that stays to the end: the helper ends with the one that started it.
    let (mut child, mut line) = helper::start()?;
    line.write_all(&helper::line_of(&job))?;
    line.set_nonblocking(true)?;
    // Dropped, whenever that is, it tells the helper to end everything.
    let mut line = tokio::net::UnixStream::from_std(line)?;
    let mut said = Vec::new();
    let read = async {
        let mut rest = (&mut line).take(ANSWER as u64);
        rest.read_to_end(&mut said).await
    };
    let heard = timeout_at(deadline, read).await;
    heard.map_err(|_| Trouble::Failed("the helper did not end in time".to_owned()))??;
    let (out, err) = (left_in(child.stdout.take()), left_in(child.stderr.take()));
    reap(&mut child, deadline).await;
    match helper::first_line(&said) {
        Some(Outcome::Ended(raw)) => Ok(Ended { status: Some(ExitStatus::from_raw(raw)), out, err }),
        Some(Outcome::Late) => Ok(Ended { status: None, out, err }),
        Some(Outcome::Refused(refusal)) => Err(Trouble::Refused(refusal)),
        None => Err(Trouble::Failed("the helper said nothing".to_owned())),
    }
}

async fn reap(child: &mut Child, deadline: Instant) {
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= deadline {
            return;
        }
        sleep(LOOK).await;
    }
}

/// What is in a pipe now: somebody may still hold its other end.
fn left_in(pipe: Option<impl AsFd + Read>) -> Vec<u8> {
    let Some(mut pipe) = pipe else { return Vec::new() };
    if fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
        return Vec::new();
    }
    let mut bytes = vec![0; ANSWER];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match pipe.read(room) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    bytes.truncate(filled);
    bytes
}

/// How a Node ended.
pub(super) struct Ended {
    /// `None`: it was ended.
    pub(super) status: Option<ExitStatus>,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
}

impl Ended {
    /// What it said. It may have said anything.
    fn into_fact(self, fact: &mut NodeFetchFact) {
        let line = self.out.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let answer = json::parse(line).filter(Value::is_object).unwrap_or_default();
        let number = |key: &str| answer.get(key).and_then(Value::as_u64);
        fact.ms = number("ms");
        fact.status = number("status").and_then(|status| u16::try_from(status).ok());
        fact.code = answer.get("code").and_then(Value::as_str).map(|code| Text::limited(code, 60));
        let inner = answer.get("inner").and_then(Value::as_array).into_iter().flatten();
        fact.inner = inner.filter_map(Value::as_str).take(INNER).map(|line| Text::limited(line, 100)).collect();
        let addresses = answer.get("addresses").and_then(Value::as_array).into_iter().flatten();
        fact.addresses = addresses.filter_map(|addr| addr.as_str()?.parse().ok()).take(INNER).collect();
        if fact.status.is_some() || fact.code.is_some() {
            return;
        }
        let words = String::from_utf8_lossy(&self.err);
        let words = words.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
        fact.failure = Some(match self.status {
            None => Text::new("it did not end in time"),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Text::limited(&format!("it ended with status {code}: {words}"), 200),
                (None, signal) => Text::new(&format!("it was ended by signal {}", signal.unwrap_or(0))),
            },
        });
    }
}

#[cfg(test)]
mod tests;
