//! The flags that change how Node connects.

use serde::Serialize;

/// The flags that change how Node connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Flag {
    /// `--network-family-autoselection`, `--no-network-family-autoselection`.
    AutoSelect,
    /// Its older name, `--enable-network-family-autoselection`.
    EnableAutoSelect,
    /// `--network-family-autoselection-attempt-timeout`.
    AttemptTimeout,
    /// `--dns-result-order`.
    ResultOrder,
}

impl Flag {
    /// Each with its name.
    pub(super) const ALL: [(Flag, &'static str); 4] = [
        (Flag::AutoSelect, "--network-family-autoselection"),
        (Flag::EnableAutoSelect, "--enable-network-family-autoselection"),
        (Flag::AttemptTimeout, "--network-family-autoselection-attempt-timeout"),
        (Flag::ResultOrder, "--dns-result-order"),
    ];

    /// It takes no value.
    pub(super) fn is_boolean(self) -> bool {
        matches!(self, Flag::AutoSelect | Flag::EnableAutoSelect)
    }
}
