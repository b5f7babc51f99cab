//! Kernel settings: what they are, and what the files would make them at the next boot.

use std::collections::BTreeMap;

use super::{read, root::Root};
use crate::{
    fact::{FactBody, ProbeName},
    host_fact::{BootValue, BootVia, SysctlFact, SysctlValue},
    net::Net,
    text::Text,
};

/// Settings of an interface, of `all` and of `default` (Documentation/networking/ip-sysctl).
const V6: &[&str] =
    &["accept_ra", "accept_ra_defrtr", "accept_ra_rt_info_max_plen", "autoconf", "disable_ipv6", "forwarding"];
const V4: &[&str] = &["forwarding"];

/// Settings of a whole network namespace.
const WHOLE: &[&str] =
    &["net/ipv4/ip_forward", "net/ipv4/tcp_mtu_probing", "net/ipv4/tcp_syn_retries", "net/ipv6/bindv6only"];

/// Settings whose change at `all` the kernel carries to every interface. `accept_ra` at `all` is
/// remembered and heeded by nothing (net/ipv6/addrconf.c), a well-known trap.
const CARRIED: &[&str] = &["forwarding", "disable_ipv6"];

/// The most files and lines that are read.
const FILES: usize = 200;
const LINES: usize = 5_000;

/// What the files say.
#[derive(Clone, Debug, Default)]
pub(super) struct Boot {
    /// In the order in which they are applied.
    lines: Vec<Line>,
    /// `/etc/sysctl.conf`, where nothing reads it.
    unread: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// With `/` between its parts, as below `/proc/sys`; may be a pattern.
    key: String,
    /// `None`: the key is taken out of patterns (`-key`, sysctl.d(5)).
    value: Option<String>,
    file: String,
}

/// The directories, the strongest first: a file hides those of the same name further on (sysctl.d(5)).
const FOLDERS: &[&str] =
    &["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

const OLD_FILE: &str = "/etc/sysctl.conf";

/// Reads the files of this machine.
pub(super) fn boot(root: &Root) -> Boot {
    // By name, whatever the directory; the strongest directory first.
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for folder in FOLDERS {
        for name in root.names(folder, FILES).unwrap_or_default() {
            if name.ends_with(".conf") {
                files.entry(name.clone()).or_insert_with(|| format!("{folder}/{name}"));
            }
        }
    }
    let mut boot = Boot::default();
    let mut linked = false;
    let old = root.text(OLD_FILE, read::SMALL).unwrap_or_default();
    for path in files.into_values().take(FILES) {
        // A link to /dev/null switches a file off: it is no ordinary file, so nothing is read.
        let text = root.text(&path, read::SMALL).unwrap_or_default();
        // Debian had `/etc/sysctl.d/99-sysctl.conf` lead to it.
        linked |= path.ends_with("/99-sysctl.conf") && text == old;
        boot.lines.extend(lines(&text, &path));
    }
    let old = lines(&old, OLD_FILE);
    // systemd-sysctl reads only the directories (sysctl.d(5)); `sysctl --system` of procps and
    // busybox read the old file too, and last.
    let systemd = root.has("/run/systemd/system");
    match (linked, systemd) {
        (true, _) => {}
        (false, true) => boot.unread = old,
        (false, false) => boot.lines.extend(old),
    }
    boot.lines.truncate(LINES);
    boot
}

fn lines(text: &str, file: &str) -> Vec<Line> {
    let line = |line: &str| {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return None;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key.trim().trim_start_matches('-'), Some(value.trim().to_owned())),
            None => (line.strip_prefix('-')?.trim(), None),
        };
        (!key.is_empty()).then(|| Line { key: normal(key), value, file: file.to_owned() })
    };
    text.lines().take(LINES).filter_map(line).collect()
}

/// `net.ipv6.conf.eth0/1.accept_ra` and `net/ipv6/conf/eth0.1/accept_ra` are the same: whichever of
/// `.` and `/` comes first separates, and stands for the other (sysctl.d(5)).
fn normal(key: &str) -> String {
    let dotted = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'.');
    if !dotted {
        return key.to_owned();
    }
    key.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

impl Boot {
    /// What the files make of a setting.
    fn of(&self, key: &str) -> Option<BootValue> {
        let told = |line: &Line, via| {
            let value = line.value.as_deref()?;
            Some(BootValue { value: Text::limited(value, 60), file: Text::limited(&line.file, 160), via })
        };
        // The last word counts; a name always beats a pattern (sysctl.d(5)).
        if let Some(line) = self.lines.iter().rev().find(|line| line.key == key) {
            return told(line, BootVia::Key);
        }
        let pattern =
            |line: &&Line| line.value.is_some() && line.key.contains(['*', '?', '[']) && matches(&line.key, key);
        if let Some(line) = self.lines.iter().rev().find(pattern) {
            return told(line, BootVia::Pattern);
        }
        self.of_all(key).or_else(|| self.of_default(key)).or_else(|| {
            let line = self.unread.iter().rev().find(|line| line.key == key)?;
            told(line, BootVia::Unread)
        })
    }

    /// By what the kernel carries over from `all`; `ip_forward` is `conf/all/forwarding` by another name.
    fn of_all(&self, key: &str) -> Option<BootValue> {
        let (family, interface, name) = parts(key)?;
        if matches!(interface, "all" | "default") && name != "forwarding" || interface == "all" {
            return None;
        }
        let mut keys = Vec::new();
        if CARRIED.contains(&name) {
            keys.push(format!("net/{family}/conf/all/{name}"));
        }
        if family == "ipv4" && name == "forwarding" {
            keys.push("net/ipv4/ip_forward".to_owned());
        }
        let line = self.lines.iter().rev().find(|line| keys.contains(&line.key))?;
        Some(BootValue {
            value: Text::limited(line.value.as_deref()?, 60),
            file: Text::limited(&line.file, 160),
            via: BootVia::All,
        })
    }

    fn of_default(&self, key: &str) -> Option<BootValue> {
        let (family, interface, name) = parts(key)?;
        if matches!(interface, "all" | "default" | "lo") {
            return None;
        }
        let line = self.lines.iter().rev().find(|line| line.key == format!("net/{family}/conf/default/{name}"))?;
        Some(BootValue {
            value: Text::limited(line.value.as_deref()?, 60),
            file: Text::limited(&line.file, 160),
            via: BootVia::Default,
        })
    }

    /// The files that switch forwarding on: `file: key = value`.
    pub(super) fn forwarding(&self) -> Vec<Text> {
        let forwards = |line: &&Line| {
            let is = line.key == "net/ipv4/ip_forward" || line.key.ends_with("/forwarding");
            is && line.value.as_deref().is_some_and(|value| value != "0")
        };
        let words = |line: &Line| {
            let value = line.value.as_deref().unwrap_or_default();
            Text::limited(&format!("{}: {} = {value}", line.file, line.key.replace('/', ".")), 200)
        };
        let mut files: Vec<Text> = self.lines.iter().filter(forwards).map(words).collect();
        files.dedup();
        files.truncate(16);
        files
    }
}

/// `net/ipv6/conf/eth0/accept_ra` → (`ipv6`, `eth0`, `accept_ra`).
fn parts(key: &str) -> Option<(&str, &str, &str)> {
    let mut parts = key.strip_prefix("net/")?.split('/');
    let (family, conf, interface, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (conf == "conf" && parts.next().is_none()).then_some((family, interface, name))
}

/// glob(7) as far as such files use it: `*` and `?` within one part, and sets.
fn matches(pattern: &str, key: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), key.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern.as_bytes(), part.as_bytes(), 0) => {}
            _ => return false,
        }
    }
}

fn part_matches(pattern: &[u8], part: &[u8], depth: u8) -> bool {
    // A pattern with many stars takes exponential time; none that anybody means has more than a few.
    if depth > 4 {
        return false;
    }
    match (pattern.first(), part.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            let rest = &pattern[1..];
            (0..=part.len()).any(|skip| part_matches(rest, &part[skip..], depth + 1))
        }
        (Some(b'?'), Some(_)) => part_matches(&pattern[1..], &part[1..], depth),
        (Some(b'['), Some(byte)) => {
            let Some(end) = pattern.iter().position(|c| *c == b']').filter(|end| *end > 1) else { return false };
            let set = &pattern[1..end];
            let range = set.len() == 3 && set[1] == b'-' && (set[0]..=set[2]).contains(byte);
            (range || set.contains(byte)) && part_matches(&pattern[end + 1..], &part[1..], depth)
        }
        (Some(a), Some(b)) if a == b => part_matches(&pattern[1..], &part[1..], depth),
        _ => false,
    }
}

/// The settings of this thread's network namespace: `/proc/sys/net` shows those of whoever looks
/// (`net_ctl_header_lookup`, net/sysctl_net.c), so a thread that has entered a namespace sees its.
/// Records [`SysctlFact`]s. `boot` holds for this machine only: a container's are set by its engine.
pub(super) fn settings(net: &Net, interfaces: &[&str], boot: &Boot) -> Vec<SysctlFact> {
    let mut facts = Vec::new();
    let value = |key: String| {
        let boot = boot.of(&key);
        SysctlValue { live: read::number(format!("/proc/sys/{key}")), key: Text::limited(&key, 120), boot }
    };
    let job = net.begin(ProbeName::HostSettings, "the kernel's settings");
    let whole = SysctlFact { interface: None, values: WHOLE.iter().map(|key| value((*key).to_owned())).collect() };
    job.finish(FactBody::Sysctl(whole.clone()));
    facts.push(whole);
    for interface in ["all", "default"].iter().chain(interfaces) {
        // A name with a slash or dots could lead anywhere; the kernel forbids them (dev_valid_name), but
        // then it also forbids nothing else.
        if interface.contains('/') || interface.contains("..") {
            continue;
        }
        let job = net.begin(ProbeName::HostSettings, format!("the settings of {interface}"));
        let keys = [("ipv4", V4), ("ipv6", V6)];
        let keys = keys.iter().flat_map(|(family, names)| names.iter().map(move |name| (family, name)));
        let values: Vec<SysctlValue> =
            keys.map(|(family, name)| value(format!("net/{family}/conf/{interface}/{name}"))).collect();
        let fact = SysctlFact { interface: Some(Text::limited(interface, 40)), values };
        job.finish(FactBody::Sysctl(fact.clone()));
        facts.push(fact);
    }
    facts
}

#[cfg(test)]
mod tests;
