//! What the run waits for, on standard error, one line per job in flight. Nothing is drawn where
//! nobody watches.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use pdsdoctor_probes::{
    fact::ProbeName,
    net::{NoObserver, Observer},
};

use crate::render::wrap::{clean, cut};

/// More lines than this are counted, not shown.
const MOST_LINES: usize = 12;
/// Columns where the terminal does not tell.
const NARROW: usize = 79;
/// How often the lines are drawn. Jobs that are done sooner never flicker over the screen.
const TICK: Duration = Duration::from_millis(120);

/// The display. Gone from the screen when dropped.
pub struct Progress {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    unicode: bool,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    jobs: BTreeMap<u64, (ProbeName, String, Instant)>,
}

impl Progress {
    /// A display, unless nobody watches: standard error is no terminal, `-q`, or a dumb terminal.
    pub fn start(quiet: bool, unicode: bool) -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if quiet || dumb || !std::io::stderr().is_terminal() {
            return None;
        }
        let shared = Arc::new(Shared { unicode, state: Mutex::default(), stopped: Condvar::new() });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("progress".to_owned()).spawn(move || shared.draw())
        };
        // Without a thread there is no display, and that is all.
        Some(Self { shared, thread: Some(thread.ok()?) })
    }

    /// Who is told of jobs.
    pub fn observer(progress: Option<&Self>) -> Arc<dyn Observer> {
        match progress {
            Some(progress) => Arc::clone(&progress.shared) as Arc<dyn Observer>,
            None => Arc::new(NoObserver),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Observer for Shared {
    fn began(&self, id: u64, probe: ProbeName, waits_for: &str) {
        let job = (probe, clean(waits_for, self.unicode), Instant::now());
        self.state().jobs.insert(id, job);
    }

    fn ended(&self, id: u64) {
        self.state().jobs.remove(&id);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave a map half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) {
        // One bar of many lines: a bar per job would redraw them all for each.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        loop {
            let guard = self.state();
            let (state, _) = self
                .stopped
                .wait_timeout_while(guard, TICK, |state| !state.stop)
                .unwrap_or_else(PoisonError::into_inner);
            if state.stop {
                break;
            }
            let lines = lines(&state.jobs, Instant::now(), self.unicode);
            drop(state);
            // The last column stays free: some terminals begin a new line when it is written to.
            let room = terminal_size::terminal_size_of(std::io::stderr())
                .map_or(NARROW, |(width, _)| usize::from(width.0).saturating_sub(1));
            let lines: Vec<String> = lines.iter().map(|line| cut(line, room, self.unicode)).collect();
            bar.set_message(lines.join("\n"));
        }
        bar.finish_and_clear();
    }
}

/// The oldest jobs first: they are what holds the run up.
fn lines(jobs: &BTreeMap<u64, (ProbeName, String, Instant)>, now: Instant, unicode: bool) -> Vec<String> {
    let mark = if unicode { "…" } else { "..." };
    let mut lines: Vec<String> = jobs
        .values()
        .take(MOST_LINES)
        .map(|(probe, waits_for, since)| {
            let waited = now.saturating_duration_since(*since).as_millis();
            format!("{:>3}.{} s  {probe}: {waits_for} {mark}", waited / 1000, waited % 1000 / 100)
        })
        .collect();
    if jobs.len() > MOST_LINES {
        lines.push(format!("         +{} more", jobs.len() - MOST_LINES));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_lines_is_bounded_and_the_oldest_come_first() {
        let start = Instant::now();
        let jobs = (0..15).map(|id| (id, (ProbeName::Tcp, format!("address {id}"), start))).collect();
        let lines = lines(&jobs, start + Duration::from_millis(1_250), true);
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert_eq!(lines[0], "  1.2 s  tcp: address 0 …");
        assert_eq!(lines[12].trim(), "+3 more");
    }

    #[test]
    fn no_terminal_no_display() {
        // Test runs have no terminal on standard error, or ask for quiet here.
        assert!(Progress::start(true, true).is_none());
    }
}
