//! Node's own connecting, as seen from the PDS's machine: what it gives up although it works.

use pdsdoctor::diagnose::{Cause, Code, Confidence, Impact, Remedy, Verdict, evidence::Evidence, situation};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, Family, ProbeName, Role, Vantage},
    host_fact::Range,
    process_fact::{ConfinementKind, EnvFileFact, Libc, NodeVersion, NodeVersionSource, ProcessFact},
};

use crate::{change::Judged, host::*, world::*};

impl World {
    /// Changes the PDS's process.
    #[must_use]
    pub(crate) fn process(self, change: impl Fn(&mut ProcessFact)) -> Self {
        self.each(|fact| {
            if let FactBody::Process(body) = &mut fact.body {
                change(body);
            }
        })
    }

    /// Its `NODE_OPTIONS`.
    #[must_use]
    pub(crate) fn node_options(self, flags: &[&str]) -> Self {
        self.process(|body| body.node_options = flags.iter().map(|flag| t(flag)).collect())
    }

    /// Its Node.
    #[must_use]
    pub(crate) fn node(self, version: &str) -> Self {
        self.process(|body| {
            body.node = Some(NodeVersion { version: t(version), source: NodeVersionSource::Headers });
        })
    }

    /// The PDS cannot fetch the app's document, and gives up after so long.
    #[must_use]
    pub(crate) fn fetch_fails(self, after_ms: u64) -> Self {
        let text = not_obtained("");
        self.pars(Role::Target, (400, "invalid_client_metadata", &text), 90 + after_ms)
    }

    /// The tries at the app's IPv4 address, one after the other.
    #[must_use]
    pub(crate) fn tries(self, at: &Vantage, times: &[u64]) -> Self {
        let mut next = times.iter().cycle();
        self.there(at, |fact| {
            if let FactBody::Connect(body) = &fact.body
                && body.addr == ip(APP_V4)
            {
                fact.took_ms = *next.next().unwrap();
            }
        })
    }
}

/// The first field report, as it is inside: the container has no IPv6, the app is far away.
pub(crate) fn far_app(ms: u64) -> World {
    machine().far(&container(), Family::V4, ms)
}

/// Logins to it fail, as Node's timer has it.
pub(crate) fn first_field_report() -> World {
    far_app(312).fetch_fails(251)
}

const PATIENT: &str = "--network-family-autoselection-attempt-timeout=5000";

pub(crate) fn finds(world: &World, code: Code, impact: Impact, confidence: Confidence) -> Cause {
    world.finds(code, impact, confidence).diagnosis.causes[0].clone()
}

fn titles(cause: &Cause) -> Vec<&str> {
    cause.remedies.iter().map(|remedy| remedy.title.as_str()).collect()
}

#[test]
fn the_first_field_report() {
    let judged = first_field_report().finds(Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    let cause = &judged.diagnosis.causes[0];
    assert_eq!(cause.scope.host.as_deref(), Some(APP));
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    assert!(cause.symptoms.iter().any(|symptom| symptom.code == Code::OauthClientMetadataEgress), "{}", judged.show());
    assert!(cause.summary.contains("250 ms") && cause.summary.contains("312 ms"), "{}", cause.summary);
    let contrasts = format!("{:?}", cause.contrast);
    for words in ["an attempt is ended after 250 ms", "connects after 312 ms", "ETIMEDOUT", "failed after 251 ms"] {
        assert!(contrasts.contains(words), "{words}: {contrasts}");
    }
    let first = &cause.remedies[0];
    assert!(first.title.contains("connects after 313 ms by IPv4"), "{}", first.title);
    assert_eq!(first.lines()[0], format!("NODE_OPTIONS={PATIENT}     # a line of /pds/pds.env, without quotes"));
    assert!(!first.undo.is_empty());
    // The pair comes last, and neither half of it alone.
    let steps: Vec<String> = cause.remedies.iter().flat_map(Remedy::lines).collect();
    for step in &steps {
        assert_eq!(step.contains("--no-network-family-autoselection"), step.contains("ipv4first"), "{step}");
    }
    assert!(titles(cause)[1].starts_with("Repair IPv6"), "{:?}", titles(cause));
}

#[test]
fn without_a_login_request_the_model_is_enough() {
    let world = far_app(312).without(|fact| matches!(fact.body, FactBody::Par(_)));
    finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn what_the_pds_did_outweighs_the_model() {
    // It fetched the document: the model must be wrong about something.
    let cause = finds_among(&far_app(312).judge(), Code::NodeHe250ms);
    assert_eq!((cause.impact, cause.confidence), (Impact::Risk, Confidence::Possible));
    assert!(!cause.against.is_empty());
    // It failed, but not as predicted.
    let judged = far_app(312).fetch_fails(10_000);
    let cause = finds(&judged, Code::NodeHe250ms, Impact::Broken, Confidence::Likely);
    assert!(!cause.against.is_empty() && cause.settle.is_some());
}

/// The twin: the same distance, with IPv6 that works, with more patience, without an AAAA, or with no AAAA left.
#[test]
fn look_alikes_that_work() {
    let there = container();
    let far = far_app(312);
    for (name, world) in [
        ("IPv6 works", far.clone().with_v6(&there, "2a01:4f8:1:3::2", Range::Global)),
        ("the remedy", far.clone().node_options(&[PATIENT])),
        ("the pair", far.clone().node_options(&["--no-network-family-autoselection", "--dns-result-order=ipv4first"])),
        ("Node 26 waits for 500 ms", far.clone().node("26.10.0")),
        ("Node 18 tries one", far.clone().node("18.20.8")),
        ("glibc leaves the AAAA out", far.clone().process(|body| body.libc = Some(Libc::Glibc))),
        ("near", far_app(30)),
        ("no PDS process", far.clone().without(|fact| matches!(fact.body, FactBody::Process(_)))),
        (
            "another program",
            far.process(|body| {
                body.node = None;
                body.program = t("cocoon");
                body.script = None;
            }),
        ),
    ] {
        for code in
            [Code::NodeHe250ms, Code::NodeHeLostSyn, Code::NodeIpv4firstNotEnough, Code::NodeNoautoselectBackfires]
        {
            assert!(!world.judge().says(code), "{name}: {}", world.judge().show());
        }
    }
}

/// With a black hole that comes first, Node falls back: the last address has no timer.
#[test]
fn a_black_hole_of_ipv6_is_not_nodes_fault() {
    let there = container();
    let world = far_app(312).with_v6(&there, "2a01:4f8:1:3::2", Range::Global).reaches(
        &there,
        |addr| addr.is_ipv6(),
        Some(FailureKind::Timeout),
        12_000,
    );
    world.never_says(Code::NodeHe250ms);
    // A hole that comes last swallows the end, and is a cause of its own; but one dead address of the app's alone,
    // where IPv6 works, is not where the PDS is.
    let ula = |world: World| world.with_v6(&there, "fd00:9d5:1::2", Range::UniqueLocal);
    let silent = |which: &dyn Fn(std::net::IpAddr) -> bool| {
        ula(far_app(312)).reaches(&there, which, Some(FailureKind::Timeout), 12_000).fetch_fails(10_000)
    };
    silent(&|addr| addr.is_ipv6()).never_says(Code::NodeHe250ms);
    let cause = finds_among(&silent(&|addr| addr == ip(APP_V6)).judge(), Code::NodeHe250ms);
    assert!(cause.remedies.iter().all(|remedy| !remedy.title.contains("IPv6")), "{cause:?}");
    // Only the outside view, with the same silence: nothing is said of Node.
    first_field_report().without(|fact| fact.probe.is_inside()).never_says(Code::NodeHeLostSyn);
}

#[test]
fn a_margin_that_is_small_is_a_risk() {
    let cause = finds(&far_app(225), Code::NodeHe250ms, Impact::Risk, Confidence::Likely);
    assert!(cause.summary.contains("225 ms"), "{}", cause.summary);
    assert!(!far_app(190).judge().says(Code::NodeHe250ms));
    // Over the edge, by little, and nobody saw it fail.
    let world = far_app(262).without(|fact| matches!(fact.body, FactBody::Par(_)));
    finds(&world, Code::NodeHe250ms, Impact::Degraded, Confidence::Likely);
    finds(&far_app(262).fetch_fails(255), Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn what_is_not_known_is_tried_both_ways() {
    // glibc would leave the AAAA out, musl does not.
    let world = first_field_report().process(|body| body.libc = None);
    let cause = finds_among(&world.judge(), Code::NodeHe250ms);
    assert_eq!(cause.confidence, Confidence::Possible);
    assert!(cause.settle.is_some());
    // Link-local addresses keep it in both: nothing rests on the library.
    let there = container();
    let world = world.interface(&there, UPLINK, |body| {
        let local = address("fe80::42:2", 64, Range::LinkLocal, pdsdoctor_probes::host_fact::AddressOrigin::Kernel);
        body.addresses.push(local);
    });
    finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    // An unknown Node may have either timer.
    let world = first_field_report().process(|body| body.node = None);
    assert_eq!(finds_among(&world.judge(), Code::NodeHe250ms).confidence, Confidence::Possible);
    let world = far_app(700).fetch_fails(251).process(|body| body.node = None);
    finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    // Flags that could not be read.
    let world = first_field_report().process(|body| body.environment_read = false);
    finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Likely);
}

pub(crate) fn finds_among(judged: &Judged, code: Code) -> Cause {
    let found = judged.diagnosis.causes.iter().find(|cause| cause.code == code);
    found.unwrap_or_else(|| panic!("{code}: {}", judged.show())).clone()
}

pub(crate) fn lossy(lost: usize) -> World {
    let mut times = [41, 43, 40, 44, 42];
    for time in times.iter_mut().take(lost) {
        *time += 1_003;
    }
    machine().tries(&container(), &times)
}

#[test]
fn first_packets_that_get_lost() {
    let cause = finds(&lossy(2), Code::NodeHeLostSyn, Impact::Degraded, Confidence::Confirmed);
    let text = format!("{cause:?}");
    assert!(text.contains("2 of them seconds more") && text.contains("mtr -rwc 100"), "{text}");
    finds(&lossy(1), Code::NodeHeLostSyn, Impact::Degraded, Confidence::Likely);
    finds(&lossy(1).fetch_fails(252), Code::NodeHeLostSyn, Impact::Broken, Confidence::Confirmed);
    // Every one of them: the handshake that follows takes no longer than on a near path.
    let always = machine().tries(&container(), &[1_020, 1_036, 1_023, 1_021, 1_030]).fetch_fails(252);
    finds(&always, Code::NodeHeLostSyn, Impact::Broken, Confidence::Confirmed);
    // As slow without a loss: then the handshake is slow too.
    let slow = always.there(&container(), |fact| {
        if matches!(&fact.body, FactBody::Tls(body) if body.sni.as_str() == APP) {
            fact.took_ms = 1_100;
        }
    });
    finds(&slow, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    // A busy server scatters, and not in steps of a second.
    machine().tries(&container(), &[40, 130, 90, 210, 55]).never_says(Code::NodeHeLostSyn);
    machine().tries(&container(), &[40, 640, 90, 210, 55]).never_says(Code::NodeHeLostSyn);
    // With a second address that works, or with patience, a lost packet costs time and nothing else.
    lossy(2).with_v6(&container(), "2a01:4f8:1:3::2", Range::Global).never_says(Code::NodeHeLostSyn);
    lossy(2).node_options(&[PATIENT]).never_says(Code::NodeHeLostSyn);
}

#[test]
fn ipv4first_alone() {
    let world = first_field_report().node_options(&["--dns-result-order=ipv4first"]);
    let cause = finds(&world, Code::NodeIpv4firstNotEnough, Impact::Broken, Confidence::Confirmed);
    assert!(cause.summary.contains("in spite of --dns-result-order=ipv4first"), "{}", cause.summary);
    assert!(cause.remedies[0].lines()[0].starts_with(&format!("NODE_OPTIONS={PATIENT} ")), "{:?}", cause.remedies[0]);
    assert!(cause.remedies[0].undo[0].flat()[0].contains("--dns-result-order=ipv4first"), "{:?}", cause.remedies[0]);
    // On a near app it does no harm.
    machine().node_options(&["--dns-result-order=ipv4first"]).never_says(Code::NodeIpv4firstNotEnough);
}

pub(crate) fn noautoselect() -> World {
    let there = container();
    machine()
        .with_v6(&there, "2a01:4f8:1:3::2", Range::Global)
        .reaches(&there, |addr| addr.is_ipv6(), Some(FailureKind::Timeout), 12_000)
        .node_options(&["--no-network-family-autoselection"])
        .fetch_fails(10_000)
}

#[test]
fn the_other_half_alone() {
    let cause = finds_among(&noautoselect().judge(), Code::NodeNoautoselectBackfires);
    assert_eq!((cause.impact, cause.confidence), (Impact::Broken, Confidence::Confirmed));
    assert!(cause.summary.contains("stays silent"), "{}", cause.summary);
    // The flag does no harm where IPv6 is not there at all, or works.
    let flag = &["--no-network-family-autoselection"];
    machine().node_options(flag).never_says(Code::NodeNoautoselectBackfires);
    machine()
        .with_v6(&container(), "2a01:4f8:1:3::2", Range::Global)
        .node_options(flag)
        .never_says(Code::NodeNoautoselectBackfires);
}

/// The directory is far away, by IPv4.
fn far_directory(world: World) -> World {
    world.there(&container(), |fact| match &fact.body {
        FactBody::Connect(body) if body.host.as_str() == DIRECTORY && body.addr.is_ipv4() => fact.took_ms = 400,
        FactBody::Tls(body) if body.sni.as_str() == DIRECTORY && body.addr.is_ipv4() => fact.took_ms = 410,
        _ => {}
    })
}

/// One connection was late, and the handshake on it shows that the way is short: this machine was busy.
#[test]
fn one_late_connection_is_no_far_host() {
    let late = |ms: u64| {
        machine().each(move |fact| match &fact.body {
            FactBody::Connect(body) if body.host.as_str() == DIRECTORY && body.addr.is_ipv4() => fact.took_ms = ms,
            FactBody::Tls(body) if body.sni.as_str() == DIRECTORY => fact.took_ms = 60,
            _ => {}
        })
    };
    for ms in [210, 260, 400, 900] {
        late(ms).is_well();
    }
}

#[test]
fn the_directory_counts_too() {
    let world = far_directory(machine());
    let cause = finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    assert_eq!(cause.scope.host.as_deref(), Some(DIRECTORY));
    assert!(!cause.summary.contains("ogins to"), "{}", cause.summary);
}

/// What is wrong towards every far host is one thing, and a login is what people notice.
#[test]
fn several_far_hosts_are_one_cause() {
    let judged = far_directory(first_field_report()).finds(Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    let causes = &judged.diagnosis.causes;
    assert_eq!(causes.iter().filter(|cause| cause.code == Code::NodeHe250ms).count(), 1, "{}", judged.show());
    assert_eq!(causes[0].scope.host.as_deref(), Some(APP));
    assert!(causes[0].seen.iter().any(|line| line.contains(DIRECTORY)), "{}", judged.show());
}

/// The setting goes where this PDS has its settings, and what is there stays.
#[test]
fn the_place_of_the_setting() {
    let step = |change: &dyn Fn(&mut ProcessFact)| {
        let world = first_field_report().process(change);
        let world = world.each(|fact| {
            if let FactBody::Container(body) = &mut fact.body {
                body.image = t("example/pds");
            }
        });
        finds_among(&world.judge(), Code::NodeHe250ms).remedies[0].lines().join("\n")
    };
    let compose = step(&|_| {});
    assert!(compose.contains("environment: {") && compose.contains("--force-recreate"), "{compose}");
    let kept = step(&|body| body.node_options = vec![t("--max-old-space-size=512"), t("--no-warnings")]);
    assert!(kept.contains(&format!("\"--max-old-space-size=512 --no-warnings {PATIENT}\"")), "{kept}");
    let hidden = step(&|body| body.node_options = vec![t("--require")]);
    assert!(hidden.contains("keep them") && hidden.contains(&format!("\"{PATIENT}\"")), "{hidden}");
    let wins = step(&|body| body.node_arguments = vec![t("--network-family-autoselection-attempt-timeout=100")]);
    assert!(wins.contains("off the PDS's command line"), "{wins}");
}

#[test]
fn a_bare_service() {
    let world = first_field_report().each(|fact| {
        if fact.probe.is_inside() && fact.vantage == container() {
            fact.vantage = Vantage::Process(4_242);
        }
        if let FactBody::Process(body) = &mut fact.body {
            body.confinement.kind = ConfinementKind::Systemd;
            body.confinement.id = Some(t("my-pds.service"));
            body.confinement.name = None;
        }
    });
    let steps = finds_among(&world.judge(), Code::NodeHe250ms).remedies[0].lines().join("\n");
    assert!(
        steps.contains("systemctl edit my-pds.service") && steps.contains("Environment=\"NODE_OPTIONS="),
        "{steps}"
    );
}

/// The same cause seen from outside and from inside is one.
#[test]
fn the_names_of_this_place_decide() {
    // The container's resolver knows no AAAA: one address, no timer.
    let there = container();
    let world = far_app(312).there(&there, |fact| {
        if let FactBody::Dns(body) = &mut fact.body
            && body.name.as_str() == APP
        {
            body.records.retain(|record| !record.contains(':'));
        }
    });
    world.never_says(Code::NodeHe250ms);
    let run = world.finished();
    let evidence = Evidence::new(&run);
    let story = situation::of(&evidence, APP).unwrap();
    assert_eq!(story.measured.len(), 1);
    assert_eq!(story.works(), Some(true));
    assert_ne!(world.judge().verdict(), Verdict::Broken);
}

fn meant(node_options: &[&str]) -> EnvFileFact {
    EnvFileFact {
        path: t("/pds/pds.env"),
        node_options: node_options.iter().map(|flag| t(flag)).collect(),
        hostname: Some(t(PDS)),
        changed_s: Some(60),
    }
}

pub(crate) fn with_file(world: World, file: EnvFileFact) -> World {
    world.with(|world| world.inside(&Vantage::Here, ProbeName::PdsProcess, FactBody::EnvFile(file)))
}

pub(crate) fn not_restarted() -> World {
    with_file(first_field_report(), meant(&[PATIENT]))
}

#[test]
fn a_file_that_the_running_process_never_saw() {
    let judged = not_restarted().finds(Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Confirmed);
    let cause = &judged.diagnosis.causes[0];
    assert!(cause.summary.contains("changed after the PDS was started"), "{}", cause.summary);
    let symptoms: Vec<Code> = cause.symptoms.iter().map(|symptom| symptom.code).collect();
    assert!(symptoms.contains(&Code::NodeHe250ms), "{}", judged.show());
    assert_eq!(cause.remedies[0].lines(), ["sudo systemctl restart pds"]);
    // Ages in whole seconds that are next to each other do not tell which came first.
    let next = EnvFileFact { changed_s: Some(86_399), ..meant(&[PATIENT]) };
    let judged =
        with_file(first_field_report(), next).finds(Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Confirmed);
    assert!(!judged.diagnosis.causes[0].summary.contains("changed after"), "{}", judged.show());
    // The twin: it is in effect.
    let world = with_file(first_field_report(), meant(&[PATIENT])).node_options(&[PATIENT]);
    world.never_says(Code::NodeOptionsNotApplied);
    // Another PDS's file, or one that says nothing of Node.
    let other = EnvFileFact { hostname: Some(t("other.example")), ..meant(&[PATIENT]) };
    with_file(first_field_report(), other).never_says(Code::NodeOptionsNotApplied);
    with_file(first_field_report(), meant(&[])).never_says(Code::NodeOptionsNotApplied);
    with_file(first_field_report(), meant(&["--max-old-space-size=512"])).never_says(Code::NodeOptionsNotApplied);
    // What would not help is not the cause of what fails; it is still said.
    let world = with_file(first_field_report(), meant(&["--dns-result-order=ipv4first"]));
    world.finds(Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    assert_eq!(finds_among(&world.judge(), Code::NodeOptionsNotApplied).impact, Impact::Risk);
    // Nothing fails: it waits.
    let world = with_file(machine(), meant(&[PATIENT]));
    world.finds(Code::NodeOptionsNotApplied, Impact::Risk, Confidence::Confirmed);
    let nameless = EnvFileFact { hostname: None, ..meant(&[PATIENT]) };
    with_file(machine(), nameless).finds(Code::NodeOptionsNotApplied, Impact::Risk, Confidence::Likely);
    with_file(machine(), meant(&[PATIENT]))
        .process(|body| body.environment_read = false)
        .never_says(Code::NodeOptionsNotApplied);
}

#[test]
fn single_quotes() {
    let world = first_field_report().node_options(&["'--network-family-autoselection-attempt-timeout=5000"]);
    let judged = world.finds(Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Confirmed);
    assert!(judged.diagnosis.causes[0].summary.contains("single quotes"), "{}", judged.show());
    assert!(judged.diagnosis.causes[0].symptoms.iter().any(|symptom| symptom.code == Code::NodeHe250ms));
    let world = first_field_report().node_options(&["?", PATIENT]);
    let judged = world.finds(Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Confirmed);
    assert!(judged.diagnosis.causes[0].summary.contains("no flag"), "{}", judged.show());
    // Dropped, and of no matter here.
    first_field_report().node_options(&["'--no-warnings"]).never_says(Code::NodeOptionsNotApplied);
}

#[test]
fn a_script_that_overwrites_them() {
    let configured = |flags: &[&str]| {
        first_field_report().each(|fact| {
            if let FactBody::Container(body) = &mut fact.body {
                body.node_options = flags.iter().map(|flag| t(flag)).collect();
            }
        })
    };
    let world = configured(&[PATIENT]);
    let cause = finds(&world, Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Confirmed);
    assert!(cause.summary.contains("configuration of the container pds"), "{}", cause.summary);
    configured(&[PATIENT]).node_options(&[PATIENT]).never_says(Code::NodeOptionsNotApplied);
    configured(&["--no-warnings"]).never_says(Code::NodeOptionsNotApplied);
}

#[test]
fn a_flag_that_node_refuses() {
    let ended = |exit_code| {
        machine().without(|fact| matches!(fact.body, FactBody::Process(_))).each(move |fact| {
            if let FactBody::Container(body) = &mut fact.body {
                body.status = t("exited");
                body.exit_code = Some(exit_code);
                body.node_options = vec![t(PATIENT)];
            }
        })
    };
    ended(9).finds(Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Likely);
    ended(1).never_says(Code::NodeOptionsNotApplied);
}

pub(crate) fn aborting() -> World {
    machine().node("24.21.0").process(|body| body.database_module = Some(t("12.11.1")))
}

#[test]
fn a_node_that_aborts_with_its_database() {
    aborting().finds(Code::VerNodeCrashesPds, Impact::Risk, Confidence::Likely);
    let restarted = aborting().each(|fact| {
        if let FactBody::Container(body) = &mut fact.body {
            body.restarts = 3;
        }
    });
    restarted.finds(Code::VerNodeCrashesPds, Impact::Degraded, Confidence::Likely);
    aborting().node("26.10.0").finds(Code::VerNodeCrashesPds, Impact::Risk, Confidence::Possible);
    for world in [
        aborting().node("24.18.0"),
        aborting().node("22.23.3"),
        aborting().process(|body| body.database_module = Some(t("13.0.1"))),
        aborting().process(|body| body.database_module = None),
        aborting().process(|body| body.node = None),
    ] {
        world.never_says(Code::VerNodeCrashesPds);
    }
}
