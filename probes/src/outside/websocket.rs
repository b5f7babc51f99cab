//! The event stream of a PDS (`com.atproto.sync.subscribeRepos`): how a WebSocket is asked for (RFC 6455, section 4.1), and
//! the first frame that comes.

use hyper::{
    HeaderMap, Response,
    body::Incoming,
    header::{CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::{
    fact::{Failure, FailureKind},
    failure,
    http_fact::Content,
    limits,
    text::Text,
};

/// The cursor is the largest whole number that JavaScript has, so it lies in the future of every sequence: the PDS says so in
/// one frame (`FutureCursor`) and closes, whether or not anything ever happened there (`@atproto/pds`, `subscribeRepos.ts`).
pub(super) const PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos?cursor=9007199254740991";

/// The nonce is that of RFC 6455, section 1.3, and so is what must come back for it. A new one each time would tell an answer
/// from a copy of it; here the frame tells that.
pub(super) const FIELDS: [(HeaderName, &str); 4] = [
    (CONNECTION, "Upgrade"),
    (UPGRADE, "websocket"),
    (SEC_WEBSOCKET_VERSION, "13"),
    (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
];
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The most bytes of a frame that are read; an error frame has about 60.
const FRAME_BYTES: u64 = 16 * 1024;

/// Control frames (RFC 6455, section 5.5) that may come before the first message.
const CONTROL_FRAMES: usize = 4;

/// The first frame of a stream that was opened. `None`: it stays open and silent, as one of a PDS may that has no word for
/// a cursor in the future.
///
/// # Errors
///
/// What was granted is no WebSocket, or it was closed before anything came.
pub(super) async fn first_frame(response: Response<Incoming>) -> Result<Option<Content>, Failure> {
    if !is_accepted(response.headers()) {
        let words = "status 101, but not for a WebSocket that was asked for here";
        return Err(Failure::new(FailureKind::Other, words));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| failure::from_hyper(&error))?;
    match timeout(limits::FIRST_FRAME, message(TokioIo::new(upgraded))).await {
        Err(_) => Ok(None),
        Ok(Ok(Some(payload))) => Ok(Some(content(&payload))),
        Ok(Ok(None)) => Err(Failure::new(FailureKind::Closed, "the stream was closed before its first message")),
        Ok(Err(error)) => Err(failure::from_io(&error)),
    }
}

fn is_accepted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    upgrade && headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == ACCEPT)
}

/// The beginning of the first message; `None` where the stream was closed instead.
async fn message(mut stream: impl AsyncRead + Unpin) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..=CONTROL_FRAMES {
        // RFC 6455, section 5.2. A server masks nothing.
        let opcode = stream.read_u8().await? & 0x0f;
        let length = match stream.read_u8().await? {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            masked @ 128.. => return Err(io::Error::other(format!("a masked frame of a server ({masked})"))),
            length => u64::from(length),
        };
        let mut payload = Vec::new();
        (&mut stream).take(length.min(FRAME_BYTES)).read_to_end(&mut payload).await?;
        match opcode {
            0x8 => return Ok(None),
            0x9 | 0xa if length <= 125 => {}
            _ => return Ok(Some(payload)),
        }
    }
    Err(io::Error::other("nothing but control frames"))
}

/// What a frame says (atproto.com/specs/event-stream, "Framing"): two maps of DAG-CBOR, of which there is one encoding, so that
/// the few that matter can be told by their bytes.
fn content(payload: &[u8]) -> Content {
    let error = after(payload, b"\xa1bop\x20", b"eerror");
    let event = if error.is_none() { after(payload, b"\xa2at", b"") } else { None };
    Content::StreamFrame { error, event }
}

/// The short text that follows `key` in a frame that begins with `head`.
fn after(payload: &[u8], head: &[u8], key: &[u8]) -> Option<Text> {
    let rest = payload.strip_prefix(head)?;
    let at = rest.windows(key.len().max(1)).position(|window| window.starts_with(key))?;
    let (length, text) = rest.get(at + key.len()..)?.split_first()?;
    // A text string of up to 23 bytes has its length in the first byte (RFC 8949, section 3.1).
    let length = usize::from(length.checked_sub(0x60).filter(|length| *length <= 23)?);
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Text::new(text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::{
        fact::Role,
        http_fact::HttpFact,
        net::Net,
        outside::{http::Line, tcp},
        testing::{hold, net, raw_server, read_head, serve},
    };

    const FUTURE: &[u8] = b"\xa1bop\x20\xa2eerrorlFutureCursorgmessageuCursor in the future.";
    const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    async fn asked(net: &Net, addr: std::net::SocketAddr) -> HttpFact {
        let stream = tcp::connect_within(addr.ip(), addr.port(), Duration::from_secs(5)).await.expect("connected");
        let mut line = Line::open(net, Role::Target, "pds.example.com", addr.ip(), addr.port(), stream, false)
            .await
            .expect("a line");
        line.subscribe(net).await
    }

    async fn answered(frames: &[u8]) -> HttpFact {
        let answer = [GRANTED.as_bytes(), frames].concat();
        let addr = serve(move |mut stream| {
            let answer = answer.clone();
            async move {
                let head = read_head(&mut stream).await.to_ascii_lowercase();
                assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-version: 13"), "{head}");
                stream.write_all(&answer).await.expect("written");
                hold(stream).await;
            }
        })
        .await;
        asked(&net(), addr).await
    }

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short one");
        [&[0x80 | opcode, length], payload].concat()
    }

    #[tokio::test]
    async fn a_stream_that_answers_is_open_and_alive() {
        for frames in [frame(2, FUTURE), [frame(9, b"are you there"), frame(2, FUTURE)].concat()] {
            let fact = answered(&frames).await;
            assert_eq!((fact.status, &fact.failure), (Some(101), &None));
            let error = Some(Text::new("FutureCursor"));
            assert_eq!(fact.content, Some(Content::StreamFrame { error, event: None }));
        }
        let commit = answered(&frame(2, b"\xa2atg#commitbop\x01\xa1cseq\x01")).await;
        assert_eq!(commit.content, Some(Content::StreamFrame { error: None, event: Some(Text::new("#commit")) }));
    }

    #[tokio::test]
    async fn one_that_is_silent_is_open() {
        let fact = answered(b"").await;
        assert_eq!((fact.status, fact.failure, fact.content), (Some(101), None, None));
    }

    #[tokio::test]
    async fn hostile_frames_are_words_and_no_more() {
        let endless = [&[0x82, 127][..], &u64::MAX.to_be_bytes(), &[0; 40_000]].concat();
        let told = answered(&endless).await;
        assert_eq!(told.content, Some(Content::StreamFrame { error: None, event: None }));
        for frames in [frame(8, b"\x03\xe8"), frame(9, b"").repeat(9), vec![0x82, 0x85, 1, 2, 3, 4, 5]] {
            let fact = answered(&frames).await;
            assert!(fact.status == Some(101) && fact.failure.is_some(), "{fact:?}");
        }
        for payload in [&b"\xa1bop\x20\xa2eerror"[..], b"\xa1bop\x20eerror\x7f", b"\xa1bop\x20eerrorla\x1b[31m000000"] {
            assert_eq!(content(payload), Content::StreamFrame { error: None, event: None });
        }
    }

    #[tokio::test]
    async fn who_does_not_grant_it_is_seen_as_in_any_exchange() {
        let body = r#"{"error":"AuthMissing","message":"Authentication Required"}"#;
        let refusal = format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let fact = asked(&net(), raw_server(refusal).await).await;
        assert_eq!((fact.status, &fact.failure), (Some(401), &None));
        assert!(matches!(&fact.content, Some(Content::XrpcError { error, .. }) if error.as_str() == "AuthMissing"));
        let other = asked(&net(), raw_server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n").await).await;
        assert_eq!(other.failure.expect("no WebSocket").kind, FailureKind::Other);
    }
}
