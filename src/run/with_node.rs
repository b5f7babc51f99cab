//! `--with-node`: the PDS's own Node is asked, as it is and with each remedy that it understands.

use pdsdoctor_probes::{
    fact::ProbeName,
    inside::{self, InsideOptions, PdsProcess, Survey},
    process_fact::{FoundBy, NodeArm, ProcessFact},
};

use super::Context;
use crate::{
    diagnose::node_model::{Options, Release, Remedy},
    run::clients::DOCUMENTS,
};

/// Flags that say whom Node trusts: without them a fetch in the PDS's place would not be the PDS's.
const TRUST: &[&str] = &["--use-openssl-ca", "--use-bundled-ca", "--use-system-ca"];

/// Runs it, if it was asked for.
pub(super) async fn examine(context: &Context, survey: &Survey, how: &InsideOptions) {
    let options = &context.options;
    if !options.with_node || !context.measures(ProbeName::WithNode) {
        return;
    }
    let process = match the_one(context, survey) {
        Ok(process) => process,
        Err((why, needs)) => {
            context.net.not_measured(ProbeName::WithNode, &format!("--with-node: {why}"), &needs);
            return;
        }
    };
    if options.no_third_party && !options.client_ids_given {
        context.net.not_measured(
            ProbeName::WithNode,
            "--with-node: --no-third-party leaves no app to fetch from",
            "--client-id URL",
        );
        return;
    }
    let arms = arms(&process.fact);
    // One app after the other: many Nodes at once keep each other from the processor.
    for url in options.client_ids.iter().take(DOCUMENTS) {
        inside::with_node(&context.net, process, how, url, &arms).await;
    }
}

/// The PDSes that the target may be: those with its host name, or the only one, if none says that it is the target.
pub(super) fn ours<'a>(context: &Context, survey: &'a Survey) -> Vec<&'a PdsProcess> {
    let host = context.found().target.host.clone();
    let is_named = |process: &&PdsProcess| host.is_some() && process.fact.hostname == host;
    let named: Vec<_> = survey.processes.iter().filter(is_named).collect();
    let claimed = survey.claims.iter().any(|claim| host.as_ref() == Some(&claim.hostname));
    if named.is_empty() && !claimed && survey.processes.len() == 1 { survey.processes.iter().collect() } else { named }
}

/// The process whose program is run: the one that the user named, or the only one that can be meant. A guess would run
/// somebody else's program, and take what it says for the PDS's.
fn the_one<'a>(context: &Context, survey: &'a Survey) -> Result<&'a PdsProcess, (String, String)> {
    let host = context.found().target.host.clone();
    let ours = ours(context, survey);
    let name_it = "--pid N or --container NAME, to name the one that is meant";
    let is_host = |name: Option<&str>| host.is_some() && name == host.as_deref();
    let mut words: Vec<String> = ours.iter().map(|process| process.words()).collect();
    words.extend(survey.claims.iter().filter(|claim| is_host(Some(&claim.hostname))).map(|claim| claim.words.clone()));
    let Some(process) = ours.first().copied() else {
        if words.is_empty() {
            let needs = "the PDS on this machine: --pid or --container";
            return Err(("no process of the PDS was found".to_owned(), needs.to_owned()));
        }
        return Err((format!("which is the PDS is not clear: {}", words.join(", ")), name_it.to_owned()));
    };
    if process.fact.found != FoundBy::Scan {
        return Ok(process);
    }
    if ours.len() > 1 {
        return Err((format!("which is the PDS is not clear: {}", words.join(", ")), name_it.to_owned()));
    }
    if !is_host(process.fact.hostname.as_deref()) {
        let why = format!("{} does not say that it is this PDS", process.words());
        return Err((why, format!("--pid {}, if it is", process.fact.pid)));
    }
    // An engine's word is more than what follows.
    if process.is_vouched() {
        return Ok(process);
    }
    if let Some(why) = process.port_of_another() {
        return Err((format!("{}: {why}", process.words()), format!("--pid {}, if it is the PDS", process.fact.pid)));
    }
    // One that tells no name may be this PDS as well, by a file of settings that it reads itself.
    match survey.unnamed.iter().find(|(pid, _)| *pid != process.fact.pid) {
        Some((_, other)) => {
            Err((format!("which is the PDS is not clear: {}, {other}", process.words()), name_it.to_owned()))
        }
        None => Ok(process),
    }
}

/// As it is, with more time for each attempt, and with the pair: each only if it is something else. Of the flags that
/// are set, those of the network and of trust come along, and no others: they could load the user's own code.
fn arms(process: &ProcessFact) -> Vec<(NodeArm, String)> {
    let words: Vec<&str> = process.node_options.iter().map(|flag| flag.as_str()).collect();
    let arguments: Vec<&str> = process.node_arguments.iter().map(|flag| flag.as_str()).collect();
    let release = process.node.as_ref().and_then(|node| node.version.parse().ok()).unwrap_or(Release::new(24, 0, 0));
    let as_it_is = Options::read(release, &words.join(" "), &arguments).options;
    let trust: Vec<&str> = words.iter().chain(&arguments).copied().filter(|flag| TRUST.contains(flag)).collect();
    let written = |options: Options| {
        let all = trust.iter().map(|flag| (*flag).to_owned()).chain([options.written()]);
        all.filter(|flag| !flag.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let mut arms = vec![(NodeArm::AsItIs, written(as_it_is))];
    for (arm, remedy) in [(NodeArm::AttemptTimeout, Remedy::AttemptTimeout), (NodeArm::Ipv4Only, Remedy::Ipv4Only)] {
        arms.extend(remedy.options().filter(|options| *options != as_it_is).map(|options| (arm, written(options))));
    }
    arms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_and_what_would_be() {
        let process = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| format!("{flag:?}")).collect();
            let text = format!(
                r#"{{"pid":1,"found":"pid","because":"","program":"node","confinement":{{"kind":"none"}},
                    "environment_read":true,"node_options":[{}]}}"#,
                flags.join(",")
            );
            serde_json::from_str::<ProcessFact>(&text).expect("a process")
        };
        let timeout = "--network-family-autoselection-attempt-timeout=5000";
        let of = |flags: &[&str]| arms(&process(flags)).into_iter().map(|(_, options)| options).collect::<Vec<_>>();
        let pair = "--no-network-family-autoselection --dns-result-order=ipv4first";
        assert_eq!(of(&[]), ["", timeout, pair]);
        assert_eq!(
            of(&["--require", "--use-system-ca", "--dns-result-order=ipv4first"]),
            [
                "--use-system-ca --dns-result-order=ipv4first".to_owned(),
                format!("--use-system-ca {timeout}"),
                format!("--use-system-ca {pair}")
            ]
        );
        assert_eq!(of(&[timeout]), [timeout, pair]);
    }
}
