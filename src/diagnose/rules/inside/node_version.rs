//! A Node and a database module that abort together (research note: seen with Node 24.21.0 and better-sqlite3 12.11.1,
//! `Assertion failed: (env) != nullptr` in `RemoveEnvironmentCleanupHook`; not with 24.18.0. `node_object_wrap.h` has the
//! hook since 24.19, and better-sqlite3 13 does without).

use pdsdoctor_probes::{log_fact::LogCode, process_fact::ContainerFact};

use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen},
    node_model::Release,
    rules::{Found, Rule},
    step::{run, say, write},
};

pub(in crate::diagnose::rules) const RULE: Rule = Rule { codes: &[Code::VerNodeCrashesPds], judge };

/// The first Node with the hook.
const SINCE: Release = Release::new(24, 19, 0);
/// Newer lines were not seen to abort.
const SEEN_IN: u32 = 24;
/// The first better-sqlite3 that does without it.
const MODULE_WITHOUT: Release = Release::new(13, 0, 0);
/// How a container ends by SIGABRT (128 + 6).
const ABORTED: i64 = 134;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(process) = evidence.inside().pds() else { return };
    let version = |text: Option<&str>| text?.parse::<Release>().ok();
    let node = version(process.body.node.as_ref().map(|node| node.version.as_str()));
    let module = version(process.body.database_module.as_deref());
    let (Some(node), Some(module)) = (node, module) else { return };
    if node < SINCE || module >= MODULE_WITHOUT {
        if node >= SINCE {
            let why = format!("its database module is better-sqlite3 {module}, which does not use Node's hook");
            found.rule_out(
                Code::VerNodeCrashesPds,
                Bounds::seen(evidence.name(), &process.fact.vantage),
                why,
                [process.id()],
            );
        }
        return;
    }
    let of_process = |seen: &Seen<'_, ContainerFact>| process.body.confinement.name.as_ref() == Some(&seen.body.name);
    let container = evidence.inside().containers().find(of_process);
    let restarts = container.filter(|seen| seen.body.restarts > 0 && !seen.body.oom_killed);
    let aborted = container.filter(|seen| seen.body.exit_code == Some(ABORTED));
    let logged = evidence.log_code(LogCode::NodeAborted);
    let impact = if logged.is_some() || restarts.or(aborted).is_some() { Impact::Degraded } else { Impact::Risk };
    let confidence = if logged.is_some() {
        Confidence::Confirmed
    } else if node.major == SEEN_IN {
        Confidence::Likely
    } else {
        Confidence::Possible
    };
    let summary = format!(
        "The PDS may abort now and then: Node {node} and its database module, better-sqlite3 {module}, do not go together."
    );
    let mut cause = Cause::new(Code::VerNodeCrashesPds, impact, confidence, summary)
        .scope(Scope { vantage: Some(String::from(process.body.vantage())), ..Scope::default() })
        .because([process.id()])
        .saw(format!(
            "Node {node}: the hook is there since {SINCE}; better-sqlite3 {module}: {MODULE_WITHOUT} does without"
        ));
    cause = match logged {
        Some((log, error)) => cause.because([log.id()]).contrast(
            "Node and its database module",
            format!("here, by the PDS's log: `{}`, {} times", error.code.words(), error.count),
            "Node 24.18.0 with the same module: not seen to abort",
        ),
        None => cause.settle("the PDS's log at a restart: “Assertion failed: (env) != nullptr”"),
    };
    if let Some(container) = restarts.or(aborted) {
        cause = cause
            .because([container.id()])
            .saw(format!("the container {} was restarted {} times", container.body.name, container.body.restarts));
    }
    let official = run("sudo pdsadmin update").note("the official image; or pin an image with Node before 24.19");
    found.cause(
        cause.remedy(
            Remedy::new(
                "Run the PDS on a Node before 24.19, or with better-sqlite3 13 or newer",
                [official, write("FROM node:24.18-alpine").at("an image of your own")],
                "sudo docker inspect -f '{{.RestartCount}} {{.State.ExitCode}}' pds",
            )
            .disruptive()
            .undo(say("go back to the image that was used before")),
        ),
    );
}
