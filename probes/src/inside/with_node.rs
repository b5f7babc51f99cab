//! `--with-node`: the PDS's own Node program makes one `fetch`, in the PDS's own network and files, once as it is set and
//! once with each remedy. The only probe that runs a program, and only if it was asked for.
//!
//! What is run comes out of the PDS's container, so it is not trusted: it is never run as root, gains no privileges
//! (`no_new_privs`), sees the processes of its container only, gets nothing of the PDS's environment but where
//! certificates are, and is killed with all its children when its time is up.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::{
        fd::AsFd,
        linux::fs::MetadataExt,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future::join_all;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sched::{CloneFlags, setns, unshare},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

use super::{find, namespace::Namespace};
use crate::{
    fact::{FactBody, ProbeName, Vantage},
    net::Net,
    process_fact::{NodeArm, NodeFetchFact},
    text::Text,
    wire::json,
};

/// One arm: Node's start, the wait for the other arms' starts, and the PDS's own limit of 10 s on the fetch.
const ARM: Duration = Duration::from_secs(14);
/// How often an ended child is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// The most bytes of an answer: one short line is expected.
const ANSWER: usize = 8 * 1024;
/// The most inner errors that are kept: two families of a few addresses.
const INNER: usize = 8;
/// Who runs it where the PDS is run by root: `nobody`, the kernel's overflow user.
const NOBODY: u32 = 65_534;

/// What is kept of the PDS's environment: where certificates are. None of it is a secret.
const KEPT: &[&str] = &["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The start of several Nodes side by side keeps a small machine busy, and a busy event loop ends attempts by
/// itself: the fetch waits until they are through. What loads at the first use is loaded before the clock starts.
const SCRIPT: &str = r"
const [, url, agent] = process.argv;
const code = (e) => String(e?.code ?? e?.name ?? 'Error').slice(0, 60);
const say = (o) => process.stdout.write(JSON.stringify(o) + '\n', () => process.exit(0));
new Request(url);
setTimeout(() => {
  const start = performance.now();
  const ms = () => Math.round(performance.now() - start);
  const signal = AbortSignal.timeout(10000);
  fetch(url, { redirect: 'manual', signal, headers: { 'user-agent': agent, accept: 'application/json' } }).then(
    (answer) => say({ ms: ms(), status: answer.status }),
    (error) => {
      const cause = error?.cause ?? error;
      const inner = (cause?.errors ?? []).map((e) => code(e) + (e?.address ? ' ' + e.address : '')).slice(0, 8);
      say({ ms: ms(), code: code(cause), inner });
    },
  );
}, 700);
";

/// Runs each of `arms` (with its `NODE_OPTIONS`) side by side. Records [`NodeFetchFact`]s under the PDS's vantage.
pub async fn with_node(net: &Net, at: &Vantage, pid: u32, url: &str, arms: &[(NodeArm, String)], sudo: &str) {
    let there = net.at(at.clone());
    let seat = match Namespace::here().run(move || async move { Seat::of(pid) }).await.and_then(|seat| seat) {
        Ok(seat) => seat,
        Err(error) => {
            there.not_measured(ProbeName::WithNode, &format!("--with-node: process {pid}: {error}"), sudo);
            return;
        }
    };
    let seat = &seat;
    let there = &there;
    join_all(arms.iter().map(|(arm, options)| async move {
        let job = there.begin(ProbeName::WithNode, format!("the PDS's Node, {}", arm.words()));
        let mut fact = NodeFetchFact {
            arm: *arm,
            url: Text::limited(url, 300),
            node_options: Text::limited(options, 300),
            status: None,
            ms: None,
            code: None,
            inner: Vec::new(),
            failure: None,
        };
        match seat.run(url, there.user_agent(), options).await {
            Ok(ended) => ended.into_fact(&mut fact),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                there.not_measured(ProbeName::WithNode, &format!("--with-node: {error}"), sudo);
                return;
            }
            Err(error) => fact.failure = Some(Text::limited(&error.to_string(), 200)),
        }
        job.finish(FactBody::NodeFetch(fact));
    }))
    .await;
}

/// Where the PDS sits: its program, its namespaces, its user.
struct Seat {
    program: PathBuf,
    user: u32,
    group: u32,
    /// In the order in which they are to be entered.
    namespaces: Vec<(File, CloneFlags)>,
    own_files: bool,
    environment: Vec<(&'static str, OsString)>,
}

impl Seat {
    fn of(pid: u32) -> io::Result<Self> {
        let found = std::fs::metadata(format!("/proc/{pid}"))?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe"))?;
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with("node") || name.contains("(deleted)") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its program is no Node that is still there"));
        }
        let mut namespaces = Vec::new();
        let mut own_files = false;
        // The files last: what is opened before is opened in this machine's.
        for (name, flag) in
            [("net", CloneFlags::CLONE_NEWNET), ("pid", CloneFlags::CLONE_NEWPID), ("mnt", CloneFlags::CLONE_NEWNS)]
        {
            let file = File::open(format!("/proc/{pid}/ns/{name}"))?;
            let theirs = file.metadata()?;
            let ours = std::fs::metadata(format!("/proc/thread-self/ns/{name}"))?;
            if (theirs.st_dev(), theirs.st_ino()) != (ours.st_dev(), ours.st_ino()) {
                own_files |= name == "mnt";
                namespaces.push((file, flag));
            }
        }
        let environment = find::environment(pid)?;
        let kept = KEPT.iter().filter_map(|key| Some((*key, environment.path(key)?))).collect();
        // Never as root: in a container's own files that would be the container's word on what root does.
        let (user, group) = match (found.st_uid(), found.st_gid()) {
            (0, _) => (NOBODY, NOBODY),
            (user, group) => (user, if group == 0 { NOBODY } else { group }),
        };
        Ok(Self { program, user, group, namespaces, own_files, environment: kept })
    }

    /// Starts Node in the place of the PDS. `setns` moves one thread, and a child starts where the thread is that
    /// started it: the thread is used for nothing else.
    async fn start(&self, url: &str, agent: &str, options: &str) -> io::Result<Running> {
        let mut command = Command::new(&self.program);
        command
            .args(["--max-old-space-size=96", "-e", SCRIPT, "--", url, agent])
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if !options.is_empty() {
            command.env("NODE_OPTIONS", options);
        }
        // Without the right to change it, it is the user's own PDS.
        if nix::unistd::geteuid().is_root() {
            command.uid(self.user).gid(self.group);
        }
        let namespaces: Vec<(File, CloneFlags)> =
            self.namespaces.iter().map(|(file, flag)| Ok((file.try_clone()?, *flag))).collect::<io::Result<_>>()?;
        let own_files = self.own_files;
        let (tell, told) = oneshot::channel();
        let body = move || {
            let mut enter = || {
                nix::sys::prctl::set_no_new_privs()?;
                if own_files {
                    // A thread shares root and working folder with the others, and may not enter without its own.
                    unshare(CloneFlags::CLONE_FS)?;
                }
                for (file, flag) in &namespaces {
                    setns(file.as_fd(), *flag)?;
                }
                command.spawn().map(Running)
            };
            let _ = tell.send(enter());
        };
        std::thread::Builder::new().name("with-node".to_owned()).spawn(body)?;
        told.await.unwrap_or_else(|_| Err(io::Error::other("the start broke off")))
    }

    async fn run(&self, url: &str, agent: &str, options: &str) -> io::Result<Ended> {
        let deadline = Instant::now() + ARM;
        let mut running = match timeout_at(deadline, self.start(url, agent, options)).await {
            Ok(started) => started?,
            Err(_) => return Err(io::Error::other("Node could not be started in time")),
        };
        let status = loop {
            if let Some(status) = running.0.try_wait()? {
                break Some(status);
            }
            if Instant::now() >= deadline {
                break None;
            }
            sleep(LOOK).await;
        };
        let (out, err) = (running.0.stdout.take(), running.0.stderr.take());
        // Whatever it has started ends with it.
        drop(running);
        Ok(Ended { status, out: left_in(out), err: left_in(err) })
    }
}

/// A child that does not outlive whoever waits for it, nor do its own children.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.0.id()) {
            // The group stays as long as anybody is in it, and its number is not given away until then.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
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
struct Ended {
    status: Option<ExitStatus>,
    out: Vec<u8>,
    err: Vec<u8>,
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
#[path = "with_node_tests.rs"]
mod tests;
