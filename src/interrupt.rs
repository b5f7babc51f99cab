//! Ctrl-C, and what else asks the program to end: SIGTERM (a service manager, `timeout`, `docker stop`) and SIGHUP (the
//! terminal went away). The first asks for the partial report, the second waits for nothing.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// The signals that are listened to.
pub struct Signals {
    ends: Vec<Signal>,
    _survived: Option<Signal>,
}

/// Its number on Linux but MIPS, on macOS and the BSDs (signal(7)).
const SIGXFSZ: i32 = 25;

impl Signals {
    /// Listens from now on. A signal that was ignored when the program was started stays ignored (`nohup`; a shell without
    /// job control starts `&` so).
    ///
    /// # Errors
    ///
    /// The system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let wanted = kinds.into_iter().filter(|kind| !is_in(ignored, *kind));
        let ends = wanted.map(signal).collect::<io::Result<_>>()?;
        // A file that may not grow as large as the report (RLIMIT_FSIZE, setrlimit(2)) is an error of writing like others.
        Ok(Self { ends, _survived: signal(SignalKind::from_raw(SIGXFSZ)).ok() })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if self.ends.is_empty() {
            std::future::pending::<()>().await;
        }
        let all = self.ends.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(all).await;
    }

    /// The first asks for the partial report; this returns at the second.
    pub async fn twice(&mut self, stop: oneshot::Sender<()>) {
        self.next().await;
        let _ = stop.send(());
        self.next().await;
    }
}

/// The set of ignored signals, a bit each (proc_pid_status(5), `SigIgn`). Elsewhere than on Linux none is known.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(set: u64, kind: SignalKind) -> bool {
    u32::try_from(kind.as_raw_value() - 1).is_ok_and(|bit| bit < 64 && set >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_signals_is_read_as_the_kernel_writes_it() {
        // SIGHUP is 1, SIGINT is 2 (signal(7)).
        assert!(is_in(1, SignalKind::hangup()) && is_in(2, SignalKind::interrupt()));
        assert!(!is_in(1, SignalKind::interrupt()) && !is_in(0, SignalKind::terminate()));
    }
}
