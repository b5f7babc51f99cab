//! What `--with-node` runs is run by a helper: this program once more, twice, each time as a process of its own.
//!
//! ```text
//! pdsdoctor ──spawns──▶ supervisor ──spawns──▶ init ──spawns──▶ Node
//! (as it was started)   (session of its own,   (process 1 of a   (process 2: the PDS's
//!                        holds the time limit)  namespace of      program, with no more
//!                                               its own)          rights than the PDS)
//! ```
//!
//! - The *supervisor* has nothing of pdsdoctor's but three pipes: every other descriptor is closed and its session is
//!   new, so there is no terminal. It ends everything when the time is up, when its line to pdsdoctor is cut (which the
//!   kernel does however pdsdoctor ends), or when Node has ended.
//! - The *init* opens all that it needs while it still sees this machine's files, and only this machine's: the standard
//!   streams, the namespaces, the control groups. Then it enters, gives up every right for good, and only then is the
//!   PDS's tree of files looked into, for the program: with the rights of the PDS. Nothing is opened there as root.
//! - Process 1 of a PID namespace takes all others in it along when it ends, whatever session, group or parent they gave
//!   themselves (pid_namespaces(7)). It is our own code and not dumpable, so what runs beside it can neither signal nor
//!   trace it, and its parent-death signal cannot be taken from it.
//! - That namespace is a child of pdsdoctor's, not of the PDS's: a root of the PDS's container never sees a process
//!   that runs this program's file, and so cannot reach the file through `/proc/PID/exe`.
//!
//! Without root there is no such namespace: it is then the user's own PDS, with the user's own rights, and the supervisor
//! is the one to which orphans go (`PR_SET_CHILD_SUBREAPER`).
//!
//! A program that is run by a safe `fork` does not exist in Rust, and what the standard library opens between `fork` and
//! `exec` is its own affair: hence a program, not a function.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, close, dup2_stdin, geteuid, setsid},
};
use serde::{Deserialize, Serialize};

use super::{
    proc_fs,
    seat::{Refusal, Seat},
};

/// The name under which this program is a supervisor.
const SUPERVISOR: &str = "pdsdoctor: with-node supervisor";
/// The name under which it is the first process of its namespace.
const INIT: &str = "pdsdoctor: with-node init";
/// This program, whatever has become of its file.
const OWN: &str = "/proc/self/exe";
/// How often an ended child is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// The most bytes of a line between the stages: an address, flags, an agent.
const LINE: usize = 16 * 1024;
/// How long orphans are ended for, where there is no namespace that does it. A fork bomb of the user's own may win.
const ORPHANS: Duration = Duration::from_secs(2);

/// What is to be run, and in whose place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The PDS.
    pub(super) pid: u32,
    /// When it was started, in ticks since boot: a number may be given away again.
    pub(super) started: Option<u64>,
    /// Arguments of its program.
    pub(super) arguments: Vec<String>,
    /// Its `NODE_OPTIONS`; empty: none.
    pub(super) options: String,
    /// How long all of it may take, in milliseconds.
    pub(super) limit_ms: u64,
}

/// How it went: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The program ended, with this wait status (wait(2)).
    Ended(i32),
    /// It was ended: its time was up.
    Late,
    /// It was not run.
    Refused(Refusal),
}

/// Is the helper if this process was started as one: the status it is to end with. To be called before anything else is
/// done, while there is one thread.
pub fn helper() -> Option<u8> {
    let name = std::env::args_os().next()?;
    let stage = match name.to_str()? {
        SUPERVISOR => supervise,
        INIT => init,
        _ => return None,
    };
    Some(u8::from(stage().is_err()))
}

/// Starts a supervisor, from a process that may have anything open. Gives its line and what the program prints.
pub(super) fn start() -> io::Result<(Child, UnixStream)> {
    stage(SUPERVISOR, Stdio::piped(), Stdio::piped())
}

/// Starts a stage with a line to it at its standard input.
fn stage(name: &str, out: Stdio, err: Stdio) -> io::Result<(Child, UnixStream)> {
    let (line, theirs) = UnixStream::pair()?;
    let mut command = Command::new(OWN);
    command.arg0(name).env_clear().stdin(OwnedFd::from(theirs)).stdout(out).stderr(err);
    // What the command holds of the line goes with it.
    Ok((command.spawn()?, line))
}

/// One line of JSON.
pub(super) fn line_of(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The first line of what came.
pub(super) fn first_line<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next()?).ok()
}

/// Takes the line from standard input, and puts `/dev/null` of this machine there.
fn take_line() -> io::Result<UnixStream> {
    let line = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(line))
}

fn read_job(line: &mut UnixStream) -> io::Result<Job> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.len() < LINE && line.read(&mut byte)? == 1 && byte != [b'\n'] {
        bytes.extend(byte);
    }
    first_line(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no job"))
}

/// Closes whatever else was left open by whoever started this: `close_range(3, ~0)`.
fn close_inherited() -> io::Result<()> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    // The one that listed them is among them, and closed by now.
    for number in numbers.into_iter().filter(|number| *number > 2) {
        let _ = close(number);
    }
    Ok(())
}

/// The supervisor.
fn supervise() -> io::Result<()> {
    close_inherited()?;
    let mut line = take_line()?;
    setsid()?;
    let job = read_job(&mut line)?;
    let until = Instant::now() + Duration::from_millis(job.limit_ms);
    nix::sys::prctl::set_child_subreaper(true)?;
    let root = geteuid().is_root();
    if root {
        // Beside the line: it holds where this process was stopped. Without root the orphans are to be looked after.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if let Err(error) = unshare(CloneFlags::CLONE_NEWPID) {
            let why = format!("no namespace of processes can be made to run it in ({error})");
            let needs = "root with CAP_SYS_ADMIN, outside of the PDS's container".to_owned();
            line.write_all(&line_of(&Outcome::Refused(Refusal { why, needs: Some(needs), sudo: false })))?;
            return Ok(());
        }
    }
    let (mut child, mut below) = stage(INIT, Stdio::inherit(), Stdio::inherit())?;
    let mut said = Vec::new();
    // From here on there is a child to be ended, whatever fails.
    let watched = watch(&job, &mut child, &mut line, &mut below, &mut said, until);
    let _ = child.kill();
    let _ = child.wait();
    if !root {
        end_orphans();
    }
    let late = watched?;
    let _ = below.set_nonblocking(true).and_then(|()| below.read_to_end(&mut said));
    let outcome = match first_line(&said) {
        Some(outcome) => outcome,
        None if late => Outcome::Late,
        None => Outcome::Refused(Refusal::plain("what was to start it ended before it did")),
    };
    line.write_all(&line_of(&outcome))
}

/// Waits until the init has ended (`false`) or is to be ended (`true`: the time is up, or nobody waits any more).
#[expect(clippy::too_many_arguments, reason = "the ends of pipes and the limits of one child")]
fn watch(
    job: &Job,
    child: &mut Child,
    line: &mut UnixStream,
    below: &mut UnixStream,
    said: &mut Vec<u8>,
    until: Instant,
) -> io::Result<bool> {
    below.write_all(&line_of(job))?;
    below.set_nonblocking(true)?;
    loop {
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = below.read(&mut bytes) {
            said.extend(bytes.get(..read).unwrap_or_default());
            said.truncate(LINE);
        }
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if Instant::now() >= until || hung_up(line, LOOK)? {
            return Ok(true);
        }
    }
}

/// Nobody is at the other end of the line any more; waits up to `patience` to learn it. Nothing is ever sent after the
/// job, so whatever can be read is the end.
fn hung_up(line: &UnixStream, patience: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(line.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    match poll(&mut polled, patience) {
        Ok(found) => Ok(found > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Ends the children that orphans have become, and theirs, until none is left.
fn end_orphans() {
    let until = Instant::now() + ORPHANS;
    let own = std::process::id();
    while Instant::now() < until {
        for pid in proc_fs::every_pid().filter(|pid| proc_fs::parent(*pid) == Some(own)) {
            if let Ok(pid) = i32::try_from(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(LOOK),
            _ => {}
        }
    }
}

/// The first process of the namespace.
fn init() -> io::Result<()> {
    close_inherited()?;
    let mut line = take_line()?;
    setsid()?;
    let job = read_job(&mut line)?;
    let outcome = match run(&job, &line) {
        Ok(status) => Outcome::Ended(status),
        Err(refusal) => Outcome::Refused(refusal),
    };
    line.write_all(&line_of(&outcome))
}

/// Takes the PDS's place and runs its program there; its wait status.
fn run(job: &Job, line: &UnixStream) -> Result<i32, Refusal> {
    let seat = Seat::look(job.pid, job.started)?;
    let mut command = Command::new(seat.program());
    command.args(&job.arguments).env_clear().envs(seat.environment());
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    if !job.options.is_empty() {
        command.env("NODE_OPTIONS", &job.options);
    }
    // All three are there already: nothing is opened for them.
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    seat.take()?;
    // From here on without any right but the PDS's.
    let gone = |error: io::Error| Refusal::plain(&format!("the helper's line broke: {error}"));
    if hung_up(line, Duration::ZERO).map_err(gone)? {
        return Err(Refusal::plain("nobody waits for it"));
    }
    let child = command.spawn().map_err(|error| Refusal::plain(&format!("it could not be started: {error}")))?;
    ended(&child).map_err(|error| Refusal::plain(&format!("it was lost: {error}")))
}

/// Waits for the end of `child`, and for that of any orphan on the way, as a first process must.
fn ended(child: &Child) -> io::Result<i32> {
    let wanted = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(pid, code)) if pid == wanted => return Ok(code << 8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == wanted => return Ok(signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
