//! What the kernel tells of a process below `/proc` (proc(5)): the one place where these files are read and taken apart.
//! It knows nothing of PDSes, and nothing else of this crate's looks there but who holds a process by a descriptor.

use std::{fs, io, path::PathBuf, time::Duration};

use nix::time::{ClockId, clock_gettime};

use super::read;
use crate::{secret::Secret, text::Text};

/// The most processes that are looked at.
pub(super) const PROCESSES: usize = 20_000;

/// A process can be in 65,536 groups (`NGROUPS_MAX`, credentials(7)), which stand before what else is asked of its state.
const STATUS: u64 = 1024 * 1024;

/// The most open files of a process that are looked at.
const FILES: usize = 4096;

/// The processes of this machine that may be seen, in the order of their numbers; at most [`PROCESSES`].
pub(super) fn pids() -> Vec<u32> {
    let mut pids: Vec<u32> = every_pid().take(PROCESSES).collect();
    pids.sort_unstable();
    pids
}

/// However many there are, in no order.
pub(super) fn every_pid() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// How long this thread has had the processor (clock_gettime(2), `CLOCK_THREAD_CPUTIME_ID`).
pub(super) fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// There is such a process.
pub(super) fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// The name that a process has, or has given itself, cut to 15 characters (proc_pid_comm(5)).
pub(super) fn comm(pid: u32) -> String {
    let name = read::text(format!("/proc/{pid}/comm"), 64).unwrap_or_default();
    name.trim().to_owned()
}

/// The name of its program's file, or else the process's own.
pub(super) fn program(pid: u32) -> Text {
    let name = exe(pid).ok();
    let name = name.as_ref().and_then(|path| path.file_name()?.to_str().map(|name| name.replace(" (deleted)", "")));
    Text::limited(&name.unwrap_or_else(|| comm(pid)), 80)
}

/// The path of its program, in its own tree of files.
pub(super) fn exe(pid: u32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe"))
}

/// The folder that it is in, in its own tree of files.
pub(super) fn folder(pid: u32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd"))
}

/// The arguments of a process. They may hold secrets: only names and known flags are ever kept of them.
pub(super) fn arguments(pid: u32) -> Vec<String> {
    let raw = read::bytes(format!("/proc/{pid}/cmdline"), read::SMALL).unwrap_or_default();
    raw.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The environment that a process was started with. What it changed itself since then is not in it.
pub(super) fn environment(pid: u32) -> io::Result<Secret> {
    Ok(Secret::new(read::bytes(format!("/proc/{pid}/environ"), read::ENVIRONMENT)?))
}

/// Its control groups, a line each (cgroups(7)).
pub(super) fn control_groups(pid: u32) -> io::Result<String> {
    read::text(format!("/proc/{pid}/cgroup"), read::SMALL)
}

/// Its namespace of a kind (`pid`), as the kernel names it.
pub(super) fn namespace(pid: u32, kind: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

/// How its user namespace numbers users (`uid_map`) or groups (`gid_map`), a line each (user_namespaces(7)).
pub(super) fn id_map(pid: u32, kind: &str) -> io::Result<String> {
    read::text(format!("/proc/{pid}/{kind}"), read::SMALL)
}

/// The sockets that a process holds, by their numbers; none without the right to look.
pub(super) fn sockets(pid: u32) -> Vec<u64> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let inode = |file: fs::DirEntry| {
        let link = fs::read_link(file.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    files.flatten().take(FILES).filter_map(inode).collect()
}

/// When it was started, in ticks after boot: with its number, that is one process.
pub(super) fn started_ticks(pid: u32) -> Option<u64> {
    Stat(read::text(format!("/proc/{pid}/stat"), 4096).ok()?).started_ticks()
}

/// The process that it is a child of.
pub(super) fn parent(pid: u32) -> Option<u32> {
    Stat(read::text(format!("/proc/{pid}/stat"), 4096).ok()?).field(4)
}

/// The text of `/proc/PID/stat`.
pub(super) struct Stat(pub(super) String);

impl Stat {
    /// Field 22 (proc_pid_stat(5)).
    pub(super) fn started_ticks(&self) -> Option<u64> {
        self.field(22)
    }

    /// A field by its number, behind the name in field 2: that may hold anything, brackets and blanks too, so fields are
    /// counted from its last bracket.
    fn field<T: std::str::FromStr>(&self, number: usize) -> Option<T> {
        self.0.rsplit_once(')')?.1.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
    }
}

/// The ids of a user or of a group that a process has (credentials(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    /// For opening files.
    pub(super) files: u32,
}

impl Ids {
    /// One of them is root's.
    pub(super) fn has_root(self) -> bool {
        [self.real, self.effective, self.saved, self.files].contains(&0)
    }
}

/// The state of a process, as `/proc/PID/status` has it (proc_pid_status(5)).
pub(super) struct Status(String);

impl Status {
    /// That of a process.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Self::at(format!("/proc/{pid}/status"))
    }

    /// That of the calling thread.
    pub(super) fn of_this_thread() -> io::Result<Self> {
        Self::at("/proc/thread-self/status")
    }

    /// That in a file.
    pub(super) fn at(path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        Ok(Self(read::text(path, STATUS)?))
    }

    /// Its user.
    pub(super) fn users(&self) -> Option<Ids> {
        self.ids("Uid:")
    }

    /// Its first group.
    pub(super) fn groups(&self) -> Option<Ids> {
        self.ids("Gid:")
    }

    /// The other groups that it is in.
    pub(super) fn other_groups(&self) -> Option<Vec<u32>> {
        self.line("Groups:")?.split_whitespace().map(|group| group.parse().ok()).collect()
    }

    /// Its effective capabilities, a bit each.
    pub(super) fn capabilities(&self) -> Option<u64> {
        u64::from_str_radix(self.line("CapEff:")?.trim(), 16).ok()
    }

    /// Whether, and by how many filters, its system calls are filtered. Kernels before 5.9 do not count them.
    pub(super) fn seccomp(&self) -> (u64, u64) {
        let number = |name| self.line(name).and_then(|value| value.trim().parse().ok()).unwrap_or(0);
        (number("Seccomp:"), number("Seccomp_filters:"))
    }

    fn ids(&self, name: &str) -> Option<Ids> {
        let mut words = self.line(name)?.split_whitespace().map(|word| word.parse().ok());
        let mut next = || words.next().flatten();
        Some(Ids { real: next()?, effective: next()?, saved: next()?, files: next()? })
    }

    fn line(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name))
    }
}

#[cfg(test)]
impl From<&str> for Status {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_says() {
        let status = Status::from(
            "Name:\tnode\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nGroups:\t4 24 \n\
             CapEff:\t0000000000000006\nSeccomp:\t2\nSeccomp_filters:\t3\n",
        );
        assert_eq!(status.users(), Some(Ids { real: 1000, effective: 1001, saved: 1002, files: 1003 }));
        assert_eq!(status.groups().map(|ids| ids.effective), Some(6));
        assert_eq!(status.other_groups(), Some(vec![4, 24]));
        assert_eq!((status.capabilities(), status.seccomp()), (Some(6), (2, 3)));
        for bad in ["", "Uid:\t1\t1\t1\n", "Uid:\tx\tx\tx\tx\n"] {
            let status = Status::from(bad);
            assert_eq!((status.users(), status.groups(), status.other_groups()), (None, None, None), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_forge_what_stands_behind_it() {
        let stat = |name: &str| {
            let rest: String = (3..=52).map(|field| format!(" {field}")).collect();
            Stat(format!("77 ({name}){rest}"))
        };
        for name in ["node", "a) S 1 2 3 (b", ")", "x y"] {
            assert_eq!((stat(name).field(4), stat(name).started_ticks()), (Some(4_u32), Some(22)), "{name}");
        }
        assert_eq!(Stat(String::new()).started_ticks(), None);
    }

    #[test]
    fn this_process_is_told_as_it_is() {
        let own = std::process::id();
        assert!(pids().contains(&own) && exists(own) && !exists(u32::MAX));
        assert_eq!(parent(own), Some(std::os::unix::process::parent_id()));
        assert!(started_ticks(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(Status::of(own).expect("a state").users().map(|ids| ids.real), Some(nix::unistd::getuid().as_raw()));
        assert!(arguments(own)[0].contains(program(own).as_str()));
    }
}
