//! What the PDS's own log says of requests that failed: the hidden reason that its HTTP answers leave out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, IntoEnumIterator};

use crate::text::Text;

/// The end of a log, in short. Its lines are never kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFact {
    /// The name of the file, or `container` and its name.
    pub source: Text,
    /// How many lines of a PDS were read.
    pub lines: u32,
    /// How many others were there: not JSON, or too long.
    pub other_lines: u32,
    /// How many of those were too long to be read.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub too_long: u32,
    /// The time of the first of them, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_ms: Option<i64>,
    /// The time of the last of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_ms: Option<i64>,
    /// Errors, by host and code; the latest first.
    pub errors: Vec<LogError>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// An error that was seen in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogError {
    /// Who noted it: `pds:oauth`.
    pub logger: Text,
    /// The host that was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<Text>,
    /// What went wrong.
    pub code: LogCode,
    /// How often.
    pub count: u32,
    /// When last, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_ms: Option<i64>,
}

/// The closed set of reasons that are looked for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display, EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LogCode {
    /// The PDS refused an address that is not public.
    NonUnicast,
    /// undici's limit on connecting.
    UndiciTimeout,
    /// An attempt that Node's timer, or the kernel, ended.
    TimedOut,
    /// No route to the network.
    NetworkUnreachable,
    /// No route to the host.
    HostUnreachable,
    /// A policy on the way.
    Prohibited,
    /// Refused.
    Refused,
    /// Cut off.
    Reset,
    /// No such name.
    NotFound,
    /// The resolver failed.
    TryAgain,
    /// The certificate has expired, or the clock is wrong.
    CertificateExpired,
    /// The certificate is from an authority that Node does not know.
    CertificateUntrusted,
    /// The certificate is for another name.
    CertificateName,
    /// No TLS where TLS was due.
    NotTls,
    /// The PDS's own limit of 10 s.
    Aborted,
    /// The disk is full.
    DiskFull,
    /// Node and the database module abort together.
    NodeAborted,
}

impl LogCode {
    /// The words that tell it. The first code in order that a line has counts.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::NonUnicast => &["non-unicast address"],
            Self::UndiciTimeout => &["UND_ERR_CONNECT_TIMEOUT", "Connect Timeout Error"],
            Self::TimedOut => &["ETIMEDOUT"],
            Self::NetworkUnreachable => &["ENETUNREACH"],
            Self::HostUnreachable => &["EHOSTUNREACH"],
            Self::Prohibited => &["EACCES"],
            Self::Refused => &["ECONNREFUSED"],
            Self::Reset => &["ECONNRESET", "UND_ERR_SOCKET"],
            Self::NotFound => &["ENOTFOUND"],
            Self::TryAgain => &["EAI_AGAIN"],
            Self::CertificateExpired => &["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"],
            Self::CertificateUntrusted => &[
                "SELF_SIGNED_CERT_IN_CHAIN",
                "DEPTH_ZERO_SELF_SIGNED_CERT",
                "UNABLE_TO_GET_ISSUER_CERT",
                "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            ],
            Self::CertificateName => &["ERR_TLS_CERT_ALTNAME_INVALID"],
            Self::NotTls => &["ERR_SSL_WRONG_VERSION_NUMBER", "wrong version number"],
            Self::Aborted => &["operation was aborted", "ABORT_ERR", "TimeoutError"],
            Self::DiskFull => &["SQLITE_FULL", "ENOSPC"],
            Self::NodeAborted => &["Assertion failed: (env) != nullptr"],
        }
    }

    /// The one that a text tells of.
    pub(crate) fn of(text: &str) -> Option<Self> {
        Self::iter().find(|code| code.marks().iter().any(|mark| text.contains(mark)))
    }

    /// As the log has it.
    pub fn words(self) -> &'static str {
        self.marks()[0]
    }
}
