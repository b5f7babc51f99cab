use serde_json::json;

use super::*;

const JSON: Option<&str> = Some("application/json; charset=utf-8");

fn read_json(purpose: HttpPurpose, value: Value) -> (BodyClass, Option<Content>) {
    read(purpose, JSON, value.to_string().as_bytes())
}

fn texts_of(list: &[&str]) -> Vec<Text> {
    list.iter().map(|text| Text::new(text)).collect()
}

#[test]
fn health_needs_a_version() {
    let good = read_json(HttpPurpose::Health, json!({"version": "0.5.35", "more": [1, {}]}));
    assert_eq!(good, (BodyClass::Expected, Some(Content::Health { version: "0.5.35".into() })));
    for bad in [json!({}), json!({"version": 1}), json!({"version": null}), json!({"status": "ok"})] {
        assert_eq!(read_json(HttpPurpose::Health, bad.clone()), (BodyClass::Json, None), "{bad}");
    }
    for bad in [json!([]), json!("0.5"), json!(null), json!(3)] {
        assert_eq!(read_json(HttpPurpose::Health, bad.clone()), (BodyClass::Json, None), "{bad}");
    }
    // The PDS says this when its database is gone; the status says the rest.
    let failing = read_json(HttpPurpose::Health, json!({"version": "0.5", "error": "Service Unavailable"}));
    assert_eq!(failing.0, BodyClass::Expected);
}

#[test]
fn describe_server() {
    let real = json!({"did": "did:web:pds.example", "availableUserDomains": [".pds.example", 7, ".b.example"],
        "inviteCodeRequired": false, "links": {}, "contact": {}});
    let content = Content::DescribeServer {
        did: Some("did:web:pds.example".into()),
        available_user_domains: texts_of(&[".pds.example", ".b.example"]),
    };
    assert_eq!(read_json(HttpPurpose::DescribeServer, real), (BodyClass::Expected, Some(content)));
    assert_eq!(read_json(HttpPurpose::DescribeServer, json!({"did": "did:web:a"})).0, BodyClass::Expected);
    assert_eq!(read_json(HttpPurpose::DescribeServer, json!({"availableUserDomains": []})).0, BodyClass::Expected);
    assert_eq!(read_json(HttpPurpose::DescribeServer, json!({"availableUserDomains": "x"})).0, BodyClass::Json);
    let many: Vec<String> = (0..500).map(|n| format!(".d{n}.example")).collect();
    let Some(Content::DescribeServer { available_user_domains, .. }) =
        read_json(HttpPurpose::DescribeServer, json!({"availableUserDomains": many})).1
    else {
        panic!("not read")
    };
    assert_eq!(available_user_domains.len(), LIST_ITEMS);
}

#[test]
fn oauth_documents() {
    let resource = json!({"resource": "https://pds.example", "authorization_servers": ["https://pds.example"]});
    let content = Content::ProtectedResource {
        resource: Some("https://pds.example".into()),
        authorization_servers: texts_of(&["https://pds.example"]),
    };
    assert_eq!(read_json(HttpPurpose::ProtectedResource, resource), (BodyClass::Expected, Some(content)));
    assert_eq!(read_json(HttpPurpose::ProtectedResource, json!({"x": 1})).0, BodyClass::Json);

    let server = json!({"issuer": "https://pds.example", "token_endpoint": 5, "scopes_supported": ["atproto", null],
        "grant_types_supported": "authorization_code", "require_pushed_authorization_requests": true,
        "require_request_uri_registration": "true"});
    let Some(Content::AuthorizationServer(content)) = read_json(HttpPurpose::AuthorizationServer, server).1 else {
        panic!("not read")
    };
    let expected = AuthorizationServerContent {
        issuer: Some("https://pds.example".into()),
        scopes_supported: Some(texts_of(&["atproto"])),
        require_pushed_authorization_requests: Some(true),
        ..AuthorizationServerContent::default()
    };
    assert_eq!(*content, expected, "fields of the wrong type are absent");
    assert_eq!(read_json(HttpPurpose::AuthorizationServer, json!({"scopes_supported": []})).0, BodyClass::Json);
}

#[test]
fn every_field_of_the_servers_metadata_is_read() {
    let text = "https://pds.example/x";
    let mut object = Map::new();
    let fields = serde_json::to_value(AuthorizationServerContent::default()).expect("fields");
    for name in fields.as_object().expect("object").keys() {
        let value = if name.ends_with("_supported") && !name.contains("parameter") && !name.contains("document")
            || name == "protected_resources"
        {
            json!([text])
        } else if name.starts_with("require") || name.ends_with("_supported") {
            json!(true)
        } else {
            json!(text)
        };
        object.insert(name.clone(), value);
    }
    let expected = Value::Object(object);
    let Some(Content::AuthorizationServer(content)) = read_json(HttpPurpose::AuthorizationServer, expected.clone()).1
    else {
        panic!("not read")
    };
    assert_eq!(serde_json::to_value(content).expect("value"), expected);
}

#[test]
fn the_did_of_a_handle() {
    let plc = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
    for good in [plc.to_owned(), format!("{plc}\n"), format!("  {plc}\r\n")] {
        let expected = Content::AtprotoDid { did: Some(plc.into()) };
        assert_eq!(
            read(HttpPurpose::AtprotoDid, Some("text/plain"), good.as_bytes()),
            (BodyClass::Expected, Some(expected))
        );
    }
    for (bad, class) in [
        ("User not found".to_owned(), BodyClass::Text),
        (format!("did={plc}"), BodyClass::Text),
        (format!("{plc} {plc}"), BodyClass::Text),
        (String::new(), BodyClass::Empty),
        ("<html>".to_owned(), BodyClass::Html),
        ("{}".to_owned(), BodyClass::Json),
        (format!("did:plc:{}", "a".repeat(5000)), BodyClass::Text),
    ] {
        assert_eq!(read(HttpPurpose::AtprotoDid, Some("text/plain"), bad.as_bytes()), (class, None), "{bad}");
    }
}

#[test]
fn did_documents() {
    let document = json!({"@context": ["https://www.w3.org/ns/did/v1"], "id": "did:plc:x",
        "alsoKnownAs": ["at://alice.example", 5], "service": [
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example"},
            {"id": "did:plc:x#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://b.example"},
            {"id": "#atproto_pds", "type": "Other", "serviceEndpoint": "https://c.example"},
            {"id": "#atproto_labeler", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://d.example"},
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": {"x": 1}},
            {"id": 5}, "x", null]});
    let expected = Content::DidDocument {
        id: Some("did:plc:x".into()),
        pds_endpoints: texts_of(&["https://pds.example", "https://b.example"]),
        also_known_as: texts_of(&["at://alice.example"]),
    };
    assert_eq!(read_json(HttpPurpose::DidDocument, document), (BodyClass::Expected, Some(expected)));
    assert_eq!(read_json(HttpPurpose::DidDocument, json!({"id": "did:plc:x", "service": {}})).0, BodyClass::Expected);
    // What plc.directory says of a DID it does not know.
    assert_eq!(read_json(HttpPurpose::DidDocument, json!({"message": "DID not registered"})), (BodyClass::Json, None));
}

#[test]
fn clients_and_handles() {
    let client = json!({"client_id": "https://app.example/c", "scope": "atproto", "redirect_uris": vec!["u"; 50],
        "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true});
    let expected = Content::ClientDocument {
        client_id: Some("https://app.example/c".into()),
        scope: Some("atproto".into()),
        redirect_uris: texts_of(&["u"; REDIRECT_URIS]),
        token_endpoint_auth_method: Some("none".into()),
        dpop_bound_access_tokens: Some(true),
    };
    assert_eq!(read_json(HttpPurpose::ClientDocument, client), (BodyClass::Expected, Some(expected)));
    assert_eq!(read_json(HttpPurpose::ClientDocument, json!({"scope": "atproto"})).0, BodyClass::Json);
    let resolved = read_json(HttpPurpose::ResolveHandle, json!({"did": "did:web:a.example"}));
    assert_eq!(resolved, (BodyClass::Expected, Some(Content::ResolvedHandle { did: "did:web:a.example".into() })));
    let error = json!({"error": "InvalidRequest", "message": "Unable to resolve handle"});
    let told = Content::XrpcError { error: "InvalidRequest".into(), message: Some("Unable to resolve handle".into()) };
    assert_eq!(read_json(HttpPurpose::ResolveHandle, error), (BodyClass::Json, Some(told)));
    assert_eq!(read_json(HttpPurpose::ResolveHandle, json!({"did": "alice"})), (BodyClass::Json, None));
}

#[test]
fn kinds_of_bodies() {
    let class = |content_type, body: &[u8]| read(HttpPurpose::Health, content_type, body).0;
    for (content_type, body, expected) in [
        (None, &b""[..], BodyClass::Empty),
        (JSON, b"{", BodyClass::Text),
        (JSON, b"\n <!DOCTYPE html><html>", BodyClass::Html),
        (None, b"\xef\xbb\xbf<HTML>", BodyClass::Html),
        (None, b"<!-- x --><html>", BodyClass::Html),
        (Some("Text/HTML;charset=utf-8"), b"hello", BodyClass::Html),
        (Some("text/htmlx"), b"hello", BodyClass::Text),
        (None, b"<?xml version='1.0'?><a/>", BodyClass::Text),
        (None, b"hello\xff", BodyClass::Binary),
        (None, b"a\0b", BodyClass::Binary),
        (Some("text/html"), b"\x1f\x8b\x08", BodyClass::Binary),
        (Some("text/html"), br#"{"version":"1"}"#, BodyClass::Expected),
    ] {
        assert_eq!(class(content_type, body), expected, "{content_type:?} {body:?}");
    }
    // A character cut in two at the limit does not make a text binary.
    assert_eq!(class_of_part(None, "ä".repeat(3).as_bytes().split_last().expect("bytes").1), BodyClass::Text);
}

#[test]
fn nothing_is_expected_where_nothing_was_asked_for() {
    for purpose in [HttpPurpose::PlainPort80, HttpPurpose::PlainOnTlsPort] {
        assert_eq!(read_json(purpose, json!({"version": "1", "did": "did:web:a"})), (BodyClass::Json, None));
    }
}

#[test]
fn hostile_strings_are_cleaned_and_bounded() {
    let (_, content) =
        read_json(HttpPurpose::Health, json!({"version": format!("\u{1b}[31m{}\u{202e}", "x".repeat(100_000))}));
    let Some(Content::Health { version }) = content else { panic!("not read") };
    assert!(version.starts_with("\u{FFFD}[31m") && version.chars().count() <= crate::text::TEXT_LIMIT + 1);
}

#[test]
fn bent_documents_never_panic() {
    let samples = [
        r#"{"version":"0.5.35","did":"did:web:a.example","availableUserDomains":[".a.example"],"id":"x"}"#,
        r##"{"id":"did:plc:x","service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"h"}]}"##,
        r#"{"issuer":"https://a","client_id":"b","redirect_uris":["c"],"resource":"\u00e9\ud83d\ude00","error":"e"}"#,
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz\n",
    ];
    let purposes = [
        HttpPurpose::Health,
        HttpPurpose::DescribeServer,
        HttpPurpose::ProtectedResource,
        HttpPurpose::AuthorizationServer,
        HttpPurpose::AtprotoDid,
        HttpPurpose::DidDocument,
        HttpPurpose::ClientDocument,
        HttpPurpose::ResolveHandle,
        HttpPurpose::ProxyPlc,
    ];
    // A small generator with a fixed seed (Numerical Recipes): the same bodies in every run.
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..20_000 {
        let mut body = samples[random(samples.len())].as_bytes().to_vec();
        for _ in 0..=random(4) {
            let at = random(body.len());
            match random(4) {
                0 => body[at] = u8::try_from(random(256)).expect("byte"),
                1 => body.truncate(at + 1),
                2 => body.insert(at, b"{}[]\":,\\0\xff"[random(10)]),
                _ => drop(body.remove(at)),
            }
            if body.is_empty() {
                break; // nothing left to bend
            }
        }
        for purpose in purposes {
            read(purpose, JSON, &body);
        }
        let text = String::from_utf8_lossy(&body);
        let _ = identifier::parse_target(&text);
        let _ = identifier::did_of_txt(&text);
        let _ = identifier::did_web_url(&text);
    }
}
