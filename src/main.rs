//! pdsdoctor.
fn main() {}
