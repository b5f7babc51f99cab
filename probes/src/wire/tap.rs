//! A stream that remembers how much came, and how it began, and that ends where too much comes.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::fact::{Failure, FailureKind};

/// The failure of a stream over which too much came.
fn flood(bytes: u64) -> Failure {
    let words = format!("given up after {} KiB: no answer takes so many bytes", bytes / 1024);
    Failure::new(FailureKind::Flood, &words)
}

/// Bytes of the beginning that are kept: enough to recognise a TLS record or a greeting.
const BEGINNING: usize = 64;

/// What came through a [`Tap`].
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Count>>);

struct Count {
    bytes: u64,
    beginning: Vec<u8>,
    /// How many bytes may come.
    most: u64,
    /// More wanted to come.
    flooded: bool,
}

impl Default for Count {
    fn default() -> Self {
        Self { bytes: 0, beginning: Vec::new(), most: u64::MAX, flooded: false }
    }
}

impl Seen {
    /// How many bytes came since the last [`Seen::allow`].
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The first bytes since the last [`Seen::allow`].
    pub(crate) fn beginning(&self) -> Vec<u8> {
        self.lock().beginning.clone()
    }

    /// Begins to count anew, up to `most`.
    pub(crate) fn allow(&self, most: u64) {
        *self.lock() = Count { most, ..Count::default() };
    }

    /// More came than was allowed; the stream has ended with an error.
    pub(crate) fn is_flooded(&self) -> bool {
        self.lock().flooded
    }

    /// What the failure of an exchange over this stream is, after all: libraries do not hand on why a stream ended.
    pub(crate) fn named(&self, failure: Failure) -> Failure {
        if self.is_flooded() { flood(self.bytes()) } else { failure }
    }

    fn is_over(&self) -> bool {
        let mut count = self.lock();
        count.flooded |= count.bytes > count.most;
        count.flooded
    }

    fn note(&self, came: &[u8]) {
        let mut count = self.lock();
        count.bytes = count.bytes.saturating_add(came.len() as u64);
        let room = BEGINNING.saturating_sub(count.beginning.len());
        count.beginning.extend_from_slice(&came[..came.len().min(room)]);
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose incoming bytes are counted.
pub(crate) struct Tap<S> {
    inner: S,
    seen: Seen,
}

impl<S> Tap<S> {
    /// Counts what comes through `inner`.
    pub(crate) fn new(inner: S) -> (Self, Seen) {
        let seen = Seen::default();
        (Self { inner, seen: seen.clone() }, seen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_over() {
            return Poll::Ready(Err(io::Error::other("too much came")));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.seen.note(buf.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
