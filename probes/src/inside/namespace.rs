//! Network namespaces: which one a process is in, and doing work inside it.

use std::{fs::File, io, os::linux::fs::MetadataExt, sync::Arc};

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// What tells one network namespace from another: device and inode of its file (namespaces(7)).
pub(super) type NetworkId = (u64, u64);

/// The network namespace of a process, if it may be looked at.
pub(super) fn network_of(pid: u32) -> Option<NetworkId> {
    network(&format!("/proc/{pid}/ns/net"))
}

/// The network namespace the tool was started in.
pub(super) fn network_here() -> Option<NetworkId> {
    // Of the thread, not of the process: they are the same but in tests.
    network("/proc/thread-self/ns/net")
}

fn network(path: &str) -> Option<NetworkId> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.st_dev(), found.st_ino()))
}

/// A network namespace in which work can be done.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// `None`: that of the caller's thread, which needs no entering.
    file: Option<Arc<File>>,
}

impl Namespace {
    /// The one the calling thread is in. Held open, so that work on another thread is done there
    /// wherever that thread came from.
    pub fn here() -> Self {
        Self { file: None }
    }

    /// That of a process.
    ///
    /// # Errors
    ///
    /// The process is gone, or it may not be looked at (that takes the same user, or
    /// `CAP_SYS_PTRACE`).
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { file: Some(Arc::new(File::open(format!("/proc/{pid}/ns/net"))?)) })
    }

    /// Does `work` on a thread of its own that has entered the namespace, on a runtime of its own.
    /// `setns` moves one thread only (setns(2)): the rest of the process stays where it is, and the
    /// thread is never used for anything else. When the caller stops waiting, the work stops too.
    ///
    /// # Errors
    ///
    /// The namespace may not be entered (that takes `CAP_SYS_ADMIN`), or no thread can be started.
    pub async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let (mut tell, told) = oneshot::channel();
        let file = self.file.clone();
        let body = move || {
            let prepared = || {
                if let Some(file) = &file {
                    setns(file, CloneFlags::CLONE_NEWNET)?;
                }
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            match prepared() {
                Err(error) => drop(tell.send(Err(error))),
                Ok(runtime) => {
                    let done = runtime.block_on(async {
                        tokio::select! {
                            done = work() => Some(done),
                            () = tell.closed() => None,
                        }
                    });
                    if let Some(done) = done {
                        let _ = tell.send(Ok(done));
                    }
                    // A resolver call that hangs must not hold the thread.
                    runtime.shutdown_background();
                }
            }
        };
        std::thread::Builder::new().name("inside".to_owned()).spawn(body)?;
        told.await.unwrap_or_else(|_| Err(io::Error::other("the work in the namespace broke off")))
    }
}

/// Gives up every capability of the calling thread, and of the threads it starts from now on: what
/// comes from the network is read without any right (capabilities(7): they belong to threads).
pub(super) fn drop_capabilities() {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    // Whoever has none cannot give any up, and need not.
    let _ = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_gone_in_the_thread_alone() {
        let effective = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("a status");
            status.lines().find_map(|line| Some(line.strip_prefix("CapEff:")?.trim().to_owned())).expect("a line")
        };
        let before = effective();
        let inside = std::thread::spawn(move || {
            drop_capabilities();
            let next = std::thread::spawn(effective).join().expect("a thread");
            (effective(), next)
        });
        let none = "0".repeat(16);
        assert_eq!(inside.join().expect("a thread"), (none.clone(), none));
        assert_eq!(effective(), before);
    }
}
