//! Without a network: what the flags mean, what the remedies do, and what must hold of every prediction. Whether the
//! predictions are true is `tests/node_model/main.rs`'s business.

#![allow(clippy::unwrap_used)] // a test's own

use std::net::IpAddr;

use proptest::prelude::*;

use super::options::Found;
use super::order::{Configured, Destination, Libc, Source, resolve};
use super::*;

const NODE_24: Release = Release::new(24, 18, 0);
const UNDICI_7: Undici = Undici::new(7, 29);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(path: Path) -> Address {
    Address::new(ip("51.15.0.1"), path)
}

fn v6(path: Path) -> Address {
    Address::new(ip("2a01:4f9::1"), path)
}

fn connects(after_ms: u64) -> Path {
    Path::Connects { after_ms }
}

fn no_route() -> Path {
    Path::fails(0, "ENETUNREACH")
}

fn situation(addresses: Vec<Address>) -> Situation {
    Situation { addresses, ..Situation::default() }
}

fn runtime(release: Release, libc: Libc) -> Runtime {
    Runtime { release, undici: Undici::of(release), libc, options: Options::default(), repaired_v6_ms: None }
}

fn read(release: Release, node_options: &str) -> Found {
    Options::read(release, node_options, &[])
}

/// What Node 24.21.0 answered to `net.getDefaultAutoSelectFamily()`, `net.getDefaultAutoSelectFamilyAttemptTimeout()` and
/// `dns.getDefaultResultOrder()`; nothing where it did not start.
#[test]
fn the_flags_are_read_as_node_reads_them() {
    let huge = Some(u64::MAX);
    let minus_three = Some(u64::MAX - 2);
    let (on, off) = (Some(true), Some(false));
    let ipv4 = Some(ResultOrder::Ipv4First);
    type Row = (&'static str, Option<(Option<bool>, Option<u64>, Option<ResultOrder>)>);
    let rows: &[Row] = &[
        ("", Some((None, None, None))),
        ("--no-network-family-autoselection", Some((off, None, None))),
        ("--network-family-autoselection", Some((on, None, None))),
        ("--enable-network-family-autoselection", Some((on, None, None))),
        ("--no-enable-network-family-autoselection", Some((off, None, None))),
        ("--network-family-autoselection=false", Some((on, None, None))),
        ("--no-network-family-autoselection=true", Some((off, None, None))),
        ("--no-network-family-autoselection --network-family-autoselection", Some((on, None, None))),
        ("--network-family-autoselection-attempt-timeout=5", Some((None, Some(5), None))),
        ("--network-family-autoselection-attempt-timeout 900", Some((None, Some(900), None))),
        ("--network_family_autoselection_attempt_timeout=777", Some((None, Some(777), None))),
        ("--network-family-autoselection-attempt-timeout=abc", Some((None, Some(0), None))),
        ("--network-family-autoselection-attempt-timeout=0x20", Some((None, Some(0), None))),
        ("--network-family-autoselection-attempt-timeout=1e3", Some((None, Some(1), None))),
        ("--network-family-autoselection-attempt-timeout=12.7", Some((None, Some(12), None))),
        ("--network-family-autoselection-attempt-timeout +5", Some((None, Some(5), None))),
        ("--network-family-autoselection-attempt-timeout=-3", Some((None, minus_three, None))),
        ("--network-family-autoselection-attempt-timeout=99999999999999999999999", Some((None, huge, None))),
        ("--network-family-autoselection-attempt-timeout=\"5000\"", Some((None, Some(5_000), None))),
        ("--network-family-autoselection-attempt-timeout=  700", None),
        ("--network-family-autoselection-attempt-timeout=\"\"", None),
        ("--network-family-autoselection-attempt-timeout", None),
        ("--network-family-autoselection-attempt-timeout --no-warnings", None),
        ("--dns-result-order=ipv4first", Some((None, None, ipv4))),
        ("--dns-result-order ipv6first", Some((None, None, Some(ResultOrder::Ipv6First)))),
        ("--dns-result-order=ipv4first --dns-result-order=verbatim", Some((None, None, Some(ResultOrder::Verbatim)))),
        ("\"--dns-result-order=ipv4first\"", Some((None, None, ipv4))),
        ("--dns-result-order=\"ipv4first\"", Some((None, None, ipv4))),
        ("--dns-result-order=nonsense", None),
        ("--dns-result-order=ipv4first\n", None),
        ("--dns-result-order=", None),
        ("--no-dns-result-order", None),
        ("\"--dns-result-order=ipv4first", None),
        ("'--dns-result-order=ipv4first'", Some((None, None, None))),
        ("'--x' --dns-result-order=ipv4first", Some((None, None, None))),
        ("--dns-result-order=ipv4first foo --no-network-family-autoselection", Some((None, None, ipv4))),
        ("--max-old-space-size=256 --require ./x.js --dns-result-order=ipv4first", Some((None, None, ipv4))),
    ];
    for (text, wanted) in rows {
        let found = read(NODE_24, text);
        let options = found.options;
        let got = (options.auto_select, options.attempt_timeout_ms, options.result_order);
        assert_eq!(found.refused.is_empty(), wanted.is_some(), "{text:?}: {found:?}");
        if let Some(wanted) = wanted {
            assert_eq!(got, *wanted, "{text:?}");
        }
    }
    assert_eq!(read(NODE_24, "'--x' --dns-result-order=ipv4first").dropped.len(), 2);
}

#[test]
fn the_command_line_wins_and_the_script_ends_it() {
    let flags = ["--network-family-autoselection", "-r", "./x.js", "index.js", "--dns-result-order=ipv4first"];
    let found = Options::read(NODE_24, "--no-network-family-autoselection", &flags);
    assert_eq!(found.options, Options { auto_select: Some(true), ..Options::default() });
}

/// What 18.20.8 answered; `None` where it did not start.
#[test]
fn an_older_node_refuses_newer_flags() {
    let old = Release::new(18, 20, 8);
    for text in ["--no-network-family-autoselection", "--network-family-autoselection-attempt-timeout=5000"] {
        assert_eq!(read(old, text).refused.len(), 1, "{text}");
    }
    assert_eq!(read(old, "--enable-network-family-autoselection").options.auto_select, Some(true));
    assert!(read(old, "--dns-result-order=nonsense").refused.is_empty());
    assert!(!read(Release::new(20, 12, 2), "--network-family-autoselection-attempt-timeout=5000").refused.is_empty());
    assert!(!read(Release::new(22, 0, 0), "--network-family-autoselection-attempt-timeout=5000").refused.is_empty());
    for release in [Release::new(20, 13, 0), Release::new(21, 9, 0), Release::new(22, 1, 0), Release::new(26, 0, 0)] {
        let refused = read(release, "--network-family-autoselection-attempt-timeout=5000").refused;
        assert_eq!(refused.is_empty(), release.major != 21, "{release}");
    }
}

#[test]
fn defaults_by_release() {
    let of = |text: &str| text.parse::<Release>().unwrap();
    assert!(!of("v18.20.8").auto_selects());
    assert!(of("20.0.0").auto_selects());
    assert_eq!(of("v25.1.0").attempt_ms(), 250);
    assert_eq!(of("v25.2.0").attempt_ms(), 500);
    assert_eq!(of("v26.10.0").attempt_ms(), 500);
    assert!("24.x".parse::<Release>().is_err());
    assert!(!"8.3.0".parse::<Undici>().unwrap().rewraps());
    assert!("8.4.0".parse::<Undici>().unwrap().rewraps());
}

#[test]
fn a_timer_that_javascript_cannot_have_is_one_millisecond() {
    for ms in [0, u64::MAX, 2_147_483_648] {
        let options = Options { attempt_timeout_ms: Some(ms), ..Options::default() };
        assert_eq!(options.timer_ms(NODE_24), 1, "{ms}");
    }
}

fn cured(situation: &Situation, runtime: &Runtime) -> Vec<Remedy> {
    candidates(situation, runtime).into_iter().filter(Candidate::cures).map(|candidate| candidate.remedy).collect()
}

/// The first field report: IPv4 works but is far away, IPv6 has no route.
#[test]
fn the_first_field_report() {
    let sick = situation(vec![v4(connects(320)), v6(no_route())]);
    let predicted = predict(&sick, NODE_24, UNDICI_7, &Options::default());
    assert_eq!((predicted.code(), predicted.after_ms, predicted.cut_off()), (Some("ETIMEDOUT"), 250, 1));
    assert_eq!(predicted.margin_ms, Some(70));
    assert_eq!(
        cured(&sick, &runtime(NODE_24, Libc::Glibc)),
        [
            Remedy::AttemptTimeout,
            Remedy::RepairIpv6,
            Remedy::RemoveIpv6,
            Remedy::RemoveIpv6FromInterface,
            Remedy::Ipv4Only,
            Remedy::NoAutoSelectAlone
        ]
    );
    // In the PDS's own image the library keeps the AAAA as long as `::1` is there.
    assert!(!cured(&sick, &runtime(NODE_24, Libc::Musl)).contains(&Remedy::RemoveIpv6FromInterface));
    // The newest Node has a longer timer, and 320 ms are within it.
    assert!(predict(&sick, Release::new(26, 10, 0), Undici::new(8, 10), &Options::default()).works());
}

#[test]
fn half_a_pair_is_never_recommended() {
    // A true black hole behind a preferred IPv6: switching the selection off makes it fatal.
    let hole = situation(vec![v6(Path::Silent), v4(connects(40))]);
    assert!(predict(&hole, NODE_24, UNDICI_7, &Options::default()).works_late());
    let all = candidates(&hole, &runtime(NODE_24, Libc::Musl));
    let of = |remedy| all.iter().find(|candidate| candidate.remedy == remedy).unwrap();
    assert!(!of(Remedy::NoAutoSelectAlone).cures());
    assert_eq!(of(Remedy::NoAutoSelectAlone).prediction.as_ref().unwrap().code(), Some(UNDICI_TIMEOUT));
    assert!(of(Remedy::Ipv4Only).recommendable());
    assert!(all.iter().all(|candidate| !(candidate.remedy.is_half() && candidate.recommendable())));
}

#[test]
fn a_node_without_the_flag_is_not_told_to_use_it() {
    let sick = situation(vec![v4(connects(320)), v6(no_route())]);
    let all = candidates(&sick, &runtime(Release::new(20, 11, 0), Libc::Glibc));
    assert_eq!(all[0].remedy, Remedy::AttemptTimeout);
    assert_eq!(all[0].prediction, None);
    assert!(!all[0].recommendable());
}

#[test]
fn the_newest_undici_hides_the_code() {
    let sick = situation(vec![v4(connects(700)), v6(no_route())]);
    let predicted = predict(&sick, Release::new(26, 10, 0), Undici::new(8, 10), &Options::default());
    let hidden = Some(TIMED_OUT.to_owned());
    assert_eq!(predicted.outcome, Outcome::Failed { code: UNDICI_TIMEOUT.to_owned(), hidden });
    // It was not undici's limit, so the time is sharp: that is what gives it away.
    assert_eq!(predicted.took(), (500, 500));
}

/// An IPv6-only host with musl: the mirror image of the first field report.
#[test]
fn musl_keeps_a_family_that_has_only_its_loopback() {
    let configured = Configured { v4: false, v6: true, loopback_v4: true, loopback_v6: true };
    let source = Source::from(ip("2407:7000::10"));
    let found = [
        Destination { address: ip("51.15.0.1"), source: None },
        Destination { address: ip("2a01:4f9::1"), source: Some(source) },
    ];
    assert_eq!(resolve(Libc::Glibc, &configured, &found), [ip("2a01:4f9::1")]);
    assert_eq!(resolve(Libc::Musl, &configured, &found), [ip("2a01:4f9::1"), ip("51.15.0.1")]);
}

fn any_path() -> impl Strategy<Value = Path> {
    prop_oneof![
        (1_u64..2_000).prop_map(connects),
        (0_u64..2_000).prop_map(|ms| Path::fails(ms, "ECONNREFUSED")),
        Just(Path::Silent),
    ]
}

fn any_addresses() -> impl Strategy<Value = Vec<Address>> {
    let one = (any::<bool>(), 0_u8..4, any_path(), any::<bool>()).prop_map(|(is_v4, number, path, lost)| {
        let text = if is_v4 { format!("51.15.0.{number}") } else { format!("2a01:4f9::{number}") };
        Address { first_syn_lost: lost, ..Address::new(ip(&text), path) }
    });
    proptest::collection::vec(one, 0..7)
}

proptest! {
    #[test]
    fn every_prediction_is_a_story(addresses in any_addresses(), stall_ms in 0_u64..600, major in 18_u32..27) {
        let release = Release::new(major, 20, 0);
        let given = Situation { stall_ms, ..situation(addresses) };
        for options in Remedy::ALL.into_iter().filter_map(Remedy::options).chain([Options::default()]) {
            let predicted = predict(&given, release, Undici::of(release), &options);
            // One attempt after the other, without a gap.
            let mut now = 0;
            for attempt in &predicted.attempts {
                prop_assert_eq!(attempt.started_ms, now);
                now = attempt.ended_ms;
            }
            prop_assert_eq!(predicted.after_ms, now);
            prop_assert!(predicted.after_ms <= CONNECT_LIMIT_MS);
            // Only the last one connects, and no address is tried twice.
            let connected = predicted.attempts.iter().filter(|it| it.end == AttemptEnd::Connected).count();
            prop_assert_eq!(connected, usize::from(predicted.works()));
            for (index, attempt) in predicted.attempts.iter().enumerate() {
                prop_assert!(!predicted.attempts[..index].iter().any(|it| it.address == attempt.address));
            }
            prop_assert_eq!(predicted.works(), predicted.code().is_none());
        }
    }

    #[test]
    fn nothing_that_fails_is_recommended(addresses in any_addresses(), major in 18_u32..27, musl in any::<bool>()) {
        let libc = if musl { Libc::Musl } else { Libc::Glibc };
        for candidate in candidates(&situation(addresses), &runtime(Release::new(major, 20, 0), libc)) {
            if candidate.recommendable() {
                prop_assert!(candidate.prediction.as_ref().is_some_and(Prediction::works));
                prop_assert!(!candidate.remedy.is_half());
            }
        }
    }

    #[test]
    fn sorting_loses_nothing(numbers in proptest::collection::vec((any::<bool>(), any::<bool>(), 1_u8..200), 0..8)) {
        let found: Vec<Destination> = numbers.iter().map(|(is_v4, routed, number)| {
            let (text, from) = if *is_v4 {
                (format!("51.15.0.{number}"), ip("120.88.0.1"))
            } else {
                (format!("2a01:4f9::{number}"), ip("2407:7000::1"))
            };
            Destination { address: ip(&text), source: routed.then(|| Source::from(from)) }
        }).collect();
        let all = Configured { v4: true, v6: true, loopback_v4: true, loopback_v6: true };
        for libc in [Libc::Glibc, Libc::Musl] {
            let mut sorted = resolve(libc, &all, &found);
            let mut given: Vec<IpAddr> = found.iter().map(|it| it.address).collect();
            sorted.sort();
            given.sort();
            prop_assert_eq!(sorted, given);
        }
    }
}
