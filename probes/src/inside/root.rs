//! Reading files of containers and of other processes: never more than asked for, never writing, and never waiting for
//! what a container put in place of a file.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{SFlag, fstat},
};

use super::credentials::Credentials;

/// A tree of files as a process sees it: this machine's, or a container's through `/proc/PID/root`. What is below
/// another process's root is read with that process's rights ([`Credentials`]), never with more.
pub(crate) struct Root {
    directory: OwnedFd,
    /// `None`: the caller's own.
    rights: Option<Credentials>,
}

impl Root {
    /// This machine's.
    pub(crate) fn here() -> io::Result<Self> {
        Self::open("/".into())
    }

    /// That of a process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        // Its rights first: where the process ends between the two, its successor's root is not read with them.
        let rights = Credentials::of(pid)?;
        let root = Self::open_as(format!("/proc/{pid}/root").into(), Some(rights))?;
        if root.rights != Some(Credentials::of(pid)?) {
            return Err(io::Error::other("the process changed while it was looked at"));
        }
        Ok(root)
    }

    /// That of a directory.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        Self::open_as(path, None)
    }

    /// That of a directory, to be read with these rights.
    pub(crate) fn open_as(path: PathBuf, rights: Option<Credentials>) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = nix::fcntl::open(&path, flags, nix::sys::stat::Mode::empty())?;
        Ok(Self { directory, rights })
    }

    /// At most `limit` bytes of the ordinary file at `path`.
    ///
    /// What a container says of its files is not to be trusted: a link must not lead out of its tree
    /// (`RESOLVE_IN_ROOT`, openat2(2); through a plain `/proc/PID/root/etc/hosts` an absolute link
    /// would lead into *our* tree), and a pipe or a device must not be opened at all.
    pub(crate) fn bytes(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The same as text.
    pub(crate) fn text(&self, path: &str, limit: u64) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path, limit)?).into_owned())
    }

    /// Opens the ordinary file at `path` for reading.
    pub(crate) fn file(&self, path: &str) -> io::Result<File> {
        self.as_its_own(|| {
            let found = self.find(path, OFlag::empty())?;
            let stat = fstat(&found)?;
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an ordinary file"));
            }
            File::open(handle(&found))
        })
    }

    /// The names in the directory at `path`, sorted; at most `limit`.
    pub(crate) fn names(&self, path: &str, limit: usize) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self.as_its_own(|| {
            let found = self.find(path, OFlag::O_DIRECTORY)?;
            let entries = fs::read_dir(handle(&found))?.take(limit);
            Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        })?;
        names.sort();
        Ok(names)
    }

    /// Something is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.as_its_own(|| self.find(path, OFlag::empty())).is_ok()
    }

    fn as_its_own<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.rights {
            Some(rights) => rights.with(work),
            None => work(),
        }
    }

    fn find(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(self.directory.as_fd(), path, how)?)
    }
}

/// A way to open again what an `O_PATH` descriptor stands for.
fn handle(found: &OwnedFd) -> PathBuf {
    format!("/proc/thread-self/fd/{}", found.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn nothing_leads_out_of_a_root_and_nothing_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("outside"), "secret").expect("a file");
        let inner = folder.path().join("inner");
        fs::create_dir_all(inner.join("etc")).expect("a folder");
        fs::write(inner.join("etc/real"), "x".repeat(1000)).expect("a file");
        symlink("/etc/real", inner.join("etc/absolute")).expect("a link");
        symlink("../../../../outside", inner.join("etc/upwards")).expect("a link");
        symlink("loop", inner.join("etc/loop")).expect("a link");
        let fifo = inner.join("etc/fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
        let root = Root::open(inner).expect("a root");
        assert_eq!(root.bytes("/etc/real", 10).expect("bytes").len(), 10);
        assert_eq!(root.text("etc/absolute", 2000).expect("text").len(), 1000);
        for bad in ["/etc/upwards", "/../outside", "/etc/loop", "/etc/fifo", "/etc", "/dev/null", "/missing"] {
            assert!(root.bytes(bad, 10).is_err(), "{bad}");
        }
        assert_eq!(root.names("/etc", 100).expect("names"), ["absolute", "fifo", "loop", "real", "upwards"]);
        assert!(root.has("/etc/fifo") && !root.has("/etc/none"));
    }
}
