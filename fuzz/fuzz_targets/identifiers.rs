//! Targets, handles, DIDs and TXT records, as people and zones write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pdsdoctor_probes::identifier::{TargetInput, TxtValue, did_of_txt, did_web_url, is_did, is_handle, parse_target};

fuzz_target!(|raw: &str| {
    match parse_target(raw) {
        Ok(TargetInput::Did(did)) => {
            assert!(is_did(&did));
            assert_eq!(parse_target(&did), Ok(TargetInput::Did(did)));
        }
        Ok(TargetInput::Handle(handle)) => {
            assert!(is_handle(&handle), "{handle}");
            assert_eq!(parse_target(&format!("@{handle}")), Ok(TargetInput::Handle(handle)));
        }
        Ok(TargetInput::Name(name)) => {
            assert!(name.len() <= 253 && name.is_ascii());
            // What was read once is read the same again: a report's own words can be pasted back.
            assert_eq!(parse_target(&name), Ok(TargetInput::Name(name.clone())), "{raw:?}");
        }
        Ok(TargetInput::Url { host, port }) => {
            assert!(port != 0 && host.is_ascii());
            let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let again = parse_target(&format!("https://{bracketed}:{port}/"));
            assert_eq!(again, Ok(TargetInput::Url { host, port }), "{raw:?}");
        }
        Err(words) => assert!(!words.is_empty()),
    }
    match did_of_txt(raw) {
        TxtValue::Did(did) => {
            assert!(is_did(&did));
            assert_eq!(raw, format!("did={did}"));
        }
        TxtValue::Quoted(did) | TxtValue::MissingPrefix(did) => {
            assert!(is_did(&did));
            assert_eq!(did_of_txt(&format!("did={did}")), TxtValue::Did(did));
        }
        TxtValue::Other => {}
    }
    if let Some(url) = did_web_url(raw) {
        assert!(is_did(raw));
        let url = url::Url::parse(&url).expect("a URL");
        assert_eq!(url.scheme(), "https");
        assert!(url.username().is_empty() && url.password().is_none());
        assert_eq!(url.path(), "/.well-known/did.json");
    }
    assert!(!is_handle(raw) || raw.is_ascii());
});
