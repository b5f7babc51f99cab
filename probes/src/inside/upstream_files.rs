//! What Caddy and nginx are told to pass requests on to. Of their configuration nothing else is kept.

use super::{read, root::Root};
use crate::{process_fact::Upstream, text::Text};

/// The most files that are read, with all that they include.
const FILES: usize = 24;
/// The most upstreams that are kept.
const UPSTREAMS: usize = 32;
/// The most names of one site that are kept.
const NAMES: usize = 16;
/// What every client of a PDS asks for: what leads elsewhere is none of the PDS's.
const ASKED: &str = "/xrpc/_health";

/// What is written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) files: Vec<String>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) unreadable: Vec<String>,
}

/// Reads the configuration of a web server: the file that its command line names, else the usual one.
pub(super) fn read(root: &Root, program: &str, argv: &[String], folder: &str) -> Written {
    let mut reader = Reader { root, written: Written::default() };
    // nginx writes its own title over its arguments: "nginx: master process nginx -c /etc/nginx/nginx.conf".
    let words: Vec<&str> = argv.iter().flat_map(|word| word.split_whitespace()).collect();
    let after = |flags: &[&str]| {
        let at = words.iter().position(|word| flags.contains(word))?;
        words.get(at + 1).map(|word| (*word).to_owned())
    };
    if program == "nginx" {
        let path = after(&["-c"]).unwrap_or_else(|| "/etc/nginx/nginx.conf".to_owned());
        let path = absolute(&path, "/etc/nginx");
        let tokens = reader.nginx_tokens(&path, 0);
        reader.written.upstreams = nginx(&tokens);
        return reader.written;
    }
    let given = after(&["--config", "-c"])
        .or_else(|| words.iter().find_map(|word| word.strip_prefix("--config=").map(str::to_owned)));
    let paths = match given {
        Some(path) => vec![absolute(&path, folder)],
        None => vec![absolute("Caddyfile", folder), "/etc/caddy/Caddyfile".to_owned()],
    };
    for path in paths {
        let Some(text) = reader.text(&path) else { continue };
        if path.ends_with(".json") {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            caddy_json(&json, &mut reader.written.upstreams);
        } else {
            let lines = reader.caddy_lines(&text, &path, 0);
            reader.written.upstreams = caddyfile(&lines);
        }
        break;
    }
    reader.written
}

fn absolute(path: &str, folder: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", folder.trim_end_matches('/')) }
}

struct Reader<'a> {
    root: &'a Root,
    written: Written,
}

impl Reader<'_> {
    fn text(&mut self, path: &str) -> Option<String> {
        if self.written.files.len() >= FILES {
            return None;
        }
        match self.root.text(path, read::SMALL) {
            Ok(text) => {
                self.written.files.push(path.to_owned());
                Some(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.written.unreadable.push(format!("{path}: {error}"));
                None
            }
        }
    }

    /// The files that a pattern names, whose last part alone may have a `*`.
    fn named(&self, pattern: &str) -> Vec<String> {
        let Some((folder, last)) = pattern.rsplit_once('/') else { return Vec::new() };
        let Some((before, behind)) = last.split_once('*') else { return vec![pattern.to_owned()] };
        let names = self.root.names(folder, 256).unwrap_or_default();
        let fits = |name: &String| !name.starts_with('.') && name.starts_with(before) && name.ends_with(behind);
        names.into_iter().filter(fits).map(|name| format!("{folder}/{name}")).collect()
    }

    /// nginx's words, with `{`, `}` and `;` as words of their own, and what it includes in the place of the directive.
    fn nginx_tokens(&mut self, path: &str, depth: usize) -> Vec<String> {
        let Some(text) = self.text(path) else { return Vec::new() };
        let tokens = nginx_words(&text);
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let begins = at == 0 || matches!(tokens[at - 1].as_str(), ";" | "{" | "}");
            match tokens.get(at + 1) {
                Some(pattern) if token == "include" && begins && depth < 3 => {
                    for file in self.named(&absolute(pattern, "/etc/nginx")) {
                        all.extend(self.nginx_tokens(&file, depth + 1));
                    }
                    at += 3;
                }
                _ => {
                    all.push(token.clone());
                    at += 1;
                }
            }
        }
        all
    }

    /// Caddy's lines without comments, and the files that it imports in the place of the directive.
    fn caddy_lines(&mut self, text: &str, path: &str, depth: usize) -> Vec<Vec<String>> {
        let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned();
        let mut lines = Vec::new();
        for line in text.lines() {
            let words: Vec<String> = line
                .split_whitespace()
                .take_while(|word| !word.starts_with('#'))
                .map(|word| word.trim_matches(['"', '`']).to_owned())
                .collect();
            match words.as_slice() {
                [] => {}
                [import, pattern, ..] if import == "import" && pattern.contains(['/', '*', '.']) && depth < 3 => {
                    for file in self.named(&absolute(pattern, &folder)) {
                        if let Some(text) = self.text(&file) {
                            lines.extend(self.caddy_lines(&text, &file, depth + 1));
                        }
                    }
                }
                _ => lines.push(words),
            }
        }
        lines
    }
}

/// An upstream as a person writes it: `localhost:3000`, `:3000`, `http://10.0.0.2`, `[::1]:3000`.
fn upstream(written: &str, sites: &[String]) -> Option<Upstream> {
    let (scheme, rest) = written.split_once("://").unwrap_or(("http", written));
    if !["http", "https", "h2c"].contains(&scheme) || written.contains(['{', '$']) || rest.starts_with("unix") {
        return None;
    }
    let tls = scheme == "https";
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let usual = if tls { 443 } else { 80 };
    let port = port.map_or(Some(usual), |port| port.parse().ok())?;
    let host = if host.is_empty() { "localhost" } else { host };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.len() > 253 || !host.chars().all(sound) {
        return None;
    }
    let sites = sites.iter().take(NAMES).map(|site| Text::limited(site, 253)).collect();
    Some(Upstream { host: Text::new(&host.to_ascii_lowercase()), port, tls, sites })
}

/// The name in the address of a site: `https://pds.example.com:443/xrpc/*` is `pds.example.com`.
fn site(word: &str) -> Option<String> {
    let rest = word.trim_end_matches(',').split_once("://").map_or(word, |(_, rest)| rest);
    let name = rest.trim_end_matches(',').split(['/', ':']).next()?;
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    (!name.is_empty() && name.chars().all(sound)).then(|| name.to_ascii_lowercase())
}

/// What is asked lies below a path that a matcher names: `/xrpc/*`, `/`.
fn leads_on(path: &str) -> bool {
    path == "*" || ASKED == path || path.strip_suffix('*').map_or(path == "/", |prefix| ASKED.starts_with(prefix))
}

fn caddyfile(lines: &[Vec<String>]) -> Vec<Upstream> {
    let mut found = Vec::new();
    let mut sites: Vec<String> = Vec::new();
    // For every open block: may what is asked get there?
    let mut open: Vec<bool> = Vec::new();
    let mut within_proxy: Option<usize> = None;
    for (index, line) in lines.iter().enumerate() {
        let opens = line.last().is_some_and(|word| word.ends_with('{'));
        let words: Vec<&str> =
            line.iter().map(|word| word.trim_end_matches('{')).filter(|word| !word.is_empty()).collect();
        let first = words.first().copied().unwrap_or_default();
        if first == "}" {
            open.pop();
            if within_proxy.is_some_and(|depth| open.len() < depth) {
                within_proxy = None;
            }
            continue;
        }
        let reachable = open.iter().all(|leads| *leads);
        let matched = |word: Option<&&str>| word.is_none_or(|word| !word.starts_with('/') || leads_on(word));
        if first == "reverse_proxy" && reachable {
            let arguments = match words.get(1) {
                Some(word) if word.starts_with(['/', '@']) || *word == "*" => &words[2..],
                _ => &words[1..],
            };
            if matched(words.get(1)) {
                found.extend(arguments.iter().filter_map(|word| upstream(word, &sites)));
                if opens {
                    within_proxy = Some(open.len() + 1);
                }
            }
        } else if first == "to" && within_proxy.is_some() {
            found.extend(words[1..].iter().filter_map(|word| upstream(word, &sites)));
        } else if open.is_empty() && !first.starts_with('(') {
            // The address of a site: before its block, or the first line of a file that has one site alone.
            let is_site =
                opens && !words.is_empty() || index == 0 && !opens || line.iter().any(|word| word.ends_with(','));
            if is_site {
                let continues = index > 0 && lines[index - 1].last().is_some_and(|word| word.ends_with(','));
                if !continues {
                    sites.clear();
                }
                sites.extend(words.iter().flat_map(|word| word.split(',')).filter_map(site));
            }
        }
        if opens {
            let leads = !["handle", "handle_path", "route"].contains(&first) || matched(words.get(1));
            open.push(leads && !(open.is_empty() && first.starts_with('(')));
        }
    }
    found.truncate(UPSTREAMS);
    found
}

/// Caddy's JSON: every `{"handler": "reverse_proxy", "upstreams": [{"dial": "localhost:3000"}]}`.
fn caddy_json(json: &serde_json::Value, found: &mut Vec<Upstream>) {
    if found.len() >= UPSTREAMS {
        return;
    }
    match json {
        serde_json::Value::Object(map) => {
            let dials = map.get("upstreams").and_then(|list| list.as_array()).into_iter().flatten();
            found.extend(dials.filter_map(|it| upstream(it.get("dial")?.as_str()?, &[])));
            map.values().for_each(|value| caddy_json(value, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| caddy_json(value, found)),
        _ => {}
    }
}

fn nginx_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut comment = false;
    for c in text.chars() {
        if comment {
            comment = c != '\n';
            continue;
        }
        if let Some(end) = quote {
            if c == end {
                quote = None;
            } else {
                word.push(c);
            }
            continue;
        }
        match c {
            '#' if word.is_empty() => comment = true,
            '"' | '\'' if word.is_empty() => quote = Some(c),
            // `${name}` is part of a word.
            '{' if word.ends_with('$') => word.push(c),
            '}' if word.contains("${") && !word.ends_with('}') => word.push(c),
            '{' | '}' | ';' => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                words.push(c.to_string());
            }
            c if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// A block of nginx's that is open.
#[derive(Default)]
struct Block {
    kind: String,
    name: String,
    leads: bool,
    names: Vec<String>,
    passes: Vec<String>,
}

fn nginx(tokens: &[String]) -> Vec<Upstream> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut servers: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut open: Vec<Block> = Vec::new();
    let mut line: Vec<&str> = Vec::new();
    for token in tokens {
        match token.as_str() {
            "{" => {
                let kind = line.first().copied().unwrap_or_default().to_owned();
                let leads = kind != "location"
                    || match line.as_slice() {
                        [_, "=", path] => *path == ASKED,
                        [_, "~" | "~*", pattern] => pattern.contains("xrpc") || *pattern == ".*",
                        [_, "^~", prefix] | [_, prefix] => ASKED.starts_with(*prefix),
                        _ => false,
                    };
                let name = line.get(1).copied().unwrap_or_default().to_owned();
                open.push(Block { kind, name, leads, ..Block::default() });
                line.clear();
            }
            "}" => {
                line.clear();
                let Some(done) = open.pop() else { continue };
                match done.kind.as_str() {
                    "upstream" => groups.push((done.name, done.passes)),
                    "server" => servers.push((done.names, done.passes)),
                    _ => {
                        if let Some(outer) = open.last_mut().filter(|_| done.leads) {
                            outer.passes.extend(done.passes);
                        }
                    }
                }
            }
            ";" => {
                if let Some(block) = open.last_mut() {
                    match line.as_slice() {
                        ["server_name", names @ ..] => block.names.extend(names.iter().filter_map(|name| site(name))),
                        ["proxy_pass", target] => block.passes.push((*target).to_owned()),
                        ["server", target, ..] if block.kind == "upstream" => block.passes.push((*target).to_owned()),
                        _ => {}
                    }
                }
                line.clear();
            }
            word => line.push(word),
        }
    }
    let mut found = Vec::new();
    for (names, passes) in servers {
        for pass in passes {
            let host =
                pass.split_once("://").map_or(pass.as_str(), |(_, rest)| rest).split('/').next().unwrap_or_default();
            match groups.iter().find(|(name, _)| name == host) {
                Some((_, members)) => found.extend(members.iter().filter_map(|member| upstream(member, &names))),
                None => found.extend(upstream(&pass, &names)),
            }
        }
    }
    found.truncate(UPSTREAMS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &[Upstream]) -> Vec<String> {
        let sites = |it: &Upstream| it.sites.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        found.iter().map(|it| format!("{}:{} {}", it.host, it.port, sites(it))).collect()
    }

    fn caddy(text: &str) -> Vec<String> {
        let lines: Vec<Vec<String>> = text
            .lines()
            .map(|line| line.split_whitespace().take_while(|it| !it.starts_with('#')).map(str::to_owned).collect())
            .filter(|line: &Vec<String>| !line.is_empty())
            .collect();
        shown(&caddyfile(&lines))
    }

    #[test]
    fn what_caddy_asks() {
        let official = "{\n email a@b.c\n on_demand_tls {\n ask http://localhost:3000/tls-check\n }\n}\n\n\
                        *.pds.example.com, pds.example.com {\n tls {\n on_demand\n }\n reverse_proxy http://localhost:3000\n}\n";
        assert_eq!(caddy(official), ["localhost:3000 *.pds.example.com pds.example.com"]);
        assert_eq!(caddy("pds.example.com\nreverse_proxy :8080 # here\n"), ["localhost:8080 pds.example.com"]);
        let block = "a.example {\n reverse_proxy {\n to [::1]:3000 pds:2583\n header_up Host {host}\n }\n}\n\
                     b.example {\n reverse_proxy unix//run/x.sock\n}\n";
        assert_eq!(caddy(block), ["::1:3000 a.example", "pds:2583 a.example"]);
        let paths = "a.example {\n handle /age {\n reverse_proxy localhost:9000\n }\n reverse_proxy /xrpc/* localhost:3000\n \
                     reverse_proxy /img/* localhost:9001\n reverse_proxy {$UPSTREAM}\n}\n";
        assert_eq!(caddy(paths), ["localhost:3000 a.example"]);
        let mut json = Vec::new();
        caddy_json(
            &serde_json::json!({"apps": {"http": {"servers": {"a": {"routes": [{"handle": [
            {"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:3000"}]}]}]}}}}}),
            &mut json,
        );
        assert_eq!(shown(&json), ["127.0.0.1:3000 "]);
    }

    #[test]
    fn what_nginx_asks() {
        let conf = |text: &str| shown(&nginx(&nginx_words(text)));
        let usual = "events {} http { upstream pds { server 127.0.0.1:3000; } map $http_upgrade $u { default upgrade; '' close; }\n\
                     server { listen 443 ssl; server_name pds.example.com *.pds.example.com; # all\n\
                     location / { proxy_set_header Host $host; proxy_pass http://pds; } location /img/ { proxy_pass http://10.0.0.9; } }\n\
                     server { server_name other.example; location / { proxy_pass http://localhost:8080/; } } }";
        assert_eq!(conf(usual), ["127.0.0.1:3000 pds.example.com *.pds.example.com", "localhost:8080 other.example"]);
        let odd = "server { location ~ ^/(xrpc|oauth) { proxy_pass http://[::1]:2583; } location / { proxy_pass http://$up; } }";
        assert_eq!(conf(odd), ["::1:2583 "]);
        assert!(conf("server { location / { proxy_pass http://unix:/run/pds.sock; } ").is_empty());
        assert!(conf("}}}} { ; ' ").is_empty());
    }

    #[test]
    fn files_that_include_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        write("etc/nginx/nginx.conf", "http { include /etc/nginx/sites-enabled/*; include conf.d/*.conf; }");
        write(
            "etc/nginx/sites-enabled/pds",
            "server { server_name a.example; location / { proxy_pass http://localhost:3000; } }",
        );
        write("etc/nginx/conf.d/x.conf", "include /etc/nginx/nginx.conf;");
        write("srv/Caddyfile", "import sites/*.caddy\n");
        write("srv/sites/a.caddy", "b.example {\n reverse_proxy localhost:2583\n}\n");
        let root = Root::open(folder.path().to_owned()).expect("a root");
        let title = ["nginx: master process /usr/sbin/nginx -g daemon off;".to_owned()];
        let written = read(&root, "nginx", &title, "/");
        assert!(shown(&written.upstreams).contains(&"localhost:3000 a.example".to_owned()), "{written:?}");
        assert!(written.files.len() <= FILES);
        let argv = ["caddy", "run", "--config", "Caddyfile"].map(str::to_owned);
        assert_eq!(shown(&read(&root, "caddy", &argv, "/srv").upstreams), ["localhost:2583 b.example"]);
    }
}
