//! Flags that were meant for Node and are not in effect: they are written somewhere, and the running process has others.

use pdsdoctor_probes::{
    fact::FactId,
    process_fact::{ContainerFact, ProcessFact},
    text::Text,
};

use super::node_words::{Service, flags};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen},
    node_model::{Options, Release},
    rules::{Found, Rule, list},
    situation::{self, Story, outcome_words},
    step::{ContainerName, Step, command, entry, prose, run, run_or, say, told, word, write},
};

pub(in crate::diagnose::rules) const RULE: Rule = Rule { codes: &[Code::NodeOptionsNotApplied], judge };

/// Node's status when `NODE_OPTIONS` has what it does not know (`kInvalidCommandLineArgument`, src/node_exit_code.h).
const INVALID_ARGUMENT: i64 = 9;

/// What somebody wanted Node to do.
struct Meant {
    /// Where it is written.
    place: String,
    /// The flags, as written.
    written: String,
    /// The same, as they would count.
    options: Options,
    /// Why they do not.
    why: String,
    confidence: Confidence,
    because: Vec<FactId>,
    /// What makes them count.
    fix: Fix,
}

enum Fix {
    /// Write them without quotes.
    Quotes,
    /// Make the process anew.
    Restart,
    /// Find what overwrites them.
    Overwritten,
}

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    for container in evidence.inside().containers() {
        found.causes.extend(refused(evidence, container));
    }
    let Some(process) = evidence.inside().pds() else { return };
    if !process.body.environment_read {
        return;
    }
    let release = release(process.body);
    let have = Options::read(release, &joined(&process.body.node_options), &[]);
    // One reason is enough: the nearest to Node comes first.
    let meant = dropped(process, release, &have.dropped)
        .or_else(|| overwritten(evidence, process.body, release, have.options))
        .or_else(|| in_file(evidence, process.body, release, have.options));
    if let Some(meant) = meant {
        found.cause(cause(evidence, process, &meant));
    }
}

fn release(process: &ProcessFact) -> Release {
    // The flags' own meaning is the same since 22.1; only whether they are known differs.
    process.node.as_ref().and_then(|node| node.version.parse().ok()).unwrap_or(Release::new(24, 0, 0))
}

fn joined(flags: &[Text]) -> String {
    flags.iter().map(|flag| flag.as_str()).collect::<Vec<_>>().join(" ")
}

/// The flags, if Node took quotes as shells do.
fn without_quotes(release: Release, text: &str) -> Options {
    let plain = text.replace('\'', "");
    Options::read(release, plain.trim_start_matches("? "), &[]).options
}

/// In the variable itself, after what Node does not take for a flag.
fn dropped(process: Seen<'_, ProcessFact>, release: Release, dropped: &[String]) -> Option<Meant> {
    let written = dropped.join(" ");
    let options = without_quotes(release, &written);
    (options != Options::default()).then(|| Meant {
        place: "the PDS's own NODE_OPTIONS".to_owned(),
        why: if written.contains('\'') {
            "Node knows no single quotes there, and drops the rest without a message".to_owned()
        } else {
            "Node drops everything from the first word on that is no flag, without a message".to_owned()
        },
        written,
        options,
        confidence: Confidence::Confirmed,
        because: vec![process.id()],
        fix: Fix::Quotes,
    })
}

/// What `want` sets is not what `have` has.
fn differs(want: Options, have: Options) -> bool {
    (want.auto_select.is_some() && want.auto_select != have.auto_select)
        || (want.attempt_timeout_ms.is_some() && want.attempt_timeout_ms != have.attempt_timeout_ms)
        || (want.result_order.is_some() && want.result_order != have.result_order)
}

/// In the container's configuration, and not in its process: a script in between has set another value.
fn overwritten(evidence: &Evidence<'_>, process: &ProcessFact, release: Release, have: Options) -> Option<Meant> {
    let of_process = |seen: &Seen<'_, ContainerFact>| process.confinement.name.as_ref() == Some(&seen.body.name);
    let container = evidence.inside().containers().find(of_process)?;
    let written = joined(&container.body.node_options);
    let options = Options::read(release, &written, &[]).options;
    differs(options, have).then(|| Meant {
        place: format!("the configuration of the container {}", container.body.name),
        written,
        options,
        why: "something between the container's start and Node's sets another value".to_owned(),
        confidence: Confidence::Confirmed,
        because: vec![container.id()],
        fix: Fix::Overwritten,
    })
}

/// Both ages are whole seconds, each taken at a moment of its own: with less between them either may have come first.
const APART_S: u64 = 2;

/// In the file of settings, and not in the process.
fn in_file(evidence: &Evidence<'_>, process: &ProcessFact, release: Release, have: Options) -> Option<Meant> {
    evidence.inside().env_files().find_map(|file| {
        let written = joined(&file.body.node_options);
        let options = without_quotes(release, &written);
        if !differs(options, have) {
            return None;
        }
        // A file that names another PDS is not this one's; one that names none may be.
        let same = file.body.hostname.as_ref().map(|name| Some(name) == process.hostname.as_ref());
        let confidence = match same {
            Some(false) => return None,
            Some(true) => Confidence::Confirmed,
            None => Confidence::Likely,
        };
        let later = matches!(
            (file.body.changed_s, process.uptime_s),
            (Some(changed), Some(up)) if changed.saturating_add(APART_S) <= up
        );
        let why = if later {
            "the file was changed after the PDS was started"
        } else {
            "the PDS was started without it, or something set another value"
        };
        Some(Meant {
            place: file.body.path.to_string(),
            written,
            options,
            why: why.to_owned(),
            confidence,
            because: vec![file.id()],
            fix: Fix::Restart,
        })
    })
}

/// Whether a host that the PDS cannot reach now would be reached with what was meant.
fn cured<'a>(stories: &'a [Story<'a>], options: &Options) -> Option<&'a Story<'a>> {
    stories.iter().find(|story| story.works() == Some(false) && story.always(|reading| reading.with(options).works()))
}

fn cause(evidence: &Evidence<'_>, process: Seen<'_, ProcessFact>, meant: &Meant) -> Cause {
    let hosts = situation::hosts(evidence);
    let stories: Vec<Story<'_>> = hosts.iter().filter_map(|host| situation::of(evidence, host)).collect();
    let cured = cured(&stories, &meant.options);
    let seen_to_work =
        cured.is_some_and(|story| situation::observed(evidence, &story.host).is_some_and(|observed| observed.obtained));
    let impact = if cured.is_some() && !seen_to_work { Impact::Broken } else { Impact::Risk };
    let written = meant.options.written();
    let summary = match cured {
        Some(story) if !seen_to_work => format!(
            "The PDS cannot reach {}, and the setting that would help is not in effect: {} is in {}, but {}.",
            story.host, written, meant.place, meant.why
        ),
        _ => format!("A setting of Node's is not in effect: {written} is in {}, but {}.", meant.place, meant.why),
    };
    let now = joined(&process.body.node_options);
    let now = if now.is_empty() { "none".to_owned() } else { now };
    let scope = Scope { vantage: Some(String::from(process.body.vantage())), ..Scope::default() };
    let mut cause = Cause::new(Code::NodeOptionsNotApplied, impact, meant.confidence, summary)
        .scope(scope)
        .because([process.id()])
        .because(meant.because.clone());
    cause = match meant.fix {
        Fix::Quotes => cause.contrast(
            "NODE_OPTIONS of the running PDS, as written and as Node reads it",
            format!("as Node reads it: {}", in_effect(process.body)),
            format!("as written: {now}"),
        ),
        Fix::Restart | Fix::Overwritten => cause.contrast(
            "the flags of Node, in the running PDS and where they were set",
            format!("the running process: {now}"),
            format!("{}: {}", meant.place, meant.written),
        ),
    };
    if let Some(story) = cured {
        let with = story.first().with(&meant.options);
        cause = cause.because(story.because.clone()).contrast(
            format!("how Node reaches {} from {}, by the model of its algorithm", story.host, story.place()),
            format!("as it is: {}", outcome_words(&story.first().now)),
            format!("as it was meant: {}", outcome_words(&with)),
        );
    }
    if meant.confidence != Confidence::Confirmed {
        cause = cause.settle(prose!["whether ", told(&meant.place), " is this PDS's file"]);
    }
    cause.remedy(remedy(evidence, process.body, meant))
}

fn in_effect(process: &ProcessFact) -> String {
    let found = Options::read(release(process), &joined(&process.node_options), &[]);
    let written = found.options.written();
    if written.is_empty() { "none of the network flags".to_owned() } else { written }
}

fn remedy(evidence: &Evidence<'_>, process: &ProcessFact, meant: &Meant) -> Remedy {
    let service = Service::of(evidence, process);
    let verify = evidence.verify();
    let value = flags(&meant.options);
    let line = || write(entry!["NODE_OPTIONS=", value.as_slice()]);
    let set = service.set(Some(&meant.options), "".into(), &verify);
    let steps = set.map_or_else(|| vec![line()], |remedy| remedy.steps);
    let (title, steps) = match meant.fix {
        Fix::Quotes => ("Write the flags without single quotes, and make the process anew".into(), steps),
        Fix::Restart => {
            // The setting is there; what comes after it makes it count.
            let setting = steps.iter().rposition(|step| matches!(step, Step::Write { .. }));
            let restart = steps.into_iter().skip(setting.map_or(0, |at| at + 1)).collect();
            (prose!["Start the PDS anew, so that it reads ", told(&meant.place)], restart)
        }
        Fix::Overwritten => (
            "Find what sets NODE_OPTIONS after the container's start: its entrypoint, or a script that starts Node"
                .into(),
            vec![
                run(command![
                    "sudo cat",
                    word!["/proc/", process.pid, "/environ"],
                    "| tr '\\0' '\\n' | grep ^NODE_OPTIONS"
                ])
                .note("what is in effect"),
                line().note("is what it should be there"),
            ],
        ),
    };
    Remedy::new(title, steps, verify).disruptive().undo(say("the PDS keeps its old settings until it is started anew"))
}

/// A container that ends at once, because Node does not know what is in its `NODE_OPTIONS`.
fn refused(evidence: &Evidence<'_>, container: Seen<'_, ContainerFact>) -> Option<Cause> {
    let body = container.body;
    if body.exit_code != Some(INVALID_ARGUMENT) || body.node_options.is_empty() {
        return None;
    }
    let flags = list(&body.node_options);
    let summary = format!(
        "The PDS does not start: its container ends with status 9, with which Node refuses a flag of NODE_OPTIONS ({flags})."
    );
    Some(
        Cause::new(Code::NodeOptionsNotApplied, Impact::Broken, Confidence::Likely, summary)
            .scope(Scope { vantage: Some(format!("container:{}", body.name)), ..Scope::default() })
            .because([container.id()])
            .settle("the container's log: “node: … is not allowed in NODE_OPTIONS”")
            .remedy(
                Remedy::new(
                    "Take the flag out that this Node does not know",
                    [
                        run_or(
                            command!["sudo docker logs --tail 5", ContainerName::new(&body.name)],
                            "see the last lines of the container's log",
                        )
                        .note("names the flag"),
                        say("the attempt timeout needs Node 20.13 or 22.1; ipv6first likewise"),
                    ],
                    evidence.verify(),
                )
                .disruptive(),
            ),
    )
}
