use super::*;

/// What stands in place of every secret; some places need a secret of another kind.
const CANARY: &str = "CANARYpw1";

#[test]
fn secrets_leave_a_gap() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.CANARYSIG";
    for (raw, clean) in [
        ("password=CANARYpw1 x", "password=… x"),
        ("Password: CANARYpw1, next", "Password: …, next"),
        (r#"{"password":"CANARYpw1","a":1}"#, r#"{"password":"…","a":1}"#),
        (r#"{"adminPassword" : "CANARY \"pw1"}"#, r#"{"adminPassword" : "…"}"#),
        (r#"{\"refreshJwt\":\"CANARYpw1\",\"x\":\"y\"}"#, r#"{\"refreshJwt\":\"…\",\"x\":\"y\"}"#),
        (r#"{"access_token":"CANARYpw1"#, r#"{"access_token":"…"#),
        ("{'secret': 'CANARYpw1'}", "{'secret': '…'}"),
        ("secret => CANARYpw1", "secret => …"),
        ("X-Api-Key: CANARYpw1", "X-Api-Key: …"),
        ("Authorization: Basic Q0FOQVJZOnB3", "Authorization: …"),
        ("Cookie: a=CANARYpw1; b=CANARYpw1", "Cookie: …"),
        ("got Bearer CANARYpw1.x/y= there", "got Bearer … there"),
        ("DPoP CANARYpw1CANARYpw1", "DPoP …"),
        ("urn:ietf:params:oauth:request_uri:CANARYpw1", "urn:ietf:params:oauth:request_uri:…"),
        ("https://me:CANARYpw1@mail.example/x", "https://…@mail.example/x"),
        ("https://me:CANARY/pw1@mail.example/x", "https://…@mail.example/x"),
        ("smtps://me%40x:CANARYpw1@[2001:db8::1]:465/", "smtps://…@[2001:db8::1]:465/"),
        ("see https://a.example/cb?code=CANARYpw1#CANARYpw1.", "see https://a.example/cb?…"),
        ("(https://a.example/x?y) z", "(https://a.example/x?…) z"),
        ("write to anna.CANARY@mail.example.", "write to …"),
        ("u:CANARYpw1@evil.example.com", "u:…"),
        ("<input name=csrf value=CANARYpw1>text", "<input name=… value=…>text"),
        ("<meta charset=\"utf-8\"><a href='/x?t=CANARYpw1' id=CANARYpw1", "<meta charset=\"utf-8\"><a href=… id=…"),
        ("<script>var csrfToken = 'CANARYpw1'", "<script>var csrfToken = '…'"),
        ("key AKIACANARY7EXAMPLEkey99x end", "key … end"),
        ("hash 5f4dcc3b5aa765d61d8327deb882cf99", "hash …"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id …"),
    ] {
        assert_eq!(text(raw), clean, "{raw}");
        assert_eq!(text(clean), clean, "a second time nothing changes: {clean}");
    }
    assert!(!text(&format!("token {jwt} of")).contains("CANARY"));
    assert!(!text(&format!("a/{jwt}")).contains("CANARY"));
}

/// Rules read these, and people.
#[test]
fn words_names_and_identities_stay() {
    for plain in [
        "Unable to obtain client metadata for \"https://tangled.org/oauth/client-metadata.json\": Invalid hostname",
        "client authentication method \"private_key_jwt\" required a \"client_assertion\"",
        "Validation of \"redirect_uris\" failed with error: Required",
        "invalid_client: client credentials missing",
        "code_challenge is required",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3k44dddddddd2",
        "did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N",
        "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a",
        "dial tcp 203.0.113.7:443: connect: connection refused",
        "lookup app.example.com on 127.0.0.53:53: no such host",
        "UND_ERR_CONNECT_TIMEOUT ERR_HTTP2_STREAM_CANCEL",
        "oauth-client-metadata-egress",
        "@alice.example.com uses @atproto/pds@0.4.200",
        "com.atproto.server.describeServer",
        "Cannot GET /xrpc/_health",
        "\"token_endpoint\":\"https://pds.example.com/oauth/token\"",
        "https://pds.example.com:8443/xrpc/_health",
        "https://[2001:db8::1]:8443/x",
        "ec2-203-0-113-9.compute-1.amazonaws.com",
        "2a01:4f9:c010:1::1",
        "a < b, x@y",
        "",
    ] {
        assert_eq!(text(plain), plain);
    }
}

#[test]
fn no_field_of_a_fact_is_forgotten() {
    let secret = format!("password={CANARY} a@{CANARY}.example https://u:{CANARY}@h.example/p?{CANARY}");
    let json = serde_json::json!({
        "http": {"kind":"http","role":"target","purpose":"health","method":"GET","url":"https://h.example/",
            "failure":{"kind":"not_http","detail":secret},"status":200,
            "headers":{"location":format!("/login?next={CANARY}"),"server":secret,"x-powered-by":secret,"via":secret,
                "www-authenticate":format!("Bearer realm=\"{CANARY}\", error=\"invalid_token\", DPoP algs=\"{CANARY}\"")},
            "body":{"class":"json","bytes":1,"truncated":false,"excerpt":secret},
            "content":{"document":"xrpc_error","error":secret,"message":secret}},
        "par": {"kind":"par","role":"target","server":"https://h.example","endpoint":"https://h.example/par",
            "arm":"as_named","client":"https://a.example/c","client_id":"https://a.example/c","scope":"atproto",
            "headers":{"www-authenticate":format!("Bearer realm=\"{CANARY}\""),"access-control-allow-origin":secret},
            "content_type":secret,"error":secret,"description":secret,"excerpt":secret,"accepted":false,
            "failure":{"kind":"other","detail":secret}},
        "resource": {"kind":"http","role":"target","purpose":"protected_resource","method":"GET","url":"https://h.example/",
            "content":{"document":"protected_resource","resource":secret,"authorization_servers":[secret]}},
        "domains": {"kind":"http","role":"target","purpose":"describe_server","method":"GET","url":"https://h.example/",
            "content":{"document":"describe_server","did":null,"available_user_domains":[format!("u:{CANARY}@evil.example.com")]}},
        "did": {"kind":"http","role":"directory","purpose":"did_document","method":"GET","url":"https://h.example/",
            "content":{"document":"did_document","id":null,"pds_endpoints":[secret],"also_known_as":[secret]}},
        "txt": {"kind":"dns","role":"handle","purpose":"handle_txt","name":"_atproto.h.example","record_type":"TXT",
            "server":"192.0.2.1:53","attempt":1,"outcome":"answer","records":
            [CANARY, format!("google-site-verification={CANARY}"), format!("v=spf1 include:{CANARY}"),
             format!("DID=x password={CANARY}")],
            "cname_chain":[],"detail":secret},
        "node": {"kind":"node_fetch","arm":"as_it_is","url":"https://a.example/","node_options":"","code":secret,
            "inner":[secret],"failure":secret},
        "connect": {"kind":"connect","role":"target","host":"h.example","addr":"192.0.2.1","port":443,
            "failure":{"kind":"other","detail":secret}},
        "log": {"kind":"log","source":secret,"lines":1,"other_lines":0,
            "errors":[{"logger":format!("pds:token={CANARY}"),"code":"timed_out","count":1}]},
    });
    for (name, body) in json.as_object().expect("an object") {
        let mut body: FactBody = serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        fact(&mut body);
        let kept = serde_json::to_string(&body).expect("JSON");
        assert!(!kept.contains(CANARY), "{name}: {kept}");
    }
}

#[test]
fn what_records_say_of_a_did_stays() {
    let records =
        ["did=did:plc:ewvi7nxzyoun6zhxrhs64oiz", "\"did=did:web:a.example\"", "DID = did:web:a.example", "v=spf1 -all"];
    let mut body: FactBody =
        serde_json::from_value(serde_json::json!({"kind":"dns","role":"handle","purpose":"handle_txt",
        "name":"_atproto.h.example","record_type":"TXT","server":"192.0.2.1:53","attempt":1,"outcome":"answer",
        "records":records,"cname_chain":[]}))
        .expect("a fact");
    fact(&mut body);
    let FactBody::Dns(dns) = body else { panic!("another fact") };
    let kept: Vec<&str> = dns.records.iter().map(Text::as_str).collect();
    assert_eq!(kept, [records[0], records[1], records[2], "v=…"]);
}

#[test]
fn what_the_user_wrote_behind_a_question_mark_is_hidden_wherever_it_comes_back() {
    let hidden =
        Hidden::of(["https://app.example/c.json?token=CANARY%2Fpw1&v=2", "https://b.example/?x", "https://c.example/"]);
    for (raw, clean) in [
        ("https://app.example/c.json?token=CANARY%2Fpw1&v=2", "https://app.example/c.json?…"),
        ("https://app.example/c.json?token=CANARY%2Fpw1&v=2&pdsdoctor=07", "https://app.example/c.json?…&pdsdoctor=07"),
        ("value CANARY/pw1 unknown", "value … unknown"),
        ("https%3A%2F%2Fapp.example%2Fc.json%3Ftoken%3DCANARY%252Fpw1%26v%3D2", "https%3A%2F%2Fapp.example%2Fc.json…"),
        ("cut at https://app.example/c.json?token=CANA…", "cut at https://app.example/c.json…"),
        ("https://b.example/?x", "https://b.example/?…"),
        ("a tax", "a tax"),
    ] {
        assert_eq!(hidden.text(raw), clean);
    }
    let mut value = serde_json::json!({"a": ["?token=CANARY%2Fpw1&v=2", 1], "b": {"c": "CANARY/pw1"}});
    hidden.value(&mut value);
    assert_eq!(value, serde_json::json!({"a": ["?…", 1], "b": {"c": "…"}}));
    assert!(Hidden::of(["https://c.example/"]).is_empty());
}

proptest::proptest! {
    /// Whatever comes, nothing breaks, and cleaning twice changes nothing but what the first left behind.
    #[test]
    fn any_text(raw in "[a-zA-Z0-9:/@?&=\"'<> .,_%…\\\\{}\\[\\]-]{0,80}|.{0,60}") {
        let once = text(&raw);
        let _ = text(&once);
        let _ = Hidden::of([raw.as_str()]).text(&once);
        let _ = (location(&raw), challenge(&raw));
    }

    /// A password behind its name is gone, whatever stands around it.
    #[test]
    fn any_password(before in "[a-z \"{,(]{0,12}", value in "[A-Za-z0-9!$*+/-]{1,30}", after in "[ ,\"}a-z]{0,12}") {
        let raw = format!("{before} password=\"CANARY{value}\" {after}");
        proptest::prop_assert!(!text(&raw).contains("CANARY"), "{}", text(&raw));
        let raw = format!("{before} secret_key: CANARY{value} {after}");
        proptest::prop_assert!(!text(&raw).contains("CANARY"), "{}", text(&raw));
    }
}
