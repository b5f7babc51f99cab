//! Giving up every right, for good, before a program of somebody else's is run.

use std::io;

use nix::{
    sys::{
        resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit},
        signal::Signal,
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid, getegid, geteuid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid},
};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

/// Who runs it where the PDS is run by root: `nobody`, the kernel's overflow user.
pub(super) const NOBODY: u32 = 65_534;

/// Bounds of what is run, each the lower of this and of the PDS's own limit.
const BOUNDS: &[(Resource, rlim_t)] = &[
    // One fetch takes less than a second of the processor's time.
    (Resource::RLIMIT_CPU, 15),
    (Resource::RLIMIT_CORE, 0),
    // It has nothing to write; what it may write to is the PDS's.
    (Resource::RLIMIT_FSIZE, 1024 * 1024),
    // The heap is held to 96 MiB; code, buffers and stacks come to less than 400 MiB.
    (Resource::RLIMIT_DATA, 2 * 1024 * 1024 * 1024),
];

/// Limits of a process, as `/proc/PID/limits` calls them.
const LIMITS: &[(&str, Resource)] = &[
    ("Max cpu time", Resource::RLIMIT_CPU),
    ("Max file size", Resource::RLIMIT_FSIZE),
    ("Max data size", Resource::RLIMIT_DATA),
    ("Max stack size", Resource::RLIMIT_STACK),
    ("Max core file size", Resource::RLIMIT_CORE),
    ("Max resident set", Resource::RLIMIT_RSS),
    ("Max processes", Resource::RLIMIT_NPROC),
    ("Max open files", Resource::RLIMIT_NOFILE),
    ("Max locked memory", Resource::RLIMIT_MEMLOCK),
    ("Max address space", Resource::RLIMIT_AS),
    ("Max file locks", Resource::RLIMIT_LOCKS),
    ("Max pending signals", Resource::RLIMIT_SIGPENDING),
    ("Max msgqueue size", Resource::RLIMIT_MSGQUEUE),
    ("Max nice priority", Resource::RLIMIT_NICE),
    ("Max realtime priority", Resource::RLIMIT_RTPRIO),
    ("Max realtime timeout", Resource::RLIMIT_RTTIME),
];

/// Takes over the limits of another process, of which `file` is `/proc/PID/limits`, and the bounds. None is ever raised.
pub(super) fn limit(file: &str) -> io::Result<()> {
    for (name, resource) in LIMITS {
        let (mut soft, mut hard) = getrlimit(*resource)?;
        let mut values =
            file.lines().find_map(|line| line.strip_prefix(name)).into_iter().flat_map(str::split_whitespace);
        let mut theirs = || values.next().map_or(RLIM_INFINITY, |value| value.parse().unwrap_or(RLIM_INFINITY));
        (soft, hard) = (soft.min(theirs()), hard.min(theirs()));
        if let Some((_, bound)) = BOUNDS.iter().find(|(bounded, _)| bounded == resource) {
            (soft, hard) = (soft.min(*bound), hard.min(*bound));
        }
        setrlimit(*resource, soft.min(hard), hard)?;
    }
    Ok(())
}

/// Becomes `user` and `group`, without any group or capability, and without a way to gain one.
///
/// # Errors
///
/// The kernel refused one of the steps, or did not do what it said: the process must end then.
pub(super) fn give_up(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    umask(Mode::from_bits_truncate(0o077));
    let root = geteuid().is_root();
    if root {
        for number in 0..u64::BITS {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                Ok(()) => {}
                // The last one that this kernel knows is behind.
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // No user is root to a program that is executed, and nothing can be kept over the change of the user.
        use CapabilitiesSecureBits as Bits;
        let bits = Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED;
        set_capabilities_secure_bits(bits)?;
        clear_ambient_capability_set()?;
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    nix::sys::prctl::set_no_new_privs()?;
    // Nobody of the same user may trace this process, or look into it.
    nix::sys::prctl::set_dumpable(false)?;
    // After the change of the user, which clears it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if root && !is_given_up(user, group)? {
        return Err(io::Error::other("the rights could not be given up"));
    }
    Ok(())
}

/// Looks whether all of it is so.
fn is_given_up(user: Uid, group: Gid) -> io::Result<bool> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let ids = [users.real, users.effective, users.saved, geteuid()].iter().all(|found| *found == user)
        && [groups.real, groups.effective, groups.saved, getegid()].iter().all(|found| *found == group);
    let sets = capabilities(None)?;
    let none = sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty();
    let bounding = (0..u64::BITS)
        .any(|number| matches!(capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)), Ok(true)));
    Ok(ids && none && !bounding && !user.is_root() && getgroups()?.is_empty() && nix::sys::prctl::get_no_new_privs()?)
}
