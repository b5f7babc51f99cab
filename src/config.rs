//! What is set once and holds for every run: the environment.

use crate::{egress::EgressHost, parse};

/// Hosts that stand in the table of [`crate::egress::EGRESS_HOSTS`] instead: `FAMILY=URL`, separated by spaces.
pub const EGRESS_HOSTS_VAR: &str = "PDSDOCTOR_EGRESS_HOSTS";

/// The hosts that the environment names.
///
/// # Errors
///
/// Says what is wrong with the variable.
pub fn egress_hosts() -> Result<Vec<EgressHost>, String> {
    match std::env::var(EGRESS_HOSTS_VAR) {
        Ok(value) => read(&value),
        Err(std::env::VarError::NotPresent) => Ok(Vec::new()),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{EGRESS_HOSTS_VAR} is not UTF-8")),
    }
}

fn read(value: &str) -> Result<Vec<EgressHost>, String> {
    value.split_whitespace().map(|raw| parse::egress_host_of(&format!("{EGRESS_HOSTS_VAR}:"), raw)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::EgressFamily;

    #[test]
    fn several_hosts_and_none() {
        assert_eq!(read(" \n"), Ok(Vec::new()));
        let two = read("near=https://a.example/x,y\n far=https://b.example").expect("two hosts");
        assert_eq!(two.iter().map(|host| host.family).collect::<Vec<_>>(), [EgressFamily::Near, EgressFamily::Far]);
        assert_eq!(two[0].url, "https://a.example/x,y");
        let why = read("near=https://me:CANARY@a.example/").expect_err("a password");
        assert!(why.contains(EGRESS_HOSTS_VAR) && !why.contains("CANARY"), "{why}");
        let why = read("near=https://a.example/ middle=https://b.example").expect_err("no such family");
        assert!(why.contains(EGRESS_HOSTS_VAR) && why.contains("middle"), "{why}");
    }
}
