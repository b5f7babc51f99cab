//! Whose a process is, and whether its word counts.

use super::{
    cgroup,
    proc_fs::{self, Status},
};
use crate::process_fact::ConfinementKind;

/// Whose a process is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    /// All of its control groups.
    group: String,
    /// Its user, where others may be in the same groups: a service and a container have theirs for themselves.
    user: Option<u32>,
}

impl Owner {
    pub(super) fn of(pid: u32) -> Self {
        let group = proc_fs::control_groups(pid).unwrap_or_default();
        let apart = cgroup::confinement(&group).kind != ConfinementKind::None;
        Self { group, user: user(pid).filter(|_| !apart) }
    }
}

/// The effective user of a process.
fn user(pid: u32) -> Option<u32> {
    Some(Status::of(pid).ok()?.users()?.effective)
}

/// Of another ordinary user than the one who asks, and no service of the machine's: root starts those.
pub(super) fn is_a_strangers(pid: u32) -> bool {
    let Some(user) = user(pid) else { return true };
    let own = nix::unistd::geteuid().as_raw();
    // Who asks by sudo is known to it (sudo(8)).
    let asks = std::env::var("SUDO_UID").ok().and_then(|user| user.parse().ok());
    let groups = proc_fs::control_groups(pid).unwrap_or_default();
    let is_service =
        groups.lines().any(|line| line.split(':').nth(2).is_some_and(|path| path.starts_with("/system.slice/")));
    user != 0 && user != own && Some(user) != asks && !is_service
}

/// A process in words.
pub(super) fn words(pid: u32) -> String {
    let user = user(pid).map_or_else(|| "a user that is not told".to_owned(), |user| format!("user {user}"));
    format!("process {pid} ({user}, program {})", proc_fs::program(pid))
}
