//! Reading with no more rights than another process has.
//!
//! Who may make namespaces may show any file as its own: in a user namespace an ordinary user binds a file of root's
//! over `/etc/hosts` without being able to read it (mount_namespaces(7)). Read with root's rights through
//! `/proc/PID/root` it would be given away. So the kernel is asked with the rights of that process: its ids of the file
//! system (credentials(7)), its groups, and of its capabilities those that open files, where they mean anything here.

use std::{io, os::linux::fs::MetadataExt};

use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups};

use super::proc_fs::Status;

/// The capabilities that open files whatever their mode says (capabilities(7)).
const OPENING: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// What a process may open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    opens: CapabilitySet,
}

impl Credentials {
    /// Those of a process, as its `/proc/PID/status` has them (proc_pid_status(5)).
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut found =
            Self::in_status(&Status::of(pid)?).ok_or_else(|| io::Error::other("a status that cannot be read"))?;
        // In a user namespace of its own they are rights over that namespace's files alone.
        if user_namespace(&pid.to_string()).is_none() || user_namespace(&pid.to_string()) != user_namespace("self") {
            found.opens = CapabilitySet::empty();
        }
        Ok(found)
    }

    fn in_status(status: &Status) -> Option<Self> {
        Some(Self {
            uid: status.users()?.files,
            gid: status.groups()?.files,
            groups: status.other_groups()?,
            opens: CapabilitySet::from_bits_truncate(status.capabilities()?) & OPENING,
        })
    }

    /// Does `work` with these rights, on a thread of its own that ends with it. Only the ids of the file system are
    /// changed: with a real id of theirs the other user could send this program signals (setfsuid(2)).
    ///
    /// # Errors
    ///
    /// The rights cannot be taken on (that takes `CAP_SETUID` and `CAP_SETGID`), or what `work` says.
    pub(crate) fn with<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        // An ordinary user's own process has the user's own rights.
        if !geteuid().is_root() && geteuid().as_raw() == self.uid {
            return work();
        }
        let body = || {
            self.take_on()?;
            work()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("as another".to_owned()).spawn_scoped(scope, body)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("reading broke off")))
        })
    }

    /// Of the calling thread alone.
    fn take_on(&self) -> io::Result<()> {
        // In a user namespace of an ordinary user nobody may set them (user_namespaces(7)), and need not.
        let now = Self::in_status(&Status::of_this_thread()?).ok_or_else(denied)?;
        if now.groups != self.groups {
            let groups = self.groups.iter().filter(|group| **group != u32::MAX);
            set_thread_groups(&groups.map(|group| rustix::thread::Gid::from_raw(*group)).collect::<Vec<_>>())?;
        }
        let (gid, uid) = (Gid::from_raw(self.gid), Uid::from_raw(self.uid));
        setfsgid(gid);
        setfsuid(uid);
        // They say nothing of failures; asked once more they say what is in force.
        if setfsgid(gid) != gid || setfsuid(uid) != uid {
            return Err(denied());
        }
        let kept = capabilities(None)?.permitted & self.opens;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        Ok(set_capabilities(None, sets)?)
    }
}

fn denied() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the rights of the process cannot be taken on")
}

fn user_namespace(pid: &str) -> Option<(u64, u64)> {
    let found = std::fs::metadata(format!("/proc/{pid}/ns/user")).ok()?;
    Some((found.st_dev(), found.st_ino()))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt, chown},
        path::Path,
        process::{Child, Command, Stdio},
    };

    use super::*;
    use crate::inside::{
        name_files,
        root::Root,
        testing::{lab, skip},
    };

    #[test]
    fn what_a_status_says() {
        let status =
            "Name:\tnode\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nGroups:\t4 24 \nCapEff:\t0000000000000006\n";
        let found = Credentials::in_status(&status.into()).expect("credentials");
        assert_eq!((found.uid, found.gid, found.groups.as_slice()), (1003, 8, &[4, 24][..]));
        assert_eq!(found.opens, OPENING);
        let without = Credentials::in_status(&status.replace("4 24 ", "").replace("0006", "0000").as_str().into())
            .expect("credentials");
        assert!(without.groups.is_empty() && without.opens.is_empty());
        for bad in ["", "Uid:\t1\t1\t1\n", "Uid:\tx\tx\tx\tx\n"] {
            assert!(Credentials::in_status(&bad.into()).is_none());
        }
    }

    /// Ends with the test.
    struct Started(Child);

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Runs a shell script that ends in `echo ready` and waits, and waits for that word.
    fn started(command: &mut Command) -> Started {
        use std::io::BufRead;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let _ = std::io::BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
        assert_eq!(line.trim(), "ready");
        Started(child)
    }

    fn write(folder: &Path, name: &str, text: &str, mode: u32) {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// An ordinary user in namespaces of its own binds root's file over files of its tree.
    #[test]
    fn a_root_only_file_bound_over_another_stays_unread() {
        if !lab() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let secret = "nameserver 192.0.2.77\n192.0.2.77 canary.example.com\nprecedence ::/0 77\nhosts: dns\n";
        write(folder.path(), "secret", secret, 0o600);
        write(folder.path(), "open", "192.0.2.78 open.example.com\n", 0o644);
        let script = format!(
            "cd {0} && mkdir t && mount -t tmpfs t t && mkdir t/etc && cd t/etc \
             && touch resolv.conf gai.conf nsswitch.conf hosts \
             && for f in resolv.conf gai.conf nsswitch.conf; do mount --bind {0}/secret $f || exit 1; done \
             && mount --bind {0}/open hosts && echo ready && read wait",
            folder.path().display()
        );
        chown(folder.path(), Some(1000), Some(1000)).expect("an owner");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "unshare", "-Urm", "sh", "-c", &script]);
        let allowed = Command::new("setpriv")
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "unshare", "-Urm", "true"])
            .status();
        if !allowed.is_ok_and(|status| status.success()) {
            return skip("user namespaces are not allowed here");
        }
        let process = started(&mut command);
        let path = format!("/proc/{}/cwd/..", process.0.id());
        let credentials = Credentials::of(process.0.id()).expect("credentials");
        assert!(credentials.uid == 1000 && credentials.opens.is_empty(), "{credentials:?}");
        // With root's own rights they are there to be read, or nothing would be shown here.
        let plain = Root::open(path.clone().into()).expect("a root");
        assert_eq!(plain.text("/etc/resolv.conf", 4096).expect("the bait"), secret);
        let root = Root::open_as(path.into(), Some(credentials)).expect("a root");
        let fact = name_files::read(&root);
        assert!(fact.nameservers.is_empty() && fact.gai.is_empty() && fact.nsswitch.is_empty(), "{fact:?}");
        assert_eq!(fact.unreadable.len(), 3, "{fact:?}");
        assert_eq!(fact.hosts.len(), 1, "what it may read is read: {fact:?}");
    }

    #[test]
    fn groups_and_capabilities_count_and_end_with_the_thread() {
        if !lab() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        write(folder.path(), "group", "x", 0o640);
        chown(folder.path().join("group"), Some(0), Some(4242)).expect("an owner");
        write(folder.path(), "root", "x", 0o600);
        write(folder.path(), "other", "x", 0o600);
        chown(folder.path().join("other"), Some(4243), Some(4243)).expect("an owner");
        let reads = |uid, groups: &[u32], opens| {
            let credentials = Credentials { uid, gid: uid, groups: groups.to_vec(), opens };
            let root = Root::open_as(folder.path().to_owned(), Some(credentials)).expect("a root");
            ["group", "root", "other"].map(|name| root.bytes(name, 9).is_ok())
        };
        let none = CapabilitySet::empty();
        assert_eq!(reads(1000, &[], none), [false, false, false]);
        assert_eq!(reads(1000, &[4, 4242], none), [true, false, false]);
        assert_eq!(reads(0, &[], none), [true, true, false], "root of a container, without capabilities");
        assert_eq!(reads(0, &[], CapabilitySet::DAC_OVERRIDE), [true; 3]);
        assert_eq!(reads(4243, &[], none), [false, false, true]);
        assert!(std::fs::read(folder.path().join("other")).is_ok(), "this thread has what it had");
    }

    /// A service of root's on this machine is read as before.
    #[test]
    fn a_process_of_ones_own_is_read() {
        let root = Root::of(std::process::id()).expect("a root");
        assert!(!root.has("/proc/self/root"), "no magic links");
        assert!(root.has("/etc"));
        assert!(root.names("/", 1000).expect("names").contains(&"etc".to_owned()));
    }
}
