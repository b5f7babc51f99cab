//! Lines to paste, whatever the run says: a shell reads each of them as exactly the words that were meant.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command as Process, Stdio},
};

use pdsdoctor::{
    cli::Format,
    diagnose::{
        Diagnosis, diagnose,
        step::{self, Command, Needs, Prose, Step},
    },
    render::{
        report,
        style::{Detail, Style},
        wrap::clean,
    },
    saved,
};
use pdsdoctor_probes::record::Run;
use serde_json::Value;

use crate::{
    catalogue::runs,
    mutants::{Dice, mutant},
};

/// What a stranger may call anything.
const HOSTILE: &[&str] = &[
    ";id>pwned",
    "x;id>pwned;.service",
    "x$(id>pwned).example.com",
    "`id>pwned`",
    "it's",
    "say \"id\"",
    "two\nlines",
    "two words",
    "-o/etc/pwned",
    "--output=/etc/pwned",
    "-x.example.com",
    "a&id>pwned",
    "a|id>pwned",
    "a #id",
    "~root/x",
    "/etc/*",
    "{a,b}.example.com",
    "[a-z].example.com",
    "wow!!.example.com",
    "<(id>pwned)",
    "\\$(id)",
    "a\u{202e}b",
    "a\u{0}b",
    "раypal.example",
    "a\u{3164}b\u{2800}",
    "${IFS}id",
    "=ls",
    "@/etc/passwd",
    "%s%n",
    "a\tb\r",
    "https://u:p@pds.example.com/;id>pwned;",
    "javascript:id",
    "*.pds.example.com;id",
    "did:plc:$(id)",
    "eth0; reboot",
    "pds\"; } } evil {",
];

/// What ends a word, begins another command, or is replaced by something else.
const SPECIAL: &[char] =
    &[';', '$', '`', '\'', '"', '&', '|', '#', '~', '*', '{', '}', '!', '<', '>', '\\', ' ', '\n', '%'];

/// What a shell of the POSIX family makes of a line, as far as these lines go (XCU 2.3, Token Recognition).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word, and whether the shell would replace something in it.
    Word(String, bool),
    Operator(char),
}

/// `None`: a quotation that does not end.
fn tokens(line: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ' ' || c == '\t' {
            tokens.extend(word.take().map(|(text, active)| Token::Word(text, active)));
            continue;
        }
        if ";&|<>()\n".contains(c) || (c == '#' && word.is_none()) {
            tokens.extend(word.take().map(|(text, active)| Token::Word(text, active)));
            tokens.push(Token::Operator(c));
            continue;
        }
        let starts = word.is_none();
        let (text, active) = word.get_or_insert_with(|| (String::new(), false));
        match c {
            '\'' => loop {
                match rest.next()? {
                    '\'' => break,
                    c => text.push(c),
                }
            },
            '"' => loop {
                match rest.next()? {
                    '"' => break,
                    '\\' => text.push(rest.next()?),
                    c => {
                        *active |= "$`!".contains(c);
                        text.push(c);
                    }
                }
            },
            '\\' => text.push(rest.next()?),
            c => {
                *active |= "$`*?[{!".contains(c) || (starts && (c == '~' || c == '='));
                text.push(c);
            }
        }
    }
    tokens.extend(word.take().map(|(text, active)| Token::Word(text, active)));
    Some(tokens)
}

/// What was meant: this program's own text as it is, and every foreign word as one word.
fn meant(command: &Command) -> Vec<Token> {
    let part = |(own, word): (&'static str, Option<String>)| match word {
        Some(word) => vec![Token::Word(word, false)],
        None => tokens(own).unwrap_or_else(|| panic!("{own}: a quotation does not end")),
    };
    command.parts().flat_map(part).collect()
}

fn notes(diagnosis: &Diagnosis) -> impl Iterator<Item = &Step> {
    let remedies = diagnosis.causes.iter().flat_map(|cause| &cause.remedies);
    remedies.flat_map(|remedy| remedy.steps.iter().chain(&remedy.undo))
}

/// Every command that a report has, with its note.
fn commands(run: &Run, diagnosis: &Diagnosis) -> Vec<(Command, Option<Prose>)> {
    let mut all: Vec<(Command, Option<Prose>)> = Vec::new();
    for step in notes(diagnosis) {
        if let Step::Run { command, note } = step {
            all.push((command.clone(), note.clone()));
        }
    }
    for cause in &diagnosis.causes {
        all.extend(cause.remedies.iter().map(|remedy| (remedy.verify.clone(), None)));
        all.extend(cause.settle.iter().flat_map(|settle| settle.commands()).map(|command| (command.clone(), None)));
    }
    for missing in &diagnosis.not_measured {
        if let Needs::Command(command) = step::needs(run, missing) {
            all.push((command, None));
        }
    }
    all.push((step::again(run).0, None));
    all
}

/// What holds of every line to paste.
fn hold(name: &str, run: &Run, hostile: &str, shown: bool) -> BTreeSet<String> {
    let diagnosis = diagnose(run);
    let all = commands(run, &diagnosis);
    for (command, _) in &all {
        let line = command.to_string();
        assert!(line.chars().all(|c| matches!(c, ' '..='~')), "{name}: {line:?}");
        assert_eq!(tokens(&line).as_ref(), Some(&meant(command)), "{name}: {line}");
        // An operand that is no option of ours never looks like one.
        for word in command.parts().filter_map(|(_, word)| word) {
            assert!(!word.starts_with('-') || word.contains('='), "{name}: {line}");
            assert!(word != hostile || !hostile.starts_with('-'), "{name}: {line}");
        }
    }
    for title in diagnosis.causes.iter().flat_map(|cause| &cause.remedies).map(|remedy| &remedy.title) {
        is_no_code(name, title, hostile);
    }
    for settle in diagnosis.causes.iter().filter_map(|cause| cause.settle.as_ref()) {
        let (before, after) = settle.words();
        is_no_code(name, before, hostile);
        is_no_code(name, after, hostile);
    }
    let special = hostile.contains(SPECIAL) || !hostile.chars().all(|c| matches!(c, ' '..='~'));
    for step in notes(&diagnosis) {
        match step {
            Step::Write { lines, .. } => {
                for line in lines.iter().map(ToString::to_string) {
                    assert!(!line.contains(char::is_control), "{name}: {line:?}");
                    assert!(!special || hostile.is_empty() || !line.contains(hostile), "{name}: {line}");
                }
            }
            Step::Do(words) => is_no_code(name, &words.to_string(), hostile),
            Step::Run { note, .. } => note.iter().for_each(|note| is_no_code(name, &note.to_string(), hostile)),
        }
    }
    if shown {
        shown_as_they_are(name, run, &diagnosis, &all);
    }
    all.into_iter().map(|(command, _)| command.to_string()).collect()
}

/// Words are not to be taken for a command.
fn is_no_code(name: &str, words: &str, hostile: &str) {
    const PROGRAMS: &[&str] = &[
        "sudo",
        "curl",
        "dig",
        "docker",
        "echo",
        "printf",
        "ip",
        "sysctl",
        "systemctl",
        "openssl",
        "pdsdoctor",
        "nft",
    ];
    let first = words.split(' ').next().unwrap_or_default();
    assert!(!PROGRAMS.contains(&first), "{name}: {words}");
    assert!(!words.contains('`'), "{name}: {words}");
    // Of a stranger's there are names alone, and what had to be quoted means nothing to a shell.
    let special = hostile.contains(|c| c != ' ' && SPECIAL.contains(&c));
    assert!(hostile.len() < 3 || !special || !words.contains(hostile), "{name}: {words}");
    let own = ["“Assertion failed: (env) != nullptr”", "“node: … is not allowed in NODE_OPTIONS”"];
    let words = own.iter().fold(words.to_owned(), |words, own| words.replace(own, ""));
    for quoted in words.split('“').skip(1).filter_map(|rest| rest.split('”').next()) {
        assert!(
            !quoted.contains(['$', ';', '|', '&', '<', '>', '\\', '\'', '"', '(', '*', '#', '!', '~']),
            "{name}: {words}"
        );
    }
}

/// In the report for people every command stands whole in one line, and nothing else has a command's colour.
fn shown_as_they_are(name: &str, run: &Run, diagnosis: &Diagnosis, all: &[(Command, Option<Prose>)]) {
    let lines: BTreeSet<String> = all
        .iter()
        .map(|(command, _)| command.to_string())
        .chain(notes(diagnosis).flat_map(|step| match step {
            Step::Write { lines, .. } => lines.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }))
        .collect();
    for width in [60, 100] {
        let style = Style { width, color: true, unicode: true, detail: Detail::Verbose };
        let shown = report(run, diagnosis, Format::Text, &style);
        for piece in shown.split("\u{1b}[36m").skip(1) {
            let piece = piece.split('\u{1b}').next().unwrap_or_default();
            let again = piece.strip_prefix("Again:  ").map(|line| line.split("  # and ").next().unwrap_or(line));
            match (again, piece.strip_prefix("More:   pdsdoctor explain ")) {
                (Some(again), _) => assert!(lines.contains(again), "{name}: {piece}"),
                (None, Some(code)) => assert!(diagnosis.causes.iter().any(|cause| cause.code.to_string() == code)),
                (None, None) => {
                    assert!(
                        lines.contains(piece) || lines.iter().any(|line| clean(line, true) == piece),
                        "{name}: {piece}"
                    );
                }
            }
        }
        let plain = report(run, diagnosis, Format::Text, &Style { color: false, ..style });
        for remedy in diagnosis.causes.iter().flat_map(|cause| &cause.remedies) {
            for step in &remedy.steps {
                if let Step::Run { command, .. } = step {
                    let line = command.to_string();
                    assert!(plain.lines().any(|shown| shown.contains(&line)), "{name}: {line} is broken");
                }
            }
        }
    }
}

/// Texts of a run that are no closed set of names.
fn texts(value: &Value, key: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let closed = [
                "kind",
                "purpose",
                "document",
                "schema",
                "role",
                "outcome",
                "class",
                "arm",
                "record_type",
                "ended",
                "probe",
                "family",
                "trust_system",
                "trust_mozilla",
                "addr",
                "source",
                "id",
                "vantage",
                "server",
            ];
            if text.len() > 2 && !closed.contains(&key) {
                out.insert(text.clone());
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts(value, key, out)),
        Value::Object(map) => map.iter().for_each(|(key, value)| texts(value, key, out)),
        _ => {}
    }
}

/// Puts one text for another wherever it is, so that what belongs together still does.
fn replace(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) => *text = text.replace(old, new),
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, old, new)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, old, new)),
        _ => {}
    }
}

fn value_of(run: &Run) -> Value {
    serde_json::from_str(&saved::to_json(run).unwrap()).unwrap()
}

fn read(value: &Value) -> Option<Run> {
    saved::parse(value.to_string().as_bytes()).ok()
}

/// Texts of every run, one after the other, are something hostile everywhere in the run: each that the report says, and of the
/// others every third.
#[test]
fn a_shell_reads_what_was_meant() {
    let all = runs();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut lines, mut read_again) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(threads));
        let parts: Vec<_> = parts.map(|part| scope.spawn(|| with_every_text_hostile(part))).collect();
        for part in parts {
            let (of_part, times) = part.join().unwrap();
            lines.extend(of_part);
            read_again += times;
        }
    });
    assert!(read_again > 3_000, "{read_again}");
    let foreign = lines.iter().filter(|line| line.contains("id>pwned")).count();
    assert!(foreign > 5, "what is hostile and may be quoted is quoted: {foreign}");
    a_real_shell_agrees(&lines);
}

/// The lines of these runs, and how many runs they were after a change.
fn with_every_text_hostile(runs: &[(String, Run)]) -> (BTreeSet<String>, usize) {
    let mut lines = BTreeSet::new();
    let mut next = 0_usize;
    let mut read_again = 0;
    for (name, run) in runs {
        lines.extend(hold(name, run, "", true));
        let original = value_of(run);
        let said = format!("{:?}", diagnose(run));
        let mut all = BTreeSet::new();
        texts(&original, "", &mut all);
        for text in all {
            next += 1;
            if !said.contains(&text) && !next.is_multiple_of(3) {
                continue;
            }
            let hostile = HOSTILE[next / 3 % HOSTILE.len()];
            let mut changed = original.clone();
            // A name of which only a part is hostile passes the looser tests on the way.
            let whole = (next / 3 / HOSTILE.len()).is_multiple_of(2);
            replace(&mut changed, &text, &if whole { hostile.to_owned() } else { format!("{text}{hostile}") });
            if let Some(run) = read(&changed) {
                read_again += 1;
                lines.extend(hold(&format!("{name}: {text:?} is {hostile:?}"), &run, hostile, next.is_multiple_of(71)));
            }
        }
    }
    (lines, read_again)
}

/// Hosts of the target, the reference and an application, each with everything hostile.
#[test]
fn every_hostile_name_of_a_host() {
    for (name, run) in runs().into_iter().step_by(6) {
        let original = value_of(&run);
        let hosts = [run.target.host.clone(), run.target.handle.clone(), run.target.did.clone()];
        for host in hosts.into_iter().flatten() {
            for hostile in HOSTILE {
                let mut changed = original.clone();
                replace(&mut changed, &host, hostile);
                if let Some(run) = read(&changed) {
                    hold(&format!("{name}: {host} is {hostile:?}"), &run, hostile, false);
                }
            }
        }
    }
}

/// Runs with many changes at once.
#[test]
fn every_mutant_can_be_pasted() {
    let mut dice = Dice::new(7);
    for (name, run) in runs() {
        let original = value_of(&run);
        for _ in 0..2 {
            if let Some(run) = read(&mutant(&original, &mut dice)) {
                hold(&name, &run, "", false);
            }
        }
    }
}

/// The words that a real shell gets, and that it finds no fault with any line.
fn a_real_shell_agrees(lines: &BTreeSet<String>) {
    let mut script = String::new();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        // What runs nothing, replaces nothing and redirects nothing can be given to printf as it is.
        let all = tokens(line).unwrap();
        let words: Option<Vec<String>> = all
            .into_iter()
            .map(|token| match token {
                Token::Word(text, false) => Some(text),
                _ => None,
            })
            .collect();
        if let Some(words) = words {
            script.push_str(&format!("printf '%s\\0' {line}\n"));
            expected.extend(words.into_iter().map(String::into_bytes));
        }
    }
    assert!(expected.len() > 500, "{}", expected.len());
    let output = shell(&[], &script);
    let mut words: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
    words.pop();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (word, expected) in words.iter().zip(&expected) {
        assert_eq!(String::from_utf8_lossy(word), String::from_utf8_lossy(expected));
    }
    assert_eq!(words.len(), expected.len());
    // And all of them are whole.
    let all = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let output = shell(&["-n"], &all);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn shell(arguments: &[&str], script: &str) -> std::process::Output {
    let mut child = Process::new("sh")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let script = script.to_owned();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

/// What stands for something that the reader knows is a word in capitals, and the note says what it is.
#[test]
fn placeholders_are_seen_as_such() {
    const PLACEHOLDERS: &[&str] = &["ADDRESS", "FILE", "HOST", "ROUTER"];
    for (name, run) in runs() {
        for (command, note) in commands(&run, &diagnose(&run)) {
            let line = command.to_string();
            assert!(!line.contains('…') && !line.contains("..."), "{name}: {line}");
            let angle = line.split('<').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
            assert!(!angle, "{name}: {line}");
            for word in line.split([' ', '\'']).filter(|word| PLACEHOLDERS.contains(word)) {
                let told = note.as_ref().is_some_and(|note| note.to_string().contains(word));
                assert!(told, "{name}: {line}: what is {word}?");
            }
        }
    }
}

#[test]
fn the_lexer_sees_what_a_shell_sees() {
    let word = |text: &str| Token::Word(text.to_owned(), false);
    assert_eq!(tokens("a 'b c'\\''d' \"e\""), Some(vec![word("a"), word("b c'd"), word("e")]));
    assert_eq!(tokens("a;b"), Some(vec![word("a"), Token::Operator(';'), word("b")]));
    assert_eq!(tokens("a$b"), Some(vec![Token::Word("a$b".to_owned(), true)]));
    assert_eq!(tokens("a '"), None);
    assert_eq!(tokens("a #b"), Some(vec![word("a"), Token::Operator('#'), word("b")]));
    assert_eq!(tokens("a#b"), Some(vec![word("a#b")]));
}
