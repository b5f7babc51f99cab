//! The house: who may import whom, and how long a file may be.

mod source;

use std::{collections::BTreeSet, fs, path::Path};

use source::{Crate, below};

/// Imports that close a circle and are not untied yet: crate, from, to. This list only gets shorter.
const TIED: &[(&str, &str, &str)] = &[
    ("src", "run/addresses.rs", "run/contact.rs"),
    ("src", "run/contact.rs", "run/clients.rs"),
    ("src", "run/contact.rs", "run/identity.rs"),
    ("src", "run/mod.rs", "run/clients.rs"),
    ("src", "run/mod.rs", "run/contact.rs"),
    ("src", "run/mod.rs", "run/inside.rs"),
    ("src", "run/mod.rs", "run/reference.rs"),
    ("src", "run/mod.rs", "run/target.rs"),
    ("src", "run/mod.rs", "run/way_out.rs"),
    ("probes/src", "inside/claims.rs", "inside/survey.rs"),
    ("probes/src", "inside/with_node.rs", "inside/engine_exec.rs"),
];

/// The rooms of the house, from the ground up: a crate, and what each room has, by the start of a path (the longest
/// decides). A file imports from its own room and from those beneath it. What is not named here has no room.
const ROOMS: &[(&str, &[&[&str]])] = &[
    (
        "src",
        &[
            // What may be wished for.
            &["egress.rs", "options.rs", "parse.rs", "config.rs"],
            // What a diagnosis is made of.
            &[
                "diagnose/words.rs",
                "diagnose/net_kinds.rs",
                "diagnose/seen.rs",
                "diagnose/code",
                "diagnose/scope.rs",
                "diagnose/grid.rs",
                "diagnose/step/",
                "diagnose/ruled_out.rs",
                "diagnose/diagnosis.rs",
                "diagnose/build.rs",
            ],
            // What can be said of the facts without an opinion, and what Node would do.
            &["diagnose/", "diagnose/node_model"],
            // Opinions.
            &["diagnose/rules/"],
            // Who wins, in which order, and whether it holds together.
            &[
                "diagnose/rank.rs",
                "diagnose/differs.rs",
                "diagnose/healthy.rs",
                "diagnose/invariants.rs",
                "diagnose/judge.rs",
                "diagnose/mod.rs",
            ],
            // From a target to facts, and from a diagnosis to bytes: neither knows the other.
            &["exit.rs", "render/"],
            &["run/"],
            // The process around it.
            &["cli.rs", "explain.rs", "interrupt.rs", "output.rs", "panics.rs", "progress.rs", "saved.rs", "lib.rs"],
        ],
    ),
    (
        "probes/src",
        &[
            &["text.rs", "secret.rs", "terms.rs", "address_kind.rs", "identifier.rs", "limits.rs", "own.rs"],
            // What is kept of a measurement.
            &[
                "contact_fact.rs",
                "dns_fact.rs",
                "host_fact.rs",
                "http_fact.rs",
                "log_fact.rs",
                "par_fact.rs",
                "process_fact.rs",
                "tls_fact.rs",
            ],
            &["fact.rs", "record.rs"],
            // How it is measured.
            &["document.rs", "failure.rs", "files.rs", "redact.rs", "roots.rs", "wire/"],
            &["pace.rs", "net.rs"],
            // The probes.
            &["outside/", "pds_log.rs"],
            &["inside/", "lib.rs"],
        ],
    ),
];

/// The room of a file, counted from the ground.
fn room(rooms: &[&[&str]], file: &str) -> Option<usize> {
    let named = rooms.iter().enumerate().flat_map(|(level, names)| names.iter().map(move |name| (level, *name)));
    named.filter(|(_, name)| file.starts_with(name)).max_by_key(|(_, name)| name.len()).map(|(level, _)| level)
}

fn read(folder: &str) -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

#[test]
fn no_import_leads_back() {
    for folder in ["src", "probes/src"] {
        let tied = TIED.iter().filter(|(of, ..)| *of == folder);
        let tied: Vec<(&str, &str)> = tied.map(|(_, from, to)| (*from, *to)).collect();
        let circles = read(folder).without(&tied).circles();
        assert!(circles.is_empty(), "{folder}: files that import each other, over others or at once: {circles:#?}");
    }
}

#[test]
fn imports_lead_down() {
    for (folder, rooms) in ROOMS {
        let all = read(folder);
        for file in all.files.keys() {
            let Some(own) = room(rooms, file) else {
                panic!("{folder}/{file} has no room: give it one in ROOMS (tests/house/main.rs)");
            };
            for to in all.imports(file) {
                // Macros are of the whole crate.
                let above = to != "lib.rs" && room(rooms, to).is_some_and(|level| level > own);
                assert!(!above, "{folder}: {file} imports from {to}, which is above it (ROOMS in tests/house/main.rs)");
            }
        }
    }
}

#[test]
fn no_render_in_a_run_and_no_run_in_a_report() {
    let all = read("src");
    for file in all.files.keys() {
        for to in all.imports(file) {
            let crossed = (file.starts_with("run/") && to.starts_with("render/"))
                || (file.starts_with("render/") && to.starts_with("run/"));
            assert!(!crossed, "{file} imports from {to}");
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "probes/src", "fixtures/src", "tests"].iter().for_each(|folder| below(&root.join(folder), &mut files));
    assert!(files.len() > 200, "{} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        let lines = text.lines().count();
        assert!(lines <= 600, "{}: {lines} lines, and 600 are the most", file.display());
        // A module lies where its name says.
        let paths = text.lines().filter(|line| line.trim_start().starts_with("#[path"));
        assert_eq!(paths.count(), 0, "{} says where a module lies", file.display());
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_page_on_judging_names_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = include_str!("../../docs/judging.md");
    // Without the drawing: its fence is no quotation.
    let prose: String = page.split("```").step_by(2).collect();
    let is_file = |word: &&str| ["src/", "probes/src/", "tests/"].iter().any(|start| word.starts_with(start));
    let files: Vec<&str> = quoted(&prose).filter(is_file).collect();
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        assert!(root.join(file).exists(), "docs/judging.md names {file}");
    }
    // The last file of a path has the words themselves.
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let words = quoted(row).next().expect("words");
        let last = quoted(row).last().expect("a file");
        let text = fs::read_to_string(root.join(last)).expect("a file");
        assert!(text.contains(words), "{last} does not say \"{words}\"");
    }
    assert!(include_str!("../../CONTRIBUTING.md").contains("docs/judging.md"));
}

#[test]
fn what_is_said_to_be_tied_is() {
    for folder in ["src", "probes/src"] {
        let all = read(folder);
        let circles = all.circles();
        for (_, from, to) in TIED.iter().filter(|(of, ..)| *of == folder) {
            let both = |circle: &BTreeSet<String>| circle.contains(*from) && circle.contains(*to);
            let tied = all.imports(from).contains(*to) && circles.iter().any(both);
            assert!(tied, "{folder}: {from} to {to} is untied: take it out of the list");
        }
    }
}
