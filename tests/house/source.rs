//! Reads the imports of Rust files: no compiler, just names, braces and `::`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A crate whose files are looked at.
pub(crate) struct Crate {
    /// Its files, relative to its folder, with what each imports.
    pub(crate) files: BTreeMap<String, Source>,
    /// The file of every module, by its path (`["diagnose", "rules"]`).
    modules: BTreeMap<Vec<String>, String>,
    imports: BTreeMap<String, BTreeSet<String>>,
}

/// A file.
pub(crate) struct Source {
    module: Vec<String>,
    /// Paths in the text itself.
    paths: Vec<Vec<String>>,
    /// Names in the text itself.
    used: BTreeSet<String>,
    /// What its `use` lines bring in: the name, the path, and whether it is passed on.
    uses: Vec<(String, Vec<String>, bool)>,
}

impl Crate {
    /// Reads every file below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut found = Vec::new();
        below(root, &mut found);
        let mut all = Self { files: BTreeMap::new(), modules: BTreeMap::new(), imports: BTreeMap::new() };
        for path in found {
            let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
            // Tests and the binary stand beside the house, not in it.
            if name == "main.rs" || name.ends_with("tests.rs") || name.split('/').any(|part| part == "testing") {
                continue;
            }
            let tokens = tokens(&fs::read_to_string(&path).expect("a file"));
            let module = module_of(&name);
            all.modules.insert(module.clone(), name.clone());
            let uses = uses(&tokens);
            let text = without_uses(&tokens);
            let used = text.iter().cloned().collect();
            all.files.insert(name, Source { module, paths: paths(&text), used, uses });
        }
        all.imports = all.files.keys().map(|file| (file.clone(), all.of(file))).collect();
        all
    }

    /// The files that a file imports from.
    pub(crate) fn imports(&self, file: &str) -> &BTreeSet<String> {
        &self.imports[file]
    }

    /// The same without these: from, to.
    #[must_use]
    pub(crate) fn without(mut self, imports: &[(&str, &str)]) -> Self {
        for (from, to) in imports {
            self.imports.get_mut(*from).expect("a file of the crate").remove(*to);
        }
        self
    }

    fn of(&self, file: &str) -> BTreeSet<String> {
        let source = &self.files[file];
        let mut found = BTreeSet::new();
        let mut go = |path: &[String]| {
            if let Some(to) = self.resolve(&source.module, path, 0)
                && to != file
            {
                found.insert(to);
            }
        };
        for (name, path, passed_on) in &source.uses {
            // What a module only passes on it does not need itself.
            let is_used = source.used.contains(name);
            let is_module = self.absolute(&source.module, path).is_some_and(|path| self.modules.contains_key(&path));
            if (!passed_on || is_used) && !is_module {
                go(path);
            }
        }
        for path in &source.paths {
            let brought = source.uses.iter().find(|(name, ..)| *name == path[0]);
            match brought {
                Some((_, start, _)) => go(&[start.as_slice(), &path[1..]].concat()),
                None => go(path),
            }
        }
        found
    }

    /// From the root: where a path leads that stands in `module`. `None`: out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut at = module.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (at, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {}
            child => {
                let below: Vec<String> = module.iter().cloned().chain([child.to_owned()]).collect();
                if !self.modules.contains_key(&below) {
                    return None;
                }
            }
        }
        while rest.first().is_some_and(|part| part == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        at.extend(rest.iter().cloned());
        Some(at)
    }

    /// The file that has what a path names; what a module passes on is looked up where it is.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<String> {
        let path = self.absolute(module, path)?;
        let known = (0..=path.len()).rev().find(|&end| self.modules.contains_key(&path[..end]))?;
        let file = &self.modules[&path[..known]];
        let Some(item) = path.get(known) else { return Some(file.clone()) };
        let source = &self.files[file];
        let passed_on = source.uses.iter().find(|(name, _, passed_on)| *passed_on && name == item);
        let further =
            passed_on.filter(|_| depth < 8).and_then(|(_, to, _)| self.resolve(&source.module, to, depth + 1));
        Some(further.unwrap_or_else(|| file.clone()))
    }

    /// Sets of files each of which imports, over others, all others of its set.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let direct = &self.imports;
        let reach: BTreeMap<&String, BTreeSet<String>> = direct
            .keys()
            .map(|file| {
                let mut seen = BTreeSet::new();
                let mut next: Vec<&String> = direct[file].iter().collect();
                while let Some(at) = next.pop() {
                    if seen.insert(at.clone()) {
                        next.extend(&direct[at]);
                    }
                }
                (file, seen)
            })
            .collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (&file, ahead) in &reach {
            let both: BTreeSet<String> = ahead.iter().filter(|other| reach[other].contains(file)).cloned().collect();
            if !both.is_empty() && !circles.contains(&both) {
                circles.push(both);
            }
        }
        circles
    }
}

/// Every Rust file below a folder.
pub(crate) fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

fn module_of(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").expect("a Rust file");
    let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Names and signs, without comments, texts, attributes and what is only for tests.
fn tokens(text: &str) -> Vec<String> {
    let signs: Vec<char> = text.chars().collect();
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    let word = |sign: char| sign.is_alphanumeric() || sign == '_';
    while at < signs.len() {
        let rest = &signs[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|&sign| sign == '\n').unwrap_or(rest.len()),
            ['r' | 'b', '"' | '#', ..] | ['b', 'r', ..] if raw_text(rest).is_some() => raw_text(rest).unwrap_or(1),
            ['"', ..] => text_length(rest),
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|&sign| sign == '\'').unwrap_or(0) + 1,
            ['\'', _, '\'', ..] => 3,
            [':', ':', ..] => {
                found.push("::".to_owned());
                2
            }
            [sign, ..] if word(*sign) => {
                let name: String = rest.iter().take_while(|&&sign| word(sign)).collect();
                let length = name.chars().count();
                found.push(name);
                length
            }
            [sign, ..] => {
                if !sign.is_whitespace() {
                    found.push(sign.to_string());
                }
                1
            }
            [] => 1,
        };
    }
    without_tests(found)
}

fn text_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of `r"…"`, `r#"…"#`, `br"…"`, where it is one.
fn raw_text(rest: &[char]) -> Option<usize> {
    let head = rest.iter().take_while(|&&sign| sign == 'r' || sign == 'b').count();
    let hashes = rest[head..].iter().take_while(|&&sign| sign == '#').count();
    let start = head + hashes;
    if rest.get(start) != Some(&'"') || head > 2 {
        return None;
    }
    if !rest[..head].contains(&'r') {
        return (hashes == 0).then(|| head + text_length(&rest[head..]));
    }
    let end = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take(hashes).filter(|&&sign| sign == '#').count() == hashes
    };
    Some((start + 1..rest.len()).find(end)? + 1 + hashes)
}

/// Without `#[…]`, and without the item behind `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_attribute = tokens[at] == "#" && tokens.get(at + 1).is_some_and(|next| next == "[" || next == "!");
        if !is_attribute {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = closing(&tokens, at + 1, "[", "]");
        let is_test = tokens[at..end].windows(3).any(|part| part == ["cfg", "(", "test"]);
        at = end;
        if is_test {
            let body = (at..tokens.len()).find(|&at| tokens[at] == "{" || tokens[at] == ";").unwrap_or(tokens.len());
            at = if tokens.get(body).is_some_and(|sign| sign == "{") {
                closing(&tokens, body, "{", "}")
            } else {
                body + 1
            };
        }
    }
    kept
}

/// One behind the sign that closes the first `open` at or after `from`.
fn closing(tokens: &[String], from: usize, open: &str, close: &str) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        if token == open {
            depth += 1;
        } else if token == close {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}

/// What every `use` brings in.
fn uses(tokens: &[String]) -> Vec<(String, Vec<String>, bool)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token != "use" {
            continue;
        }
        let passed_on = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
        let end = (at..tokens.len()).find(|&at| tokens[at] == ";").unwrap_or(tokens.len());
        branch(&tokens[at + 1..end], &[], passed_on, &mut found);
    }
    found
}

/// One tree of a `use`: `a::{b, c::{self, d as e}}`.
fn branch(tokens: &[String], before: &[String], passed_on: bool, found: &mut Vec<(String, Vec<String>, bool)>) {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => {}
            "{" => {
                let inner = &tokens[at + 1..tokens.len() - 1];
                let mut depth = 0;
                for part in inner.split(|token| {
                    depth += i32::from(token == "{") - i32::from(token == "}");
                    token == "," && depth == 0
                }) {
                    branch(part, &path, passed_on, found);
                }
                return;
            }
            "as" => {
                found.push((tokens[at + 1].clone(), path, passed_on));
                return;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    if path.last().is_some_and(|last| last == "*") {
        path.pop();
        found.push(("*".to_owned(), path, passed_on));
    } else if let Some(last) = path.last().cloned() {
        found.push((last, path, passed_on));
    }
}

/// The text itself: neither `use`, nor `mod name;`, nor for whom something is public.
fn without_uses(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    let is = |at: usize, sign: &str| tokens.get(at).is_some_and(|token| token == sign);
    while at < tokens.len() {
        if is(at, "use") {
            at = (at..tokens.len()).find(|&at| tokens[at] == ";").unwrap_or(tokens.len());
        } else if is(at, "mod") && is(at + 2, ";") {
            at += 2;
        } else if is(at, "pub") && is(at + 1, "(") {
            at = closing(tokens, at + 1, "(", ")") - 1;
        } else {
            kept.push(tokens[at].clone());
        }
        at += 1;
    }
    kept
}

/// Paths, `a::b`.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let is_name = |token: &String| token.starts_with(|sign: char| sign.is_alphabetic() || sign == '_');
    let mut at = 0;
    while at < tokens.len() {
        if is_name(&tokens[at]) && (at == 0 || tokens[at - 1] != "::") {
            let mut path = vec![tokens[at].clone()];
            while tokens.get(at + 1).is_some_and(|sign| sign == "::") && tokens.get(at + 2).is_some_and(is_name) {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
            if path.len() > 1 {
                found.push(path);
            }
        }
        at += 1;
    }
    found
}
