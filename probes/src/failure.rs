//! Errors of the system and of libraries, reduced to [`FailureKind`]. The only place that does so.
//! Types, flags and numbers decide; the words of an error only go into the detail.

use std::{error::Error, io, time::Duration};

use nix::errno::Errno;
use rustls::InvalidMessage;

use crate::{
    fact::{Failure, FailureKind},
    text::Text,
};

/// The most links of an error's chain of causes that are followed.
const CHAIN: usize = 16;

/// Nothing came back within `limit`.
pub fn timeout(limit: Duration, waited_for: &str) -> Failure {
    Failure::new(FailureKind::Timeout, &format!("{waited_for} took longer than {}", seconds(limit)))
}

/// Bytes came, but not all of them within `limit`.
pub fn too_slow(limit: Duration, waited_for: &str) -> Failure {
    Failure::new(FailureKind::TooSlow, &format!("{waited_for} was not complete after {}", seconds(limit)))
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_millis() as f64 / 1000.0)
}

/// An error of the system.
pub fn from_io(error: &io::Error) -> Failure {
    if let Some(inner) = error.get_ref() {
        // Libraries wrap their own errors into io::Error: what is inside says more.
        if let Some(found) = classify(inner) {
            return found;
        }
        if let Some(found) = inner.source().and_then(|source| chain(source, CHAIN)) {
            return found;
        }
    }
    let errno = error.raw_os_error();
    let kind = errno.and_then(kind_of_errno).unwrap_or_else(|| kind_of_io(error.kind()));
    Failure { kind, errno, detail: Text::limited(&error.to_string(), 200) }
}

/// Numbers for which the standard library has no stable kind, or lumps them together.
fn kind_of_errno(errno: i32) -> Option<FailureKind> {
    Some(match Errno::from_raw(errno) {
        // "IPv6 switched off in the kernel" looks like this; to a user it is "no IPv6 here".
        Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH | Errno::ENETDOWN => {
            FailureKind::NetworkUnreachable
        }
        Errno::EHOSTUNREACH | Errno::EHOSTDOWN => FailureKind::HostUnreachable,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS => FailureKind::ThisSideResources,
        // ENOPROTOOPT is what "ICMP protocol unreachable" becomes, a way for firewalls to say no.
        Errno::EACCES | Errno::EPERM | Errno::ENOPROTOOPT => FailureKind::Prohibited,
        _ => return None,
    })
}

fn kind_of_io(kind: io::ErrorKind) -> FailureKind {
    use io::ErrorKind as Io;
    match kind {
        Io::ConnectionRefused => FailureKind::Refused,
        Io::ConnectionReset | Io::BrokenPipe | Io::ConnectionAborted => FailureKind::Reset,
        Io::HostUnreachable => FailureKind::HostUnreachable,
        Io::NetworkUnreachable | Io::AddrNotAvailable | Io::NetworkDown => FailureKind::NetworkUnreachable,
        Io::OutOfMemory => FailureKind::ThisSideResources,
        Io::PermissionDenied => FailureKind::Prohibited,
        Io::TimedOut => FailureKind::Timeout,
        Io::UnexpectedEof | Io::NotConnected => FailureKind::Closed,
        _ => FailureKind::Other,
    }
}

/// An error of the TLS library.
pub fn from_rustls(error: &rustls::Error) -> Failure {
    let kind = match error {
        rustls::Error::AlertReceived(_) => FailureKind::TlsAlert,
        rustls::Error::InvalidMessage(message) => match message {
            // The first byte of a record is none of TLS's content types (RFC 8446, section 5.1), or
            // what follows is no TLS version: this is another protocol.
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion => FailureKind::NotTls,
            // A certificate message beyond 64 KiB.
            InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge => {
                FailureKind::TooLarge
            }
            _ => FailureKind::TlsOther,
        },
        _ => FailureKind::TlsOther,
    };
    Failure::new(kind, &error.to_string())
}

/// The name of the alert in an error, in rustls's word for it (RFC 8446, section 6), such as `InternalError`.
pub fn alert_of(error: &io::Error) -> Option<Text> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(Text::limited(&format!("{alert:?}"), 60)),
        _ => None,
    }
}

/// An error of hyper.
pub fn from_hyper(error: &hyper::Error) -> Failure {
    chain(error, CHAIN).unwrap_or_else(|| Failure::new(FailureKind::Other, &deepest(error)))
}

/// The first link of the chain of causes that can be told.
fn chain(error: &(dyn Error + 'static), links: usize) -> Option<Failure> {
    let mut next = Some(error);
    for _ in 0..links {
        let current = next?;
        if let Some(found) = classify(current) {
            return Some(found);
        }
        next = current.source();
    }
    None
}

/// What this very error says, without its causes.
fn classify(error: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(from_io(error));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(from_rustls(error));
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return Some(from_h2(error));
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    let kind = if error.is_parse_too_large() {
        FailureKind::TooLarge
    } else if error.is_parse() {
        FailureKind::NotHttp
    } else if error.is_incomplete_message() {
        FailureKind::Closed
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else if error.source().is_some() {
        // The cause knows better.
        return None;
    } else if error.is_canceled() || error.is_closed() {
        FailureKind::Closed
    } else {
        return None;
    };
    Some(Failure::new(kind, &error.to_string()))
}

fn from_h2(error: &h2::Error) -> Failure {
    if let Some(io) = error.get_io() {
        return from_io(io);
    }
    let kind = if error.is_library() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR) {
        FailureKind::NotHttp
    } else if error.is_go_away() {
        FailureKind::Closed
    } else if error.is_reset() {
        FailureKind::Reset
    } else {
        FailureKind::Other
    };
    Failure::new(kind, &error.to_string())
}

/// The words of the last cause: those of the first are "error sending request".
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut current = error;
    for _ in 0..CHAIN {
        match current.source() {
            Some(source) => current = source,
            None => break,
        }
    }
    current.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_kinds() {
        for (errno, kind) in [
            (Errno::ECONNREFUSED, FailureKind::Refused),
            (Errno::ECONNRESET, FailureKind::Reset),
            (Errno::EPIPE, FailureKind::Reset),
            (Errno::EHOSTUNREACH, FailureKind::HostUnreachable),
            (Errno::ENETUNREACH, FailureKind::NetworkUnreachable),
            (Errno::EADDRNOTAVAIL, FailureKind::NetworkUnreachable),
            (Errno::EAFNOSUPPORT, FailureKind::NetworkUnreachable),
            (Errno::EACCES, FailureKind::Prohibited),
            (Errno::EPERM, FailureKind::Prohibited),
            (Errno::ETIMEDOUT, FailureKind::Timeout),
            (Errno::EMFILE, FailureKind::ThisSideResources),
            (Errno::ENFILE, FailureKind::ThisSideResources),
            (Errno::ENOMEM, FailureKind::ThisSideResources),
            (Errno::ENOBUFS, FailureKind::ThisSideResources),
            (Errno::EINVAL, FailureKind::Other),
        ] {
            let failure = from_io(&io::Error::from_raw_os_error(errno as i32));
            assert_eq!((failure.kind, failure.errno), (kind, Some(errno as i32)), "{errno}");
        }
    }

    #[test]
    fn what_is_wrapped_decides() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::InternalError);
        let once = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(from_io(&once).kind, FailureKind::TlsAlert);
        assert_eq!(alert_of(&once).as_deref(), Some("InternalError"));
        let reset = io::Error::from_raw_os_error(Errno::ECONNRESET as i32);
        let twice = io::Error::other(io::Error::other(reset));
        assert_eq!(from_io(&twice).kind, FailureKind::Reset);
    }
}
