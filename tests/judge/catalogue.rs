//! At least one world for every code that a rule can find: what the properties are tried on.

use std::{collections::BTreeSet, fs, path::Path};

use pdsdoctor::diagnose::{Code, code::Area, rules::RULES};
use pdsdoctor_probes::{
    dns_fact::DnsOutcome,
    fact::{FailureKind, Family, Role, Vantage},
    host_fact::BootVia,
    http_fact::BodyClass,
    par_fact::ParArm,
    record::Run,
    tls_fact::PathVerdict,
};
use strum::IntoEnumIterator;

use crate::{
    event_stream, handles,
    host::{container, machine, machine_host_network},
    inside_names, inside_node, inside_node_proof, inside_paths, inside_ports, inside_v6, inside_ways, limits, login,
    names, outbound, reach, side, tls, web,
    world::{ALICE_DID, APP, PDS, PDS_V4, PDS_V6, World, alert, answer, healthy, no_answer, not_obtained, t},
};

/// How many measured runs the properties are tried on.
const MOST_MEASURED: usize = 16;

/// Every world, by name.
#[expect(clippy::too_many_lines, reason = "a list of worlds")]
pub fn worlds() -> Vec<(&'static str, World)> {
    let refused = not_obtained("");
    let refused = (400, "invalid_client_metadata", refused.as_str());
    vec![
        ("healthy", healthy()),
        ("no network", side::without_routes(side::all_names_fail(DnsOutcome::Unreachable))),
        ("nothing answers", side::every_connect(healthy(), FailureKind::Timeout)),
        ("resolver broken", side::all_names_fail(DnsOutcome::ServFail)),
        ("resolver denies everything", side::all_names_fail(DnsOutcome::NxDomain)),
        ("intercepted", side::intercepted(healthy(), PathVerdict::UnknownIssuer)),
        ("intercepted, trusted", side::intercepted(healthy(), PathVerdict::Trusted)),
        ("too few descriptors", limits::without_files(healthy(), 0)),
        ("no name", names::absent(DnsOutcome::NxDomain)),
        ("no address", names::absent(DnsOutcome::NoData)),
        ("zone fails", names::absent(DnsOutcome::ServFail)),
        ("tunnel", names::tunnel("ns1.provider.net")),
        ("private", names::at(names::LAN).closed(names::LAN, FailureKind::Timeout, 4_000).only_up_to_tls()),
        ("private and reached", names::at(names::LAN)),
        ("closed", reach::on_a_server(reach::all_closed(FailureKind::Timeout, 4_000))),
        ("closed, behind NAT", reach::all_closed(FailureKind::Timeout, 4_000)),
        ("refused", reach::all_closed(FailureKind::Refused, 20)),
        ("IPv4 closed", healthy().closed(PDS_V4, FailureKind::Timeout, 4_000)),
        ("IPv6 closed", healthy().closed(PDS_V6, FailureKind::Timeout, 4_000)),
        ("IPv6 closed, no control", healthy().closed(PDS_V6, FailureKind::Timeout, 4_000).without_reference()),
        ("only IPv6", reach::only_v6()),
        ("stale AAAA", reach::other_certificate(reach::at_v6(healthy(), 404, BodyClass::Html), PDS_V6)),
        ("stale A", reach::other_certificate(healthy(), PDS_V4)),
        ("502 at one address", reach::at_v6(healthy(), 502, BodyClass::Html)),
        ("plain HTTP", tls::failing(FailureKind::NotTls, "not TLS")),
        ("alert", tls::no_handshake(|it| alert(it, "InternalError"))),
        ("old ciphers", tls::nothing_in_common(Some("RSA_AES_128_CBC_SHA"))),
        ("handshake silent", tls::failing(FailureKind::Timeout, "silence")),
        ("no upgrades", event_stream::without_upgrades()),
        ("private CA", healthy().cert(PDS, tls::private_ca)),
        ("private CA, no control", healthy().cert(PDS, tls::private_ca).without_reference()),
        ("expired", healthy().cert(PDS, tls::expired)),
        ("not yet valid", healthy().cert(PDS, |it| it.not_before = it.judged_at + 1_000)),
        ("wrong name", healthy().cert(PDS, |it| it.name_matches = false)),
        (
            "chain",
            healthy().cert(PDS, |it| {
                it.chain_length = 1;
                it.chain_subjects.clear();
                it.trust_mozilla = PathVerdict::UnknownIssuer;
                it.trust_system = PathVerdict::UnknownIssuer;
            }),
        ),
        ("upstream down", web::xrpc(502, BodyClass::Html, "<html>")),
        ("redirects", web::xrpc(301, BodyClass::Html, "<html>")),
        ("not a PDS", web::xrpc(404, BodyClass::Html, "<html>")),
        ("own error", web::xrpc(500, BodyClass::Json, "{}")),
        ("clock", web::clock(healthy(), &[Role::Target], -600_000)),
        ("clock, no control", web::clock(healthy(), &[Role::Target], -600_000).without_reference()),
        ("routes missing", web::documents(|it| answer(it, 404, BodyClass::Html, "<html>"))),
        ("documents fail", web::documents(|it| no_answer(it, FailureKind::Timeout))),
        ("origin", web::server(|it| it.issuer = Some(t("http://localhost:3000")))),
        ("profile", web::server(|it| it.token_endpoint = None)),
        ("entryway", web::with_own_entryway()),
        ("PAR fails", healthy().par(Role::Target, ParArm::Localhost, (500, "server_error", "Server error"), 20)),
        ("egress", login::world(false, login::Ref::Strong, true, login::Own::Good)),
        ("egress, entryway", login::world(false, login::Ref::Entryway, true, login::Own::Good)),
        ("egress, alone", login::world(false, login::Ref::None, true, login::Own::Good)),
        ("app", login::world(false, login::Ref::Strong, false, login::Own::Bad)),
        ("app, fetched here", login::world(false, login::Ref::Strong, false, login::Own::Good)),
        ("cannot tell", login::world(false, login::Ref::None, true, login::Own::None)),
        ("now and then", healthy().par(Role::Target, ParArm::AsNamed, refused, 300)),
        ("cached", healthy().par(Role::Target, ParArm::CacheBusted, refused, 300)),
        ("scopes", healthy().pars(Role::Target, (400, "invalid_client_metadata", "Unsupported scope \"x\""), 300)),
        ("Node gives up", inside_node::first_field_report()),
        ("Node nearly gives up", inside_node::far_app(225)),
        ("Node gives up, it is said", inside_node::far_app(312)),
        ("first packets lost", inside_node::lossy(2)),
        ("ipv4first", inside_node::first_field_report().node_options(&["--dns-result-order=ipv4first"])),
        ("no autoselection", inside_node::noautoselect()),
        ("not restarted", inside_node::not_restarted()),
        ("proven", inside_node_proof::proven()),
        ("with a log", inside_node_proof::with_log()),
        ("Node aborts", inside_node::aborting()),
        ("no wildcard", handles::without_wildcard()),
        (
            "no wildcard, other domain",
            handles::without_wildcard().with(|world| {
                world.account(handles::BOB, handles::OTHER_DID, &[], None);
            }),
        ),
        (
            "empty non-terminal",
            healthy().unnamed(crate::world::ALICE, DnsOutcome::NoData).dns("_atproto.alice.pds.example.com", |dns| {
                dns.outcome = DnsOutcome::Answer;
                dns.records = vec![t(&format!("did={ALICE_DID}"))];
            }),
        ),
        (
            "one level",
            handles::shown_for_handles(|it| {
                it.names = vec![t("*.example.com")];
                it.name_matches = false;
            }),
        ),
        (
            "no certificate for handles",
            handles::shown_for_handles(|it| {
                it.names = vec![t(PDS)];
                it.name_matches = false;
            }),
        ),
        (
            "two records",
            handles::alices_txt(&["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"]),
        ),
        ("malformed record", handles::alices_txt(&["did:plc:ewvi7nxzyoun6zhxrhs64oiz"])),
        ("disagree", handles::alices_txt(&["did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"])),
        ("wrong owner", handles::misplaced("_atproto.example.org", handles::OTHER_DID)),
        ("unverified", handles::misplaced("_atproto.example.org", "did:plc:cccccccccccccccccccccccc")),
        ("not claimed", handles::with_handle(&["at://else.example"], handles::OWN)),
        ("endpoint", handles::with_handle(&["at://alice.pds.example.com"], "http://pds.example.com")),
        ("no DID document", handles::lost(404)),
        ("directory down", handles::lost(503)),
        ("resolver dead inside", inside_paths::resolver_dead()),
        ("resolver flaky inside", inside_paths::resolver_fails(3)),
        ("split DNS inside", inside_paths::split("192.168.1.20")),
        ("egress blocked", inside_paths::blocked(None, FailureKind::Timeout)),
        ("egress to the app blocked", inside_paths::blocked(Some(APP), FailureKind::Prohibited)),
        ("egress inspected", inside_paths::inspected()),
        ("packets too large", inside_paths::packets_too_large(true)),
        ("one name fails inside", inside_paths::one_name(DnsOutcome::ServFail)),
        ("published IPv6 is not there", inside_paths::seen_as(inside_ways::without_its_v6(), PDS_V4)),
        ("challenged", inside_paths::challenged(true, false)),
        ("wrong port", inside_ports::wrong_port(None)),
        (
            "wrong port, read",
            inside_ports::asks(
                inside_ports::wrong_port(None),
                "localhost",
                3_000,
                &[("127.0.0.1", FailureKind::Refused)],
            ),
        ),
        (
            "wrong loopback",
            inside_ports::asks(
                inside_ports::bound_to("::1"),
                "127.0.0.1",
                3_000,
                &[("127.0.0.1", FailureKind::Refused)],
            ),
        ),
        (
            "firewall before the PDS",
            inside_ports::asks(
                inside_ports::bound_to("::"),
                "127.0.0.1",
                3_000,
                &[("127.0.0.1", FailureKind::Timeout)],
            ),
        ),
        ("old line of hosts", inside_names::old_line()),
        ("search domain", inside_names::wildcard()),
        ("data dropped", inside_paths::in_small_packets(inside_paths::packets_too_large(false), false)),
        ("port taken", inside_ports::taken(true)),
        ("no loopback", inside_paths::no_loopback(true)),
        ("old address", inside_paths::moved()),
        ("provider's NAT", inside_paths::behind_the_provider("100.72.0.1")),
        ("a PDS's machine", machine()),
        ("a PDS's machine, shared network", machine_host_network()),
        ("advertisements eaten", inside_v6::eaten(machine_host_network())),
        ("advertisements eaten, unheard", {
            let world = inside_v6::eaten(machine()).deaf().accept_ra_lasts(BootVia::Default);
            world.far(&container(), Family::V4, 320)
        }),
        ("default route purged", inside_v6::purged(machine_host_network())),
        ("networkd forwards", inside_v6::networkd(machine())),
        ("route has run out", machine_host_network().without_v6_route(&Vantage::Here)),
        ("accept_ra by hand", machine_host_network().at_boot("net/ipv6/conf/eth0/accept_ra", None)),
        ("black hole", inside_ways::black_hole(machine_host_network()).pars(Role::Target, refused, 10_100)),
        ("private hole", inside_ways::ula(machine()).pars(Role::Target, refused, 10_100)),
        ("private hole, unnoticed", inside_ways::ula(machine())),
        ("container without IPv6", machine().far(&container(), Family::V4, 320)),
        ("visitors masked", inside_ways::masked(machine())),
        ("IPv4 alone listens", inside_ways::v4_only("nginx")),
    ]
    .into_iter()
    .chain(outbound::faults())
    .chain([
        // Faults that meet: each stays where it belongs.
        ("no wildcard and egress", handles::without_wildcard().pars(Role::Target, refused, 300)),
        ("expired and IPv6 closed", healthy().closed(PDS_V6, FailureKind::Refused, 20).cert(PDS, tls::expired)),
        (
            "clock and origin",
            web::clock(web::server(|it| it.issuer = Some(t("http://localhost:3000"))), &[Role::Target], 90_000),
        ),
    ])
    .collect()
}

/// The worlds as finished runs, and some of those that the lab measured: a property is tried on each many times over,
/// and a debug build judges a hundred times in a few seconds.
pub fn runs() -> Vec<(String, Run)> {
    let measured = measured();
    let step = measured.len().div_ceil(MOST_MEASURED).max(1);
    finished().chain(measured.into_iter().step_by(step)).collect()
}

fn finished() -> impl Iterator<Item = (String, Run)> {
    worlds().into_iter().map(|(name, world)| (name.to_owned(), world.finished()))
}

/// Every run of the lab that is kept.
#[cfg(target_os = "linux")]
fn measured() -> Vec<(String, Run)> {
    let kept = pdsdoctor_fixtures::golden::read(&pdsdoctor_fixtures::golden::folder().join("runs"));
    let kept = kept.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(!kept.is_empty(), "no run of the lab is kept");
    let read = |kept: &str| pdsdoctor::saved::parse(kept.as_bytes()).unwrap();
    kept.iter().map(|kept| (kept.name(), read(&kept.saved))).collect()
}

/// The lab is Linux's.
#[cfg(not(target_os = "linux"))]
fn measured() -> Vec<(String, Run)> {
    Vec::new()
}

/// Every code that a rule says it may find is found in some world, as a cause or as a symptom; and
/// no rule finds what it does not say.
#[test]
fn every_code_is_found_somewhere() {
    let said: BTreeSet<Code> = RULES.iter().flat_map(|rule| rule.codes.iter().copied()).collect();
    let mut found = BTreeSet::new();
    for (_, world) in worlds() {
        let judged = world.judge();
        for cause in &judged.diagnosis.causes {
            found.insert(cause.code);
            found.extend(cause.symptoms.iter().map(|symptom| symptom.code));
        }
    }
    let missing: Vec<&Code> = said.difference(&found).collect();
    assert!(missing.is_empty(), "never found: {missing:?}");
    let side: Vec<Code> = Code::iter().filter(|code| code.row().area == Area::ThisSide).collect();
    assert!(side.iter().all(|code| found.contains(code)));
    let unruled: Vec<Code> = Code::iter().filter(|code| !said.contains(code) && !side.contains(code)).collect();
    assert!(unruled.is_empty(), "in the table and found by no rule: {unruled:?}");
    let unsaid: Vec<&Code> = found.difference(&said).filter(|code| !side.contains(code)).collect();
    assert!(unsaid.is_empty(), "found and not said: {unsaid:?}");
}

/// `PDSDOCTOR_SEEDS=fuzz/corpus/saved_run cargo test --test judge -- --ignored seeds`
#[test]
#[ignore = "writes seeds for the fuzz target saved_run"]
fn seeds() {
    let folder = std::env::var("PDSDOCTOR_SEEDS").expect("PDSDOCTOR_SEEDS names a folder");
    fs::create_dir_all(&folder).unwrap();
    for (index, (_, run)) in finished().chain(measured()).enumerate() {
        fs::write(Path::new(&folder).join(format!("{index}.json")), serde_json::to_vec(&run).unwrap()).unwrap();
    }
}
