//! Splits a file of concatenated JPEGs (`.mjpeg`) into pictures, in bounded memory.

use std::io::{self, Read};

use crate::imaging::segments::{Extent, SOI, extent, first_start};

/// A picture of more bytes than this is given up; no camera makes one.
const PICTURE_BYTES_MAX: usize = 16 << 20;
/// Bytes read at once, at least.
const READ_BYTES_MIN: usize = 64 << 10;

/// One picture of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamPicture {
    Whole(Vec<u8>),
    /// A picture that ends before its end marker: the stream ends within it, another picture begins within it, or it is larger
    /// than [`PICTURE_BYTES_MAX`].
    Cut(Vec<u8>),
}

/// The pictures of a stream, in order.
pub(super) struct JpegStream<R> {
    input: R,
    /// What was read and not yet given out.
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: Read> JpegStream<R> {
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), ended: false }
    }

    /// The next picture, from its SOI to its EOI marker (ITU-T T.81, B.1.1); none at the end of the stream. Bytes between
    /// pictures are passed over.
    ///
    /// # Errors
    /// When the stream cannot be read any further. The call after that gives what was read before the error.
    pub fn next(&mut self) -> io::Result<Option<StreamPicture>> {
        loop {
            self.buffer.drain(..first_start(&self.buffer));
            if self.buffer.starts_with(&[0xff, SOI]) {
                match extent(&self.buffer) {
                    Extent::Whole(length) => return Ok(Some(StreamPicture::Whole(self.take(length)))),
                    Extent::Cut(length) => return Ok(Some(StreamPicture::Cut(self.take(length)))),
                    Extent::Unfinished if self.ended || self.buffer.len() > PICTURE_BYTES_MAX => {
                        return Ok(Some(StreamPicture::Cut(self.take(self.buffer.len()))));
                    }
                    Extent::Unfinished => {}
                }
            } else if self.ended {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Reads as much as there is already, so that looking through it again costs no more than reading it.
    fn fill(&mut self) -> io::Result<()> {
        let wanted = self.buffer.len().clamp(READ_BYTES_MIN, PICTURE_BYTES_MAX) as u64;
        // Ended also for an error: a file that cannot be read here cannot be read behind it.
        self.ended = true;
        let read = self.input.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
        self.ended = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EOI: u8 = 0xd9;
    const SOS: u8 = 0xda;

    fn jpeg(body: &[u8]) -> Vec<u8> {
        [&[0xff, SOI][..], body, &[0xff, EOI]].concat()
    }

    fn all(bytes: &[u8]) -> Vec<StreamPicture> {
        let mut stream = JpegStream::new(bytes);
        std::iter::from_fn(|| stream.next().unwrap()).collect()
    }

    #[test]
    fn pictures_are_split_at_their_own_end() {
        // Metadata with a thumbnail, stuffed bytes, restart markers and fill bytes.
        let thumbnail = [&[0xff, 0xe1, 0, 202, 0xff, SOI, 0xff, EOI][..], &[1; 196]].concat();
        let coded = [0xff, SOS, 0, 2, 1, 0xff, 0, 2, 0xff, 0xd3, 3, 0xff];
        let with_thumbnail = jpeg(&[&thumbnail[..], &coded].concat());
        let plain = jpeg(&[0xff, SOS, 0, 2, 9]);
        let file = [&with_thumbnail[..], b"--boundary\r\n", &plain].concat();
        assert_eq!(all(&file), [StreamPicture::Whole(with_thumbnail), StreamPicture::Whole(plain)]);
    }

    #[test]
    fn a_cut_picture_costs_that_picture_alone_wherever_it_is_cut() {
        let whole = jpeg(&[0xff, 0xdb, 0, 5, 1, 2, 3, 0xff, SOS, 0, 2, 9, 8, 7]);
        for length in 2..whole.len() {
            assert_eq!(
                all(&whole[..length]),
                [StreamPicture::Cut(whole[..length].to_vec())],
                "cut at {length}, at the end"
            );
            let file = [&whole, &whole[..length], &whole, &whole].concat();
            let found = all(&file);
            let wholes =
                found.iter().filter(|next| matches!(next, StreamPicture::Whole(picture) if *picture == whole)).count();
            assert_eq!((wholes, found.len()), (3, 4), "cut at {length}, in the middle");
        }
        assert_eq!(all(b"nothing here"), []);
    }

    #[test]
    fn a_picture_without_end_is_given_up_at_the_limit() {
        for filling in [7, 0xff] {
            let mut stream = JpegStream::new([0xff, SOI].chain(io::repeat(filling)));
            let Some(StreamPicture::Cut(picture)) = stream.next().unwrap() else {
                panic!("{filling}: no end, and taken")
            };
            assert!(picture.len() <= PICTURE_BYTES_MAX * 2, "{}", picture.len());
        }
    }

    #[test]
    fn what_was_read_before_an_error_is_given_out() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let whole = jpeg(&[0xff, SOS, 0, 2, 9]);
        let file = [&whole[..], &[0xff, SOI, 0xff]].concat();
        let mut stream = JpegStream::new(file.chain(Broken));
        assert!(stream.next().is_err());
        assert_eq!(stream.next().unwrap(), Some(StreamPicture::Whole(whole)));
        assert_eq!(stream.next().unwrap(), Some(StreamPicture::Cut(vec![0xff, SOI, 0xff])));
        assert_eq!(stream.next().unwrap(), None);
    }
}
