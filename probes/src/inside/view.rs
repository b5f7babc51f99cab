//! Whether a process sees this machine's files: its root directory is one half of the answer, its mounts are the other.

use std::os::linux::fs::MetadataExt;

use super::{name_files, root::Root};

/// The process has files of its own as far as names are concerned: another root directory, or other mounts under which the
/// resolver's files are not this machine's. With `ip netns exec`, with `BindReadOnlyPaths=` of a unit, or in a snap the root
/// directory is the same and a file is bound over one of `/etc` (mount_namespaces(7)); most units have a mount namespace of
/// their own (`PrivateTmp=`) and the same files all the same. `None`: it may not be looked at.
pub(super) fn own_files(pid: u32) -> Option<bool> {
    let same = |theirs: String, ours: &str| {
        let found = |path: &str| std::fs::metadata(path).ok().map(|found| (found.st_dev(), found.st_ino()));
        Some(found(&theirs)? == found(ours)?)
    };
    if !same(format!("/proc/{pid}/root/"), "/")? {
        return Some(true);
    }
    if same(format!("/proc/{pid}/ns/mnt"), "/proc/thread-self/ns/mnt")? {
        return Some(false);
    }
    let (Ok(theirs), Ok(ours)) = (Root::of(pid), Root::here()) else { return Some(true) };
    let theirs = name_files::read(&theirs);
    // What may not be read may be anything.
    Some(!theirs.unreadable.is_empty() || theirs != name_files::read(&ours))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader, Write},
        os::unix::fs::PermissionsExt,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::inside::testing;

    /// A process with mounts of its own, after `prepare` was run among them.
    fn in_own_mounts<T>(prepare: &str, work: impl FnOnce(u32) -> T) -> Option<T> {
        let script = format!("{prepare}; echo $$; read end");
        let mut command = Command::new("unshare");
        let flags = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
        command.args([flags, "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("an output")).read_line(&mut line).expect("a line");
        let done = line.trim().parse().ok().map(work);
        let _ = child.stdin.take().expect("an input").write_all(b"\n");
        let _ = child.wait();
        done
    }

    #[test]
    fn mounts_decide_whose_files_a_process_sees() {
        if !testing::lab() {
            return testing::skip("no namespaces can be made here");
        }
        assert_eq!(own_files(std::process::id()), Some(false));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("resolv.conf");
        fs::write(&file, "nameserver 203.0.113.53\n").expect("a file");
        let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        open(folder.path(), 0o755).expect("a mode");
        open(&file, 0o644).expect("a mode");
        let bind = format!("mount --bind {} /etc/resolv.conf", file.display());
        assert_eq!(in_own_mounts(&bind, own_files), Some(Some(true)));
        // Other mounts, and the same files: as most units have.
        assert_eq!(in_own_mounts("mount -t tmpfs none /mnt", own_files), Some(Some(false)));
    }
}
