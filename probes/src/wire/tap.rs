//! A stream that remembers how much came, and how it began.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the beginning that are kept: enough to recognise a TLS record or a greeting.
const BEGINNING: usize = 64;

/// What came through a [`Tap`].
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    bytes: u64,
    beginning: Vec<u8>,
}

impl Seen {
    /// How many bytes came since the last [`Seen::reset`].
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The first bytes since the last [`Seen::reset`].
    pub(crate) fn beginning(&self) -> Vec<u8> {
        self.lock().beginning.clone()
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self) {
        *self.lock() = Count::default();
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
