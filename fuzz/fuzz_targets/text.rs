//! Foreign text: bounded, the same when cleaned twice, and nothing in it that a terminal obeys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pdsdoctor::render::wrap;
use pdsdoctor_probes::text::{TEXT_LIMIT, Text};

fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fuzz_target!(|bytes: &[u8]| {
    let text = Text::from_bytes(bytes);
    assert!(text.chars().count() <= TEXT_LIMIT + 1);
    assert!(!text.contains(obeyed), "{text:?}");
    assert_eq!(Text::new(&text), text, "cleaned twice");
    let json = serde_json::to_string(&text).expect("JSON");
    assert_eq!(serde_json::from_str::<Text>(&json).expect("read again"), text);

    let raw = String::from_utf8_lossy(bytes);
    for unicode in [true, false] {
        let clean = wrap::clean(&raw, unicode);
        assert!(!clean.contains(obeyed), "{clean:?}");
        assert!(unicode || clean.is_ascii());
        for columns in [1, 7, 40, 80] {
            for line in wrap::wrap(&clean, columns) {
                // A wide character in a column of one is the only thing that does not fit.
                assert!(wrap::width(&line) <= columns.max(2), "{columns}: {line:?}");
            }
            // One character and the mark are always there.
            assert!(wrap::width(&wrap::cut(&clean, columns, unicode)) <= columns.max(4));
        }
    }
});
