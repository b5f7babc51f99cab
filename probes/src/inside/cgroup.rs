//! What a process runs in, by the names that engines give to control groups.

use crate::{
    process_fact::{Confinement, ConfinementKind},
    text::Text,
};

/// Judges `/proc/PID/cgroup`: `hierarchy:controllers:path`, one line in the unified hierarchy
/// (cgroups(7)). The names are those the engines give:
/// `/docker/<id>` and `docker-<id>.scope` (Docker, cgroupfs and systemd drivers), `libpod-<id>.scope`
/// (Podman), `kubepods….slice/…/cri-containerd-<id>.scope` and `kubepods/…/pod<uid>/<id>` (kubelet).
pub(super) fn confinement(file: &str) -> Confinement {
    let mut best = Confinement { kind: ConfinementKind::None, id: None, name: None };
    for line in file.lines() {
        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
        let found = of_path(path);
        if rank(found.kind) > rank(best.kind) {
            best = found;
        }
    }
    best
}

fn rank(kind: ConfinementKind) -> u8 {
    match kind {
        ConfinementKind::None => 0,
        ConfinementKind::Systemd => 1,
        _ => 2,
    }
}

fn of_path(path: &str) -> Confinement {
    let mut kind = ConfinementKind::None;
    let mut id = None;
    let kubernetes = path.contains("kubepods");
    let mut before = "";
    for part in path.split('/') {
        let bare = part.trim_end_matches(".scope");
        let known = [
            ("docker-", ConfinementKind::Docker),
            ("libpod-", ConfinementKind::Podman),
            ("cri-containerd-", ConfinementKind::OtherContainer),
            ("crio-", ConfinementKind::OtherContainer),
        ];
        let prefixed = known.iter().find_map(|(prefix, kind)| Some((*kind, container_id(bare.strip_prefix(prefix)?)?)));
        let plain = container_id(bare).map(|id| {
            let kind = match before {
                "docker" => ConfinementKind::Docker,
                "libpod_parent" => ConfinementKind::Podman,
                _ => ConfinementKind::OtherContainer,
            };
            (kind, id)
        });
        let lxc = before.starts_with("lxc").then(|| (ConfinementKind::OtherContainer, Text::limited(part, 64)));
        if let Some((found, name)) = prefixed.or(plain).or(lxc.filter(|(_, name)| !name.is_empty())) {
            kind = if kubernetes { ConfinementKind::Kubernetes } else { found };
            id = Some(name);
        } else if part.ends_with(".service") && kind == ConfinementKind::None {
            // The unit itself is the last `.service` of the path: `user@1000.service` has children.
            id = Some(Text::limited(part, 120));
        }
        before = part;
    }
    if kind == ConfinementKind::None && id.is_some() {
        kind = ConfinementKind::Systemd;
    }
    Confinement { kind, id, name: None }
}

/// Ids of containers are 64 hexadecimal digits.
fn container_id(raw: &str) -> Option<Text> {
    (raw.len() == 64 && raw.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Text::new(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_every_engine() {
        let id = "0123456789abcdef".repeat(4);
        use ConfinementKind as K;
        for (file, kind, want) in [
            (format!("0::/system.slice/docker-{id}.scope\n"), K::Docker, Some(id.as_str())),
            (format!("0::/docker/{id}\n"), K::Docker, Some(&id)),
            (format!("12:memory:/docker/{id}\n1:name=systemd:/docker/{id}\n0::/\n"), K::Docker, Some(&id)),
            (format!("0::/machine.slice/libpod-{id}.scope/container\n"), K::Podman, Some(&id)),
            (
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container\n"),
                K::Podman,
                Some(&id),
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-{id}.scope"
                ),
                K::Kubernetes,
                Some(&id),
            ),
            (format!("0::/kubepods/burstable/pod0a1b/{id}"), K::Kubernetes, Some(&id)),
            (format!("0::/system.slice/containerd.service/{id}"), K::OtherContainer, Some(&id)),
            ("0::/lxc/pds/init.scope".to_owned(), K::OtherContainer, Some("pds")),
            ("0::/system.slice/pds.service\n".to_owned(), K::Systemd, Some("pds.service")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/pds.service".to_owned(),
                K::Systemd,
                Some("pds.service"),
            ),
            ("0::/user.slice/user-0.slice/session-1.scope\n".to_owned(), K::None, None),
            ("0::/\n".to_owned(), K::None, None),
            ("nonsense".to_owned(), K::None, None),
        ] {
            let found = confinement(&file);
            assert_eq!((found.kind, found.id.as_deref()), (kind, want), "{file}");
        }
    }
}
