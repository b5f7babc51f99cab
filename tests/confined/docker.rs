//! The PDS in a container of the real Docker, which starts the program: all that holds the container holds it too.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{HOST, Place, Report, USER, arguments, check, doctor, fetches, missed};

/// An engine of the test's own, without a network; it ends with it, and so do its containers.
struct Engine {
    daemon: Child,
    folder: PathBuf,
    group: String,
}

impl Engine {
    fn start(place: &Place) -> Self {
        let folder = place.path("engine");
        fs::create_dir(&folder).unwrap();
        let group = format!("pdsdoctor-test-{}", std::process::id());
        let path = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new("unshare");
        // Of what it mounts nothing stays, and what it makes of the network is nobody's.
        command.args(["--net", "--mount", "--", "dockerd", "--storage-driver", "vfs", "--bridge", "none"]);
        command.args(["--iptables=false", "--ip6tables=false", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.args(["--host", &format!("unix://{}", path("docker.sock")), "--pidfile", &path("pid")]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        command.args(["--cgroup-parent", &format!("/{group}/docker")]).process_group(0);
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let engine = Self { daemon: command.spawn().unwrap(), folder, group };
        place.wait_until("dockerd does not answer", || engine.docker(&["version"]).is_some());
        engine
    }

    /// Docker's own client; what it prints, if it did what it was told.
    fn docker(&self, args: &[&str]) -> Option<String> {
        let output = Command::new("docker").env("DOCKER_HOST", self.host()).args(args).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.docker(&["rm", "--force", "pds"]);
        let _ = kill(Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()), Signal::SIGTERM);
        let _ = self.daemon.wait();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
            for parent in [hierarchy, PathBuf::from("/sys/fs/cgroup")] {
                let _ = fs::remove_dir(parent.join(&self.group).join("docker"));
                let _ = fs::remove_dir(parent.join(&self.group));
            }
        }
    }
}

pub(crate) fn in_a_container_of_docker() {
    if !Path::new("/usr/sbin/dockerd").exists() {
        eprintln!("no Docker engine here (Debian package docker.io): that part is left out");
        return;
    }
    let place = Place::new();
    let engine = Engine::start(&place);
    let image = place.path("image");
    for folder in ["proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    let archive = place.path("image.tar");
    let packed = Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&archive).arg(".").status().unwrap();
    assert!(packed.success());
    engine.docker(&["import", &archive.display().to_string(), "pds"]).unwrap();
    let disk =
        Command::new("mknod").args(["-m", "666"]).arg(place.path("disk")).args(["b", "7", "0"]).status().unwrap();
    assert!(disk.success());
    let (folder, node) = (place.0.path().display().to_string(), place.node());
    let (bind, hostname) = (format!("{folder}:{folder}"), format!("PDS_HOSTNAME={HOST}"));
    let secret = "PDS_JWT_SECRET=topsecret";
    for (user, wanted) in [(format!("{USER}:{USER}"), USER), (String::from("0:0"), 0)] {
        let run = ["run", "--detach", "--name", "pds", "--network", "none", "--pids-limit", "60", "--volume", &bind];
        let of = ["--user", &user, "--env", &hostname, "--env", secret, "pds", &node, "index.js"];
        let id = engine.docker(&[&run[..], &of[..]].concat()).unwrap();
        place.wait_until("the PDS did not start", || engine.docker(&["logs", "pds"]).is_some_and(|log| log == "ready"));
        let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", "pds"]).unwrap();
        // By its name, by its process, and by its process after a look at all of them.
        let report = check(doctor().env("DOCKER_HOST", engine.host()).args(arguments(&["--container", "pds"])));
        assert_eq!(fetches(&report).len(), 3, "{:?}", missed(&report));
        let report = check(doctor().env("DOCKER_HOST", engine.host()).args(arguments(&["--pid", &pid])));
        assert!(fetches(&report).iter().filter(|fetch| fetch["status"] == 200).count() == 3, "{report:#}");
        let reports = place.reports();
        assert_eq!(reports.len(), 6);
        for report in &reports {
            holds(report, &pid, wanted);
        }
        // Without its engine it is not run at all: its filter of system calls is its own.
        let report = check(doctor().env("DOCKER_HOST", "unix:///nonexistent").args(arguments(&["--pid", &pid])));
        assert!(fetches(&report).is_empty(), "{report:#}");
        assert!(missed(&report).iter().any(|(why, _)| why.contains("seccomp")), "{:?}", missed(&report));
        assert_eq!(place.reports().len(), 6, "{id}");
        engine.docker(&["rm", "--force", "pds"]).unwrap();
        for entry in fs::read_dir(place.0.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("report.") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

/// It has what the container's process has, and nothing of this machine's.
fn holds(report: &Report, pid: &str, user: u32) {
    let pds = Report(
        fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap()
            .lines()
            .map(|line| format!("status {line}\n"))
            .collect(),
    );
    for name in ["Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
        assert_eq!(report.status(name), pds.status(name), "{name}");
    }
    assert_eq!((report.status("Seccomp").as_str(), report.status("Uid")), ("2", vec![user.to_string(); 4].join(" ")));
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
    for name in ["net", "mnt", "uts", "ipc", "pid", "user", "cgroup"] {
        assert_eq!(report.namespace(name), link(name), "{name}");
    }
    // Seen from within a namespace of groups, or as the machine sees them.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let inside = report.all("cgroup");
    let same = |line: &&str| groups.lines().any(|known| known == *line);
    let at_root = |line: &&str| line.ends_with(":/");
    assert!(!inside.is_empty() && inside.iter().all(|line| same(line) || at_root(line)), "{inside:?} {groups}");
    assert_eq!(report.one("disk"), "Operation not permitted");
    let fds: BTreeSet<&str> = report.all("fd").iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(fds, BTreeSet::from(["0", "1", "2"]), "{report:?}");
    assert_eq!(report.one("stdin"), "0");
    assert_ne!(report.one("tty"), "OPEN");
    assert_ne!(report.one("tiocsti"), "DONE");
    assert!(!report.0.contains("topsecret"));
}
