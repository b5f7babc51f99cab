//! The file of settings beside a PDS: whether what it says of Node is what the running process has.

use std::{io, path::PathBuf, time::SystemTime};

use super::{environment::Environment, namespace::Namespace, read, root::Root};
use crate::{
    fact::{FactBody, ProbeName},
    net::Net,
    process_fact::EnvFileFact,
    secret::Secret,
    text::Text,
};

/// Where the official installer puts it (bluesky-social/pds, installer.sh).
const OFFICIAL: &str = "/pds/pds.env";

/// Reads `given`, or the official file if there is one. What cannot be read is said if a PDS runs here, or if it was asked for.
pub(super) async fn examine(net: &Net, given: Option<PathBuf>, sudo: String, pds_here: bool) {
    let named = given.is_some();
    let path = given.unwrap_or_else(|| OFFICIAL.into()).to_string_lossy().into_owned();
    let there = net.clone();
    let work = move || async move {
        let job = there.begin(ProbeName::PdsProcess, format!("the file {path}"));
        let missed = |why: &str, needs: &str| there.not_measured(ProbeName::PdsProcess, why, needs);
        match read(&path) {
            Ok(fact) => job.finish(FactBody::EnvFile(fact)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && (named || pds_here) => {
                missed(&format!("{path} may not be read by this user"), &sudo);
            }
            Err(error) if named => missed(&format!("{path}: {error}"), "the path of the PDS's file of settings"),
            Err(_) => {}
        }
    };
    // On a thread of its own: a file may be on a disk that is gone.
    let _ = Namespace::here().run(work).await;
}

fn read(path: &str) -> io::Result<EnvFileFact> {
    use std::io::Read;
    let file = Root::here()?.file(path)?;
    let changed = file.metadata()?.modified().ok();
    let mut bytes = Vec::new();
    file.take(read::ENVIRONMENT).read_to_end(&mut bytes)?;
    let environment = Environment::of_file(&Secret::new(bytes));
    Ok(EnvFileFact {
        path: Text::limited(path, 200),
        node_options: environment.node_options(),
        hostname: environment.hostname(),
        changed_s: changed.and_then(|at| SystemTime::now().duration_since(at).ok()).map(|since| since.as_secs()),
    })
}
