//! Reading files of the kernel's own (`/proc`, `/sys`): never more than asked for, never writing.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The most bytes of a small text file (settings, resolver configuration) that are read.
pub(crate) const SMALL: u64 = 64 * 1024;

/// The most bytes of a table of `/proc` that are read: a few thousand sockets or memory mappings.
pub(crate) const TABLE: u64 = 1024 * 1024;

/// The most bytes of an environment that are read (`MAX_ARG_STRLEN` is 128 KiB per string; real ones are below 16 KiB).
pub(crate) const ENVIRONMENT: u64 = 512 * 1024;

/// At most `limit` bytes of a file of the kernel's own (`/proc`, `/sys`).
pub(crate) fn bytes(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text.
pub(crate) fn text(path: impl AsRef<Path>, limit: u64) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(path, limit)?).into_owned())
}

/// A number in a file of the kernel.
pub(crate) fn number(path: impl AsRef<Path>) -> Option<i64> {
    text(path, 64).ok()?.trim().parse().ok()
}
