//! `replay` of any file: read, judged, shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pdsdoctor::saved;

#[allow(unused)]
#[path = "../../tests/judge/mutants.rs"]
mod mutants;

fuzz_target!(|bytes: &[u8]| {
    let Ok(run) = saved::parse(bytes) else { return };
    let text = saved::to_json(&run).expect("JSON");
    assert_eq!(saved::parse(text.as_bytes()).as_ref(), Ok(&run));
    mutants::survives(&run);
});
