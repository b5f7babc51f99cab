//! What the reports look like, and what they must never contain.

mod samples;

use pdsdoctor::{
    cli::Format,
    diagnose::{
        grid::{self, Tone},
        how_far,
        step::{measure_again, prose, quoted, say},
    },
    render::{
        report,
        style::{Detail, Style},
        wrap::width as columns,
    },
};
use samples::Sample;

const STYLE: Style = Style { width: 80, color: false, unicode: true, detail: Detail::Normal };

fn text(sample: &Sample, style: Style) -> String {
    report(&sample.run, &sample.diagnosis, Format::Text, &style)
}

const DETAILS: [Detail; 3] = [Detail::Quiet, Detail::Normal, Detail::Verbose];

fn markdown(sample: &Sample, detail: Detail) -> String {
    report(&sample.run, &sample.diagnosis, Format::Markdown, &Style { detail, ..STYLE })
}

/// What of a Markdown text is no code: every block and span of code is left out, as CommonMark finds them.
fn outside_code(text: &str) -> String {
    let ticks = |text: &str| text.len() - text.trim_start_matches('`').len();
    let (mut out, mut fence) = (String::new(), 0);
    for line in text.lines() {
        let leading = ticks(line);
        if fence > 0 {
            if leading >= fence && line.len() == leading {
                fence = 0;
            }
            continue;
        }
        if leading >= 3 && line[leading..].chars().all(char::is_alphabetic) {
            fence = leading;
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find('`') {
            out.push_str(&rest[..start]);
            let length = ticks(&rest[start..]);
            rest = &rest[start + length..];
            // A span ends with a row of as many.
            loop {
                let end = rest.find('`').expect("a span of code ends in its line");
                let row = ticks(&rest[end..]);
                rest = &rest[end + row..];
                if row == length {
                    break;
                }
            }
        }
        out.push_str(rest);
        out.push('\n');
    }
    assert_eq!(fence, 0, "a block of code is closed: {text}");
    out
}

/// Nothing but the program's own marks is left where Markdown would act on it.
fn is_harmless(text: &str) {
    let own = ["<details>", "</details>", "<summary>The whole report</summary>", "<summary>Other remedies</summary>"];
    let mut rest = outside_code(text);
    assert_eq!(rest.matches("<details>").count(), rest.matches("</details>").count());
    own.iter().for_each(|own| rest = rest.replace(own, ""));
    for line in rest.lines() {
        let line = line.trim_start_matches("### ").replace("**", "");
        let bad = line.chars().find(|c| "<>[]@#&\\*_~$!{}=+/%^".contains(*c));
        assert_eq!(bad, None, "{line:?} in {text}");
        let cells = line.starts_with("| ") && line.matches('|').count() == 4;
        assert!(cells || !line.contains('|'), "{line:?} in {text}");
        assert!(!line.contains("www.") && !line.contains("://"), "{line:?} in {text}");
    }
}

#[test]
fn markdown_reports() {
    for sample in samples::all().iter().filter(|sample| sample.name != "hostile") {
        insta::assert_snapshot!(format!("markdown_{}", sample.name), markdown(sample, Detail::Normal));
    }
    let sample = samples::first_field_report();
    insta::assert_snapshot!("markdown_brief", markdown(&sample, Detail::Quiet));
}

#[test]
fn markdown_has_no_mark_that_is_not_its_own() {
    for sample in samples::all() {
        for detail in DETAILS {
            is_harmless(&markdown(&sample, detail));
        }
        assert!(markdown(&sample, Detail::Quiet).chars().count() < 2_000, "{}", sample.name);
    }
}

fn styles() -> impl Iterator<Item = Style> {
    let widths = [60, 80, 110];
    let details = [Detail::Quiet, Detail::Normal, Detail::Verbose];
    widths.into_iter().flat_map(move |width| {
        details.into_iter().flat_map(move |detail| {
            [true, false].into_iter().map(move |unicode| Style { width, color: false, unicode, detail })
        })
    })
}

#[test]
fn text_reports() {
    for sample in samples::all().iter().filter(|sample| sample.name != "hostile") {
        insta::assert_snapshot!(format!("text_{}", sample.name), text(sample, STYLE));
    }
    let sample = samples::first_field_report();
    insta::assert_snapshot!("text_wide", text(&sample, Style { width: 110, ..STYLE }));
    insta::assert_snapshot!("text_ascii", text(&sample, Style { unicode: false, ..STYLE }));
    insta::assert_snapshot!("text_quiet", text(&sample, Style { detail: Detail::Quiet, ..STYLE }));
    insta::assert_snapshot!("text_verbose", text(&samples::healthy(), Style { detail: Detail::Verbose, ..STYLE }));
    let colored = text(&sample, Style { color: true, ..STYLE });
    insta::assert_snapshot!("text_color", colored.replace('\u{1b}', "ESC"));
}

#[test]
fn a_healthy_report_has_at_most_eight_lines() {
    for width in 60..=110 {
        for unicode in [true, false] {
            let mut sample = samples::healthy();
            let style = Style { width, unicode, ..STYLE };
            assert!(text(&sample, style).lines().count() <= 8, "{width}");
            sample.diagnosis.headline = "word ".repeat(200);
            for healthy in &mut sample.diagnosis.healthy {
                healthy.summary = samples::EVIL.repeat(9);
            }
            let twice = sample.diagnosis.healthy.clone();
            sample.diagnosis.healthy.extend(twice);
            let shown = text(&sample, style);
            assert!(shown.lines().count() <= 8, "{shown}");
            assert!(shown.lines().all(|line| columns(line) <= width), "{width}: {shown}");
        }
    }
}

#[test]
fn no_line_is_wider_than_the_terminal_but_those_to_paste() {
    for sample in samples::all() {
        for style in styles() {
            for line in text(&sample, style).lines() {
                let paste = ["NODE_OPTIONS", "systemctl", "sysctl", "sudo", "pdsdoctor ", "curl ", "More: ", "Again: "];
                let is_paste = paste.iter().any(|start| line.trim_start().starts_with(start));
                assert!(is_paste || columns(line) <= style.width, "{}: {style:?}: {line:?}", sample.name);
            }
        }
    }
}

#[test]
fn nothing_a_terminal_obeys_is_printed() {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for sample in samples::all() {
        for style in styles() {
            let shown = text(&sample, style);
            assert!(!shown.contains(obeyed), "{}: {style:?}", sample.name);
            assert!(style.unicode || shown.is_ascii(), "{}: {shown}", sample.name);
        }
        let json = report(&sample.run, &sample.diagnosis, Format::Json, &STYLE);
        assert!(!json.contains(obeyed), "{}", sample.name);
        for detail in DETAILS {
            assert!(!markdown(&sample, detail).contains(obeyed), "{}", sample.name);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_can_be_shown(text in "\\PC{0,200}|[\\x00-\\xff ]{0,200}|.{0,200}", width in 60usize..111, unicode: bool) {
        let mut sample = samples::first_field_report();
        sample.diagnosis.headline = text.clone();
        sample.run.target.input = text.clone().into();
        for cause in &mut sample.diagnosis.causes {
            cause.summary = text.clone();
            cause.seen = vec![text.clone()];
            cause.contrast[0].this = text.clone().into();
            cause.remedies[0].steps = vec![say(prose![quoted(&text)])];
            cause.remedies[0].verify = measure_again(Some(&text), false);
        }
        for detail in [Detail::Quiet, Detail::Normal, Detail::Verbose] {
            let shown = crate::text(&sample, Style { width, unicode, color: false, detail });
            proptest::prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
            proptest::prop_assert!(unicode || shown.is_ascii());
        }
        for detail in DETAILS {
            let shown = crate::markdown(&sample, detail);
            is_harmless(&shown);
            proptest::prop_assert!(detail != Detail::Quiet || shown.chars().count() < 2_000);
        }
        let json = report(&sample.run, &sample.diagnosis, Format::Json, &STYLE);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        proptest::prop_assert_eq!(&value["headline"], &text);
    }
}

#[test]
fn foreign_text_never_ends_up_unquoted_in_a_command() {
    let again = |sample: &Sample| {
        let shown = text(sample, STYLE);
        shown.lines().find(|line| line.starts_with("Again:")).expect("a command").to_owned()
    };
    // What breaks lines or hides is not printed at all.
    let mut sample = samples::hostile();
    assert_eq!(again(&sample), "Again:  pdsdoctor check TARGET  # and --against, --client-id as before");
    sample.run.target.input = "$(id); it's `x` & #~*{a,b}!".into();
    sample.run.settings.client_ids = vec!["https://app.example/?a=1&b=2".into()];
    assert_eq!(
        again(&sample),
        r"Again:  pdsdoctor check '$(id); it'\''s `x` & #~*{a,b}!' --client-id 'https://app.example/?a=1&b=2'  # and --against as before"
    );
}

#[test]
fn colour_adds_nothing_but_colour() {
    for sample in samples::all() {
        for style in styles() {
            let colored = text(&sample, Style { color: true, ..style });
            assert_eq!(without_colour(&colored), text(&sample, style), "{}", sample.name);
        }
    }
}

fn without_colour(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, tail)| tail);
    }
    // Spaces before an end of line may be inside a coloured piece.
    (out + rest).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_first_three_lines_say_what_and_what_to_do() {
    let shown = text(&samples::first_field_report(), STYLE);
    let head: Vec<&str> = shown.lines().take(4).collect();
    assert!(head[0].starts_with("pds.example.com is up, but logins to tangled.org fail"), "{head:?}");
    assert!(head.iter().any(|line| line.starts_with("Do first:")), "{head:?}");
}

#[test]
fn the_grid_shows_how_far_each_address_got() {
    let sick = how_far::of(&samples::first_field_report().run);
    assert_eq!(sick.groups.len(), 2);
    let texts = |row: &grid::Row| row.cells.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&sick.groups[0].rows[0]), ["14ms", "31ms", "65ms", "35ms", "37ms", "no doc*"]);
    assert_eq!(texts(&sick.groups[1].rows[0]), ["14ms", "38ms", "79ms", "42ms", "44ms", "44ms"]);
    assert_eq!(sick.groups[1].title, "tngl.sh (reference)");
    assert_eq!(sick.notes.len(), 1, "{:?}", sick.notes);

    let silent = how_far::of(&samples::silent_v6().run);
    assert_eq!(texts(&silent.groups[0].rows[1]), ["14ms", "silent", "-", "-", "-", "-"]);
    assert_eq!(silent.groups[0].rows[1].cells[1].tone, Tone::Bad);
    assert!(silent.notes.is_empty());

    let unknown = how_far::of(&samples::name_not_found().run);
    assert_eq!(unknown.groups[0].rows[0].label, "no address");
    assert_eq!(unknown.groups[0].rows[0].cells[0].text, "no name");

    assert_eq!(how_far::of(&samples::inconclusive().run), grid::Grid::default());
}

#[test]
fn what_the_user_gave_is_shown_as_given() {
    let mut sample = samples::healthy();
    sample.run.facts.retain(|fact| fact.probe != pdsdoctor_probes::fact::ProbeName::Dns);
    sample.run.settings.resolved_by_user = vec!["pds.example.com".into()];
    sample.run.settings.also_given = vec!["--resolve".into(), "--ca-cert".into()];
    sample.diagnosis.grid = how_far::of(&sample.run);
    assert_eq!(sample.diagnosis.grid.groups[0].rows[0].cells[0].text, "given");
    let shown = text(&sample, Style { detail: Detail::Verbose, ..STYLE });
    assert!(
        shown.ends_with("Again:  pdsdoctor check pds.example.com  # and --resolve, --ca-cert as before\n"),
        "{shown}"
    );
}
