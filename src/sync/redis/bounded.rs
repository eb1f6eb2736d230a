//! A connection whose replies are bounded: what the other side sends never decides how much memory the unit takes.
//!
//! The client parses a reply once it is there as a whole, and takes memory for an array by the length that the array announces. So
//! the framing of RESP (<https://redis.io/docs/latest/develop/reference/protocol-spec/>) is followed here as bytes come in, and a
//! reply that is too large ends the connection at the length it announces.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of all replies to one request. A batch's replies are some kilobytes, the newest entry of a stream among them.
const REPLY_BYTES_MAX: u64 = 4 << 20;
/// Elements of all arrays in the replies to one request: above the replies to the largest batch.
const ELEMENTS_MAX: u64 = 1 << 18;

/// Why a connection was given up.
#[derive(Debug)]
pub(super) struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reply has more than {REPLY_BYTES_MAX} bytes or {ELEMENTS_MAX} elements")
    }
}

impl std::error::Error for TooLarge {}

/// The connection.
pub(super) struct Bounded<S> {
    inner: S,
    reply: Reply,
}

impl<S> Bounded<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, reply: Reply::default() }
    }
}

/// What has come since the last request, and where in the framing it ends.
#[derive(Debug, Default)]
struct Reply {
    bytes: u64,
    elements: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Before the byte that says what follows.
    #[default]
    Start,
    /// In the line of something of this kind, with the number so far.
    Line { kind: u8, number: u64, negative: bool },
    /// In a string of which so much is left, its line end included.
    Text { left: u64 },
}

impl Reply {
    fn asked(&mut self) {
        (self.bytes, self.elements) = (0, 0);
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        self.bytes += bytes.len() as u64;
        if self.bytes > REPLY_BYTES_MAX {
            return Err(TooLarge);
        }
        while let Some((&first, rest)) = bytes.split_first() {
            match self.place {
                Place::Start => {
                    self.place = Place::Line { kind: first, number: 0, negative: false };
                    bytes = rest;
                }
                Place::Line { kind, number, negative } => {
                    self.place = match first {
                        b'\n' => self.after_line(kind, if negative { 0 } else { number }, negative)?,
                        b'0'..=b'9' => {
                            let number = number.saturating_mul(10).saturating_add(u64::from(first - b'0'));
                            Place::Line { kind, number, negative }
                        }
                        _ => Place::Line { kind, number, negative: negative || first == b'-' },
                    };
                    bytes = rest;
                }
                Place::Text { left } => {
                    let skipped = left.min(bytes.len() as u64);
                    self.place = if skipped == left { Place::Start } else { Place::Text { left: left - skipped } };
                    bytes = &bytes[skipped as usize..];
                }
            }
        }
        Ok(())
    }

    fn after_line(&mut self, kind: u8, number: u64, negative: bool) -> Result<Place, TooLarge> {
        match kind {
            b'$' | b'=' | b'!' if number > REPLY_BYTES_MAX => Err(TooLarge),
            b'$' | b'=' | b'!' if !negative => Ok(Place::Text { left: number + 2 }),
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                self.elements = self.elements.saturating_add(number);
                if self.elements > ELEMENTS_MAX { Err(TooLarge) } else { Ok(Place::Start) }
            }
            _ => Ok(Place::Start),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let come = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.reply.take(come).map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.reply.asked();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(replies: &[u8], piece: usize) -> bool {
        let mut reply = Reply::default();
        replies.chunks(piece).all(|bytes| reply.take(bytes).is_ok())
    }

    #[test]
    fn a_reply_is_given_up_at_the_length_it_announces() {
        let usual = b"+PONG\r\n$5\r\n*9999\r\n$-1\r\n*-1\r\n:7999999999\r\n-ERR 9999999999 lines\r\n*2\r\n$3\r\nabc\r\n,1.5\r\n%1\r\n+a\r\n#t\r\n";
        for piece in [1, 2, 7, 1_000] {
            assert!(taken(usual, piece));
            assert!(!taken(b"$4194305\r\n", piece), "a long string");
            assert!(!taken(b"+OK\r\n*999999999\r\n", piece), "a long array");
            assert!(!taken(b"$99999999999999999999999999\r\n", piece), "no number");
            assert!(!taken(&b"*65536\r\n".repeat(5), piece), "arrays in arrays");
        }
        assert!(!taken(&[b'+'; 5 << 20], 1 << 16), "a line without an end");
        let mut reply = Reply::default();
        for _ in 0..10 {
            reply.asked();
            assert!(reply.take(&b"+OK\r\n".repeat(400_000)).is_ok(), "each request has its own replies");
        }
    }
}
