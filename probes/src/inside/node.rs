//! Node: its flags, and its version without running it.

use std::{
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use super::read::Root;
use crate::{
    process_fact::{NodeVersion, NodeVersionSource},
    text::Text,
};

/// The most flags that are kept.
const FLAGS: usize = 32;

/// Flags whose value is kept: they say how connections are made and names resolved, and hold no secret.
const KEPT_VALUES: &[&str] = &["--dns-result-order"];

/// The flags of a `NODE_OPTIONS`. Node drops what follows the first word that is no flag without a message, and knows
/// no single quotes: a mark is left of either.
pub(super) fn options(value: &str) -> Vec<Text> {
    let mut found = flags(value.split_whitespace());
    if value.split_whitespace().next().is_some_and(|first| !first.starts_with(['-', '"', '\''])) {
        found.insert(0, Text::new("?"));
    }
    found
}

/// The flags among `words`, each with its value if that is a number, or one of [`KEPT_VALUES`].
/// Node takes `_` for `-` in names of options.
pub(super) fn flags<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Text> {
    let mut flags: Vec<String> = Vec::new();
    for word in words {
        let single = word.starts_with('\'');
        let word = word.trim_matches(['"', '\'']);
        if !word.starts_with('-') {
            // A value in a word of its own: `--attempt-timeout 1000` works as well.
            if let Some(last) = flags.last_mut().filter(|last| !last.contains('=') && is_kept(last, word)) {
                last.push('=');
                last.push_str(word);
            }
            continue;
        }
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let name = name.replace('_', "-");
        let is_name = name.len() <= 80 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || flags.len() == FLAGS {
            continue;
        }
        let quote = if single { "'" } else { "" };
        flags.push(match value {
            Some(value) if is_kept(&name, value) => format!("{quote}{name}={value}"),
            _ => format!("{quote}{name}"),
        });
    }
    flags.iter().map(|flag| Text::limited(flag, 120)).collect()
}

fn is_kept(name: &str, value: &str) -> bool {
    let is_number = !value.is_empty() && value.len() <= 12 && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = value.len() <= 20 && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_number || (KEPT_VALUES.contains(&name) && is_word)
}

/// The arguments of a Node that come before its script, and the name of that script.
pub(super) fn arguments(argv: &[String]) -> (Vec<Text>, Option<Text>) {
    /// Flags that take the next word, whatever it is (`node --help`), so that it is not the script.
    const TAKES_A_WORD: &[&str] =
        &["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--env-file"];
    let mut words = Vec::new();
    let mut rest = argv.iter().skip(1);
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            // Only the name: a path may tell whose home it is.
            let name = word.rsplit('/').next().unwrap_or(word);
            return (flags(words.into_iter()), Some(Text::limited(name, 80)));
        }
        if matches!(word.as_str(), "-e" | "-p" | "--eval" | "--print" | "-") {
            break;
        }
        words.push(word.as_str());
        if TAKES_A_WORD.contains(&word.as_str()) {
            rest.next();
        }
    }
    (flags(words.into_iter()), None)
}

/// A version such as `20.20.0` at the beginning of `raw`, `v` or not.
pub(super) fn version(raw: &str) -> Option<Text> {
    let raw = raw.strip_prefix('v').unwrap_or(raw);
    let end = raw.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(raw.len()).min(20);
    let parts: Vec<&str> = raw[..end].trim_end_matches('.').split('.').collect();
    let whole = parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.len() <= 4);
    whole.then(|| Text::new(&parts.join(".")))
}

/// The version of the Node at `program`, a path as its process sees it. Never runs it.
pub(super) fn find_version(root: &Root, program: &str, from_environment: Option<Text>) -> Option<NodeVersion> {
    let found = |version: Option<Text>, source| version.map(|version| NodeVersion { version, source });
    let headers = || found(of_headers(root, program), NodeVersionSource::Headers);
    let path = || found(of_path(program), NodeVersionSource::Path);
    let binary = || found(of_program(root, program), NodeVersionSource::Program);
    let environment = || found(from_environment, NodeVersionSource::Environment);
    headers().or_else(path).or_else(binary).or_else(environment)
}

/// `node_version.h`, which the official images and archives carry beside the program.
fn of_headers(root: &Root, program: &str) -> Option<Text> {
    let prefix = Path::new(program).parent()?.parent()?;
    let header = prefix.join("include/node/node_version.h");
    let text = root.text(header.to_str()?, super::read::SMALL).ok()?;
    let part = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix("#define ")?.trim().strip_prefix(name))?;
        line.trim().parse::<u16>().ok()
    };
    let [major, minor, patch] =
        [part("NODE_MAJOR_VERSION ")?, part("NODE_MINOR_VERSION ")?, part("NODE_PATCH_VERSION ")?];
    Some(Text::new(&format!("{major}.{minor}.{patch}")))
}

/// Version managers put it into the path: `~/.nvm/versions/node/v20.11.0/bin/node`.
fn of_path(program: &str) -> Option<Text> {
    let mut parts = program.split('/');
    parts.find_map(|part| version(part.strip_prefix("node-").unwrap_or(part)))
}

/// The address of its own release is part of the program (`process.release.headersUrl`).
const MARK: &[u8] = b"/download/release/v";

/// The most of a program file that is searched: Node 24 has about 120 MB.
const PROGRAM: usize = 200 * 1024 * 1024;

/// How long: a program that has to come from a slow disk is not worth waiting for.
const PATIENCE: Duration = Duration::from_millis(120);

fn of_program(root: &Root, program: &str) -> Option<Text> {
    let mut file = root.file(program).ok()?;
    let started = Instant::now();
    let mut buffer = vec![0; 1024 * 1024];
    let mut kept = 0;
    let mut total = 0;
    let finder = memchr::memmem::Finder::new(MARK);
    while total < PROGRAM && started.elapsed() < PATIENCE {
        let read = file.read(&mut buffer[kept..]).ok().filter(|read| *read > 0)?;
        total += read;
        let end = kept + read;
        for at in finder.find_iter(&buffer[..end]) {
            let tail = &buffer[at + MARK.len()..end.min(at + MARK.len() + 24)];
            if let Some(version) = version(&String::from_utf8_lossy(tail)) {
                return Some(version);
            }
        }
        // What was cut in two is found with the next piece.
        kept = end.min(64);
        buffer.copy_within(end - kept..end, 0);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &str) -> Vec<String> {
        flags(words.split_whitespace()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flags_without_what_is_nobodys_business() {
        assert_eq!(
            texts("--dns-result-order=ipv4first --no-network-family-autoselection --require /x/y --title=me"),
            ["--dns-result-order=ipv4first", "--no-network-family-autoselection", "--require", "--title"]
        );
        assert_eq!(
            texts("--network_family_autoselection_attempt_timeout 1000 \"--max-old-space-size=512\""),
            ["--network-family-autoselection-attempt-timeout=1000", "--max-old-space-size=512"]
        );
        assert_eq!(texts("--dns-result-order=$(cat) --x\u{1b}[0m --a=b"), ["--dns-result-order", "--a"]);
        assert_eq!(flags(["--x"; 100].into_iter()).len(), FLAGS);
    }

    /// What Node drops must not look like what it takes.
    #[test]
    fn marks_of_what_node_drops() {
        let of = |value: &str| options(value).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            of("'--dns-result-order=ipv4first --no-network-family-autoselection'"),
            ["'--dns-result-order=ipv4first", "--no-network-family-autoselection"]
        );
        assert_eq!(of("\"--dns-result-order=ipv4first\""), ["--dns-result-order=ipv4first"]);
        assert_eq!(of("topsecret --no-warnings"), ["?", "--no-warnings"]);
        assert_eq!(of("--no-warnings"), ["--no-warnings"]);
        assert_eq!(of("  "), [""; 0]);
    }

    #[test]
    fn arguments_before_the_script() {
        let argv = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (flags, script) = arguments(&argv("node --enable-source-maps -r /a/b.js /app/index.js --secret=x"));
        assert_eq!((flags.len(), script.as_deref()), (2, Some("index.js")));
        let (flags, script) = arguments(&argv("node --expose-gc -e fetch('x')"));
        assert_eq!((flags.len(), script), (1, None));
    }

    #[test]
    fn versions() {
        for (raw, want) in [
            ("v20.11.0", Some("20.11.0")),
            ("24.18.0/node-v24.18.0-headers", Some("24.18.0")),
            ("20", None),
            ("1.2.3.4", None),
            ("20..1", None),
            ("x", None),
        ] {
            assert_eq!(version(raw).as_deref(), want, "{raw}");
        }
        assert_eq!(of_path("/home/x/.nvm/versions/node/v20.11.0/bin/node").as_deref(), Some("20.11.0"));
        assert_eq!(of_path("/opt/node-v22.1.0-linux-x64/bin/node").as_deref(), Some("22.1.0"));
        assert_eq!(of_path("/usr/bin/node"), None);
    }

    #[test]
    fn the_version_is_found_in_headers_then_in_the_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, bytes).expect("a file");
        };
        // The mark lies across the border of two pieces.
        let mut program = vec![b'x'; 1024 * 1024 - 10];
        program.extend(b"https://nodejs.org/download/release/v24.18.0/node-v24.18.0.tar.gz");
        program.extend([0; 3000]);
        write("usr/bin/node", &program);
        let root = Root::open(folder.path().to_owned()).expect("a root");
        let of = |from: Option<&str>| find_version(&root, "/usr/bin/node", from.map(Text::new));
        let found = of(Some("1.2.3")).expect("a version");
        assert_eq!((found.version.as_str(), found.source), ("24.18.0", NodeVersionSource::Program));
        let header = "#define NODE_MAJOR_VERSION 22\n#define NODE_MINOR_VERSION 1\n#define NODE_PATCH_VERSION 7\n";
        write("usr/include/node/node_version.h", header.as_bytes());
        let found = of(None).expect("a version");
        assert_eq!((found.version.as_str(), found.source), ("22.1.7", NodeVersionSource::Headers));
        let found = find_version(&root, "/none", Some(Text::new("1.2.3"))).expect("a version");
        assert_eq!(found.source, NodeVersionSource::Environment);
    }
}
