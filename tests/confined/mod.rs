//! What the tests of `--with-node` share: a place with the program in it, a process that says it is the PDS, and what the
//! program wrote down of itself.

pub(crate) mod docker;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

pub(crate) const HOST: &str = "pds.example.com";
/// Whose the PDS is.
pub(crate) const USER: u32 = 54_321;
/// A run of these tests: nothing answers, and all of it is on this machine.
const TIMEOUT: &str = "6";

/// A folder that everybody may look into, with the program in it.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever it is run as leaves its report there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/confined/node.c");
        let built = Command::new("cc").args(["-static", "-o"]).arg(folder.path().join("node")).arg(source).status();
        assert!(built.unwrap().success());
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn node(&self) -> String {
        self.path("node").display().to_string()
    }

    pub(crate) fn with(&self, name: &str) -> &Self {
        fs::write(self.path(name), "").unwrap();
        self
    }

    /// What each of the programs that were run wrote down.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let files = fs::read_dir(self.0.path()).unwrap().flatten();
        let files = files.filter(|file| file.file_name().to_string_lossy().starts_with("report."));
        files.map(|file| Report(fs::read_to_string(file.path()).unwrap())).collect()
    }

    /// Starts it as a PDS, by a shell that makes its place, and waits until it is ready.
    pub(crate) fn pds(&self, shell: &str, environment: &[(&str, &str)]) -> Pds {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--uts", "--ipc", "--kill-child", "--fork", "--", "sh", "-c", shell, "sh"]);
        Pds::start(command.arg(self.0.path()), environment)
    }

    /// Those that are still there, of all that was run.
    pub(crate) fn left(&self) -> Vec<String> {
        let folder = self.0.path().display().to_string();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            if words.starts_with(&folder) && words.contains("--max-old") {
                left.push(words.replace('\0', " ").chars().take(120).collect());
            }
        }
        left
    }

    pub(crate) fn wait_until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !is() {
            assert!(Instant::now() < until, "{what}: {:?}", self.left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `exec` as the user, without any right; `$0` is the folder.
pub(crate) fn as_user(user: u32) -> String {
    format!("exec setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all \"$1\"/node index.js")
}

/// A process that says it is the PDS.
pub(crate) struct Pds {
    child: Child,
    pub(crate) pid: u32,
}

impl Pds {
    pub(crate) fn start(command: &mut Command, environment: &[(&str, &str)]) -> Self {
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("PDS_HOSTNAME", HOST).env("PDS_JWT_SECRET", "topsecret").envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "the program was not started");
        // The last of the line of children.
        let mut pid = child.id();
        while let Some(next) = child_of(pid) {
            pid = next;
        }
        Self { child, pid }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }

    pub(crate) fn link(&self, name: &str) -> String {
        fs::read_link(format!("/proc/{}/{name}", self.pid)).unwrap().display().to_string()
    }
}

impl Drop for Pds {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.pid).unwrap()), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// What a program wrote down.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) String);

impl Report {
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).collect()
    }

    pub(crate) fn one(&self, key: &str) -> &str {
        self.all(key).first().copied().unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    /// A line of its `/proc/self/status`.
    pub(crate) fn status(&self, name: &str) -> String {
        let line = self.all("status").into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.0)).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn namespace(&self, name: &str) -> &str {
        let line = self.all("ns").into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no namespace {name} in {}", self.0))
    }
}

pub(crate) fn arguments(more: &[&str]) -> Vec<String> {
    let fixed = [
        "check",
        "https://pds.example.com:9444",
        "--resolve",
        "pds.example.com:9444:127.0.0.1",
        "--nameserver",
        "127.0.0.1:9",
        "--no-reference",
        "--no-third-party",
        "--client-id",
        "https://app.example.com/client.json",
        "--with-node",
        "--timeout",
        TIMEOUT,
        "--only",
        "pds-process,with-node",
        "--format",
        "json",
    ];
    fixed.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

pub(crate) fn doctor() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pdsdoctor"))
}

/// Runs it to the end; its report.
pub(crate) fn check(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

pub(crate) fn fetches(report: &Value) -> Vec<Value> {
    let facts = report["facts"].as_array().unwrap().iter();
    facts.map(|fact| fact["body"].clone()).filter(|body| body["kind"] == "node_fetch").collect()
}

/// What the report says was not measured, and what it would take.
pub(crate) fn missed(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let missed = report["not_measured"].as_array().unwrap().iter();
    missed.map(|missed| (text(&missed["why"]), text(&missed["needs"]))).collect()
}

pub(crate) fn refused(report: &Value, place: &Place, words: &str) {
    assert!(fetches(report).is_empty(), "{report:#}");
    assert!(place.reports().is_empty(), "it was run");
    assert!(missed(report).iter().any(|(why, _)| why.contains(words)), "{:?}", missed(report));
}

/// A control group for a test, where this machine lets one be made; gone with it.
pub(crate) struct Group(PathBuf);

impl Group {
    pub(crate) fn new(controller: &str) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let legacy = root.join(controller);
        let unified = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).is_ok();
        let parent = if legacy.join("cgroup.procs").exists() { legacy } else { root.to_owned() };
        if parent == root && !unified {
            eprintln!("no control group of {controller} can be made here: that part is left out");
            return None;
        }
        let group = parent.join(format!("pdsdoctor-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        Some(Self(group))
    }

    pub(crate) fn set(&self, name: &str, value: &str) -> bool {
        fs::write(self.0.join(name), value).is_ok()
    }

    /// A line of a shell that goes into it.
    pub(crate) fn enter(&self) -> String {
        format!("echo $$ > {}; ", self.0.join("cgroup.procs").display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        // Until the last of its processes is gone.
        while fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
