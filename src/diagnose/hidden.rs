//! The hidden reason: what the PDS's own log has of a host, which its answers leave out.

use pdsdoctor_probes::{
    fact::FactId,
    log_fact::{LogCode, LogError},
};

use super::{evidence::Evidence, node_model::Prediction, words::span};

/// What is older says little of what is now: a day, within which somebody who looks for a fault has tried a login.
const RECENT_MS: i64 = 86_400_000;

/// The last error of a host in the PDS's log.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The reason.
    pub code: LogCode,
    /// It is of the last day.
    pub recent: bool,
    /// In words.
    pub line: String,
    /// The fact.
    pub id: FactId,
}

/// Looks it up.
pub fn hidden(evidence: &Evidence<'_>, host: &str) -> Option<Hidden> {
    let (seen, error) = evidence.log_error(host)?;
    let ago = ago_ms(evidence, error);
    let when = match ago {
        // The clocks of two machines, and of a run that lasts a while.
        Some(ago) if ago > 60_000 => format!(", last {} before this check", span(ago / 1_000)),
        Some(_) => ", last during this check".to_owned(),
        None => String::new(),
    };
    let times = if error.count == 1 { "once".to_owned() } else { format!("{} times", error.count) };
    let line = format!(
        "the PDS's own log ({}) has the reason that its answer leaves out: {} for {host}, {times}{when}",
        seen.body.source,
        error.code.words()
    );
    Some(Hidden { code: error.code, recent: ago.is_some_and(|ago| ago < RECENT_MS), line, id: seen.id() })
}

fn ago_ms(evidence: &Evidence<'_>, error: &LogError) -> Option<i64> {
    let started: jiff::Timestamp = evidence.run.started.parse().ok()?;
    Some(started.as_millisecond().saturating_sub(error.last_ms?))
}

impl Hidden {
    /// It is the error that the model of Node predicts.
    pub fn agrees(&self, predicted: &Prediction) -> bool {
        let codes: &[&str] = match self.code {
            LogCode::TimedOut => &["ETIMEDOUT"],
            LogCode::UndiciTimeout => &["UND_ERR_CONNECT_TIMEOUT"],
            LogCode::Aborted => &["ABORT_ERR", "UND_ERR_CONNECT_TIMEOUT"],
            LogCode::NetworkUnreachable => &["ENETUNREACH"],
            LogCode::HostUnreachable => &["EHOSTUNREACH"],
            _ => &[],
        };
        self.recent && predicted.code().is_some_and(|code| codes.contains(&code))
    }

    /// It is one that no connection attempt has anything to do with: the name, a policy, a certificate.
    pub fn is_of_another_kind(&self) -> bool {
        self.recent
            && matches!(
                self.code,
                LogCode::NonUnicast
                    | LogCode::NotFound
                    | LogCode::TryAgain
                    | LogCode::Refused
                    | LogCode::Reset
                    | LogCode::CertificateExpired
                    | LogCode::CertificateUntrusted
                    | LogCode::CertificateName
                    | LogCode::NotTls
            )
    }
}
