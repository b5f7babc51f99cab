//! What this process may have. With too little nothing can be measured, and what fails then must not look like a fault of
//! the other side.

use nix::sys::resource::{Resource, getrlimit};

/// The fewest open files with which anything can be measured: the three streams, what the runtime and its signals need,
/// a name server, a file of the system and a connection. With more than this and too few, the measurements that cannot be
/// made say so one by one.
const FILES: u64 = 16;

/// The least room for addresses: the program itself, its threads' stacks, and what a run may hold.
const ADDRESSES: u64 = 192 * 1024 * 1024;

/// The least stack of the first thread. An unoptimised build takes 100 KiB to read its command line.
const STACK: u64 = 512 * 1024;

/// Is there enough of a stack to go any further?
///
/// # Errors
///
/// What is missing, and how it is given.
pub fn enough_stack() -> Result<(), String> {
    let stack = getrlimit(Resource::RLIMIT_STACK).map_or(u64::MAX, |(soft, _)| soft);
    if stack < STACK {
        let words = "this machine cannot measure: this process may have a stack of";
        return Err(format!("{words} {} KiB, and needs at least {} KiB: ulimit -s 8192", stack >> 10, STACK >> 10));
    }
    Ok(())
}

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
