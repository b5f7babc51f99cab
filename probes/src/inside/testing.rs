//! The real kernel for tests: network namespaces that end with the test, and processes that look
//! like a PDS.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use crate::{
    fact::{Fact, NotMeasured},
    net::Net,
    testing,
};

/// Set where every test must run (see `tests/run`).
const REQUIRED: &str = "PDSDOCTOR_LAB";

/// Says that a test cannot run; fails where none may be skipped.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var(REQUIRED).as_deref() != Ok("require"), "{why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// `true`: namespaces can be made here.
pub(crate) fn lab() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("network namespaces need root");
    }
    root
}

/// Runs `work` on a thread in a new network namespace, which ends with it.
pub(crate) fn in_new_network<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a command of iproute2 in this thread's namespace.
pub(crate) fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().expect("ip");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sets a kernel setting in this thread's namespace.
pub(crate) fn set(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{key}"), value).unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// Runs `work` to its end and gives all that was recorded.
pub(crate) fn measure<T, F: Future<Output = T>>(work: impl FnOnce(Net) -> F) -> (T, Vec<Fact>, Vec<NotMeasured>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let net = testing::net();
        let done = work(net.clone()).await;
        let (mut facts, missed) = net.take("the test is over");
        facts.sort_by_cached_key(Fact::job_key);
        (done, facts, missed)
    })
}

/// One at a time: a look at all processes finds those of other tests too.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A process that calls itself `node`, in this thread's network namespace; killed when dropped.
pub(crate) struct Process {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Process {
    /// Starts it with this environment and nothing else.
    pub(crate) fn node(environment: &[(&str, &str)]) -> Self {
        while TAKEN.swap(true, Ordering::AcqRel) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("node");
        std::fs::copy(PathBuf::from("/bin/sleep"), &program).expect("a copy");
        let mut command = Command::new(&program);
        command.arg0("node").arg("600").env_clear().envs(environment.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a process");
        Self { child, _folder: folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        TAKEN.store(false, Ordering::Release);
    }
}
