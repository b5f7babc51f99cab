//! Names people type.

/// What a target looks like by its form alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetInput {
    /// `did:…`.
    Did(String),
    /// `@alice.example` or `at://alice.example`.
    Handle(String),
    /// `https://host[:port][/…]`.
    Url {
        /// Host, lower case, without a final dot.
        host: String,
        /// Port.
        port: u16,
    },
    /// A bare name: a host or a handle, which is decided by looking.
    Name(String),
}
