//! The most memory that a program held.
//!
//! `getrusage` cannot tell it: where a program is started (vfork, exec), the kernel counts the memory of the one that starts it
//! as its own (`exec_mmap`), and the threads of a test program hold much.

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

/// Runs it to its end; beside its output the peak in KiB, as it was last seen (proc_pid_status(5), `VmHWM`: it only grows), 0
/// where there is no `/proc`.
pub(crate) fn output(command: &mut Command) -> (Output, u64) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let watch = thread::spawn(move || {
        let mut peak = 0;
        // What has ended has no memory.
        while let Some(seen) = peak_in(&fs::read_to_string(&status).unwrap_or_default()) {
            peak = seen;
            thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let output = child.wait_with_output().expect("the program ends");
    (output, watch.join().expect("it was watched"))
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
