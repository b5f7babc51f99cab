//! Bodies of answers, read for every purpose.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pdsdoctor_probes::{
    document::{class_of_part, read},
    http_fact::{BodyClass, Content, HttpPurpose},
};

const PURPOSES: [HttpPurpose; 14] = [
    HttpPurpose::Health,
    HttpPurpose::DescribeServer,
    HttpPurpose::PlainPort80,
    HttpPurpose::PlainOnTlsPort,
    HttpPurpose::ProtectedResource,
    HttpPurpose::AuthorizationServer,
    HttpPurpose::AtprotoDid,
    HttpPurpose::DidDocument,
    HttpPurpose::ClientDocument,
    HttpPurpose::ListRepos,
    HttpPurpose::DescribeRepo,
    HttpPurpose::ResolveHandle,
    HttpPurpose::ProxyPlc,
    HttpPurpose::ProxyDidWeb,
];

fuzz_target!(|input: (Option<&str>, &[u8])| {
    let (content_type, body) = input;
    for purpose in PURPOSES {
        let (class, content) = read(purpose, content_type, body);
        // "As expected" means that it was understood.
        assert!(class != BodyClass::Expected || content.is_some(), "{purpose:?}");
        assert!(class != BodyClass::Empty || body.is_empty());
        if let Some(content) = content {
            // What is kept can be saved and read again.
            let json = serde_json::to_string(&content).expect("JSON");
            assert_eq!(serde_json::from_str::<Content>(&json).expect("read again"), content);
        }
    }
    class_of_part(content_type, body);
});
