//! Facts about one process.

use super::{cgroup, environment::Environment, namespace, node, packages, proc_fs, read, root::Root};
use crate::{
    process_fact::{FoundBy, Libc, OpenFiles, ProcessFact},
    text::Text,
};

/// Clock ticks per second in what the kernel tells programs: `USER_HZ`, 100 on every architecture
/// that Rust's standard library supports (include/asm-generic/param.h).
pub(super) const USER_HZ: u64 = 100;

/// Examines a process. `None`: there is no such process.
pub(super) fn examine(pid: u32, found: FoundBy, because: &str) -> Option<ProcessFact> {
    let group = proc_fs::control_groups(pid).ok()?;
    let environment = Environment::of(pid).ok();
    let argv = proc_fs::arguments(pid);
    let (node_arguments, script) = node::arguments(&argv);
    let mut fact = ProcessFact {
        pid,
        found,
        because: Text::new(because),
        program: proc_fs::program(pid),
        script,
        confinement: cgroup::confinement(&group),
        own_network: own_network(pid),
        own_files: super::view::own_files(pid),
        uptime_s: uptime(pid),
        node: None,
        node_options: Vec::new(),
        node_arguments,
        libc: None,
        database_module: None,
        package: None,
        environment_read: environment.is_some(),
        hostname: None,
        port: None,
        open_files: open_files(pid),
        environment: Vec::new(),
        services: Vec::new(),
    };
    let root = Root::of(pid).ok();
    let maps = read::text(format!("/proc/{pid}/maps"), read::TABLE).unwrap_or_default();
    fact.libc = libc(&maps, root.as_ref());
    if let Some(root) = &root {
        let folder = proc_fs::folder(pid).ok();
        let found = packages::examine(root, &maps, &argv, folder.as_deref().and_then(std::path::Path::to_str));
        (fact.database_module, fact.package) = (found.database_module, found.pds);
    }
    let mut node_version = None;
    if let Some(environment) = &environment {
        fact.hostname = environment.hostname();
        fact.port = environment.port();
        fact.node_options = environment.node_options();
        fact.environment = environment.keys();
        fact.services = environment.services();
        node_version = environment.node_version();
    }
    let exe = proc_fs::exe(pid).ok();
    if let (Some(root), Some(exe)) = (root, exe.as_ref().and_then(|path| path.to_str())) {
        fact.node = node::find_version(&root, exe.trim_end_matches(" (deleted)"), node_version);
    }
    Some(fact)
}

/// What only the engine can say without the right to look at the process.
pub(super) fn add_environment(fact: &mut ProcessFact, environment: &Environment) {
    if fact.environment_read {
        return;
    }
    fact.environment_read = true;
    fact.hostname = environment.hostname();
    fact.port = environment.port();
    fact.node_options = environment.node_options();
    fact.environment = environment.keys();
    fact.services = environment.services();
    let source = crate::process_fact::NodeVersionSource::Environment;
    let version = environment.node_version();
    fact.node = fact.node.take().or(version.map(|version| crate::process_fact::NodeVersion { version, source }));
}

fn own_network(pid: u32) -> Option<bool> {
    Some(namespace::network_of(pid)? != namespace::network_here()?)
}

fn uptime(pid: u32) -> Option<u64> {
    let since_boot = read::text("/proc/uptime", 128).ok()?;
    let since_boot: f64 = since_boot.split_whitespace().next()?.parse().ok()?;
    Some((since_boot as u64).saturating_sub(proc_fs::started_ticks(pid)? / USER_HZ))
}

/// `/proc/PID/limits`: "Max open files   1024   524288   files".
fn open_files(pid: u32) -> Option<OpenFiles> {
    let limits = read::text(format!("/proc/{pid}/limits"), read::SMALL).ok()?;
    let mut values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
    let mut limit = || values.next().map(|value| value.parse().ok());
    Some(OpenFiles { soft: limit()?, hard: limit()? })
}

/// By the loader that is mapped into it, else by the one its root has.
fn libc(maps: &str, root: Option<&Root>) -> Option<Libc> {
    let names = maps.lines().filter_map(|line| line.split_whitespace().nth(5)?.rsplit('/').next());
    let mapped = names.filter_map(|name| {
        if name.starts_with("ld-musl-") || name.starts_with("libc.musl-") {
            Some(Libc::Musl)
        } else if name == "libc.so.6" || name.starts_with("libc-2.") || name.starts_with("ld-linux") {
            Some(Libc::Glibc)
        } else {
            None
        }
    });
    let mut mapped = mapped;
    mapped.next().or_else(|| {
        let names = root?.names("/lib", 4096).ok()?;
        let musl = names.iter().any(|name| name.starts_with("ld-musl-"));
        musl.then_some(Libc::Musl)
    })
}
