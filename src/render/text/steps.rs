//! Steps of a remedy: lines to paste stay whole, instructions are wrapped, comments give way.

use super::{Ink, Page};
use crate::{
    diagnose::step::{Command, Prose, Settle, Step},
    render::wrap::{pad, width},
};

/// Beneath what stands beside labels, if there is room.
const ROOMY: usize = 13;
/// Else further left: commands are long.
const INDENT: usize = 6;

/// The steps of a remedy, one beneath the other.
pub(super) fn show(page: &mut Page, steps: &[Step]) {
    let room = page.style().width - ROOMY;
    let fits = |line: &String| width(&page.clean(line)) <= room;
    // Beneath its place a line begins a little further right.
    let beneath = |step: &Step| match step {
        Step::Write { lines, .. } => lines.iter().all(|line| width(&page.clean(&line.to_string())) + 2 <= room),
        _ => false,
    };
    let roomy = steps.iter().all(|step| beneath(step) || step.flat().iter().all(fits));
    for step in steps {
        show_one(page, if roomy { ROOMY } else { INDENT }, step);
    }
}

fn show_one(page: &mut Page, indent: usize, step: &Step) {
    match step {
        Step::Do(words) => page.hanging(indent, 2, &words.to_string(), Ink::Plain),
        Step::Run { command, note } => paste(page, indent, None, &command.to_string(), note.as_ref()),
        Step::Write { place, lines, note } => match lines.as_slice() {
            [line] => paste(page, indent, place.as_ref(), &line.to_string(), note.as_ref()),
            lines => {
                let indent = match place {
                    Some(place) => {
                        page.text(indent, &format!("{place}:"), Ink::Plain);
                        indent + 2
                    }
                    None => indent,
                };
                lines.iter().for_each(|line| page.whole(indent, &line.to_string()));
                if let Some(note) = note {
                    page.hanging(indent + 2, 2, &comment(note), Ink::Dim);
                }
            }
        },
    }
}

fn comment(note: &Prose) -> String {
    format!("# {note}")
}

/// A line to paste with where it goes before it and what to know behind it, where there is room; else it has a line of
/// its own, so that it can be pasted.
fn paste(page: &mut Page, indent: usize, place: Option<&Prose>, line: &str, note: Option<&Prose>) {
    let place = place.map(|place| page.clean(&format!("{place}:"))).unwrap_or_default();
    let note = note.map(|note| page.clean(&comment(note))).unwrap_or_default();
    let before = if place.is_empty() { place.clone() } else { format!("{place}  ") };
    let behind = if note.is_empty() { note.clone() } else { format!("  {note}") };
    let line = page.clean(line);
    if indent + width(&before) + width(&line) + width(&behind) <= page.style().width {
        page.pieces(indent, &[(before, Ink::Plain), (line, Ink::Code), (behind, Ink::Dim)]);
        return;
    }
    let mut inner = indent;
    if !place.is_empty() {
        page.text(indent, &place, Ink::Plain);
        inner += 2;
    }
    page.whole(inner, &line);
    if !note.is_empty() {
        page.hanging(inner + 2, 2, &note, Ink::Dim);
    }
}

/// A step beside a label of `columns`, where it fits there.
pub(super) fn labelled(page: &mut Page, label: &str, columns: usize, step: &Step) {
    match step {
        Step::Do(words) => page.labelled(2, label, columns, &words.to_string(), Ink::Plain),
        Step::Run { command, note: None } => labelled_command(page, label, columns, command),
        _ => {
            let fits = step.flat().iter().all(|line| 2 + columns + width(&page.clean(line)) <= page.style().width);
            match (step, fits) {
                (Step::Run { command, note: Some(note) }, true) => {
                    let behind = page.clean(&format!("  {}", comment(note)));
                    label_and(page, label, columns, &[(command.to_string(), Ink::Code), (behind, Ink::Dim)]);
                }
                (Step::Write { place, lines, note: None }, true) if lines.len() == 1 => {
                    let before = place.as_ref().map(|place| format!("{place}:  ")).unwrap_or_default();
                    let line = lines.iter().map(ToString::to_string).collect();
                    label_and(page, label, columns, &[(before, Ink::Plain), (line, Ink::Code)]);
                }
                _ => {
                    alone(page, label);
                    show_one(page, INDENT, step);
                }
            }
        }
    }
}

/// A command beside a label, or beneath it.
pub(super) fn labelled_command(page: &mut Page, label: &str, columns: usize, command: &Command) {
    let line = command.to_string();
    if 2 + columns + width(&line) <= page.style().width {
        label_and(page, label, columns, &[(line, Ink::Code)]);
    } else {
        alone(page, label);
        page.whole(INDENT, &line);
    }
}

/// A label with what it names beneath it.
fn alone(page: &mut Page, label: &str) {
    if !label.is_empty() {
        page.pieces(2, &[(label.to_owned(), Ink::Strong)]);
    }
}

fn label_and(page: &mut Page, label: &str, columns: usize, rest: &[(String, Ink)]) {
    let mut pieces = vec![(pad(label, columns), Ink::Strong)];
    pieces.extend(rest.iter().map(|(text, ink)| (page.clean(text), *ink)));
    page.pieces(2, &pieces);
}

/// What would settle it: in one line with its command, or the words and then the command as a whole.
pub(super) fn settle(page: &mut Page, label: &str, columns: usize, settle: &Settle) {
    let all = page.clean(&settle.to_string());
    let (before, after) = settle.words();
    match settle.commands() {
        [] => page.labelled(2, label, columns, &all, Ink::Plain),
        [command] if 2 + columns + width(&all) <= page.style().width => {
            let command = command.to_string();
            let (start, end) = all.split_once(&command).unwrap_or((&all, ""));
            let pieces = [(start.to_owned(), Ink::Plain), (command, Ink::Code), (end.to_owned(), Ink::Plain)];
            label_and(page, label, columns, &pieces);
        }
        commands => {
            let words = [before.trim_end_matches(':'), after.trim_start_matches([',', ' '])];
            let words = words.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
            let words = if words.is_empty() { words } else { format!("{words}:") };
            page.labelled(2, label, columns, &words, Ink::Plain);
            commands.iter().for_each(|command| page.whole(INDENT, &command.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::step::{command, entry, run, say, write, write_all},
        render::style::{Detail, Style},
    };

    fn shown(columns: usize, step: &Step) -> String {
        let style = Style { width: columns, color: false, unicode: true, detail: Detail::Normal };
        let mut page = Page::new(&style);
        show(&mut page, std::slice::from_ref(step));
        page.finish()
    }

    #[test]
    fn a_line_to_paste_is_never_broken() {
        let line = "echo 'net.ipv6.conf.eth0.accept_ra = 2' | sudo tee /etc/sysctl.d/90-accept-ra.conf";
        for columns in [40, 60, 80, 100, 200] {
            let with_note = shown(columns, &run(line).note("now and at every boot of this machine"));
            assert!(with_note.lines().any(|shown| shown.contains(line)), "{columns}: {with_note}");
            let written = shown(columns, &write(line).at("in a file of this name and no other one"));
            assert!(written.lines().any(|shown| shown.contains(line)), "{columns}: {written}");
        }
        let lines = shown(40, &write_all(["networks:", "  default:"]).at("in compose.yaml"));
        assert_eq!(lines, "             in compose.yaml:\n               networks:\n                 default:\n");
    }

    #[test]
    fn words_are_wrapped_and_comments_give_way() {
        assert_eq!(shown(60, &run("ip route").note("any?")), "             ip route  # any?\n");
        assert_eq!(shown(30, &run("ip -6 route show default").note("any?")).lines().count(), 2);
        assert!(shown(40, &say("Open port 443 in the provider's console.")).lines().count() > 1);
        let beside = shown(80, &write(entry!["listen [::]:", 443u16, " ssl;"]).at("nginx"));
        assert_eq!(beside, "             nginx:  listen [::]:443 ssl;\n");
    }

    #[test]
    fn what_settles_keeps_its_command_whole() {
        let style = Style { width: 60, color: false, unicode: true, detail: Detail::Normal };
        let mut page = Page::new(&style);
        let long = "curl -4 -sv -o /dev/null https://a.very.long.name.example/";
        settle(&mut page, "Settle", 9, &Settle::text("from another machine:").and(long).then(", twice"));
        assert_eq!(page.finish(), format!("  Settle   from another machine, twice:\n      {long}\n"));
        let mut page = Page::new(&style);
        settle(&mut page, "Settle", 9, &Settle::run(command!["dig", "a.example"]).then("on the PDS's machine"));
        assert_eq!(page.finish(), "  Settle   dig a.example on the PDS's machine\n");
    }
}
