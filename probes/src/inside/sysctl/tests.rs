use std::fs;

use super::*;

/// A tree with these files.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Boot) {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let boot = boot(&Root::open(folder.path().to_owned()).expect("a root"));
    (folder, boot)
}

fn of(boot: &Boot, key: &str) -> Option<(String, BootVia)> {
    boot.of(key).map(|found| (found.value.to_string(), found.via))
}

const RA: &str = "net/ipv6/conf/eth0/accept_ra";

#[test]
fn files_are_applied_by_name_and_hidden_by_the_stronger_directory() {
    let (_folder, boot) = tree(&[
        ("usr/lib/sysctl.d/50-default.conf", "net.ipv6.conf.eth0.accept_ra = 0\nnet.ipv4.ip_forward=0"),
        ("etc/sysctl.d/10-mine.conf", "net.ipv6.conf.eth0.accept_ra=1"),
        ("usr/lib/sysctl.d/90-x.conf", "net.ipv6.conf.eth0.accept_ra=7"),
        ("etc/sysctl.d/90-x.conf", "# hidden the other\n; so\n net/ipv6/conf/eth0/accept_ra = 2 \n"),
        ("etc/sysctl.d/99-not.txt", "net.ipv6.conf.eth0.accept_ra=9"),
    ]);
    let found = boot.of(RA).expect("a value");
    assert_eq!((found.value.as_str(), found.file.as_str()), ("2", "/etc/sysctl.d/90-x.conf"));
    assert_eq!(of(&boot, "net/ipv4/ip_forward"), Some(("0".to_owned(), BootVia::Key)));
    assert_eq!(of(&boot, "net/ipv6/conf/eth1/accept_ra"), None);
}

#[test]
fn names_beat_patterns_and_all_is_carried_only_where_the_kernel_does() {
    let (_folder, boot) = tree(&[
        ("etc/sysctl.d/10.conf", "-net.ipv6.conf.eth0.accept_ra = 1"),
        ("etc/sysctl.d/20.conf", "net.ipv6.conf.*.accept_ra = 2\n-net.ipv6.conf.eth9.accept_ra"),
        ("etc/sysctl.d/30.conf", "net.ipv6.conf.all.accept_ra=5\nnet.ipv6.conf.all.forwarding=1"),
        ("etc/sysctl.d/40.conf", "net.ipv6.conf.default.autoconf=0\nnet.ipv4.ip_forward=1\nno key\n=3\n"),
    ]);
    assert_eq!(of(&boot, RA), Some(("1".to_owned(), BootVia::Key)));
    assert_eq!(of(&boot, "net/ipv6/conf/eth1/accept_ra"), Some(("2".to_owned(), BootVia::Pattern)));
    assert_eq!(of(&boot, "net/ipv6/conf/eth9/accept_ra"), None);
    assert_eq!(of(&boot, "net/ipv6/conf/eth1/forwarding"), Some(("1".to_owned(), BootVia::All)));
    assert_eq!(of(&boot, "net/ipv6/conf/eth1/autoconf"), Some(("0".to_owned(), BootVia::Default)));
    assert_eq!(of(&boot, "net/ipv4/conf/eth1/forwarding"), Some(("1".to_owned(), BootVia::All)));
    assert_eq!(boot.forwarding().len(), 2);
}

#[test]
fn the_old_file_counts_only_where_something_reads_it() {
    let old = ("etc/sysctl.conf", "net.ipv6.conf.eth0.accept_ra=2");
    let (_folder, systemd) = tree(&[old, ("run/systemd/system/x", "")]);
    assert_eq!(of(&systemd, RA), Some(("2".to_owned(), BootVia::Unread)));
    let (_folder, other) = tree(&[old]);
    assert_eq!(of(&other, RA), Some(("2".to_owned(), BootVia::Key)));
    let (_folder, debian) = tree(&[old, ("etc/sysctl.d/99-sysctl.conf", old.1), ("run/systemd/system/x", "")]);
    assert_eq!(of(&debian, RA), Some(("2".to_owned(), BootVia::Key)));
}

#[test]
fn keys_with_dots_in_the_name_of_the_interface() {
    assert_eq!(normal("net.ipv6.conf.eth0/100.accept_ra"), "net/ipv6/conf/eth0.100/accept_ra");
    assert_eq!(normal("net/ipv6/conf/eth0.100/accept_ra"), "net/ipv6/conf/eth0.100/accept_ra");
    assert!(matches("net/ipv6/conf/e?h[0-3]/accept_ra", "net/ipv6/conf/eth2/accept_ra"));
    assert!(!matches("net/ipv6/conf/e?h[0-3]/accept_ra", "net/ipv6/conf/eth4/accept_ra"));
    assert!(!matches("net/ipv6/*", "net/ipv6/conf/eth4/accept_ra"));
    assert!(!part_matches(b"****************a", b"bbbbbbbbbbbbbbbbbbbb", 0));
}
