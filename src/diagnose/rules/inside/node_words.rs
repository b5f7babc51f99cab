//! What to do about a Node that gives up: only what the model says will work, with the place where this PDS has it.

use pdsdoctor_probes::{
    fact::Family,
    process_fact::{ConfinementKind, ContainerFact, ProcessFact},
};

use super::node_proof::Experiment;
use crate::diagnose::{
    Code, Remedy,
    evidence::{Evidence, Seen},
    node_model::{self, Candidate, Options, Path, Prediction},
    rules::list,
    situation::{Reading, Story, outcome_words},
    step::{
        Command, HostName, NodeFlag, Prose, Step, UnitName, command, compose, entry, prose, quoted, run, run_or, say,
        told, write, write_all,
    },
};

/// How Node fares.
pub(super) struct Fare<'a, 'b> {
    pub(super) story: &'a Story<'b>,
    pub(super) reading: &'a Reading,
    pub(super) would: &'a Prediction,
    pub(super) experiment: &'a Experiment<'b>,
}

/// The remedies, best first. Never empty.
pub(super) fn remedies(evidence: &Evidence<'_>, fare: &Fare<'_, '_>, code: Code) -> Vec<Remedy> {
    let story = fare.story;
    let service = Service::of(evidence, story.process.body);
    let verify = evidence.verify();
    // Where IPv6 works for other hosts, it is the app's own address that is dead: nothing to repair or remove here.
    let v6_is_ours = !evidence
        .inside()
        .tries(&story.at, Family::V6, Some(&story.host))
        .iter()
        .any(|seen| seen.body.failure.is_none());
    let mut all: Vec<Remedy> = Vec::new();
    for candidate in story.remedies().into_iter().filter(|candidate| !fare.experiment.disproves(candidate.remedy)) {
        let before = all.len();
        let then = then(candidate);
        match candidate.remedy {
            node_model::Remedy::AttemptTimeout => {
                let title = prose!["Give each attempt of Node's 5 s", told(&then)];
                all.extend(service.set(candidate.remedy.options().as_ref(), title, &verify));
            }
            node_model::Remedy::Ipv4Only => {
                let title = prose!["Let Node try IPv4 only, by two flags that must go together", told(&then)];
                all.extend(service.set(candidate.remedy.options().as_ref(), title, &verify));
            }
            node_model::Remedy::RepairIpv6 if v6_is_ours && story_has_dead_v6(story) => {
                all.push(repair(story, &then, &verify));
            }
            node_model::Remedy::RemoveIpv6 if v6_is_ours && story_has_dead_v6(story) => {
                all.push(service.remove_ipv6(&then, &verify));
            }
            _ => {}
        }
        for remedy in &mut all[before..] {
            remedy.proven = fare.experiment.proves(candidate.remedy);
        }
    }
    if code == Code::NodeHeLostSyn {
        let lossy = fare.would.attempts.first().map_or_else(|| story.host.clone(), |first| first.address.to_string());
        all.push(Remedy::new(
            "Find where packets get lost",
            [run(command!["mtr -rwc 100", HostName::new(&lossy)])],
            verify.clone(),
        ));
    }
    if all.is_empty() {
        let release = fare.reading.runtime.release;
        let release = release.to_string();
        let why = prose![
            "Update Node (here ",
            told(&release),
            "), which does not know a timer for attempts: 20.13, 22.1 or newer"
        ];
        all.push(Remedy::new(why, [run("sudo pdsadmin update").note("the official image")], verify).disruptive());
    }
    all
}

fn story_has_dead_v6(story: &Story<'_>) -> bool {
    story.measured.iter().any(|found| found.ip.is_ipv6() && !matches!(found.path, Path::Connects { .. }))
}

/// What comes of it: `: then it connects after 640 ms by IPv4`.
fn then(candidate: &Candidate) -> String {
    candidate.prediction.as_ref().map_or_else(String::new, |after| format!(": then it {}", outcome_words(after)))
}

fn repair(story: &Story<'_>, then: &str, verify: &Command) -> Remedy {
    let look = |what: &'static str| match story.at {
        pdsdoctor_probes::fact::Vantage::Here => run(what),
        _ => run(command!["sudo nsenter -t", story.process.body.pid, "-n", what]),
    };
    Remedy::new(
        prose!["Repair IPv6 where the PDS is", told(then)],
        [
            look("ip -6 addr show scope global"),
            look("ip -6 route show default").note("what is missing?"),
            say("if a cause that begins with v6- stands beside this one, its remedy is the repair"),
        ],
        verify.clone(),
    )
}

/// Where the PDS's settings are.
pub(super) struct Service<'a> {
    process: &'a ProcessFact,
    container: Option<&'a ContainerFact>,
}

impl<'a> Service<'a> {
    pub(super) fn of(evidence: &Evidence<'a>, process: &'a ProcessFact) -> Self {
        let named = |seen: &Seen<'a, ContainerFact>| process.confinement.name.as_ref() == Some(&seen.body.name);
        let container = evidence.inside().containers().find(named).map(|seen| seen.body);
        Self { process, container }
    }

    /// The official installation: its file of settings is read anew whenever the service is restarted.
    fn is_official(&self) -> bool {
        self.container.is_some_and(|container| container.image.contains("bluesky-social/pds"))
    }

    /// The flags that are there already and stay, and whether some of them had values that are not kept.
    fn kept(&self) -> (Vec<NodeFlag>, bool) {
        let plain = |flag: &&str| !flag.starts_with('\'') && *flag != "?";
        let network = ["network-family-autoselection", "dns-result-order"];
        let others = self.process.node_options.iter().map(|flag| flag.as_str()).filter(plain);
        let kept: Vec<&str> = others.filter(|flag| !network.iter().any(|name| flag.contains(name))).collect();
        let flags: Vec<NodeFlag> = kept.iter().filter_map(|flag| NodeFlag::new(flag)).collect();
        // These take no value; what others had was left out, unless it was a number.
        let whole = |flag: &NodeFlag| flag.as_str().contains('=') || WITHOUT_VALUE.contains(&flag.as_str());
        let hidden = flags.len() < kept.len() || !flags.iter().all(whole);
        (flags, hidden)
    }

    /// Network flags on the command line, which win over the variable.
    fn winning(&self) -> Vec<&str> {
        let all = self.process.node_arguments.iter().map(|flag| flag.as_str());
        all.filter(|flag| flag.contains("network-family-autoselection") || flag.contains("dns-result-order")).collect()
    }

    /// Setting flags, where this PDS has its settings.
    pub(super) fn set(&self, options: Option<&Options>, title: Prose, verify: &Command) -> Option<Remedy> {
        let (kept, hidden) = self.kept();
        let mut value = if hidden { Vec::new() } else { kept.clone() };
        value.extend(flags(options?));
        let mut steps = Vec::new();
        if hidden {
            steps.push(say(prose![
                "NODE_OPTIONS has other flags already (",
                quoted(&list(&kept)),
                "), some with values that are not shown here: keep them, and add:"
            ]));
        }
        let winning = self.winning();
        if !winning.is_empty() {
            steps.push(say(prose![
                "take ",
                quoted(&list(&winning)),
                " off the PDS's command line: it wins over NODE_OPTIONS"
            ]));
        }
        steps.extend(self.place(&value));
        let undo = if self.process.node_options.is_empty() {
            say("take the setting out again, and restart in the same way")
        } else {
            say(prose![
                "put NODE_OPTIONS back to what it was (",
                quoted(&list(&self.process.node_options)),
                "), and restart in the same way"
            ])
        };
        Some(Remedy::new(title, steps, verify.clone()).disruptive().undo(undo))
    }

    /// How the variable gets this value.
    pub(super) fn place(&self, value: &[NodeFlag]) -> Vec<Step> {
        let set = |before: &'static str, behind: &'static str| write(entry![before, value, behind]);
        match self.process.confinement.kind {
            _ if self.is_official() => vec![
                set("NODE_OPTIONS=", "").note("a line of /pds/pds.env, without quotes"),
                run("sudo systemctl restart pds"),
            ],
            ConfinementKind::Docker | ConfinementKind::Podman => vec![
                set("environment: { NODE_OPTIONS: \"", "\" }").note("for the PDS's service in the compose file"),
                run(match self.process.confinement.kind {
                    ConfinementKind::Podman => "podman compose up -d --force-recreate",
                    _ => "sudo docker compose up -d --force-recreate",
                })
                .note("in the folder of compose.yaml; a plain restart keeps the old environment"),
            ],
            ConfinementKind::Systemd => {
                let unit = || UnitName::new(self.process.confinement.id.as_deref().unwrap_or("pds.service"));
                vec![
                    run_or(
                        command!["sudo systemctl edit", unit()],
                        "open the settings of the PDS's service (systemctl edit, with its name)",
                    )
                    .note("add the two lines that follow"),
                    write_all([entry!["[Service]"], entry!["Environment=\"NODE_OPTIONS=", value, "\""]]),
                    run_or(command!["sudo systemctl restart", unit()], "restart the PDS's service"),
                ]
            }
            ConfinementKind::Kubernetes => vec![
                set("env: [{ name: NODE_OPTIONS, value: \"", "\" }]")
                    .note("of the PDS's container, in the pod's template"),
                run("kubectl apply -f FILE").note("FILE has that template; the pod is made anew"),
            ],
            ConfinementKind::OtherContainer => vec![
                set("NODE_OPTIONS=", "").note("in the environment that the PDS's container is made with"),
                say("make the container anew: a plain restart keeps the old environment"),
            ],
            ConfinementKind::None => vec![
                set("export NODE_OPTIONS=\"", "\"").note("where the PDS is started"),
                say("stop the PDS and start it again"),
            ],
        }
    }

    fn remove_ipv6(&self, then: &str, verify: &Command) -> Remedy {
        let title = prose!["Take IPv6 away from the PDS, the loopback included", told(then)];
        let own_network = self.process.own_network == Some(true) && self.container.is_some();
        if own_network {
            return Remedy::new(
                title,
                [
                    write("sysctls: { net.ipv6.conf.all.disable_ipv6: 1 }")
                        .note("for the PDS's service in the compose file"),
                    compose("sudo docker compose up -d --force-recreate"),
                ],
                verify.clone(),
            )
            .disruptive()
            .undo(say("take the line out"))
            .undo(run("sudo docker compose up -d --force-recreate"));
        }
        // Another network than the machine's: what the machine has is nothing to it.
        if self.process.own_network == Some(true) {
            let set = |to: &'static str| {
                let enter = command!["sudo nsenter -t", self.process.pid, "-n sysctl -w", to];
                run(enter)
            };
            return Remedy::new(
                title,
                [
                    set("net.ipv6.conf.all.disable_ipv6=1"),
                    say("and the same where its network is made, or it is gone at the next start"),
                ],
                verify.clone(),
            )
            .disruptive()
            .undo(set("net.ipv6.conf.all.disable_ipv6=0"))
            .undo(say("then set that network up anew"));
        }
        Remedy::new(
            title,
            [
                run("echo 'net.ipv6.conf.all.disable_ipv6 = 1' | sudo tee /etc/sysctl.d/90-no-ipv6.conf")
                    .note("the whole machine"),
                run("sudo sysctl --system"),
            ],
            verify.clone(),
        )
        .disruptive()
        .undo(run("sudo rm /etc/sysctl.d/90-no-ipv6.conf && sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0"))
        .undo(say("then set the network up anew"))
    }
}

/// Flags as they are written.
pub(super) fn flags(options: &Options) -> Vec<NodeFlag> {
    options.written().split(' ').filter_map(NodeFlag::new).collect()
}

/// Flags of `NODE_OPTIONS` that are whole without a value (doc/api/cli.md).
const WITHOUT_VALUE: &[&str] = &[
    "--enable-source-maps",
    "--no-warnings",
    "--no-deprecation",
    "--trace-warnings",
    "--trace-deprecation",
    "--trace-uncaught",
    "--throw-deprecation",
    "--use-openssl-ca",
    "--use-bundled-ca",
    "--use-system-ca",
    "--experimental-vm-modules",
    "--preserve-symlinks",
    "--report-on-fatalerror",
    "--report-uncaught-exception",
    "--abort-on-uncaught-exception",
];
