//! Files that the user or the environment names. In their place may stand a pipe that nobody writes to, a device without
//! an end, a folder: nothing here waits longer, or reads more, than it was told.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// A pipe or a device that gives nothing for this long (or takes nothing) is given up.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Opens without waiting (open(2)).
pub const NONBLOCK: i32 = OFlag::O_NONBLOCK.bits();

/// `O_NONBLOCK`: the opening of a pipe does not wait for the other end (fifo(7)); an ordinary file takes no notice of it.
/// `O_NOCTTY`: a terminal that is opened does not become ours.
fn flags() -> i32 {
    (OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits()
}

fn refuse(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

/// All of it, if it is no larger than `limit`. A pipe (`<(…)` of a shell) and a device may be read too, for as long as
/// something comes within `patience` altogether.
///
/// # Errors
///
/// Those of opening and reading; larger than `limit`; nothing came in time; a folder, a socket or a disk.
pub fn read(path: &Path, limit: u64, patience: Duration) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(flags()).open(path)?;
    let found = file.metadata()?;
    let kind = found.file_type();
    if kind.is_dir() || kind.is_block_device() || kind.is_socket() {
        return Err(refuse("not a file that can be read"));
    }
    let bytes = pieces(&file, &found, limit.saturating_add(1), patience)?;
    if bytes.len() as u64 > limit {
        return Err(refuse(format!("larger than {}", size(limit))));
    }
    Ok(bytes)
}

/// The beginning of an ordinary file, at most `limit` bytes of it.
///
/// # Errors
///
/// Those of opening and reading; not an ordinary file.
pub fn beginning(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = ordinary(path)?;
    let found = file.metadata()?;
    pieces(&file, &found, limit, PATIENCE)
}

/// Opens an ordinary file for reading.
///
/// # Errors
///
/// Those of opening; not an ordinary file.
pub fn ordinary(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refuse("not an ordinary file")) }
}

fn pieces(mut file: &File, found: &Metadata, limit: u64, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    let expected = found.len().min(limit);
    if found.is_file() {
        // The size may be a lie (a file of the kernel has none): what is reserved is only a beginning.
        bytes.reserve(usize::try_from(expected).unwrap_or(0).saturating_add(1));
    }
    let mut piece = vec![0; PIECE];
    while (bytes.len() as u64) < limit {
        // Read first: of a pipe that nobody ever opened for writing poll(2) knows no end.
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(file, PollFlags::POLLIN, deadline, "nothing came within")?;
            }
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// Opens for writing what is no ordinary file: a device, or a pipe that somebody reads from (`>(…)` of a shell).
///
/// # Errors
///
/// Those of opening; a pipe from which nobody reads; a folder, a socket or a disk.
pub fn open_device(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(refuse("a folder"));
    }
    if !kind.is_fifo() && !kind.is_char_device() {
        return Err(refuse("neither a file, a pipe nor a terminal"));
    }
    let opened = OpenOptions::new().write(true).custom_flags(flags()).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(errno) if errno == nix::errno::Errno::ENXIO as i32 => refuse("a pipe from which nobody reads"),
        _ => error,
    })
}

/// Writes all of it. Where nothing was taken for `patience`, it is given up.
///
/// # Errors
///
/// Those of writing; nothing was taken in time.
pub fn write(mut file: &File, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let deadline = Instant::now() + patience;
        wait(file, PollFlags::POLLOUT, deadline, "nothing was taken within")?;
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if is_for_the_moment(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a file may be made in a folder: it is one, and may be written. Nothing is made.
///
/// # Errors
///
/// Why not.
pub fn may_create_in(folder: &Path) -> io::Result<()> {
    if !std::fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)?)
}

/// Who this process is.
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Standard output by a descriptor of its own.
///
/// # Errors
///
/// There is no room for another descriptor.
pub fn standard_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn is_for_the_moment(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Until something can be read or written.
fn wait(file: &File, events: PollFlags, deadline: Instant, late: &str) -> io::Result<()> {
    let started = Instant::now();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(file.as_fd(), events)], timeout) {
            Ok(0) => {
                let seconds = deadline.saturating_duration_since(started).as_secs_f32();
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{late} {seconds:.0} s")));
            }
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes >= MIB { format!("{} MiB", bytes / MIB) } else { format!("{} KiB", bytes / 1024) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn fifo(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        path
    }

    #[test]
    fn nothing_is_waited_for_and_nothing_is_endless() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = fifo(folder.path());
        let began = Instant::now();
        // Nobody writes: there is nothing in it.
        assert_eq!(read(&fifo, 10, SHORT).expect("an empty pipe"), b"");
        assert!(ordinary(&fifo).is_err() && beginning(&fifo, 10).is_err() && open_device(&fifo).is_err());
        // Somebody might write, and does not.
        let both = OpenOptions::new().read(true).write(true).open(&fifo).expect("both ends");
        assert_eq!(read(&fifo, 10, SHORT).expect_err("silence").kind(), io::ErrorKind::TimedOut);
        (&both).write_all(b"words").expect("room");
        // More may come: the end is not known before the time is up.
        assert!(read(&fifo, 10, SHORT).is_err());
        assert!(
            read(Path::new("/dev/zero"), 100_000, SHORT).is_err_and(|it| it.to_string().contains("larger than 97 KiB"))
        );
        assert_eq!(read(Path::new("/dev/null"), 10, SHORT).expect("nothing"), b"");
        assert!(read(folder.path(), 10, SHORT).is_err());
        assert!(began.elapsed() < SHORT * 10);
    }

    #[test]
    fn the_end_of_a_pipe_is_the_end_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = fifo(folder.path());
        let reader = OpenOptions::new().read(true).custom_flags(flags()).open(&fifo).expect("one end");
        let writer = open_device(&fifo).expect("the other end");
        write(&writer, b"words", SHORT).expect("room");
        drop(writer);
        assert_eq!(read(&fifo, 10, SHORT).expect("words"), b"words");
        drop(reader);
    }

    #[test]
    fn a_reader_that_stopped_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = fifo(folder.path());
        let _reader = OpenOptions::new().read(true).custom_flags(flags()).open(&fifo).expect("a reader");
        let writer = open_device(&fifo).expect("a pipe");
        let error = write(&writer, &vec![0; 1024 * 1024], SHORT).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        write(&open_device(Path::new("/dev/null")).expect("a device"), b"x", SHORT).expect("taken");
        assert!(open_device(folder.path()).is_err());
    }

    #[test]
    fn what_is_too_large_is_refused_or_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "x".repeat(100)).expect("a file");
        assert_eq!(read(&path, 100, SHORT).expect("all").len(), 100);
        assert!(read(&path, 99, SHORT).is_err());
        assert_eq!(beginning(&path, 99).expect("a part").len(), 99);
    }
}
