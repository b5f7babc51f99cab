//! `explain` and `list`. What a cause means is written once, in `docs/causes.md`.

use pdsdoctor_probes::fact::ProbeName;
use strum::IntoEnumIterator;

use crate::{
    diagnose::Code,
    render::{
        style::Style,
        text::{Ink, Page},
    },
};

const CAUSES: &str = include_str!("../docs/causes.md");
/// Names offered for one that is unknown.
const SUGGESTIONS: usize = 3;
/// Names further away than this share of their length are no help.
const FARTHEST: usize = 2;

/// What a cause means, how it is proven and fixed. `Err`: no such cause, with the nearest names.
pub fn explain(name: &str, style: &Style) -> Result<String, String> {
    let wanted = name.trim().to_ascii_lowercase();
    let Ok(code) = wanted.parse::<Code>() else {
        let near = nearest(&wanted);
        let near = if near.is_empty() { String::new() } else { format!(" Did you mean {}?", near.join(" or ")) };
        return Err(format!("no cause is called {name:?}.{near} `pdsdoctor list causes` shows all."));
    };
    let mut page = Page::new(style);
    page.text(0, code.title(), Ink::Strong);
    page.text(0, <&str>::from(code), Ink::Dim);
    show(&mut page, section(code).unwrap_or_default());
    Ok(page.finish())
}

/// The section of a cause, without its heading.
pub fn section(code: Code) -> Option<&'static str> {
    sections().into_iter().find(|(name, _)| *name == <&str>::from(code)).map(|(_, text)| text)
}

/// Every `## ` section of `docs/causes.md`: its heading and its text.
pub fn sections() -> Vec<(&'static str, &'static str)> {
    let mut sections = Vec::new();
    for part in CAUSES.split("\n## ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        // A `# ` heading ends a section: it begins the next group.
        let text = text.split("\n# ").next().unwrap_or(text);
        sections.push((name.trim(), text.trim()));
    }
    sections
}

/// Markdown of the small kind used there: `### ` headings, paragraphs, lists, fenced blocks.
fn show(page: &mut Page, text: &str) {
    let mut paragraph = String::new();
    let mut item = false;
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            flush(page, &mut paragraph, &mut item);
            fenced = !fenced;
            continue;
        }
        if fenced {
            page.whole(4, line);
        } else if let Some(heading) = line.strip_prefix("### ") {
            flush(page, &mut paragraph, &mut item);
            page.gap();
            page.text(0, heading, Ink::Strong);
        } else if let Some(rest) = line.strip_prefix("- ") {
            flush(page, &mut paragraph, &mut item);
            paragraph.push_str(rest);
            item = true;
        } else if line.trim().is_empty() {
            flush(page, &mut paragraph, &mut item);
        } else {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line.trim());
        }
    }
    flush(page, &mut paragraph, &mut item);
}

fn flush(page: &mut Page, paragraph: &mut String, item: &mut bool) {
    if !paragraph.is_empty() {
        if *item {
            page.hanging(2, 2, &format!("- {paragraph}"), Ink::Plain);
        } else {
            page.text(2, paragraph, Ink::Plain);
        }
    }
    paragraph.clear();
    *item = false;
}

fn nearest(name: &str) -> Vec<&'static str> {
    let mut near: Vec<(usize, &'static str)> = Code::iter()
        .map(<&'static str>::from)
        .map(|code| (if code.contains(name) { 0 } else { distance(name, code) }, code))
        .filter(|(far, code)| *far * FARTHEST < code.len() && !name.is_empty())
        .collect();
    near.sort();
    near.into_iter().take(SUGGESTIONS).map(|(_, code)| code).collect()
}

/// Levenshtein's: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    // What is typed may be anything: beyond this no name is near.
    let a: Vec<char> = a.chars().take(80).collect();
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// `list causes`: what is found, then what is seen where nothing explains it.
pub fn list_causes(style: &Style) -> String {
    let mut page = Page::new(style);
    let columns = Code::iter().map(|code| <&str>::from(code).len()).max().unwrap_or(0) + 2;
    page.text(0, "Causes", Ink::Strong);
    for code in Code::iter().filter(|code| !code.is_symptom()) {
        page.labelled_in(2, (code.into(), Ink::Code), columns, code.title(), Ink::Plain);
    }
    page.gap();
    page.text(0, "Symptoms, which stand alone only where no cause explains them", Ink::Strong);
    for code in Code::iter().filter(|code| code.is_symptom()) {
        page.labelled_in(2, (code.into(), Ink::Code), columns, code.title(), Ink::Plain);
    }
    page.gap();
    page.text(0, "pdsdoctor explain CODE says more about one.", Ink::Dim);
    page.finish()
}

/// `list probes`.
pub fn list_probes(style: &Style) -> String {
    let mut page = Page::new(style);
    let columns = ProbeName::iter().map(|probe| <&str>::from(probe).len()).max().unwrap_or(0) + 2;
    for probe in ProbeName::iter() {
        page.labelled_in(0, (probe.into(), Ink::Code), columns, summary(probe), Ink::Plain);
    }
    page.finish()
}

/// What a probe measures, in a line.
pub fn summary(probe: ProbeName) -> &'static str {
    match probe {
        ProbeName::OwnNetwork => "can this machine send on IPv4 and IPv6 at all?",
        ProbeName::Dns => "addresses and aliases, by the system resolver and directly",
        ProbeName::Tcp => "a TCP connect to each address",
        ProbeName::Tls => "a TLS handshake and the certificate, at each address",
        ProbeName::Http => "_health and describeServer, at each address",
        ProbeName::Websocket => "the event stream that relays follow, at each address",
        ProbeName::Port80 => "what answers without TLS on port 80",
        ProbeName::Handles => "DNS, TLS and well-known of a random hosted handle",
        ProbeName::Identity => "from handle to DID to DID document, every hop",
        ProbeName::OauthDiscovery => "the two OAuth metadata documents",
        ProbeName::Par => "the first step of a login (PAR), at target and reference",
        ProbeName::ClientDocument => "the app's client metadata, fetched from here",
        ProbeName::PdsProcess => "on the PDS's machine: its process, its Node, who listens where",
        ProbeName::ContainerEngine => "on the PDS's machine: Docker or Podman, and the PDS's container",
        ProbeName::HostNetwork => "on the PDS's machine: interfaces, addresses and routes, container beside host",
        ProbeName::HostSettings => "on the PDS's machine: kernel settings, now and at the next boot",
        ProbeName::RaHandler => "on the PDS's machine: who handles router advertisements, who forwards",
        ProbeName::RouterAdvertisement => "on the PDS's machine: what the routers advertise",
        ProbeName::NameFiles => "on the PDS's machine: resolv.conf, hosts and their like",
        ProbeName::Egress => "on the PDS's machine: the way out, from container and host",
        ProbeName::Position => "on the PDS's machine: its address to the world, the first routers",
        ProbeName::PdsLog => "the PDS's log, of its container or by --log: errors of its requests",
        ProbeName::WithNode => "on the PDS's machine, with --with-node: fetches by its own Node",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::code::Kind;

    #[test]
    fn the_page_on_probes_has_every_probe_with_its_summary() {
        let page = include_str!("../docs/probes.md");
        for probe in ProbeName::iter() {
            let row = format!("| `{probe}` | {} |", summary(probe));
            assert!(page.lines().any(|line| line == row), "docs/probes.md lacks: {row}");
        }
    }

    #[test]
    fn typing_errors_are_near_their_names() {
        assert_eq!(nearest("dns-no-wildcart")[0], "dns-no-wildcard");
        assert_eq!(nearest("tls-expire")[0], "tls-expired");
        assert!(nearest("wildcard").contains(&"dns-no-wildcard"));
        assert!(nearest("").is_empty());
        assert!(nearest("something else entirely").is_empty());
    }

    #[test]
    fn every_cause_has_one_section_and_every_section_is_a_cause() {
        let names: Vec<&str> = sections().iter().map(|(name, _)| *name).collect();
        let codes: Vec<&str> = Code::iter().map(<&str>::from).collect();
        assert_eq!(names, codes, "docs/causes.md has one section per cause, in the order of the enum");
    }

    /// The groups of the page are the areas of the table, and then what is only seen.
    #[test]
    fn every_section_is_in_the_group_of_its_area() {
        for group in CAUSES.split("\n# ").skip(1) {
            let heading = group.lines().next().unwrap_or_default();
            for name in group.lines().filter_map(|line| line.strip_prefix("## ")) {
                let row = name.parse::<Code>().expect(name).row();
                let symptom = row.kind == Kind::Symptom;
                assert_eq!(heading, if symptom { "Symptoms" } else { row.area.title() }, "{name}");
            }
        }
    }

    #[test]
    fn every_section_has_its_parts() {
        for (name, text) in sections() {
            let parts: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
            let want = ["What it means", "How it is proven", "Not to be confused with", "Fix", "Check"];
            assert_eq!(parts, want, "{name}");
            assert_eq!(text.matches("```").count() % 2, 0, "{name}: a block is not closed");
            for part in text.split("### ").skip(1) {
                assert!(part.lines().skip(1).any(|line| !line.trim().is_empty()), "{name}: an empty part");
            }
            // What a half of that pair does is told in the failure catalogue, section 0.
            let fix = text.split("### ").find(|part| part.starts_with("Fix")).unwrap_or_default();
            let halves = ["--dns-result-order=ipv4first", "--no-network-family-autoselection"];
            let halves = halves.map(|half| fix.contains(half));
            assert_eq!(halves[0], halves[1], "{name}: one half of the pair alone is never recommended");
        }
    }

    /// Names in backticks that look like causes are causes.
    #[test]
    fn references_between_sections_lead_somewhere() {
        let prefixes = ["dns-", "tls-", "v6-", "fw-", "svc-", "proxy-", "oauth-", "id-", "host-", "app-", "this-side-"];
        for (name, text) in sections() {
            for quoted in text.split('`').skip(1).step_by(2) {
                let looks = prefixes.iter().any(|prefix| quoted.starts_with(prefix));
                let is_word = quoted.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                let is_route = ["oauth-protected-resource", "oauth-authorization-server"].contains(&quoted);
                assert!(!looks || !is_word || is_route || quoted.parse::<Code>().is_ok(), "{name}: {quoted}");
            }
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
