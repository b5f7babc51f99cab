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
    let verify = format!("sudo {}", evidence.verify());
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
                let title = format!("Give each attempt of Node's 5 s{then}");
                all.extend(service.set(candidate.remedy.options().as_ref(), title, &verify));
            }
            node_model::Remedy::Ipv4Only => {
                let title = format!("Or let Node try IPv4 only, by two flags that must go together{then}");
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
        all.push(Remedy::new("Find where packets get lost", [format!("mtr -rwc 100 {lossy}")], verify.clone()));
    }
    if all.is_empty() {
        let release = fare.reading.runtime.release;
        let why =
            format!("Update Node (here {release}), which does not know a timer for attempts: 20.13, 22.1 or newer");
        all.push(Remedy::new(why, ["the official image: sudo pdsadmin update"], verify).disruptive());
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

fn repair(story: &Story<'_>, then: &str, verify: &str) -> Remedy {
    let enter = match story.at {
        pdsdoctor_probes::fact::Vantage::Here => "sudo ".to_owned(),
        _ => format!("sudo nsenter -t {} -n ", story.process.body.pid),
    };
    Remedy::new(
        format!("Repair IPv6 where the PDS is{then}"),
        [
            format!("{enter}ip -6 addr show scope global; {enter}ip -6 route show default     # what is missing?"),
            "if a cause that begins with v6- stands beside this one, its remedy is the repair".to_owned(),
        ],
        verify,
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
    fn kept(&self) -> (Vec<String>, bool) {
        let plain = |flag: &&str| !flag.starts_with('\'') && *flag != "?";
        let network = ["network-family-autoselection", "dns-result-order"];
        let others = self.process.node_options.iter().map(|flag| flag.as_str()).filter(plain);
        let kept: Vec<String> =
            others.filter(|flag| !network.iter().any(|name| flag.contains(name))).map(str::to_owned).collect();
        // These take no value; what others had was left out, unless it was a number.
        let whole = |flag: &String| flag.contains('=') || WITHOUT_VALUE.contains(&flag.as_str());
        let hidden = kept.iter().any(|flag| !whole(flag));
        (kept, hidden)
    }

    /// Network flags on the command line, which win over the variable.
    fn winning(&self) -> Vec<&str> {
        let all = self.process.node_arguments.iter().map(|flag| flag.as_str());
        all.filter(|flag| flag.contains("network-family-autoselection") || flag.contains("dns-result-order")).collect()
    }

    /// Setting flags, where this PDS has its settings.
    pub(super) fn set(&self, options: Option<&Options>, title: String, verify: &str) -> Option<Remedy> {
        let (kept, hidden) = self.kept();
        let new = options?.written();
        let value = if hidden || kept.is_empty() { new } else { format!("{} {new}", kept.join(" ")) };
        let mut steps = Vec::new();
        if hidden {
            steps.push(format!(
                "NODE_OPTIONS has other flags already ({}), some with values that are not shown here: keep them, and add:",
                list(&kept)
            ));
        }
        let winning = self.winning();
        if !winning.is_empty() {
            steps.push(format!("take {} off the PDS's command line: it wins over NODE_OPTIONS", list(&winning)));
        }
        steps.extend(self.place(&value));
        let undo = if self.process.node_options.is_empty() {
            "take the setting out again, and restart in the same way".to_owned()
        } else {
            format!(
                "put NODE_OPTIONS back to what it was ({}), and restart in the same way",
                list(&self.process.node_options)
            )
        };
        Some(Remedy::new(title, steps, verify).disruptive().undo(undo))
    }

    /// How the variable gets this value.
    pub(super) fn place(&self, value: &str) -> Vec<String> {
        let engine = if self.process.confinement.kind == ConfinementKind::Podman { "podman" } else { "docker" };
        match self.process.confinement.kind {
            _ if self.is_official() => vec![
                format!("NODE_OPTIONS={value}     # a line of /pds/pds.env, without quotes"),
                "sudo systemctl restart pds".to_owned(),
            ],
            ConfinementKind::Docker | ConfinementKind::Podman => vec![
                format!("environment: {{ NODE_OPTIONS: \"{value}\" }}     # for the PDS's service in the compose file"),
                format!("{engine} compose up -d --force-recreate     # a plain restart keeps the old environment"),
            ],
            ConfinementKind::Systemd => {
                let unit = self.process.confinement.id.as_deref().unwrap_or("pds.service");
                vec![
                    format!("sudo systemctl edit {unit}     # add the two lines that follow"),
                    "[Service]".to_owned(),
                    format!("Environment=\"NODE_OPTIONS={value}\""),
                    format!("sudo systemctl restart {unit}"),
                ]
            }
            ConfinementKind::Kubernetes => vec![
                format!(
                    "env: [{{ name: NODE_OPTIONS, value: \"{value}\" }}]     # of the PDS's container, in the pod's template"
                ),
                "kubectl apply -f …     # the pod is made anew".to_owned(),
            ],
            ConfinementKind::OtherContainer => vec![
                format!("NODE_OPTIONS={value}     # in the environment that the PDS's container is made with"),
                "make the container anew: a plain restart keeps the old environment".to_owned(),
            ],
            ConfinementKind::None => vec![
                format!("export NODE_OPTIONS=\"{value}\"     # where the PDS is started"),
                "stop the PDS and start it again".to_owned(),
            ],
        }
    }

    fn remove_ipv6(&self, then: &str, verify: &str) -> Remedy {
        let title = format!("Or take IPv6 away from the PDS, the loopback included{then}");
        let own_network = self.process.own_network == Some(true) && self.container.is_some();
        if own_network {
            return Remedy::new(
                title,
                [
                    "sysctls: { net.ipv6.conf.all.disable_ipv6: 1 }     # for the PDS's service in the compose file",
                    "docker compose up -d --force-recreate",
                ],
                verify,
            )
            .disruptive()
            .undo("take the line out and make the container anew");
        }
        Remedy::new(
            title,
            [
                "echo 'net.ipv6.conf.all.disable_ipv6 = 1' | sudo tee /etc/sysctl.d/90-no-ipv6.conf     # the whole machine",
                "sudo sysctl --system",
            ],
            verify,
        )
        .disruptive()
        .undo("sudo rm /etc/sysctl.d/90-no-ipv6.conf && sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0, then set the network up anew")
    }
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
