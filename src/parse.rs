//! Values people type, read strictly: a typo is told at once, not measured.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use pdsdoctor_probes::identifier::TargetInput;
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

/// `--against`: a host, with its port where that is not 443.
pub fn reference(raw: &str) -> Result<String, String> {
    match target(raw).map_err(|why| format!("--against {raw}: {why}"))? {
        TargetInput::Name(host) | TargetInput::Url { host, port: 443 } => Ok(host),
        TargetInput::Url { host, port } => Ok(format!("{host}:{port}")),
        TargetInput::Did(_) | TargetInput::Handle(_) => {
            Err(format!("--against {raw}: name the host of a PDS, such as tngl.sh"))
        }
    }
}

/// `--client-id`.
pub fn client_id(raw: &str) -> Result<String, String> {
    let url = url::Url::parse(raw).map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "https" | "http" => Ok(raw.to_owned()),
        other => Err(format!("a client id is an https:// URL, not {other}:")),
    }
}

/// `--egress-host FAMILY=URL`. What the reference PDS would refuse to fetch is no host for this.
pub fn egress_host(raw: &str) -> Result<EgressHost, String> {
    const FORM: &str = "expected FAMILY=URL, such as ipv6=https://ipv6.example.com/";
    let (family, url) = raw.split_once('=').ok_or(FORM)?;
    let family: EgressFamily =
        family.parse().map_err(|_| format!("{family:?} is none of ipv4, ipv6, near, far; {FORM}"))?;
    let mut parsed = url::Url::parse(url).map_err(|error| format!("not a URL: {error}; {FORM}"))?;
    if parsed.scheme() != "https" || parsed.port().is_some() {
        return Err("a PDS fetches only from https:// and port 443".to_owned());
    }
    if !parsed.domain().is_some_and(|host| host.contains('.'))
        || !parsed.username().is_empty()
        || parsed.password().is_some()
    {
        return Err("a PDS fetches only from host names, not from addresses, and without credentials".to_owned());
    }
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
        Ok(0) | Err(_) => return Err(format!("{port:?} is no port; {FORM}")),
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
    bare.parse().map_err(|_| format!("{raw:?} is no IP address"))
}

/// `--ca-cert`: every certificate of every file.
pub fn ca_certs(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut all = Vec::new();
    for file in files {
        let problem = |what: String| format!("--ca-cert {}: {what}", file.display());
        let found = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
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
    }
}
