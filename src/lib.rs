//! pdsdoctor.
