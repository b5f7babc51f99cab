//! `--with-node` in a container: its engine starts Node there, as it starts whatever else runs there (`docker exec`).
//!
//! So the namespaces, control groups, filters of system calls, security profile and capabilities are the container's, and
//! this program enters nothing. The user is that of the running PDS; where that is root it is the container's root, with
//! what the container leaves of it, as for the PDS itself. No terminal, no input, nothing privileged.
//!
//! What was started ends by a timer of its own, by the end of the fetch, or by a signal to the one process that the
//! engine names, once that is seen to be of this container. An engine has no way to take an exec instance back: the
//! record of it goes when the process has ended and the engine clears it away (moby: within five minutes).

use std::{
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    engine::{self, Known},
    proc_fs::{self, Status},
    seat::{KEPT, Refusal},
    with_node::{ANSWER, ARM, Ended, Trouble},
};
use crate::fact::FailureKind;

/// What else of a container's environment is kept, beside where certificates are: where programs and files are found.
const PLAIN: &[&str] = &["PATH", "HOME", "HOSTNAME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"];
/// How often, and how many times, the engine is asked which process it started.
const ASK: (Duration, usize) = (Duration::from_millis(100), 20);

/// Runs the program of process `pid` in its container. `arguments` are Node's, `options` its `NODE_OPTIONS`.
pub(super) async fn run(known: &Known, pid: u32, arguments: Vec<String>, options: &str) -> Result<Ended, Trouble> {
    let command = [vec![program(pid)?], arguments].concat();
    let create = json!({
        "AttachStdin": false,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": false,
        "Privileged": false,
        "Cmd": command,
        "Env": environment(known, options),
        "User": user(pid).unwrap_or_default(),
        "WorkingDir": "/",
    });
    let socket = known.socket.as_path();
    let (status, created) = engine::post(socket, &format!("/containers/{}/exec", known.id), &create)
        .await
        .map_err(|trouble| broken("to start Node in the container", trouble))?;
    let id = created.get("Id").and_then(Value::as_str).filter(|id| is_id(id));
    let Some(id) = id.filter(|_| status == 201) else {
        return Err(Trouble::Failed(format!(
            "the container engine does not start Node in the container (HTTP {status})"
        )));
    };
    let started = Started::default();
    let inspect = format!("/exec/{id}/json");
    let named = async {
        for _ in 0..ASK.1 {
            sleep(ASK.0).await;
            let Ok((200, document)) = engine::get(socket, &inspect).await else { continue };
            if let Some(process) = document
                .get("Pid")
                .and_then(Value::as_u64)
                .and_then(|pid| u32::try_from(pid).ok())
                .filter(|pid| *pid > 0)
            {
                started.is(known, process);
                return;
            }
        }
    };
    let path = format!("/exec/{id}/start");
    let detached = json!({"Detach": false, "Tty": false});
    let streamed = engine::post_for_stream(socket, &path, &detached, ARM);
    // Once the stream has ended, nobody need be found any more.
    let streamed = {
        let mut named = std::pin::pin!(named);
        let mut streamed = std::pin::pin!(streamed);
        tokio::select! {
            biased;
            streamed = &mut streamed => streamed,
            () = &mut named => streamed.await,
        }
    };
    let state = engine::get(socket, &inspect).await;
    drop(started);
    let (status, bytes) = match streamed {
        Ok(answer) => answer,
        // As far as it is a matter of time: nothing came that ended.
        Err(engine::Trouble::Failed(failure))
            if matches!(failure.kind, FailureKind::Timeout | FailureKind::TooSlow) =>
        {
            return Ok(Ended { status: None, out: Vec::new(), err: Vec::new() });
        }
        Err(trouble) => return Err(broken("to start Node in the container", trouble)),
    };
    let (out, err) = apart(&bytes);
    if status != 200 {
        return Err(Trouble::Failed(format!(
            "the container engine does not start Node in the container (HTTP {status})"
        )));
    }
    let code = state.ok().and_then(|(_, document)| document.get("ExitCode")?.as_i64());
    let code = code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0) & 0xff;
    Ok(Ended { status: Some(ExitStatus::from_raw(code << 8)), out, err })
}

/// The process that the engine started. It ends with this, if it has not yet.
#[derive(Default)]
struct Started(Mutex<Option<OwnedFd>>);

impl Started {
    /// Takes hold of the process, if it is one of the container's: by then the number may be another's.
    fn is(&self, known: &Known, process: u32) {
        let Some(number) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return };
        let Ok(handle) = pidfd_open(number, PidfdFlags::empty()) else { return };
        let of = |pid: u32| Some((proc_fs::namespace(pid, "pid")?, proc_fs::control_groups(pid).ok()?));
        let theirs = known.first.and_then(of);
        // Of a namespace of its own, so that it is nobody of this machine.
        let apart = proc_fs::namespace(std::process::id(), "pid");
        if theirs.is_some() && theirs == of(process) && theirs.map(|(space, _)| space) != apart {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(handle) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // One that has ended cannot be signalled, and none other has this handle.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

/// The path of the PDS's program in its container.
fn program(pid: u32) -> Result<String, Trouble> {
    let no_node = || Trouble::Refused(Refusal::plain("its program is no Node that is still there"));
    match proc_fs::exe(pid) {
        Ok(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_node = name.starts_with("node") && !name.contains("(deleted)");
            path.to_str().filter(|_| is_node).map(str::to_owned).ok_or_else(no_node)
        }
        // Whoever may ask the engine need not be who may look at the process.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok("node".to_owned()),
        Err(_) => Err(no_node()),
    }
}

/// The user of the PDS, as its container numbers users; `None`: root, or not to be told, where it is the container's own.
fn user(pid: u32) -> Option<String> {
    let status = Status::of(pid).ok()?;
    let inside = |outside: u32, map: &str| mapped(&proc_fs::id_map(pid, map).ok()?, outside.into());
    let user = inside(status.users()?.effective, "uid_map")?;
    let group = inside(status.groups()?.effective, "gid_map")?;
    (user != 0).then(|| format!("{user}:{group}"))
}

/// Lines of "inside outside count" (user_namespaces(7)).
fn mapped(map: &str, outside: u64) -> Option<u64> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (inside, first, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = outside.checked_sub(first).filter(|offset| *offset < count)?;
        inside.checked_add(offset)
    })
}

/// What an engine gives to a process is the container's whole environment: all but what is kept is emptied.
fn environment(known: &Known, options: &str) -> Vec<String> {
    let kept = |key: &str| KEPT.contains(&key) || PLAIN.contains(&key);
    let emptied = known.keys.iter().filter(|key| !kept(key) && *key != "NODE_OPTIONS").map(|key| format!("{key}="));
    emptied.chain([format!("NODE_OPTIONS={options}")]).collect()
}

/// Ids of exec instances are 64 hexadecimal digits.
fn is_id(raw: &str) -> bool {
    (1..=128).contains(&raw.len()) && raw.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Standard output and error, of frames of stream, three zeros and a length (the engines' API, "attach").
fn apart(raw: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut rest = raw;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [stream, _, _, _, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let piece = after.get(..length).unwrap_or(after);
        let to = if stream == 2 { &mut err } else { &mut out };
        to.extend(piece.iter().take(ANSWER.saturating_sub(to.len())));
        rest = after.get(length..).unwrap_or_default();
    }
    (out, err)
}

fn broken(what: &str, trouble: engine::Trouble) -> Trouble {
    match trouble {
        engine::Trouble::Absent => Trouble::Failed(format!("no container engine answers any more, {what}")),
        engine::Trouble::NotAllowed => Trouble::Refused(Refusal::denied("the container engine may not be asked")),
        engine::Trouble::Failed(failure) => Trouble::Failed(format!("{what}: {}", failure.detail)),
    }
}

#[cfg(test)]
mod tests;
