//! Node: its flags, and its version without running it.

use std::{
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use super::root::Root;
use crate::{
    process_fact::{NodeVersion, NodeVersionSource},
    text::Text,
};

/// The most flags that are kept.
const FLAGS: usize = 32;

/// Flags of Node that are kept by name (`node --help`): what is not among them may be anybody's word.
const KNOWN: &[&str] = &[
    "--abort-on-uncaught-exception",
    "--allow-addons",
    "--allow-child-process",
    "--allow-fs-read",
    "--allow-fs-write",
    "--allow-wasi",
    "--allow-worker",
    "--conditions",
    "--cpu-prof",
    "--diagnostic-dir",
    "--disable-proto",
    "--disable-warning",
    "--disable-wasm-trap-handler",
    "--dns-result-order",
    "--enable-fips",
    "--enable-network-family-autoselection",
    "--enable-source-maps",
    "--env-file",
    "--env-file-if-exists",
    "--experimental-loader",
    "--experimental-require-module",
    "--experimental-sqlite",
    "--experimental-strip-types",
    "--experimental-transform-types",
    "--experimental-vm-modules",
    "--experimental-wasm-modules",
    "--expose-gc",
    "--force-context-aware",
    "--force-fips",
    "--force-node-api-uncaught-exceptions-policy",
    "--frozen-intrinsics",
    "--heap-prof",
    "--heapsnapshot-near-heap-limit",
    "--heapsnapshot-signal",
    "--icu-data-dir",
    "--import",
    "--insecure-http-parser",
    "--inspect",
    "--inspect-brk",
    "--inspect-port",
    "--inspect-wait",
    "--interpreted-frames-native-stack",
    "--jitless",
    "--loader",
    "--max-heap-size",
    "--max-http-header-size",
    "--max-old-space-size",
    "--max-old-space-size-percentage",
    "--max-semi-space-size",
    "--min-semi-space-size",
    "--network-family-autoselection",
    "--network-family-autoselection-attempt-timeout",
    "--no-addons",
    "--no-deprecation",
    "--no-enable-network-family-autoselection",
    "--no-experimental-fetch",
    "--no-experimental-global-navigator",
    "--no-experimental-require-module",
    "--no-experimental-sqlite",
    "--no-experimental-strip-types",
    "--no-experimental-websocket",
    "--no-extra-info-on-fatal-exception",
    "--no-force-async-hooks-checks",
    "--no-network-family-autoselection",
    "--no-node-snapshot",
    "--no-opt",
    "--no-warnings",
    "--node-memory-debug",
    "--node-snapshot",
    "--openssl-config",
    "--openssl-legacy-provider",
    "--openssl-shared-config",
    "--optimize-for-size",
    "--pending-deprecation",
    "--perf-basic-prof",
    "--permission",
    "--preserve-symlinks",
    "--preserve-symlinks-main",
    "--prof",
    "--redirect-warnings",
    "--report-dir",
    "--report-directory",
    "--report-filename",
    "--report-on-fatalerror",
    "--report-on-signal",
    "--report-signal",
    "--report-uncaught-exception",
    "--require",
    "--secure-heap",
    "--secure-heap-min",
    "--single-threaded",
    "--snapshot-blob",
    "--stack-size",
    "--stack-trace-limit",
    "--throw-deprecation",
    "--title",
    "--tls-cipher-list",
    "--tls-keylog",
    "--tls-max-v1.2",
    "--tls-max-v1.3",
    "--tls-min-v1.0",
    "--tls-min-v1.1",
    "--tls-min-v1.2",
    "--tls-min-v1.3",
    "--trace-deprecation",
    "--trace-env",
    "--trace-exit",
    "--trace-gc",
    "--trace-sigint",
    "--trace-sync-io",
    "--trace-tls",
    "--trace-uncaught",
    "--trace-warnings",
    "--track-heap-objects",
    "--unhandled-rejections",
    "--use-bundled-ca",
    "--use-env-proxy",
    "--use-largepages",
    "--use-openssl-ca",
    "--use-system-ca",
    "--v8-pool-size",
    "--verify-base-objects",
    "--watch",
    "--watch-path",
    "--zero-fill-buffers",
    "-C",
    "-r",
];

/// What stands for a flag that is not among them.
const UNKNOWN: &str = "--?";

/// Those of them whose value is a number, and is kept.
const NUMBERS: &[&str] = &[
    "--heapsnapshot-near-heap-limit",
    "--max-heap-size",
    "--max-http-header-size",
    "--max-old-space-size",
    "--max-old-space-size-percentage",
    "--max-semi-space-size",
    "--min-semi-space-size",
    "--network-family-autoselection-attempt-timeout",
    "--secure-heap",
    "--secure-heap-min",
    "--stack-size",
    "--stack-trace-limit",
    "--v8-pool-size",
];

/// Those whose value is one of a few words, and is kept: it says how names are resolved.
const WORDS: &[(&str, &[&str])] = &[("--dns-result-order", &["ipv4first", "ipv6first", "verbatim"])];

/// The flags of a `NODE_OPTIONS`. Node drops what follows the first word that is no flag without a message, and knows
/// no single quotes: a mark is left of either.
pub(super) fn options(value: &str) -> Vec<Text> {
    let mut found = flags(value.split_whitespace());
    if value.split_whitespace().next().is_some_and(|first| !first.starts_with(['-', '"', '\''])) {
        found.insert(0, Text::new("?"));
    }
    found
}

/// The flags among `words` that Node knows, each with its value where that is a number and one belongs there
/// ([`NUMBERS`]), or a word of Node's own ([`WORDS`]).
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
        if flags.len() == FLAGS {
            continue;
        }
        if !is_known(&name) {
            // That there is one counts: Node may refuse it, and whoever sets others must keep it.
            flags.push(UNKNOWN.to_owned());
            continue;
        }
        let quote = if single { "'" } else { "" };
        flags.push(match value {
            Some(value) if is_kept(&name, value) => format!("{quote}{name}={value}"),
            // Node refuses any other word, and goes by none.
            Some(_) if WORDS.iter().any(|(flag, _)| *flag == name) => format!("{quote}{name}=?"),
            _ => format!("{quote}{name}"),
        });
    }
    flags.iter().map(|flag| Text::limited(flag, 120)).collect()
}

/// Every flag has its opposite, which is the same to whoever reads it: `--no-dns-result-order` is said wrongly, not secretly.
fn is_known(name: &str) -> bool {
    let plain = name.strip_prefix("--no-").map(|rest| format!("--{rest}"));
    KNOWN.contains(&name) || plain.is_some_and(|plain| KNOWN.contains(&plain.as_str()))
}

fn is_kept(name: &str, value: &str) -> bool {
    let is_number = !value.is_empty() && value.len() <= 12 && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = WORDS.iter().any(|(flag, words)| *flag == name && words.contains(&value));
    is_number && NUMBERS.contains(&name) || is_word
}

/// Only the name: a path may tell whose home it is; and only a name that many scripts have, else how it ends.
fn script(path: &str) -> Text {
    const USUAL: &[&str] = &["app", "cli", "index", "main", "pds", "server", "start"];
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, "js" | "mjs" | "cjs" | "ts")) if USUAL.contains(&stem) => Text::new(name),
        Some((_, end @ ("js" | "mjs" | "cjs" | "ts"))) => Text::new(&format!("?.{end}")),
        _ => Text::new("?"),
    }
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
            return (flags(words.into_iter()), Some(script(word)));
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
        assert_eq!(texts("--dns-result-order=$(cat) --x\u{1b}[0m --a=b"), ["--dns-result-order=?", "--?", "--?"]);
        assert_eq!(
            texts(
                "--title=CANARY --secret=CANARY --CANARY --pin=12345 --inspect=12345 --require=/CANARY --max-old-space-size=77 --dns-result-order=CANARY"
            ),
            [
                "--title",
                "--?",
                "--?",
                "--?",
                "--inspect",
                "--require",
                "--max-old-space-size=77",
                "--dns-result-order=?"
            ]
        );
        assert_eq!(flags(["--inspect"; 100].into_iter()).len(), FLAGS);
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
