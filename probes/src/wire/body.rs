//! Answers over HTTP: the headers that matter and a bounded body.

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    future::poll_fn,
    pin::Pin,
    time::Duration,
};

use hyper::{
    HeaderMap,
    body::{Body, Buf, Bytes},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use crate::{
    document,
    fact::{Failure, FailureKind},
    failure,
    http_fact::{BodyFact, Content, HttpPurpose, KEPT_HEADERS},
    limits,
    text::Text,
};

/// The most characters of a body that are kept as they are.
const EXCERPT: usize = 200;

/// The most lines of one header that are kept.
const HEADER_LINES: usize = 8;

/// A body as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The bytes, at most [`limits::BODY_BYTES`].
    pub(crate) bytes: Vec<u8>,
    /// More came, or was announced, than is read.
    pub(crate) truncated: bool,
    /// Why it is not complete.
    pub(crate) failure: Option<Failure>,
    /// The place of a large one among those that are read at once: free again when it was judged.
    place: Option<SemaphorePermit<'static>>,
}

/// The places of large bodies.
static PLACES: Semaphore = Semaphore::const_new(limits::LARGE_BODIES);

/// Reads a body until its end, [`limits::BODY_BYTES`] or `deadline`. What is not read is never taken
/// from the connection.
pub(crate) async fn read<B>(mut body: B, deadline: Instant, limit: Duration, told: fn(&B::Error) -> Failure) -> Read
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error,
{
    let mut read = Read::default();
    loop {
        let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = match timeout_at(deadline, next).await {
            Err(_) => {
                read.failure = Some(failure::too_slow(limit, "the body"));
                return read;
            }
            Ok(None) => return read,
            Ok(Some(Err(error))) => {
                read.failure = Some(told(&error));
                return read;
            }
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers mean nothing to anyone here.
        let Ok(data) = frame.into_data() else { continue };
        if read.place.is_none() && read.bytes.len() + data.len() > limits::SMALL_BODY {
            // Nothing more is taken from the connection until there is room.
            match timeout_at(deadline, PLACES.acquire()).await {
                Ok(place) => read.place = place.ok(),
                Err(_) => {
                    let words = "large, and others as large were being read until the time was up";
                    read.failure = Some(Failure::new(FailureKind::TooLarge, words));
                    return read;
                }
            }
        }
        let room = limits::BODY_BYTES - read.bytes.len();
        read.bytes.extend_from_slice(&data.chunk()[..data.len().min(room)]);
        if data.len() > room {
            read.truncated = true;
            let words = format!("the body is larger than {} bytes", limits::BODY_BYTES);
            read.failure = Some(Failure::new(FailureKind::TooLarge, &words));
            return read;
        }
    }
}

/// How much of a body that is longer than what is kept is gone through for its end. An engine on the same machine sends that
/// in a few tenths of a second.
const GONE_THROUGH: u64 = 64 * 1024 * 1024;

/// The end of a body, at most [`limits::BODY_BYTES`] of it: a log's newest lines come last. `truncated`: the beginning is
/// missing; a failure: the end is.
pub(crate) async fn read_end<B>(mut body: B, deadline: Instant, limit: Duration, told: fn(&B::Error) -> Failure) -> Read
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error,
{
    let mut read = Read::default();
    let mut kept = VecDeque::new();
    let mut came = 0_u64;
    read.failure = loop {
        let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = match timeout_at(deadline, next).await {
            Err(_) => break Some(failure::too_slow(limit, "the body")),
            Ok(None) => break None,
            Ok(Some(Err(error))) => break Some(told(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        came = came.saturating_add(data.len() as u64);
        // Only the end of one piece can be in the end of all.
        let piece = &data.chunk()[data.len().saturating_sub(limits::BODY_BYTES)..];
        let over = (kept.len() + piece.len()).saturating_sub(limits::BODY_BYTES);
        kept.drain(..over.min(kept.len()));
        kept.extend(piece);
        if came > GONE_THROUGH {
            let words = format!("the body is larger than {GONE_THROUGH} bytes");
            break Some(Failure::new(FailureKind::TooLarge, &words));
        }
    };
    read.truncated = came > kept.len() as u64;
    read.bytes = kept.into();
    read
}

impl Read {
    /// What the body is, judged by its own bytes; a body that did not come whole is no document.
    pub(crate) fn judge(&self, purpose: HttpPurpose, content_type: Option<&str>) -> (BodyFact, Option<Content>) {
        let (class, content) = document::read(purpose, content_type, &self.bytes);
        let whole = self.failure.is_none();
        let body = BodyFact {
            class: if whole { class } else { document::class_of_part(content_type, &self.bytes) },
            bytes: self.bytes.len(),
            truncated: self.truncated,
            excerpt: excerpt(&self.bytes),
        };
        (body, content.filter(|_| whole))
    }
}

/// The beginning of a body, cleaned.
pub(crate) fn excerpt(bytes: &[u8]) -> Text {
    let part = &bytes[..bytes.len().min(EXCERPT * 8)];
    Text::limited(&String::from_utf8_lossy(part), EXCERPT)
}

/// The headers that matter; repeated ones joined by `, ` as RFC 9110, section 5.3 says.
pub(crate) fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, Text> {
    let mut kept = BTreeMap::new();
    for name in KEPT_HEADERS {
        let mut lines = Vec::new();
        for value in headers.get_all(*name).iter().take(HEADER_LINES) {
            // What a nonce is says nothing to anybody but the server that gave it.
            let kept = if *name == "dpop-nonce" { b"(given)" } else { value.as_bytes() };
            lines.push(Text::from_bytes(kept));
        }
        if !lines.is_empty() {
            let joined = lines.iter().map(Text::as_str).collect::<Vec<_>>().join(", ");
            kept.insert((*name).to_owned(), Text::new(&joined));
        }
    }
    kept
}

/// One header as text, if it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
