//! Words and remedies for a client document that a PDS did not obtain.

use super::login_arm::client_host;
use crate::diagnose::{
    Code, Remedy,
    evidence::Evidence,
    par_stage::{FetchFailure, Refusal, Stage},
    step::{Foreign, HostName, Url, command, compose, run, run_or, say, write},
};

/// What the PDS's own resolver says: its files are those of its container, which a look from outside does not use.
pub(super) const LOOK_UP: &str =
    "sudo docker exec pds node -e 'require(\"dns\").lookup(process.argv[1],{all:true},console.log)'";

/// A command in the network of the official installation's container.
pub(super) const IN_CONTAINER: &str = "sudo nsenter -t $(sudo docker inspect -f '{{.State.Pid}}' pds) -n";

/// What would settle whose fault it is.
pub(super) const A_STRONG_REFERENCE: &str =
    "the same request at a reference PDS that is its own authorization server: --against HOST";

/// The reason in a few words, for the summary.
pub(super) fn hint(stage: &Stage, spent: u64) -> String {
    match stage {
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) => format!(" (it gives up after {spent} ms)"),
        Stage::DocumentNotObtained(FetchFailure::Silence) => " (nothing comes back within 10 s)".to_owned(),
        Stage::DocumentNotObtained(FetchFailure::NameNotFound) => " (its resolver does not find the name)".to_owned(),
        Stage::DocumentNotObtained(FetchFailure::Refused) => " (the connection is refused)".to_owned(),
        Stage::DocumentNotObtained(FetchFailure::Certificate) => " (it is shown a wrong certificate)".to_owned(),
        Stage::DocumentRefused(Refusal::Status | Refusal::NotJson) => " (the app's server refuses it)".to_owned(),
        _ => String::new(),
    }
}

/// The clock as evidence: who gave up?
pub(super) fn time_line(stage: &Stage, spent: u64) -> Option<String> {
    let Stage::DocumentNotObtained(failure) = stage else { return None };
    Some(match failure {
        FetchFailure::AttemptCap => format!(
            "the fetch took {spent} ms: Node gives every address but the last 250 ms to connect, so a working but distant IPv4 path fails where IPv6 is published and unusable"
        ),
        FetchFailure::Silence => {
            "the fetch took the PDS's whole 10 s: packets get lost on the way, nothing refuses them".to_owned()
        }
        FetchFailure::AtOnce => format!(
            "the fetch failed after {spent} ms, without waiting: no route, a failing resolver, a private address in its answer, or an untrusted certificate"
        ),
        FetchFailure::Soon => format!(
            "the fetch failed after {spent} ms at a PDS too busy for that time to say much: at once (no route, a failing resolver), or by Node's limit of 250 ms for every address but the last"
        ),
        FetchFailure::Slow => format!("the fetch failed after {spent} ms: a resolver or a gateway gave up"),
        _ => return None,
    })
}

/// What to do about a document of `client`, or its keys, that was not obtained from `url`.
#[expect(clippy::too_many_lines, reason = "one remedy after another, and which of them stand where")]
pub(super) fn remedies(evidence: &Evidence<'_>, code: Code, stage: &Stage, client: &str, url: &str) -> Vec<Remedy> {
    let host = client_host(url);
    let named = || evidence.verify().option("--client-id", "--client-id=", Foreign::new(client)?);
    let several = evidence.run.settings.client_ids.len() > 1;
    let verify = several.then(named).flatten().unwrap_or_else(|| evidence.verify());
    let address = || Url::new(url);
    if code == Code::AppClientMetadataBroken {
        return vec![Remedy::new(
            "Nothing to change on your PDS: tell the app's operators",
            [run_or(command!["curl -i", address()], "their client metadata cannot be fetched")],
            verify,
        )];
    }
    let look = Remedy::new(
        "Look from where the PDS runs (its container), one address family at a time",
        [
            run("PID=$(sudo docker inspect -f '{{.State.Pid}}' pds)"),
            run(command!["sudo nsenter -t $PID -n curl -4 -sv -o /dev/null", address()]),
            run(command!["sudo nsenter -t $PID -n curl -6 -sv -o /dev/null", address()]),
            run("sudo docker logs --tail 200 pds 2>&1 | grep -E 'pds:(fetch|oauth)' | tail").note("the hidden error"),
        ],
        verify.clone(),
    );
    let longer = Remedy::new(
        "Give each connection attempt of the PDS more than 250 ms",
        [
            write("NODE_OPTIONS=--network-family-autoselection-attempt-timeout=5000").note("in /pds/pds.env"),
            run("sudo systemctl restart pds"),
        ],
        verify.clone(),
    )
    .disruptive()
    .undo(say("remove the line"))
    .undo(run("sudo systemctl restart pds"));
    let repair_v6 = Remedy::new(
        "Repair IPv6 on the PDS's host, or take it away from the PDS",
        [
            run("ip -6 route show default; ip -6 addr show scope global").note("none, although the router advertises?"),
            run("sysctl net.ipv6.conf.all.forwarding net.ipv6.conf.all.accept_ra")
                .note("1 and 1: advertisements are ignored"),
        ],
        verify.clone(),
    )
    .then();
    match stage {
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) => vec![longer, repair_v6, look],
        Stage::DocumentNotObtained(FetchFailure::Soon) => vec![look, longer, repair_v6],
        Stage::DocumentNotObtained(FetchFailure::NameNotFound) => vec![
            Remedy::new(
                "Give the PDS's container a resolver that knows the name",
                [
                    run(command![LOOK_UP, HostName::new(&host)]),
                    write("dns: [1.1.1.1, 9.9.9.9]").at("in compose.yaml, for the PDS's service"),
                    compose("sudo docker compose up -d"),
                ],
                verify,
            )
            .disruptive(),
            look,
        ],
        Stage::DocumentNotObtained(FetchFailure::Silence | FetchFailure::Slow) => vec![
            look,
            Remedy::new(
                "Let the PDS out: allow TCP 443 from its container, on both families",
                [
                    run("sudo nft list ruleset | grep -iE 'drop|reject'").note("also the cloud's outbound rules"),
                    run(command!["ping -c3 -M do -s 1372", HostName::new(&host)])
                        .note("no answer, and one with -s 1200? The packets have to be smaller"),
                ],
                verify,
            ),
        ],
        Stage::DocumentRefused(Refusal::Status | Refusal::Redirect | Refusal::NotJson) => vec![
            Remedy::new(
                "The app's server turns your PDS's address away: ask its operators to allow it",
                [run(command!["curl -i", address()]).note("on the PDS's machine: show them the answer")],
                verify,
            ),
            look,
        ],
        _ => vec![look],
    }
}
