use super::*;
use crate::text::Text;

#[test]
fn users_are_numbered_as_in_the_container() {
    assert_eq!(mapped("         0          0 4294967295\n", 1000), Some(1000));
    assert_eq!(mapped("0 100000 65536\n", 101_000), Some(1000));
    assert_eq!(mapped("0 100000 65536\n", 1000), None);
    assert_eq!(mapped("0 1000 1\n1 100000 65536\n", 1000), Some(0));
    for odd in ["", "x y z", "0 0", "0 0 -1", "18446744073709551615 0 5"] {
        assert_eq!(mapped(odd, 1), None, "{odd}");
    }
}

#[test]
fn nothing_of_the_containers_environment_comes_along() {
    let keys = ["PATH", "PDS_JWT_SECRET", "NODE_OPTIONS", "SSL_CERT_FILE", "LD_PRELOAD", "NODE_COMPILE_CACHE"];
    let keys = keys.map(str::to_owned).to_vec();
    let known = Known { socket: "/run/x.sock".into(), id: Text::new("0"), first: None, keys };
    let given = environment(&known, "--dns-result-order=ipv4first");
    let wanted = ["PDS_JWT_SECRET=", "LD_PRELOAD=", "NODE_COMPILE_CACHE=", "NODE_OPTIONS=--dns-result-order=ipv4first"];
    assert_eq!(given, wanted);
}

#[test]
fn frames_of_any_kind() {
    let frame = |stream: u8, words: &[u8]| {
        let length = u32::try_from(words.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, words].concat()
    };
    let all = [frame(1, b"one "), frame(2, b"two"), frame(1, b"three")].concat();
    assert_eq!(apart(&all), (b"one three".to_vec(), b"two".to_vec()));
    let endless = [frame(1, &[b'x'; 3 * ANSWER]), frame(2, &[b'y'; 3 * ANSWER])].concat();
    let (out, err) = apart(&endless);
    assert_eq!((out.len(), err.len()), (ANSWER, ANSWER));
    for cut in 0..all.len() {
        let _ = apart(all.get(..cut).unwrap_or_default());
    }
    let _ = apart(&[1, 0, 0, 0, 255, 255, 255, 255, 7]);
}

#[test]
fn no_id_changes_the_path() {
    assert!(is_id(&"0123456789abcdef".repeat(4)));
    for bad in ["", "../x", "a/b", "x", &"0".repeat(200)] {
        assert!(!is_id(bad), "{bad}");
    }
}
