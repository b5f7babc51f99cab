//! What this process may have. With too little nothing can be measured, and what fails then must not look like a fault of
//! the other side.

use nix::sys::resource::{Resource, getrlimit};

/// The fewest open files with which anything can be measured: the three streams, what the runtime and its signals need,
/// a name server, a file of the system and a connection. With more than this and too few, the measurements that cannot be
/// made say so one by one.
const FILES: u64 = 16;

/// The least room for addresses: the program itself, its threads' stacks, and what a run may hold.
const ADDRESSES: u64 = 192 * 1024 * 1024;

/// Is there enough to begin with?
///
/// # Errors
///
/// What is missing, and how it is given.
pub fn enough() -> Result<(), String> {
    let limit = |resource| getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft);
    let files = limit(Resource::RLIMIT_NOFILE);
    if files < FILES {
        return Err(format!(
            "this machine cannot measure: this process may have {files} open files, and needs at least {FILES} \
             (256 for a whole run): ulimit -n 256"
        ));
    }
    let addresses = limit(Resource::RLIMIT_AS);
    if addresses < ADDRESSES {
        return Err(format!(
            "this machine cannot measure: this process may have {} MiB of memory, and needs at least {} MiB: \
             ulimit -v unlimited",
            addresses >> 20,
            ADDRESSES >> 20
        ));
    }
    Ok(())
}
