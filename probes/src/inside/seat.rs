//! Where a process sits: its user, its namespaces, its control groups, and what else holds it. To be taken by another
//! process, which then has no more than it has.
//!
//! Everything is opened before anything is entered, and of one process: by a descriptor of its folder below `/proc`,
//! which stays that process's after its number was given away.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        linux::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sched::{CloneFlags, setns},
    sys::{
        stat::{Mode, stat},
        statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs},
    },
    unistd::{chdir, chroot, fchdir, geteuid},
};
use serde::{Deserialize, Serialize};

use super::{
    confine::{self, NOBODY},
    environment::Environment,
    proc_fs::{self, Status},
    read,
};
use crate::secret::Secret;

/// What is kept of the PDS's environment: where certificates are. None of it is a secret.
pub(super) const KEPT: &[&str] = &["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Why a program was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// The reason.
    pub(super) why: String,
    /// What it would take, where it is not more rights.
    pub(super) needs: Option<String>,
    /// More rights would help.
    pub(super) sudo: bool,
}

impl Refusal {
    pub(super) fn plain(why: &str) -> Self {
        Self { why: why.to_owned(), needs: None, sudo: false }
    }

    /// More rights would help.
    pub(super) fn denied(why: &str) -> Self {
        Self { sudo: true, ..Self::plain(why) }
    }

    fn needs(why: &str, needs: &str) -> Self {
        Self { needs: Some(needs.to_owned()), ..Self::plain(why) }
    }

    /// What the kernel refused, while `what` was done.
    fn of(what: &str, error: &io::Error) -> Self {
        let sudo = error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root();
        Self { sudo, ..Self::plain(&format!("{what}: {error}")) }
    }
}

/// Says what was done when the kernel refused.
trait During<T> {
    fn during(self, what: &str) -> Result<T, Refusal>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::of(what, &error.into()))
    }
}

/// Namespaces that are entered, the files last. That of processes is none of them: see [`super::helper`].
const NAMESPACES: &[(&str, CloneFlags)] = &[
    ("net", CloneFlags::CLONE_NEWNET),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    // Of any kind: nix has no name for that of time.
    ("time", CloneFlags::empty()),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// A PDS's place.
pub(super) struct Seat {
    program: PathBuf,
    /// What tells the program's file from others.
    file: (u64, u64),
    user: u32,
    group: u32,
    environment: Vec<(&'static str, OsString)>,
    limits: String,
    /// Files to which a process writes itself to be in the PDS's control groups.
    groups: Vec<File>,
    /// What `/proc/self/cgroup` must say then.
    grouped: String,
    namespaces: Vec<(&'static str, File, CloneFlags)>,
    /// `None`: this process's own.
    root: Option<File>,
}

impl Seat {
    /// Looks at the process, and opens what is needed to take its place.
    pub(super) fn look(pid: u32, started: Option<u64>) -> Result<Self, Refusal> {
        let folder = Folder::open(pid).during("the process cannot be looked at")?;
        if started.is_some() && folder.started() != started {
            return Err(Refusal::plain("it has ended"));
        }
        let program = folder.link("exe").during("its program cannot be looked at")?;
        let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !name.starts_with("node") || name.contains("(deleted)") {
            return Err(Refusal::plain("its program is no Node that is still there"));
        }
        let file = id(&folder.metadata("exe").during("its program cannot be looked at")?);
        let status = Status::at(folder.path("status")).during("its state cannot be read")?;
        if folder.id("ns/user").during("its namespaces cannot be looked at")? != own_id("ns/user")? {
            return Err(Refusal::needs(
                "it is in a user namespace that is not this machine's own, where its users are not what they seem",
                "a PDS outside of user namespaces, or its container's engine, asked by the user whose it is",
            ));
        }
        not_held_otherwise(&folder, &status)?;
        let (groups, grouped) = groups(&folder)?;
        let mut namespaces = Vec::new();
        for (name, flag) in NAMESPACES {
            let path = format!("ns/{name}");
            match folder.open_file(&path) {
                // A kernel without that kind.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => {
                    let opened = opened.during("its namespaces cannot be opened")?;
                    if id(&opened.metadata().during("its namespaces cannot be looked at")?) != own_id(&path)? {
                        namespaces.push((*name, opened, *flag));
                    }
                }
            }
        }
        let root = folder.metadata("root").during("its root cannot be looked at")?;
        let ours = std::fs::metadata("/").during("the root cannot be looked at")?;
        let elsewhere = id(&root) != id(&ours) || namespaces.iter().any(|(name, ..)| *name == "mnt");
        let root = elsewhere.then(|| folder.directory("root")).transpose().during("its root cannot be opened")?;
        let environment = folder.environment().during("its environment cannot be read")?;
        let (user, group) = ids(&status).ok_or_else(|| Refusal::plain("its user is not told"))?;
        Ok(Self {
            program,
            file,
            user,
            group,
            environment: KEPT.iter().filter_map(|key| Some((*key, environment.path(key)?))).collect(),
            limits: folder.text("limits").during("its limits cannot be read")?,
            groups,
            grouped,
            namespaces,
            root,
        })
    }

    /// The path of its program, in its own tree of files.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// What is kept of its environment.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.environment.iter().map(|(key, value)| (*key, value.as_os_str()))
    }

    /// Takes the place, for good. This process must have one thread.
    pub(super) fn take(mut self) -> Result<(), Refusal> {
        for group in &mut self.groups {
            group.write_all(b"0").during("its control groups cannot be joined")?;
        }
        let joined = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if joined != self.grouped {
            return Err(Refusal::plain("its control groups cannot be joined"));
        }
        // Where memory runs out this is to go, not the PDS. Raising it takes no right.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        confine::limit(&self.limits).during("its limits cannot be taken over")?;
        for (name, file, flag) in &self.namespaces {
            setns(file.as_fd(), *flag).during(&format!("its namespace ({name}) cannot be entered"))?;
        }
        if let Some(root) = &self.root {
            fchdir(root).during("its root cannot be entered")?;
            chroot(".").during("its root cannot be entered")?;
        }
        chdir("/").during("its root cannot be entered")?;
        confine::give_up(self.user, self.group).during("the rights could not be given up")?;
        // By its own rights now: the path may lead elsewhere, or nowhere.
        let found = stat(&self.program).during("its program is not to be had with its own rights")?;
        if (found.st_dev, found.st_ino) != self.file {
            return Err(Refusal::plain("another file is now where its program was"));
        }
        Ok(())
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.st_dev(), found.st_ino())
}

fn own_id(path: &str) -> Result<(u64, u64), Refusal> {
    Ok(id(&std::fs::metadata(format!("/proc/self/{path}")).during("the own namespaces cannot be looked at")?))
}

/// Never as root: in a container's own files that would be the container's word on what root does.
fn ids(status: &Status) -> Option<(u32, u32)> {
    let (users, groups) = (status.users()?, status.groups()?);
    if users.has_root() {
        return Some((NOBODY, NOBODY));
    }
    Some((users.effective, if groups.has_root() { NOBODY } else { groups.effective }))
}

/// What else may hold a process and cannot be taken over: filters of system calls, and the labels of AppArmor or SELinux.
/// Landlock is not told of a process (and is the process's own doing).
fn not_held_otherwise(folder: &Folder, status: &Status) -> Result<(), Refusal> {
    let own = Status::of_this_thread().during("the own state cannot be read")?.seccomp();
    let theirs = status.seccomp();
    // A stricter mode, or more filters than this process has.
    if theirs.0 > own.0 || theirs.1 > own.1 {
        return Err(Refusal::needs(
            "its system calls are filtered (seccomp), and nobody else can be put under its filter",
            "the engine of its container (docker.sock), or a service without SystemCallFilter",
        ));
    }
    // Without such a module the file is empty, or not to be read.
    let label = folder.text("attr/current").unwrap_or_default();
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let plain = |label: &str| label.trim_end_matches(['\0', '\n']).to_owned();
    let (label, own) = (plain(&label), plain(&own));
    if label != own && !is_unconfined(&label) {
        return Err(Refusal::needs(
            "it is held by a profile of AppArmor or SELinux, which cannot be taken over",
            "the engine of its container (docker.sock), or a PDS without a profile",
        ));
    }
    Ok(())
}

/// `unconfined` of AppArmor, `unconfined_t` and `unconfined_service_t` of SELinux.
fn is_unconfined(label: &str) -> bool {
    let kind = label.split(':').nth(2);
    label.is_empty()
        || label == "unconfined"
        || kind.is_some_and(|kind| kind.starts_with("unconfined") && kind.ends_with("_t"))
}

/// Opens the control groups of the process that are not this one's, in the tree that this process sees.
fn groups(folder: &Folder) -> Result<(Vec<File>, String), Refusal> {
    let theirs = folder.text("cgroup").unwrap_or_default();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut files = Vec::new();
    for line in theirs.lines().filter(|line| !own.lines().any(|known| known == *line)) {
        let opened = group(line, &mounts).map_err(|error| Refusal {
            sudo: error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root(),
            ..Refusal::plain(&format!("its control group {line} cannot be joined ({error}), and its limits are there"))
        })?;
        files.push(opened);
    }
    Ok((files, theirs))
}

/// The file of one control group: `line` is `hierarchy:controllers:path` (cgroups(7)).
fn group(line: &str, mounts: &str) -> io::Result<File> {
    let missing = |why: &str| io::Error::new(io::ErrorKind::NotFound, why);
    let mut parts = line.splitn(3, ':');
    let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(missing("not a line of a control group"));
    };
    let (root, point) = mounts
        .lines()
        .find_map(|line| hierarchy(line, controllers))
        .ok_or_else(|| missing("its hierarchy is not mounted here"))?;
    // Seen from a namespace of groups the path of one outside begins with `/..`.
    let below = Path::new(path).strip_prefix(root).map_err(|_| missing("it is outside of what is mounted here"))?;
    let directory: OwnedFd =
        nix::fcntl::open(Path::new(point), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new().flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    let file = File::from(openat2(directory, &below.join("cgroup.procs"), how)?);
    let kind = fstatfs(&file)?.filesystem_type();
    if kind != CGROUP_SUPER_MAGIC && kind != CGROUP2_SUPER_MAGIC {
        return Err(missing("what is mounted there is no control group"));
    }
    Ok(file)
}

/// Root and mount point of the hierarchy with these controllers (none: the unified one), if a line of
/// `/proc/self/mountinfo` is of it (proc_pid_mountinfo(5)): `… root point options - type source options`.
fn hierarchy<'a>(line: &'a str, controllers: &str) -> Option<(&'a str, &'a str)> {
    let (first, last) = line.split_once(" - ")?;
    let mut first = first.split(' ').skip(3);
    let (root, point) = (first.next()?, first.next()?);
    let mut last = last.split(' ');
    let (kind, options) = (last.next()?, last.nth(1)?);
    let is = match controllers {
        "" => kind == "cgroup2",
        _ => kind == "cgroup" && controllers.split(',').all(|name| options.split(',').any(|option| option == name)),
    };
    is.then_some((root, point))
}

/// The folder of one process below `/proc`.
struct Folder(OwnedFd);

impl Folder {
    fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match nix::fcntl::open(format!("/proc/{pid}").as_str(), flags, Mode::empty()) {
            Ok(folder) => Ok(Self(folder)),
            Err(Errno::ENOENT) => Err(io::Error::new(io::ErrorKind::NotFound, "it has ended")),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()).into()
    }

    fn text(&self, name: &str) -> io::Result<String> {
        read::text(self.path(name), read::SMALL)
    }

    fn link(&self, name: &str) -> io::Result<PathBuf> {
        std::fs::read_link(self.path(name))
    }

    fn metadata(&self, name: &str) -> io::Result<Metadata> {
        std::fs::metadata(self.path(name))
    }

    fn id(&self, name: &str) -> io::Result<(u64, u64)> {
        Ok(id(&self.metadata(name)?))
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        File::open(self.path(name))
    }

    /// A handle on a folder, which opens nothing (`O_PATH`, open(2)).
    fn directory(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::open(&self.path(name), flags, Mode::empty())?.into())
    }

    fn started(&self) -> Option<u64> {
        proc_fs::Stat(self.text("stat").ok()?).started_ticks()
    }

    fn environment(&self) -> io::Result<Environment> {
        Ok(Environment::new(&Secret::new(read::bytes(self.path("environ"), read::ENVIRONMENT)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_root() {
        let of = |users: &str, groups: &str| {
            ids(&Status::from(format!("Name:\tnode\nUid:\t{users}\nGid:\t{groups}\n").as_str()))
        };
        assert_eq!(of("1000 1000 1000 1000", "100 100 100 100"), Some((1000, 100)));
        assert_eq!(of("0 0 0 0", "0 0 0 0"), Some((NOBODY, NOBODY)));
        assert_eq!(of("1000 1000 0 1000", "100 100 100 100"), Some((NOBODY, NOBODY)));
        assert_eq!(of("1000 1000 1000 1000", "0 0 0 0"), Some((1000, NOBODY)));
        assert_eq!(ids(&"Uid:\t\nGid:\t\n".into()), None);
        assert_eq!(ids(&"Uid:\tx\n".into()), None);
    }

    #[test]
    fn labels_that_hold_nobody() {
        for free in ["", "unconfined", "system_u:system_r:unconfined_service_t:s0", "u:r:unconfined_t:s0-s0:c0.c1023"] {
            assert!(is_unconfined(free), "{free}");
        }
        for held in ["docker-default (enforce)", "system_u:system_r:container_t:s0:c1,c2", "unconfined//&x (mixed)"] {
            assert!(!is_unconfined(held), "{held}");
        }
    }

    #[test]
    fn hierarchies_are_found_and_nothing_outside_of_them() {
        let mounts = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
                      32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 30 0:29 /a /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let of = |controllers: &str| mounts.lines().find_map(|line| hierarchy(line, controllers));
        assert_eq!(of(""), Some(("/", "/sys/fs/cgroup/unified")));
        assert_eq!(of("cpu,cpuacct"), Some(("/", "/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(of("name=systemd"), Some(("/a", "/sys/fs/cgroup/systemd")));
        assert_eq!(of("pids"), None);
        // What is named there is not: a file system of another kind, a way upwards, a group that is not mounted.
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("cgroup.procs"), "").expect("a file");
        let line = format!("1 1 0:1 / {} rw - cgroup2 none rw", folder.path().display());
        for path in ["0::/", "0::/../x", "0::/../../../../etc", "0::/none", "0::", "nonsense", "7:pids:/"] {
            assert!(group(path, &line).is_err(), "{path}");
        }
    }
}
