//! The files that say how names are resolved, as a process sees them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use super::{read, root::Root};
use crate::{
    host_fact::{HostsEntry, NameFilesFact},
    text::Text,
};

/// The most entries of each kind that are kept.
const ENTRIES: usize = 48;

/// Reads them in the tree of `root`. Of what stands in them only what their grammar knows is kept: anything may lie in
/// their place, and none of it is anybody's business.
pub(super) fn read(root: &Root) -> NameFilesFact {
    let mut fact = NameFilesFact::default();
    let mut unreadable = Vec::new();
    let mut file = |path: &str| match root.text(path, read::SMALL) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                unreadable.push(Text::limited(&format!("{path}: {error}"), 120));
            }
            String::new()
        }
    };
    resolv_conf(&file("/etc/resolv.conf"), &mut fact);
    fact.hosts = file("/etc/hosts").lines().filter_map(hosts_entry).take(ENTRIES).collect();
    let nsswitch = file("/etc/nsswitch.conf");
    let order = nsswitch.lines().filter_map(uncommented).find_map(|line| line.strip_prefix("hosts:"));
    fact.nsswitch = words(order, is_source);
    let gai = file("/etc/gai.conf");
    fact.gai = gai.lines().filter_map(uncommented).filter_map(gai_line).take(ENTRIES).collect();
    fact.unreadable = unreadable;
    fact
}

/// resolv.conf(5): the last `search` or `domain` and the union of `options` count.
fn resolv_conf(text: &str, fact: &mut NameFilesFact) {
    for line in text.lines() {
        let line = line.trim();
        // Docker notes the servers its own resolver asks: `# ExtServers: [host(127.0.0.53) 1.1.1.1]`.
        if let Some((_, servers)) = line.strip_prefix('#').and_then(|line| line.split_once("ExtServers:")) {
            let servers = servers.trim().trim_matches(['[', ']']);
            let bare = |word: &str| {
                is_server(word.strip_prefix("host(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(word))
            };
            fact.upstream = words(Some(servers), bare);
            continue;
        }
        let Some(line) = uncommented(line) else { continue };
        let (key, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match key {
            "nameserver" if fact.nameservers.len() < ENTRIES => {
                let server = rest.split_whitespace().next().filter(|server| is_server(server));
                fact.nameservers.extend(server.map(|server| Text::limited(server, 80)));
            }
            "search" | "domain" => fact.search = words(Some(rest), is_domain),
            "options" => fact.options.extend(words(Some(rest), is_option)),
            _ => {}
        }
    }
    fact.options.truncate(ENTRIES);
}

/// Those of the words that are `known`.
fn words(text: Option<&str>, known: impl Fn(&str) -> bool) -> Vec<Text> {
    let words = text.unwrap_or_default().split_whitespace().filter(|word| known(word));
    words.take(ENTRIES).map(|word| Text::limited(word, 253)).collect()
}

/// An address, with the interface behind `%` that link-local ones need, or a port behind `#` or `:` as Docker notes it.
fn is_server(word: &str) -> bool {
    if word.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let (addr, rest) = word.find(['%', '#']).map_or((word, ""), |at| word.split_at(at));
    let named =
        rest.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'#'));
    // IFNAMSIZ, and a port.
    addr.parse::<IpAddr>().is_ok() && named && rest.len() <= 22
}

/// `.` alone is a search list with nothing in it.
fn is_domain(word: &str) -> bool {
    word == "." || is_name(word)
}

fn is_name(word: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    word.len() <= 253 && word.trim_end_matches('.').split('.').all(label)
}

/// The options of glibc (resolv.conf(5)), each with a number where one belongs.
fn is_option(word: &str) -> bool {
    const PLAIN: &[&str] = &[
        "debug",
        "edns0",
        "inet6",
        "ip6-bytestring",
        "ip6-dotint",
        "no-aaaa",
        "no-check-names",
        "no-ip6-dotint",
        "no-reload",
        "no-tld-query",
        "rotate",
        "single-request",
        "single-request-reopen",
        "strict-error",
        "trust-ad",
        "use-vc",
    ];
    match word.split_once(':') {
        Some(("ndots" | "timeout" | "attempts", number)) => number.parse::<u16>().is_ok(),
        Some(_) => false,
        None => PLAIN.contains(&word),
    }
}

/// A service of nsswitch.conf(5) for `hosts:`, or a piece of `[STATUS=action]`.
fn is_source(word: &str) -> bool {
    const SERVICES: &[&str] = &[
        "files",
        "dns",
        "resolve",
        "myhostname",
        "mymachines",
        "mdns",
        "mdns_minimal",
        "mdns4",
        "mdns4_minimal",
        "mdns6",
        "mdns6_minimal",
        "libvirt",
        "libvirt_guest",
        "wins",
        "winbind",
        "sss",
        "ldap",
        "nis",
        "nisplus",
        "compat",
        "db",
        "hesiod",
        "cache",
        "docker",
        "nss_wireguard",
    ];
    if SERVICES.contains(&word) {
        return true;
    }
    let condition = word.trim_matches(['[', ']']).to_ascii_lowercase();
    let status = |word: &str| matches!(word.trim_start_matches('!'), "success" | "notfound" | "unavail" | "tryagain");
    let action = |word: &str| matches!(word, "return" | "continue" | "merge");
    condition.split_once('=').is_some_and(|(left, right)| status(left) && action(right))
}

/// `label`, `precedence` and `scopev4` with their prefix and number, and `reload` (gai.conf(5)).
fn gai_line(line: &str) -> Option<Text> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let prefix = |word: &str| {
        let (addr, bits) = word.split_once('/').unwrap_or((word, "128"));
        addr.parse::<IpAddr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 128)
    };
    let known = match words.as_slice() {
        ["label" | "precedence" | "scopev4", of, value] => prefix(of) && value.parse::<u32>().is_ok(),
        ["reload", value] => matches!(*value, "yes" | "no"),
        _ => false,
    };
    known.then(|| Text::limited(&words.join(" "), 80))
}

/// A line without what follows `#` or `;`, if anything is left.
fn uncommented(line: &str) -> Option<&str> {
    let line = line.split(['#', ';']).next().unwrap_or_default().trim();
    (!line.is_empty()).then_some(line)
}

/// An entry, unless it is one that every machine has for itself. Names without a dot are those of
/// machines, which is nobody's business: no PDS and no service of one is called so.
/// What the hosts file in the tree of `root` has for one name, be it `localhost` or one without a dot.
pub(super) fn listed(root: &Root, name: &str) -> Vec<IpAddr> {
    let text = root.text("/etc/hosts", read::SMALL).unwrap_or_default();
    let of_it = |line: &str| {
        let mut words = uncommented(line)?.split_whitespace();
        let addr: IpAddr = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(addr)
    };
    text.lines().filter_map(of_it).take(ENTRIES).collect()
}

fn hosts_entry(line: &str) -> Option<HostsEntry> {
    let mut words = uncommented(line)?.split_whitespace();
    let addr: IpAddr = words.next()?.parse().ok()?;
    let kept = |name: &&str| name.contains('.') && *name != "localhost.localdomain" && is_name(name);
    let names: Vec<Text> = words.filter(kept).take(16).map(|name| Text::limited(name, 253)).collect();
    (!names.is_empty()).then_some(HostsEntry { addr, names })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_of_a_container() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("etc")).expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join("etc").join(name), text).expect("a file");
        write(
            "resolv.conf",
            "# Generated by Docker\nnameserver 127.0.0.11\nsearch lan\noptions ndots:0 edns0\n\
             # ExtServers: [host(127.0.0.53)]\n; x\nnameserver\n",
        );
        write("hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.5 pds.example.com # split\nx y\n");
        write("nsswitch.conf", "passwd: files\nhosts: files mdns4_minimal [NOTFOUND=return] dns\n");
        write("gai.conf", "# comment\nprecedence ::ffff:0:0/96  100\n");
        let fact = read(&Root::open(folder.path().to_owned()).expect("a root"));
        assert_eq!(fact.nameservers, [Text::new("127.0.0.11")]);
        assert_eq!(fact.upstream, [Text::new("host(127.0.0.53)")]);
        assert_eq!(fact.options.len(), 2);
        assert_eq!(fact.hosts.len(), 1);
        assert_eq!(fact.hosts[0].names, [Text::new("pds.example.com")]);
        assert_eq!(fact.nsswitch.len(), 4);
        assert_eq!(fact.gai, [Text::new("precedence ::ffff:0:0/96 100")]);
        assert!(fact.unreadable.is_empty());
    }

    #[test]
    fn what_no_grammar_knows_is_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("etc")).expect("a folder");
        let secrets = "root:$y$j9T$CANARY:19000:0:99999:7:::\naws_secret_access_key = CANARY\nnameserver CANARY\n\
            search CANARY=x lan. CANARY:1\noptions CANARY ndots:CANARY ndots:2 rotate\n# ExtServers: [CANARY 1.1.1.1 host(127.0.0.53)]\n\
            192.0.2.1 CANARY= a.example CANARY/x.y CAN+ARY.example\nhosts: files CANARY [NOTFOUND=return] [CANARY=return] dns\n\
            precedence CANARY 1\nprecedence ::/0 CANARY\nprecedence ::/0 40\nlabel ::/0 1 CANARY\nreload CANARY\nCANARY ::/0 1\n\
            nameserver fe80::1%eth0\nnameserver fe80::1%CANARY=1\n";
        for name in ["resolv.conf", "hosts", "nsswitch.conf", "gai.conf"] {
            fs::write(folder.path().join("etc").join(name), secrets).expect("a file");
        }
        let fact = read(&Root::open(folder.path().to_owned()).expect("a root"));
        let text = serde_json::to_string(&fact).expect("JSON");
        assert!(!text.contains("CANARY") && !text.contains("CAN+"), "{text}");
        let kept = |words: &[Text]| words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(kept(&fact.nameservers), "fe80::1%eth0");
        assert_eq!(kept(&fact.search), "lan.");
        assert_eq!(kept(&fact.options), "ndots:2 rotate");
        assert_eq!(kept(&fact.upstream), "1.1.1.1 host(127.0.0.53)");
        assert_eq!(kept(&fact.hosts[0].names), "a.example");
        assert_eq!(kept(&fact.nsswitch), "files [NOTFOUND=return] dns");
        assert_eq!(kept(&fact.gai), "precedence ::/0 40");
    }
}
