//! Steps of a remedy: lines to paste stay whole, instructions are wrapped, comments give way.

use super::{Ink, Page};
use crate::render::wrap::{clean, pad, width};

/// Beneath what stands beside labels, if there is room.
const ROOMY: usize = 13;
/// Else further left: commands are long.
const INDENT: usize = 6;

/// First words of command lines.
const COMMANDS: &[&str] = &[
    "apt",
    "caddy",
    "certbot",
    "chronyc",
    "curl",
    "dig",
    "docker",
    "getent",
    "goat",
    "ip",
    "journalctl",
    "kubectl",
    "nft",
    "nginx",
    "node",
    "nsenter",
    "openssl",
    "pdsadmin",
    "pdsdoctor",
    "ping",
    "podman",
    "ss",
    "sudo",
    "sysctl",
    "systemctl",
    "timedatectl",
    "ufw",
];

/// Is it to be pasted? Commands, settings, DNS records and lines of a configuration are; a sentence
/// begins with an ordinary word.
fn is_code(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    COMMANDS.contains(&first)
        || line.starts_with(' ')
        || first.contains(['=', '/', '*', '$', '_', '{'])
        || (first.contains('.') && !first.ends_with(':') && line.contains(' '))
        || line.trim_end().ends_with([';', '{', '}'])
}

/// A command and the comment behind it.
fn split(line: &str) -> (&str, &str) {
    line.find("  #").map_or((line, ""), |at| {
        let (body, comment) = line.split_at(at);
        (body.trim_end(), comment.trim_start())
    })
}

/// Foreign text that had to be cleaned is nothing that anybody should paste.
fn is_damaged(line: &str) -> bool {
    clean(line, true).contains('\u{FFFD}')
}

/// The steps of a remedy, one beneath the other.
pub(super) fn show(page: &mut Page, steps: &[String]) {
    let room = page.style().width - ROOMY;
    let roomy = steps.iter().all(|step| width(&page.clean(step)) <= room);
    for step in steps {
        show_one(page, if roomy { ROOMY } else { INDENT }, step);
    }
}

fn show_one(page: &mut Page, indent: usize, step: &str) {
    let line = page.clean(step);
    let (body, comment) = split(&line);
    let room = page.style().width - indent;
    let code = is_code(body) && !is_damaged(step);
    let ink = if code { Ink::Code } else { Ink::Plain };
    if width(&line) <= room {
        let gap = if comment.is_empty() { "" } else { "  " };
        page.pieces(indent, &[(format!("{body}{gap}"), ink), (comment.to_owned(), Ink::Dim)]);
        return;
    }
    if let Some((place, command)) = body.split_once(":  ").filter(|_| !is_damaged(step)) {
        // Where it goes, then what goes there: a line of its own can be pasted.
        page.text(indent, &format!("{place}:"), Ink::Plain);
        page.whole(indent + 2, command.trim_start());
    } else if code {
        page.whole(indent, body);
    } else {
        page.hanging(indent, 2, body, ink);
    }
    if !comment.is_empty() {
        page.hanging(indent + 2, 2, comment, Ink::Dim);
    }
}

/// A step beside a label of `columns`, where it fits there.
pub(super) fn labelled(page: &mut Page, label: &str, columns: usize, step: &str) {
    let line = page.clean(step);
    let code = is_code(&line) && !is_damaged(step);
    if !code {
        page.labelled(2, label, columns, step, Ink::Plain);
    } else if 2 + columns + width(&line) <= page.style().width {
        page.pieces(2, &[(pad(label, columns), Ink::Strong), (line, Ink::Code)]);
    } else {
        page.pieces(2, &[(label.to_owned(), Ink::Strong)]);
        show_one(page, INDENT, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_told_from_lines_to_paste() {
        for prose in [
            "Open port 443 in the provider's console.",
            "in the cloud console: allow inbound TCP 80 and 443",
            "remove the line and restart",
            "Caddy: remove `tls internal` from the site",
            "delete:  pds.example.com.  AAAA  2001:db8::1",
            "is 192.0.2.7 still your public address?",
            "or, if https://a.example is right: check that address instead",
        ] {
            assert!(!is_code(prose), "{prose}");
        }
        for paste in [
            "NODE_OPTIONS=--network-family-autoselection-attempt-timeout=5000",
            "docker compose up -d",
            "*.pds.example.com. 300 IN A 192.0.2.7",
            "pds.example.com.  A  <public address>",
            "_atproto.alice.example.com.  TXT  \"did=did:plc:...\"",
            "proxy_set_header Host $host;",
            "    reverse_proxy localhost:3000",
            "PID=$(sudo docker inspect -f '{{.State.Pid}}' pds)",
        ] {
            assert!(is_code(paste), "{paste}");
        }
    }

    #[test]
    fn a_comment_is_told_from_its_command() {
        assert_eq!(split("sudo ss -ltn     # must listen"), ("sudo ss -ltn", "# must listen"));
        assert_eq!(split("curl https://a.example/#x"), ("curl https://a.example/#x", ""));
    }
}
