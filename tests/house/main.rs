//! The house: who may import whom, and how long a file may be.

mod source;

use std::{fs, path::Path};

use source::{Crate, below};

/// Imports that close a circle and are not untied yet: from, to. Nothing is added here.
const TIED: &[(&str, &str)] = &[
    ("src/cli.rs", "render/mod.rs"),
    ("src/diagnose/node_model/options.rs", "diagnose/node_model.rs"),
    ("src/diagnose/node_model/release.rs", "diagnose/node_model/options.rs"),
    ("src/diagnose/rules/handle_records.rs", "diagnose/rules/handle_hosts.rs"),
    ("src/diagnose/rules/inside/container_v6.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/hole.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/masked.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/inbound.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/node.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/node_options.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/node_version.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/ra.rs", "diagnose/rules/mod.rs"),
    ("src/diagnose/rules/inside/ra_lasts.rs", "diagnose/rules/inside/ra.rs"),
    ("src/diagnose/rules/inside/upstream.rs", "diagnose/rules/inside/ports.rs"),
    ("src/diagnose/rules/login_keys.rs", "diagnose/rules/login.rs"),
    ("src/diagnose/rules/login_words.rs", "diagnose/rules/login.rs"),
    ("src/diagnose/step/again.rs", "diagnose/step/mod.rs"),
    ("src/render/text/healthy.rs", "render/text/mod.rs"),
    ("src/render/text/sick.rs", "render/text/mod.rs"),
];

fn read(folder: &str) -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

#[test]
fn no_circle() {
    for folder in ["src", "probes/src"] {
        let all = read(folder);
        for circle in all.circles() {
            println!("{folder}: circle of {}", circle.len());
            for file in &circle {
                let to: Vec<String> = all.imports(file).intersection(&circle).cloned().collect();
                println!("   {file} -> {}", to.join(" "));
            }
        }
    }
}
