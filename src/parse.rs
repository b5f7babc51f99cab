//! Values people type, read strictly: a typo is told at once, not measured.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pdsdoctor_probes::{
    files,
    identifier::{CREDENTIALS, TargetInput, may_show},
    roots::FILE_BYTES,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    egress::{ANY_PATH, EgressFamily, EgressHost},
    options::Resolve,
};

const DNS_PORT: u16 = 53;

/// TARGET.
pub fn target(raw: &str) -> Result<TargetInput, String> {
    pdsdoctor_probes::identifier::parse_target(raw)
}

/// What was typed, for a message about it, unless it may hold what is nobody's business.
pub fn shown(raw: &str) -> String {
    if may_show(raw) { format!("{raw:?}") } else { "(not repeated here)".to_owned() }
}

/// TARGET without what has no use in it: of an address only what names the host, of `at://` only whose it is.
pub fn shortened(raw: &str) -> String {
    let raw = raw.trim();
    let start = raw.find("://").map_or(0, |at| at + 3);
    let Some(at) = raw[start..].find(['/', '?', '#', '\\']) else { return raw.to_owned() };
    // Without a scheme it is the path that makes it an address.
    format!("{}{}", &raw[..start + at], if start == 0 { "/" } else { "" })
}

/// `--against`: a host, with its port where that is not 443.
pub fn reference(raw: &str) -> Result<String, String> {
    match target(raw).map_err(|why| format!("--against {}: {why}", shown(raw)))? {
        TargetInput::Name(host) | TargetInput::Url { host, port: 443 } => Ok(host),
        TargetInput::Url { host, port } => Ok(format!("{host}:{port}")),
        TargetInput::Did(_) | TargetInput::Handle(_) => {
            Err(format!("--against {}: name the host of a PDS, such as tngl.sh", shown(raw)))
        }
    }
}

/// `--client-id`. Not read by clap, whose messages repeat what was typed.
pub fn client_id(raw: &str) -> Result<String, String> {
    let why = |what: &str| Err(format!("--client-id {}: {what}", shown(raw)));
    let url = match url::Url::parse(raw) {
        Ok(url) => url,
        Err(error) => return why(&format!("not a URL: {error}")),
    };
    if has_credentials(&url, raw) {
        return why(CREDENTIALS);
    }
    // draft-ietf-oauth-client-id-metadata-document, section 3.
    if url.fragment().is_some() {
        return why("a client id has no fragment (#...)");
    }
    match url.scheme() {
        "https" | "http" => Ok(raw.to_owned()),
        _ => why("a client id is an https:// URL"),
    }
}

/// All of `--client-id`.
pub fn client_ids(raw: &[String]) -> Result<Vec<String>, String> {
    let ids = raw.iter().map(|raw| client_id(raw)).collect::<Result<Vec<_>, _>>()?;
    let bare = |id: &str| id.split('?').next().unwrap_or_default().to_owned();
    for (index, id) in ids.iter().enumerate() {
        // A report shows no query, so the two would be one in it.
        if ids[..index].iter().any(|other| other != id && bare(other) == bare(id)) {
            return Err("two --client-id differ only in what is behind the ?: a run for each".to_owned());
        }
    }
    Ok(ids)
}

/// An `@` before the path, or anywhere where there is no host before it (`https:/me:word@app.example`).
fn has_credentials(url: &url::Url, raw: &str) -> bool {
    let authority = raw.split_once(':').map_or(raw, |(_, rest)| rest).trim_start_matches(['/', '\\']);
    let authority = authority.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    !url.username().is_empty() || url.password().is_some() || authority.contains('@')
}

/// `--egress-host FAMILY=URL`; `of` says where it stands. Not read by clap, whose messages repeat what was typed.
pub fn egress_host_of(of: &str, raw: &str) -> Result<EgressHost, String> {
    egress_host(raw).map_err(|why| format!("{of} {}: {why}", shown(raw)))
}

/// A value of `--egress-host`. What the reference PDS would refuse to fetch is no host for this.
pub fn egress_host(raw: &str) -> Result<EgressHost, String> {
    const FORM: &str = "expected FAMILY=URL, such as ipv6=https://ipv6.example.com/";
    let (family, url) = raw.split_once('=').ok_or(FORM)?;
    let family: EgressFamily = family.parse().map_err(|_| format!("no family ipv4, ipv6, near or far; {FORM}"))?;
    let mut parsed = url::Url::parse(url).map_err(|error| format!("not a URL: {error}; {FORM}"))?;
    if parsed.scheme() != "https" || parsed.port().is_some() {
        return Err("a PDS fetches only from https:// and port 443".to_owned());
    }
    if !parsed.domain().is_some_and(|host| host.contains('.')) {
        return Err("a PDS fetches only from host names, not from addresses".to_owned());
    }
    if has_credentials(&parsed, url) {
        return Err(CREDENTIALS.to_owned());
    }
    parsed.set_fragment(None);
    if parsed.path() == "/" {
        parsed.set_path(ANY_PATH);
    }
    Ok(EgressHost { family, url: parsed.into() })
}

/// `--resolve HOST:PORT:ADDR[,ADDR]`; IPv6 addresses with or without brackets.
pub fn resolve(raw: &str) -> Result<Resolve, String> {
    const FORM: &str = "expected HOST:PORT:ADDR[,ADDR], such as pds.example.com:443:192.0.2.7";
    let mut parts = raw.splitn(3, ':');
    let (Some(host), Some(port), Some(addrs)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(FORM.to_owned());
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return Err(FORM.to_owned());
    }
    let port = match port.parse() {
        Ok(0) | Err(_) => return Err(format!("{} is no port; {FORM}", shown(port))),
        Ok(port) => port,
    };
    let addrs = addrs.split(',').map(address).collect::<Result<Vec<_>, _>>()?;
    Ok(Resolve { host, port, addrs })
}

/// `--nameserver ADDR[:PORT]`.
pub fn nameserver(raw: &str) -> Result<SocketAddr, String> {
    if let Ok(with_port) = raw.parse() {
        return Ok(with_port);
    }
    Ok(SocketAddr::new(address(raw)?, DNS_PORT))
}

fn address(raw: &str) -> Result<IpAddr, String> {
    let bare = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
    bare.parse().map_err(|_| format!("{} is no IP address", shown(raw)))
}

/// `--ca-cert`: every certificate of every file. A pipe may take `timeout` to give it.
///
/// # Errors
///
/// What is wrong with a file, with its name.
pub fn ca_certs(named: &[PathBuf], timeout: Duration) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut all = Vec::new();
    for file in named {
        let problem = |what: String| format!("--ca-cert {}: {what}", file.display());
        let bytes =
            files::read(file, FILE_BYTES, files::PATIENCE.min(timeout)).map_err(|it| problem(it.to_string()))?;
        let found = CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| problem(error.to_string()))?;
        if found.is_empty() {
            return Err(problem("no PEM certificate in it (-----BEGIN CERTIFICATE-----)".to_owned()));
        }
        let (usable, _) = RootCertStore::empty().add_parsable_certificates(found.iter().cloned());
        if usable == 0 {
            return Err(problem("none of its certificates can be read".to_owned()));
        }
        all.extend(found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_is_read_as_curl_reads_it() {
        let plain = resolve("PDS.Example.:443:192.0.2.7").expect("plain");
        assert_eq!((plain.host.as_str(), plain.port), ("pds.example", 443));
        let many = resolve("a.b:8443:192.0.2.7,[2001:db8::1],2001:db8::2").expect("several");
        assert_eq!(many.addrs.len(), 3);
        assert!(many.addrs[1].is_ipv6());
        for bad in ["a.b", "a.b:443", "a.b:443:", "a.b:0:1.2.3.4", "a.b:x:1.2.3.4", ":443:1.2.3.4", "a:443:host"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_server_may_have_a_port() {
        for (raw, want) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
        ] {
            assert_eq!(nameserver(raw).map(|addr| addr.to_string()), Ok(want.to_owned()));
        }
        assert!(nameserver("dns.example").is_err());
    }

    #[test]
    fn an_egress_host_is_one_that_a_pds_would_fetch_from() {
        let host = egress_host("ipv6=https://v6.example.net").expect("a host");
        assert_eq!((host.family, host.url.as_str()), (EgressFamily::Ipv6, "https://v6.example.net/robots.txt"));
        assert!(egress_host("near=https://a.example:443/x?y").is_ok());
        for bad in [
            "https://a.example/",
            "v6=https://a.example/",
            "far=http://a.example/",
            "far=https://a.example:8443/",
            "far=https://192.0.2.1/",
            "far=https://[2001:db8::1]/",
            "far=https://localhost/",
            "far=https://me@a.example/",
            "far=a.example",
        ] {
            assert!(egress_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_id_is_a_url() {
        assert!(client_id("https://app.example/client.json").is_ok());
        assert!(client_id("app.example/client.json").is_err());
        assert!(client_id("ftp://app.example/c").is_err());
        assert!(client_id("https://app.example/c?v=1").is_ok(), "a query is part of an identity");
        assert!(client_id("https://app.example/@me/c").is_ok());
    }

    #[test]
    fn what_must_not_be_repeated_is_not() {
        const SECRET: &str = "CANARYpw1";
        let forms = [
            format!("https://me:{SECRET}@app.example/c.json"),
            format!("https://{SECRET}@app.example/c.json"),
            format!("https:/me:{SECRET}@app.example/c.json"),
            format!("https:\\\\me:{SECRET}@app.example"),
            format!("https://me:{SECRET}\\@app.example/c.json"),
            format!("HTTPS://me:{SECRET}@@app.example/c.json"),
            format!("me:{SECRET}@app.example"),
            format!("@me:{SECRET}@app.example"),
            format!("at://me:{SECRET}@app.example"),
            format!("did:web:me:{SECRET}@app.example"),
            format!("ftp://me:{SECRET}@app.example"),
            format!("https://app.example:{SECRET}@/"),
            format!("https://app.example/c.json#{SECRET}"),
            format!(" https://me:{SECRET}@app.example/ x"),
        ];
        for raw in &forms {
            let told = [
                target(raw).map(|read| format!("{read:?}")).map_err(|why| format!("{why} {}", shown(raw))),
                reference(raw),
                client_id(raw),
                egress_host_of("--egress-host", &format!("near={raw}")).map(|host| host.url),
                egress_host_of("--egress-host", raw).map(|host| host.url),
            ];
            for told in told {
                let (Ok(words) | Err(words)) = &told;
                assert!(!words.contains(SECRET), "{raw}: {told:?}");
            }
        }
        for raw in &forms[..3] {
            assert!(target(raw).is_err() || raw.starts_with("https:/me"), "{raw}");
            assert!(client_id(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn of_a_target_only_what_names_it_is_kept() {
        for (raw, kept) in [
            ("https://pds.example:8443/a?token=x#y", "https://pds.example:8443"),
            ("pds.example/a?b", "pds.example/"),
            ("pds.example?b", "pds.example/"),
            ("at://alice.example/app.bsky.feed.post/3k", "at://alice.example"),
            ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"),
            (" @alice.example ", "@alice.example"),
            ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(shortened(raw), kept);
            assert_eq!(target(raw), target(kept), "{raw}");
        }
    }

    #[test]
    fn two_clients_that_a_report_could_not_tell_apart() {
        let ids = |ids: &[&str]| client_ids(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert!(ids(&["https://a.example/c?x=1", "https://a.example/c?x=2"]).is_err());
        assert!(ids(&["https://a.example/c?x=1", "https://b.example/c?x=1"]).is_ok());
    }
}
