//! Which packages a PDS runs with: read from the files that it has, never by running anything.

use std::path::{Component, Path, PathBuf};

use super::{node, read::SMALL, root::Root};
use crate::{text::Text, wire::json};

/// How many folders above the script are looked at: `/app/index.js` needs one, a workspace three.
const FOLDERS: usize = 5;
/// The most names of a folder of packages that are read.
const NAMES: usize = 4_096;

const DATABASE: &str = "better-sqlite3";
const PDS: &str = "@atproto/pds";

/// Versions.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Packages {
    pub(super) database_module: Option<Text>,
    pub(super) pds: Option<Text>,
}

/// Of the process with these `/proc/PID/maps`, arguments and working folder.
pub(super) fn examine(root: &Root, maps: &str, argv: &[String], folder: Option<&str>) -> Packages {
    let folders = folders(argv, folder);
    let pds = folders.iter().find_map(|base| package(root, &base.join("node_modules").join(PDS)));
    // What is loaded is what counts; before the first database is opened, what would be.
    let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find_map(loaded);
    let database_module = mapped
        .and_then(|at| package(root, &at))
        .or_else(|| folders.iter().find_map(|base| installed(root, &base.join("node_modules"))));
    Packages { database_module, pds }
}

/// `/app/node_modules/better-sqlite3/build/Release/better_sqlite3.node`: the folder of the package.
fn loaded(path: &str) -> Option<PathBuf> {
    let at = path.ends_with("/better_sqlite3.node").then(|| path.rfind("/better-sqlite3/"))??;
    Some(PathBuf::from(&path[..at + 1 + DATABASE.len()]))
}

/// As npm, and as pnpm, lay packages out.
fn installed(root: &Root, modules: &Path) -> Option<Text> {
    let nested = modules.join(PDS).join("node_modules").join(DATABASE);
    package(root, &nested).or_else(|| package(root, &modules.join(DATABASE))).or_else(|| {
        let names = root.names(modules.join(".pnpm").to_str()?, NAMES).ok()?;
        names.iter().find_map(|name| node::version(name.strip_prefix(DATABASE)?.strip_prefix('@')?))
    })
}

fn package(root: &Root, folder: &Path) -> Option<Text> {
    let bytes = root.bytes(folder.join("package.json").to_str()?, SMALL).ok()?;
    node::version(json::parse(&bytes)?.get("version")?.as_str()?)
}

/// The script's folder and those above it, where Node looks for packages; else the working folder's.
fn folders(argv: &[String], folder: Option<&str>) -> Vec<PathBuf> {
    let is_script = |word: &&String| [".js", ".mjs", ".cjs", ".ts"].iter().any(|end| word.ends_with(end));
    let working = PathBuf::from(folder.unwrap_or("/"));
    let script = argv.iter().skip(1).find(is_script).map(|script| plain(&working.join(script)));
    let start = script.as_deref().and_then(Path::parent).unwrap_or(&working);
    let mut folders: Vec<PathBuf> = start.ancestors().take(FOLDERS).map(Path::to_owned).collect();
    if !folders.contains(&working) {
        folders.push(working);
    }
    folders
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(script: &str) -> Vec<String> {
        ["node", "--enable-source-maps", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn packages_as_npm_and_pnpm_have_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let root = Root::open(folder.path().to_owned()).expect("a root");
        let of = |maps: &str, script: &str, cwd: &str| {
            let found = examine(&root, maps, &argv(script), Some(cwd));
            (found.database_module.map(String::from), found.pds.map(String::from))
        };
        assert_eq!(of("", "index.js", "/app"), (None, None));
        write("app/node_modules/@atproto/pds/package.json", r#"{"version":"0.5.35"}"#);
        write("app/node_modules/.pnpm/better-sqlite3@10.1.0/x", "");
        let found = |database: &str| (Some(database.to_owned()), Some("0.5.35".to_owned()));
        assert_eq!(of("", "index.js", "/app"), found("10.1.0"));
        assert_eq!(of("", "../app/service/index.js", "/app"), found("10.1.0"), "from a folder above");
        write("app/node_modules/better-sqlite3/package.json", r#"{"version":"12.11.1"}"#);
        assert_eq!(of("", "/app/index.js", "/"), found("12.11.1"));
        // What is loaded counts, whatever else is installed.
        write("app/node_modules/.pnpm/b@1/node_modules/better-sqlite3/package.json", r#"{"version":"13.0.1"}"#);
        let map = "7f00-7f01 r-xp 0 08:01 42 \
                   /app/node_modules/.pnpm/b@1/node_modules/better-sqlite3/build/Release/better_sqlite3.node";
        assert_eq!(of(map, "/app/index.js", "/"), found("13.0.1"));
        // What a container puts there may be anything.
        write("app/node_modules/better-sqlite3/package.json", "[1,");
        write("app/node_modules/@atproto/pds/package.json", r#"{"version":"x\u001b[2J"}"#);
        assert_eq!(of("", "/app/index.js", "/"), (Some("10.1.0".to_owned()), None));
    }
}
