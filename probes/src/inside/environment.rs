//! The environment of a process: keys and judged forms, and the few values that hold no secret.

use super::proc_fs;
use crate::{
    process_fact::{EnvironmentKey, ServiceHost},
    secret::{Form, Secret},
    text::Text,
};

/// The most keys that are kept.
const KEYS: usize = 160;

/// Keys that matter to a PDS beside `PDS_*` and `NODE_*`.
const OTHER_KEYS: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "LOG_ENABLED",
    "LOG_LEVEL",
    "LOG_SYSTEMS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "UV_THREADPOOL_SIZE",
    "RES_OPTIONS",
    "LOCALDOMAIN",
];

/// Keys whose value is a URL, or several, that this PDS calls (`packages/pds/src/config/env.ts`).
const SERVICE_KEYS: &[&str] = &[
    "PDS_DID_PLC_URL",
    "PDS_BSKY_APP_VIEW_URL",
    "PDS_REPORT_SERVICE_URL",
    "PDS_MOD_SERVICE_URL",
    "PDS_ENTRYWAY_URL",
    "PDS_CRAWLERS",
];

/// The most hosts that are kept.
const SERVICES: usize = 16;

/// The environment of a process. Its values cannot leave this type.
pub(crate) struct Environment {
    entries: Vec<(String, Secret)>,
}

impl Environment {
    /// That of a process.
    pub(crate) fn of(pid: u32) -> std::io::Result<Self> {
        Ok(Self::new(&proc_fs::environment(pid)?))
    }

    /// Of the bytes of `/proc/PID/environ`: `KEY=value`, each with a NUL after it.
    pub(crate) fn new(raw: &Secret) -> Self {
        let mut entries = Vec::new();
        // Copies of values go from one secret into others, nowhere else.
        raw.judge(|bytes| Self::split(bytes.split(|byte| *byte == 0), &mut entries));
        Self { entries }
    }

    /// Of a list of `KEY=value`, as container engines give it.
    pub(crate) fn of_list(raw: Vec<Secret>) -> Self {
        let mut entries = Vec::new();
        for line in &raw {
            line.judge(|bytes| Self::split(std::iter::once(bytes), &mut entries));
        }
        Self { entries }
    }

    /// Of a file of settings: `KEY=value` lines, with `#` for comments, as Docker Compose and systemd read them. Quotes
    /// around a whole value are the file's own; the last of two lines counts.
    pub(crate) fn of_file(raw: &Secret) -> Self {
        let mut entries = Vec::new();
        raw.judge(|bytes| {
            let lines = bytes.split(|byte| *byte == b'\n').rev().map(<[u8]>::trim_ascii);
            let lines = lines.map(|line| line.strip_prefix(b"export ").unwrap_or(line));
            let unquoted: Vec<Secret> = lines.filter_map(unquoted).collect();
            for line in &unquoted {
                line.judge(|bytes| Self::split(std::iter::once(bytes), &mut entries));
            }
        });
        Self { entries }
    }

    fn split<'a>(lines: impl Iterator<Item = &'a [u8]>, entries: &mut Vec<(String, Secret)>) {
        for line in lines {
            let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
            let key = &line[..at];
            // getenv(3) takes the first of two.
            if is_key(key) && entries.len() < 4 * KEYS {
                let key = String::from_utf8_lossy(key).into_owned();
                if !entries.iter().any(|(known, _)| *known == key) {
                    entries.push((key, Secret::new(line[at + 1..].to_vec())));
                }
            }
        }
    }

    /// It has a value for the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.form() != Form::Empty)
    }

    fn get(&self, key: &str) -> Option<&Secret> {
        self.entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// What `judgement` makes of the text of a value.
    fn judged<T: 'static>(&self, key: &str, judgement: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.get(key)?.judge(|value| judgement(std::str::from_utf8(value).ok()?.trim()))
    }

    /// `PDS_HOSTNAME`, if it looks like a host name: that is public by nature.
    pub(crate) fn hostname(&self) -> Option<Text> {
        self.judged("PDS_HOSTNAME", host_name)
    }

    /// `PDS_PORT`.
    pub(crate) fn port(&self) -> Option<u16> {
        self.judged("PDS_PORT", |value| value.parse().ok())
    }

    /// A path for a program that is run in the PDS's place: of a key that holds no secret, and only if it is one.
    pub(crate) fn path(&self, key: &str) -> Option<std::ffi::OsString> {
        self.judged(key, |value| {
            let is_path = value.starts_with('/') && value.len() <= 4_096 && !value.contains(['\0', '\n']);
            is_path.then(|| value.into())
        })
    }

    /// `NODE_VERSION`, which the official images of Node set.
    pub(crate) fn node_version(&self) -> Option<Text> {
        self.judged("NODE_VERSION", super::node::version)
    }

    /// The flags in `NODE_OPTIONS`.
    pub(crate) fn node_options(&self) -> Vec<Text> {
        self.judged("NODE_OPTIONS", |value| Some(super::node::options(value))).unwrap_or_default()
    }

    /// The keys that matter, sorted, with the form of their values.
    pub(crate) fn keys(&self) -> Vec<EnvironmentKey> {
        let matters = |key: &str| key.starts_with("PDS_") || key.starts_with("NODE_") || OTHER_KEYS.contains(&key);
        let mut keys: Vec<EnvironmentKey> = self
            .entries
            .iter()
            .filter(|(key, _)| matters(key))
            .map(|(key, value)| EnvironmentKey { key: Text::limited(key, 80), form: value.form() })
            .collect();
        keys.sort();
        keys.truncate(KEYS);
        keys
    }

    /// All of its keys, as they are: to be set, not to be shown.
    pub(crate) fn all_keys(&self) -> Vec<String> {
        self.entries.iter().map(|(key, _)| key.clone()).collect()
    }

    /// The hosts it names. Of a URL nothing but host and port is kept: it may carry a password.
    pub(crate) fn services(&self) -> Vec<ServiceHost> {
        let mut services = Vec::new();
        for key in SERVICE_KEYS {
            let found: Option<Vec<ServiceHost>> =
                self.judged(key, |value| Some(value.split(',').filter_map(|url| service(key, url)).collect()));
            services.extend(found.unwrap_or_default());
        }
        services.sort();
        services.dedup();
        services.truncate(SERVICES);
        services
    }
}

/// `KEY='a b'` is `KEY=a b`.
fn unquoted(line: &[u8]) -> Option<Secret> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii());
    let inner = match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        whole => whole,
    };
    Some(Secret::new([key, b"=", inner].concat()))
}

fn is_key(raw: &[u8]) -> bool {
    (1..=80).contains(&raw.len()) && raw.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// A host name, lower case, without the quotes that an env file may have left.
pub(super) fn host_name(raw: &str) -> Option<Text> {
    let name = raw.trim_matches(['"', '\'', ' ']).trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // `localhost` apart, a name without a dot may as well be a password in the wrong line.
    let dotted = name.contains('.') || name == "localhost";
    (name.len() <= 253 && dotted && name.split('.').all(label)).then(|| Text::limited(&name, 253))
}

fn service(key: &str, raw: &str) -> Option<ServiceHost> {
    let url = url::Url::parse(raw.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let host = match url.host()? {
        url::Host::Domain(name) => host_name(name).or_else(|| (name.len() <= 63).then(|| Text::new(name)))?,
        url::Host::Ipv4(addr) => Text::new(&addr.to_string()),
        url::Host::Ipv6(addr) => Text::new(&addr.to_string()),
    };
    Some(ServiceHost { key: Text::new(key), host, port: url.port_or_known_default()?, tls: url.scheme() == "https" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(raw: &[u8]) -> Environment {
        Environment::new(&Secret::new(raw.to_vec()))
    }

    #[test]
    fn only_what_holds_no_secret_is_kept() {
        let env = environment(
            b"PATH=/bin\0PDS_HOSTNAME=Pds.Example.COM\0PDS_PORT=3000\0PDS_JWT_SECRET=topsecret1\0PDS_ADMIN_PASSWORD=\
              \0PDS_EMAIL_SMTP_URL=smtps://me:topsecret2@mail.example/\0PDS_DID_PLC_URL=https://u:topsecret3@plc.example\
              :8443/x?k=topsecret4\0PDS_CRAWLERS=https://a.example,https://b.example, nonsense\0NODE_VERSION=20.20.0\0\
              NODE_OPTIONS=--dns-result-order=ipv4first --require=/topsecret5 --env-file /topsecret6\0bro=ken=x\0\xff\xfe=1\0novalue\0PDS_PORT=9",
        );
        assert_eq!(env.hostname().as_deref(), Some("pds.example.com"));
        assert_eq!(env.port(), Some(3000));
        assert_eq!(env.node_version().as_deref(), Some("20.20.0"));
        let services: Vec<String> = env.services().iter().map(|s| format!("{} {}:{}", s.key, s.host, s.port)).collect();
        assert_eq!(
            services,
            ["PDS_CRAWLERS a.example:443", "PDS_CRAWLERS b.example:443", "PDS_DID_PLC_URL plc.example:8443"]
        );
        assert!(env.has("PDS_JWT_SECRET") && !env.has("PDS_ADMIN_PASSWORD") && !env.has("PATHS"));
        let kept = format!(
            "{} {} {:?}",
            serde_json::to_string(&env.keys()).expect("JSON"),
            serde_json::to_string(&env.services()).expect("JSON"),
            env.node_options()
        );
        assert!(!kept.contains("topsecret"), "{kept}");
        assert!(!kept.contains("PATH"), "{kept}");
    }

    #[test]
    fn a_file_of_settings() {
        let text = "# NODE_OPTIONS=--no-warnings\nPDS_HOSTNAME=pds.example.com\r\nexport NODE_OPTIONS='--dns-result-order=ipv4first \
                    --no-network-family-autoselection'\nPDS_PORT=1\nPDS_PORT = 2\nPDS_JWT_SECRET=\"\nnonsense\n";
        let env = Environment::of_file(&Secret::new(text.into()));
        assert_eq!(env.hostname().as_deref(), Some("pds.example.com"));
        assert_eq!(env.port(), Some(2), "the last one counts");
        let flags = env.node_options();
        assert_eq!(
            flags.iter().map(Text::as_str).collect::<Vec<_>>(),
            ["--dns-result-order=ipv4first", "--no-network-family-autoselection"]
        );
        for bad in [&b""[..], b"=", b"=\n=", b"\xff\xfe=\xff", b"NODE_OPTIONS=\"", b"NODE_OPTIONS='"] {
            let _ = Environment::of_file(&Secret::new(bad.to_vec())).node_options();
        }
    }

    #[test]
    fn names_that_are_none_are_not_kept() {
        for (raw, kept) in [
            ("pds.example.com", true),
            ("\"pds.example.com\"", true),
            ("localhost", true),
            ("hunter2", false),
            ("pass word.example", false),
            ("https://pds.example.com", false),
            ("a..b", false),
            ("", false),
        ] {
            assert_eq!(host_name(raw).is_some(), kept, "{raw}");
        }
    }
}
