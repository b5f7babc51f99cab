//! The promises of docs/security.md are held by tests that there are.

use std::{fs, path::Path};

/// Every Rust file below a folder, as one text.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(path).expect("a file"));
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let page = include_str!("../docs/security.md");
    let mut all = String::new();
    for folder in ["src", "probes/src", "tests", "fixtures/src"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut all);
    }
    // What stands between backticks and looks like the name of a test.
    let quoted = page.split('`').skip(1).step_by(2);
    let names = quoted.map(|word| word.rsplit("::").next().unwrap_or(word));
    let is_test = |word: &&str| {
        // A state of processes (prctl(2)).
        *word != "no_new_privs"
            && word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let names: Vec<&str> = names.filter(is_test).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        // A harness of its own names some of its tests in a table.
        let there = all.contains(&format!("fn {name}(")) || all.contains(&format!("(\"{name}\", "));
        assert!(there, "docs/security.md names {name}, and there is no such test");
    }
}
