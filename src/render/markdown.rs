//! The report as Markdown, to paste into an issue or a chat. What is not plain words becomes code, so that nothing that came
//! from a network can be a link, a mention or HTML.

use pdsdoctor_probes::record::Run;

use super::{
    style::{Detail, Style},
    text::{self, parts, sick},
    wrap::{clean, cut},
};
use crate::diagnose::{
    Cause, Confidence, Diagnosis, Remedy, Risk, Side,
    step::{Command, Settle, Step},
};

/// What a message in a chat may have (Discord's limit), with room for who sends it.
const CHAT: usize = 1_950;
/// No more of the headline and of one line goes into a chat. Of a line made of nothing but backticks, three times as much
/// is shown.
const CHAT_LINE: usize = 250;
/// The folded report is laid out for this many columns.
const FOLDED_WIDTH: usize = 100;
/// Nobody means a commit by fewer characters: GitHub makes links of seven hexadecimal digits.
const COMMIT: usize = 7;

/// The report.
pub(super) fn report(run: &Run, diagnosis: &Diagnosis, style: &Style) -> String {
    let mut out = if style.detail == Detail::Quiet { chat(diagnosis) } else { issue(run, diagnosis, style.detail) };
    while out.ends_with('\n') {
        out.pop();
    }
    out.push('\n');
    out
}

fn issue(run: &Run, diagnosis: &Diagnosis, detail: Detail) -> String {
    let mut out = format!("{}\n\n{}\n\n", verdict(diagnosis, usize::MAX), prose(&parts::counts(run)));
    if let Some((first, others)) = diagnosis.causes.split_first() {
        out.push_str(&format!("### {}\n\n", title(first)));
        if first.summary != diagnosis.headline {
            out.push_str(&format!("{}\n\n", prose(&first.summary)));
        }
        first.seen.iter().for_each(|line| out.push_str(&format!("- {}\n", prose(line))));
        out.push_str(&proof(first));
        if first.confidence != Confidence::Confirmed
            && let Some(open) = &first.settle
        {
            out.push_str(&format!("\n**What would settle it:** {}", settle(open)));
        }
        out.push_str(&remedies(first));
        if !others.is_empty() {
            out.push_str("\n### Also found\n\n");
            others.iter().for_each(|cause| out.push_str(&line(cause, usize::MAX)));
        }
    } else {
        diagnosis.healthy.iter().for_each(|well| out.push_str(&format!("- {}\n", prose(&well.summary))));
        diagnosis
            .differs
            .iter()
            .for_each(|odd| out.push_str(&format!("- differs, not judged: {}\n", prose(&odd.what))));
        let missing = &diagnosis.not_measured;
        missing.iter().for_each(|missing| out.push_str(&format!("- not measured: {}\n", prose(&missing.why))));
    }
    // All of it, in a block of code: nothing in there means anything to whoever renders this.
    let detail = if detail == Detail::Verbose { detail } else { Detail::Normal };
    let style = Style { width: FOLDED_WIDTH, color: false, unicode: true, detail };
    let whole = text::report(run, diagnosis, &style);
    out.push_str("\n<details>\n<summary>The whole report</summary>\n\n");
    out.push_str(&fenced("text", whole.lines()));
    out.push_str("\n</details>\n");
    out
}

/// Verdict, proof and fix of the first cause as far as there is room, then the others' names.
fn chat(diagnosis: &Diagnosis) -> String {
    let mut out = format!("{}\n", verdict(diagnosis, CHAT_LINE));
    let mut add = |part: String| {
        if out.chars().count() + part.chars().count() <= CHAT {
            out.push_str(&part);
        }
    };
    if let Some((first, others)) = diagnosis.causes.split_first() {
        add(format!("\n{}\n", title(first)));
        for contrast in first.contrast.iter().take(1) {
            let sides = [&contrast.this, &contrast.that].map(side);
            add(format!("- {}: {}\n- but {}\n", prose(&contrast.what), sides[0], sides[1]));
        }
        if let Some(best) = first.remedies.first() {
            add(format!("\n**Fix:** {}\n", prose(&best.title)));
            add(steps(&best.steps));
            add(format!("Then check:\n{}", command(&best.verify)));
        }
        others.iter().for_each(|cause| add(line(cause, CHAT_LINE)));
        add(format!("\nMore: `pdsdoctor explain {}`\n", first.code));
    }
    out
}

fn verdict(diagnosis: &Diagnosis, most: usize) -> String {
    format!("**{}**: {}", diagnosis.verdict, prose(&cut(&diagnosis.headline, most, true)))
}

/// `**The certificate has expired or soon will** (`tls-expired`, broken, confirmed)`.
fn title(cause: &Cause) -> String {
    let scope = sick::scope_words(&cause.scope);
    let scope = if scope.is_empty() { scope } else { format!(", {}", prose(&scope)) };
    let (mark, _) = parts::mark(cause.impact, &Style { width: 0, color: false, unicode: true, detail: Detail::Normal });
    let mark = if mark == "!" { "⚠" } else { mark };
    format!(
        "{mark} **{}** (`{}`, {}, {}{scope})",
        prose(cause.code.title()),
        cause.code,
        cause.impact,
        cause.confidence
    )
}

/// A cause that is not the first.
fn line(cause: &Cause, most: usize) -> String {
    let fix = cause.remedies.first().map(|best| format!(" Fix: {}.", prose(&best.title))).unwrap_or_default();
    format!("- {}: {}{fix}\n", title(cause), prose(&cut(&cause.summary, most, true)))
}

/// A row for each experiment.
fn proof(cause: &Cause) -> String {
    if cause.contrast.is_empty() {
        return String::new();
    }
    let mut out = "\n| Measured | This | Other |\n| --- | --- | --- |\n".to_owned();
    for contrast in &cause.contrast {
        let cells = [prose(&contrast.what), side(&contrast.this), side(&contrast.that)];
        // A bar would begin another cell, in code as well.
        let cells = cells.map(|cell| cell.replace('|', "¦"));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

fn side(side: &Side) -> String {
    match &side.name {
        Some(name) => format!("{}: {}", prose(name), prose(&side.result)),
        None => prose(&side.result),
    }
}

fn remedies(cause: &Cause) -> String {
    let Some((best, others)) = cause.remedies.split_first() else { return String::new() };
    let mut out = format!("\n{}", remedy("Fix", best));
    out.push_str(&format!("\nThen check:\n{}", command(&best.verify)));
    if !others.is_empty() {
        out.push_str("\n<details>\n<summary>Other remedies</summary>\n\n");
        let shown: Vec<String> = others.iter().map(|other| remedy(sick::label(other.link), other)).collect();
        out.push_str(&shown.join("\n"));
        out.push_str("\n</details>\n");
    }
    out
}

fn remedy(label: &str, remedy: &Remedy) -> String {
    let mut out = format!("**{label}:** {}{}\n", prose(&remedy.title), sick::proven(remedy));
    out.push_str(&steps(&remedy.steps));
    if remedy.risk == Risk::Disruptive {
        out.push_str("\nRisk: interrupts the service, or changes what others depend on.\n");
    }
    if !remedy.undo.is_empty() {
        out.push_str("\nTo go back:\n");
        out.push_str(&steps(&remedy.undo));
    }
    out
}

/// Words as paragraphs, commands and lines to write in blocks of code.
fn steps(steps: &[Step]) -> String {
    steps.iter().map(step).collect()
}

fn step(step: &Step) -> String {
    let about = |note: &str| if note.is_empty() { String::new() } else { format!("\n{}\n", prose(note)) };
    match step {
        Step::Do(words) => about(words),
        Step::Run { command: line, note } => {
            format!("{}{}", command(line), note.as_ref().map(|note| about(note)).unwrap_or_default())
        }
        Step::Write { place, lines, note } => {
            let place = place.as_ref().map(|place| format!("\n{}:\n", prose(place))).unwrap_or_default();
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let note = note.as_ref().map(|note| about(note)).unwrap_or_default();
            format!("{place}{}{note}", fenced("", lines.iter().map(String::as_str)))
        }
    }
}

fn settle(settle: &Settle) -> String {
    let (before, after) = settle.words();
    let words = [before, after].map(|part| prose(part.trim_end_matches(':').trim_start_matches([',', ' '])));
    let words = words.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    let commands: String = settle.commands().iter().map(command).collect();
    format!("{words}\n{commands}")
}

fn command(command: &Command) -> String {
    fenced("sh", [command.to_string().as_str()].into_iter())
}

/// A block of code. Its fence is longer than any row of backticks in it, so that nothing in it ends it.
fn fenced<'a>(language: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<String> = lines.map(|line| clean(line, true)).collect();
    let fence = "`".repeat(lines.iter().map(|line| longest_ticks(line) + 1).max().unwrap_or(0).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

fn longest_ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Words stay words; every other word becomes code.
fn prose(text: &str) -> String {
    let text = clean(text, true);
    let words = text.split(' ').filter(|word| !word.is_empty());
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// A word with what a sentence puts around it. Nothing of that means anything in Markdown.
fn word(word: &str) -> String {
    let inner = word.trim_start_matches(['(', '"', '\'']);
    let before = &word[..word.len() - inner.len()];
    let core = inner.trim_end_matches([')', '"', '\'', ',', '.', ';', ':', '?']);
    let after = &inner[core.len()..];
    if core.is_empty() && word.chars().all(|c| "(\"',;?".contains(c)) || is_plain(core, after) {
        return word.to_owned();
    }
    if core.is_empty() { code(word) } else { format!("{before}{}{after}", code(core)) }
}

/// Letters and figures, with an apostrophe or hyphens between letters: no name of a host, no address, no item of a list,
/// nobody's name, no number of an issue, no commit.
fn is_plain(core: &str, after: &str) -> bool {
    let letters = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphabetic() || c == '’');
    let hyphenated = core.split(['-', '\'']).all(letters);
    let hex = core.len() >= COMMIT && core.chars().all(|c| c.is_ascii_hexdigit());
    let short = core.len() < COMMIT && !core.is_empty() && core.chars().all(|c| c.is_ascii_alphanumeric());
    // `1.` and `1)` begin an item of a list.
    let item = core.chars().all(|c| c.is_ascii_digit()) && after.starts_with(['.', ')']);
    let sign = !core.is_empty() && core.chars().all(|c| "→–—…≤≥×·✗✓".contains(c));
    hyphenated && !hex || short && !item || sign
}

/// A span of code: its own backticks cannot end it.
fn code(word: &str) -> String {
    let quoted = word.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    let word = quoted.filter(|inner| !inner.is_empty() && !inner.contains('`')).unwrap_or(word);
    let fence = "`".repeat(longest_ticks(word) + 1);
    let space = if word.starts_with('`') || word.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{word}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_all_else_is_code() {
        let cases = [
            ("The PDS's clock is 5 s slow.", "The PDS's clock is 5 s slow."),
            ("pds.example.com: silent (4,000 ms)", "`pds.example.com`: silent (`4,000` ms)"),
            ("@alice #1 GH-12 deadbeef 0123456", "`@alice` `#1` `GH-12` `deadbeef` `0123456`"),
            ("<b>x</b> [a](b) **c** _d_ :smile: &lt;", "`<b>x</b>` `[a](b`) `**c**` `_d_` `:smile`: `&lt`;"),
            ("1. one - two", "`1`. one `-` two"),
            ("https://a.example www.a.example a@b.example", "`https://a.example` `www.a.example` `a@b.example`"),
            ("says `EAI_AGAIN`, x`y``", "says `EAI_AGAIN`, ``` x`y`` ```"),
        ];
        for (text, want) in cases {
            assert_eq!(prose(text), want);
        }
    }

    #[test]
    fn nothing_ends_a_block() {
        assert_eq!(fenced("sh", ["a", "```", "b"].into_iter()), "````sh\na\n```\nb\n````\n");
    }
}
