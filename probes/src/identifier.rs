//! Names as people type them and as documents hold them: hosts, handles, DIDs. Pure.

use url::Host;

/// The longest DID (atproto.com/specs/did, "Syntax").
const DID_LENGTH: usize = 2048;

/// The longest name in DNS, as text (RFC 1035, section 2.3.4).
const NAME_LENGTH: usize = 253;

/// The longest label (RFC 1035, section 2.3.4).
const LABEL_LENGTH: usize = 63;

/// The longest target that is looked at.
const TARGET_LENGTH: usize = DID_LENGTH + 64;

/// What the user named, as far as its spelling tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetInput {
    /// `did:plc:…` or `did:web:…`.
    Did(String),
    /// Explicitly a handle: `@alice.example` or `at://alice.example`. Lower case, in ASCII form.
    Handle(String),
    /// Explicitly a host: a URL (its path is ignored), a name with a port, or an IP address.
    Url {
        /// Lower case, in ASCII form; IPv6 without brackets.
        host: String,
        /// 443 unless the user said otherwise.
        port: u16,
    },
    /// A bare name: host or handle is decided by looking, never by spelling. Lower case, in ASCII form.
    Name(String),
}

/// Reads what the user typed.
///
/// # Errors
///
/// Words for the user: what is wrong with it. A user name or a password in it is not repeated in them.
pub fn parse_target(raw: &str) -> Result<TargetInput, String> {
    read_target(raw).map_err(|why| if may_show(raw) { why } else { CREDENTIALS.to_owned() })
}

/// Why an address with a user name or a password in it is refused.
pub const CREDENTIALS: &str = "user names and passwords do not belong into it (what was typed is not repeated here)";

/// What was typed may be repeated in messages: there is no `@` in it but that of a handle, and nothing behind `?` or `#`.
pub fn may_show(raw: &str) -> bool {
    let text = raw.trim();
    !text.strip_prefix('@').unwrap_or(text).contains(['@', '?', '#'])
}

fn read_target(raw: &str) -> Result<TargetInput, String> {
    let text = raw.trim();
    if text.is_empty() {
        return Err("the target is empty".to_owned());
    }
    if text.len() > TARGET_LENGTH {
        return Err(format!("the target is longer than {TARGET_LENGTH} bytes"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the target contains a space or a control character".to_owned());
    }
    if has_prefix(text, "did:") {
        return did_target(text);
    }
    if has_prefix(text, "at://") {
        let authority = text[5..].split(['/', '?', '#']).next().unwrap_or_default();
        return if has_prefix(authority, "did:") { did_target(authority) } else { handle_target(authority) };
    }
    if let Some(handle) = text.strip_prefix('@') {
        return handle_target(handle);
    }
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => {
            host_target(rest, true)
        }
        Some((scheme, _)) => Err(format!("{scheme}:// is not an address of a PDS: use https://")),
        None => host_target(text, false),
    }
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn did_target(text: &str) -> Result<TargetInput, String> {
    if !is_did(text) {
        return Err(format!("{text} is not a DID"));
    }
    if let Some(id) = text.strip_prefix("did:plc:") {
        // did-method-plc: 120 bits in base32 (RFC 4648, section 6, in lower case).
        if id.len() != 24 || !id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')) {
            return Err(format!("{text} is not a DID: after did:plc: come 24 characters of a-z and 2-7"));
        }
    } else if text.starts_with("did:web:") {
        if did_web_url(text).is_none() {
            return Err(format!("{text} is not a DID that atproto allows: after did:web: comes a host name only"));
        }
    } else {
        return Err("atproto knows only did:plc and did:web".to_owned());
    }
    Ok(TargetInput::Did(text.to_owned()))
}

fn handle_target(text: &str) -> Result<TargetInput, String> {
    match host_of(text)? {
        Host::Domain(name) if is_handle(&name) => Ok(TargetInput::Handle(name)),
        _ => Err(format!("{text} is not a handle: a handle is a domain name such as alice.example")),
    }
}

fn host_target(rest: &str, is_url: bool) -> Result<TargetInput, String> {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(CREDENTIALS.to_owned());
    }
    let has_path = authority.len() < rest.len();
    // IPv6 as it is usually written, without brackets.
    if let Ok(v6) = authority.parse::<std::net::Ipv6Addr>() {
        return Ok(TargetInput::Url { host: v6.to_string(), port: 443 });
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port_of(port)?)),
        _ => (authority, None),
    };
    match host_of(name)? {
        Host::Domain(name) if !is_url && !has_path && port.is_none() => Ok(TargetInput::Name(name)),
        Host::Domain(host) => Ok(TargetInput::Url { host, port: port.unwrap_or(443) }),
        Host::Ipv4(ip) => Ok(TargetInput::Url { host: ip.to_string(), port: port.unwrap_or(443) }),
        Host::Ipv6(ip) => Ok(TargetInput::Url { host: ip.to_string(), port: port.unwrap_or(443) }),
    }
}

fn port_of(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port number")),
    }
}

/// A host in its normal form: lower case, ASCII (UTS 46), without the final dot.
fn host_of(text: &str) -> Result<Host<String>, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() {
        return Err("the host name is empty".to_owned());
    }
    let host = Host::parse(bare).map_err(|error| format!("{text} is not a host name: {error}"))?;
    if let Host::Domain(name) = &host {
        if name.len() > NAME_LENGTH {
            return Err(format!("the host name is longer than {NAME_LENGTH} characters"));
        }
        for label in name.split('.') {
            if label.is_empty() {
                return Err(format!("{text} is not a host name: there is nothing between two dots"));
            }
            if label.len() > LABEL_LENGTH {
                return Err(format!("{text} is not a host name: a part is longer than {LABEL_LENGTH} characters"));
            }
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if !name.bytes().all(plain) {
            return Err(format!("{text} is not a host name"));
        }
    }
    Ok(host)
}

/// `name` is a host name as DNS and certificates know them (RFC 1123, section 2.1; `_` is found in the wild): nothing a
/// shell or a terminal would obey is one.
pub fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_LENGTH).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
    };
    name.len() <= NAME_LENGTH && name.split('.').all(is_label)
}

/// `name` is a handle by its syntax (atproto.com/specs/handle, "Handle Identifier Syntax").
pub fn is_handle(name: &str) -> bool {
    let mut labels = name.split('.');
    let Some(top) = labels.next_back() else { return false };
    let is_label = |label: &str| {
        (1..=LABEL_LENGTH).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= NAME_LENGTH
        && name.contains('.')
        && is_label(top)
        && top.starts_with(|c: char| c.is_ascii_alphabetic())
        && labels.all(is_label)
}

/// `text` is a DID by its syntax (atproto.com/specs/did, "Syntax").
pub fn is_did(text: &str) -> bool {
    let Some((method, id)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else { return false };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'%' | b'-');
    text.len() <= DID_LENGTH
        && !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_lowercase())
        && !id.is_empty()
        && id.bytes().all(allowed)
        && !id.ends_with([':', '%'])
}

/// Where the document of a `did:web` is. atproto allows host names only, no paths; a port
/// (`%3A`, W3C did:web, section 3.1) is read, because test networks use it.
pub fn did_web_url(did: &str) -> Option<String> {
    let id = did.strip_prefix("did:web:").filter(|_| is_did(did))?;
    let (name, port) = match id.split_once("%3A").or_else(|| id.split_once("%3a")) {
        Some((name, port)) => (name, Some(port_of(port).ok()?)),
        None => (id, None),
    };
    // A colon begins a path.
    if name.contains([':', '%']) {
        return None;
    }
    let Ok(Host::Domain(host)) = host_of(name) else { return None };
    let port = port.filter(|port| *port != 443).map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("https://{host}{port}/.well-known/did.json"))
}

/// What a TXT record at `_atproto.<handle>` says (atproto.com/specs/handle, "DNS TXT Method").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxtValue {
    /// `did=did:…`, exactly: the DID.
    Did(String),
    /// As it should be, but in quotation marks that are part of the value: the DID.
    Quoted(String),
    /// The DID without `did=` before it.
    MissingPrefix(String),
    /// Anything else.
    Other,
}

/// Reads a TXT record at `_atproto.<handle>`.
pub fn did_of_txt(value: &str) -> TxtValue {
    let did = |text: &str| is_did(text).then(|| text.to_owned());
    if let Some(found) = value.strip_prefix("did=").and_then(did) {
        return TxtValue::Did(found);
    }
    if let Some(found) = did(value) {
        return TxtValue::MissingPrefix(found);
    }
    // Panels of DNS providers show values in quotation marks, and people type what they see;
    // phones make them typographic.
    let marks = ['"', '\'', '“', '”', '„', '‘', '’', '\\'];
    if value.contains(marks) {
        let bare: String = value.chars().filter(|c| !marks.contains(c)).collect();
        let bare = bare.trim();
        if let Some(found) = did(bare.strip_prefix("did=").unwrap_or(bare).trim()) {
            return TxtValue::Quoted(found);
        }
    }
    TxtValue::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLC: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

    fn url(host: &str, port: u16) -> Result<TargetInput, String> {
        Ok(TargetInput::Url { host: host.to_owned(), port })
    }

    fn name(name: &str) -> Result<TargetInput, String> {
        Ok(TargetInput::Name(name.to_owned()))
    }

    #[test]
    fn targets() {
        for (raw, expected) in [
            ("pds.example", name("pds.example")),
            ("  PDS.Example. ", name("pds.example")),
            ("localhost", name("localhost")),
            ("bücher.example", name("xn--bcher-kva.example")),
            ("https://pds.example", url("pds.example", 443)),
            ("HTTPS://PDS.example./xrpc/_health?x=1#y", url("pds.example", 443)),
            ("pds.example/xrpc/_health", url("pds.example", 443)),
            ("pds.example:8443", url("pds.example", 8443)),
            ("https://pds.example:8443/", url("pds.example", 8443)),
            ("http://pds.example", url("pds.example", 443)),
            ("192.0.2.7", url("192.0.2.7", 443)),
            ("192.0.2.7:3000", url("192.0.2.7", 3000)),
            ("2001:DB8::1", url("2001:db8::1", 443)),
            ("[2001:db8::1]", url("2001:db8::1", 443)),
            ("https://[2001:db8::1]:8443/x", url("2001:db8::1", 8443)),
            ("@Alice.Example", Ok(TargetInput::Handle("alice.example".to_owned()))),
            ("at://alice.example/app.bsky.feed.post/3k", Ok(TargetInput::Handle("alice.example".to_owned()))),
            ("at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/x", Ok(TargetInput::Did(PLC.to_owned()))),
            (PLC, Ok(TargetInput::Did(PLC.to_owned()))),
            ("did:web:pds.example", Ok(TargetInput::Did("did:web:pds.example".to_owned()))),
        ] {
            assert_eq!(parse_target(raw), expected, "{raw}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_words() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = "abc.".repeat(80) + "example";
        let huge = "a".repeat(100_000);
        for raw in [
            "",
            "   ",
            "a b",
            "pds.example\u{1b}[31m",
            "https://",
            "https:///x",
            "https://user:pass@pds.example/",
            "user@pds.example",
            "ftp://pds.example",
            "pds..example",
            ".example",
            "pds.example:0",
            "pds.example:65536",
            "pds.example:+80",
            "pds.example:",
            "[2001:db8::1",
            "@",
            "@alice",
            "@192.0.2.7",
            "@did:plc:x",
            "at://",
            "did:plc:short",
            "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ",
            "did:key:z6Mk",
            "DID:web:x.example",
            "did:web:pds.example:path",
            "did:",
            "pds.exa%mple",
            "pds!.example",
            &long_label,
            &long_name,
            &huge,
        ] {
            let told = parse_target(raw);
            assert!(told.as_ref().is_err_and(|words| !words.is_empty()), "{raw}: {told:?}");
        }
    }

    #[test]
    fn handles() {
        for good in ["alice.example", "a.co", "xn--bcher-kva.example", "8.cn", "a-b.c-d.io"] {
            assert!(is_handle(good), "{good}");
        }
        for bad in
            ["", "alice", "alice.", ".alice", "a..b", "-a.b", "a-.b", "a.1", "a_b.c", "a.b\n", "jo@hn.test", "é.com"]
        {
            assert!(!is_handle(bad), "{bad}");
        }
        assert!(!is_handle(&("a.".repeat(127) + "example")));
    }

    #[test]
    fn dids() {
        for good in [PLC, "did:web:a.example", "did:method:val:two", "did:m:v", "did:web:localhost%3A1234"] {
            assert!(is_did(good), "{good}");
        }
        for bad in
            ["", "did:", "did:m:", "did:M:v", "did:m:v/", "did:m:v%", "did:m:v:", "DID:m:v", "did:m:v a", "did:m1:v"]
        {
            assert!(!is_did(bad), "{bad}");
        }
        assert!(!is_did(&format!("did:m:{}", "v".repeat(3000))));
    }

    #[test]
    fn where_a_did_web_is() {
        for (did, expected) in [
            ("did:web:a.example", Some("https://a.example/.well-known/did.json")),
            ("did:web:localhost%3A2583", Some("https://localhost:2583/.well-known/did.json")),
            ("did:web:a.example%3A443", Some("https://a.example/.well-known/did.json")),
            ("did:web:a.example:u:alice", None),
            ("did:web:a.example%2Fx", None),
            ("did:web:192.0.2.1", None),
            ("did:web:a.example%3A", None),
            ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", None),
        ] {
            assert_eq!(did_web_url(did).as_deref(), expected, "{did}");
        }
    }

    #[test]
    fn txt_values() {
        let plc = PLC.to_owned();
        for (value, expected) in [
            (format!("did={PLC}"), TxtValue::Did(plc.clone())),
            (format!("\"did={PLC}\""), TxtValue::Quoted(plc.clone())),
            (format!("did=\"{PLC}\""), TxtValue::Quoted(plc.clone())),
            (format!("“did={PLC}”"), TxtValue::Quoted(plc.clone())),
            (format!("\\\"{PLC}\\\""), TxtValue::Quoted(plc.clone())),
            (PLC.to_owned(), TxtValue::MissingPrefix(plc)),
            (format!("DID={PLC}"), TxtValue::Other),
            (format!("did = {PLC}"), TxtValue::Other),
            ("v=spf1 -all".to_owned(), TxtValue::Other),
            ("did=".to_owned(), TxtValue::Other),
            (String::new(), TxtValue::Other),
        ] {
            assert_eq!(did_of_txt(&value), expected, "{value}");
        }
    }
}
