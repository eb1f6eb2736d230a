//! Splits a file of concatenated JPEGs (`.mjpeg`) into pictures, in bounded memory.

use std::io::{self, BufRead};

/// One frame larger than this is taken for a damaged file.
const FRAME_BYTES_MAX: usize = 16 << 20;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;

/// Reads the next JPEG, from its SOI to its EOI marker (ITU-T T.81, B.1.1). Segments are skipped by their length, so that a
/// thumbnail inside one does not end the picture. Bytes between pictures are passed over.
///
/// # Errors
/// `UnexpectedEof` when the file ends inside a picture, `InvalidData` when a picture has no end within the limit.
pub(super) fn next_jpeg(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    if !skip_to_start(input)? {
        return Ok(None);
    }
    let mut jpeg = vec![0xFF, SOI];
    loop {
        match marker(input, &mut jpeg)? {
            EOI => return Ok(Some(jpeg)),
            // RST0…RST7 and TEM stand alone; 0 is a stuffed byte of the entropy-coded data.
            0 | 0x01 | 0xD0..=0xD7 => {}
            SOS => segment(input, &mut jpeg)?,
            SOI => jpeg = vec![0xFF, SOI],
            _ => segment(input, &mut jpeg)?,
        }
        if jpeg.len() > FRAME_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a picture has more than {FRAME_BYTES_MAX} bytes"),
            ));
        }
    }
}

/// Passes over everything before the next SOI; false at the end of the file.
fn skip_to_start(input: &mut impl BufRead) -> io::Result<bool> {
    let mut after_ff = false;
    loop {
        let Some(byte) = byte(input)? else { return Ok(false) };
        if after_ff && byte == SOI {
            return Ok(true);
        }
        after_ff = byte == 0xFF;
    }
}

/// Copies up to and including the next 0xFF and the byte behind it, which it returns.
fn marker(input: &mut impl BufRead, jpeg: &mut Vec<u8>) -> io::Result<u8> {
    let limit = (FRAME_BYTES_MAX + 2).saturating_sub(jpeg.len()) as u64;
    io::Read::take(&mut *input, limit).read_until(0xFF, jpeg)?;
    if jpeg.last() != Some(&0xFF) {
        return Err(endless(jpeg));
    }
    // Any number of 0xFF may fill up before a marker's code.
    while jpeg.len() <= FRAME_BYTES_MAX {
        let code = byte(input)?.ok_or_else(|| endless(jpeg))?;
        jpeg.push(code);
        if code != 0xFF {
            return Ok(code);
        }
    }
    Err(endless(jpeg))
}

/// The file ended inside a picture, or the picture is larger than any camera's.
fn endless(jpeg: &[u8]) -> io::Error {
    let kind = if jpeg.len() > FRAME_BYTES_MAX { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
    io::Error::new(kind, "a picture has no end")
}

/// Copies a marker segment: two bytes of length (which count themselves) and what follows.
fn segment(input: &mut impl BufRead, jpeg: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 2];
    input.read_exact(&mut length)?;
    jpeg.extend_from_slice(&length);
    let rest = usize::from(u16::from_be_bytes(length)).saturating_sub(2);
    let start = jpeg.len();
    jpeg.resize(start + rest, 0);
    input.read_exact(&mut jpeg[start..])
}

fn byte(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    let next = input.fill_buf()?.first().copied();
    if next.is_some() {
        input.consume(1);
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(body: &[u8]) -> Vec<u8> {
        [&[0xFF, SOI][..], body, &[0xFF, EOI]].concat()
    }

    fn all(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut input = bytes;
        std::iter::from_fn(|| next_jpeg(&mut input).unwrap()).collect()
    }

    #[test]
    fn pictures_are_split_at_their_own_end() {
        // A thumbnail inside an APP1 segment, stuffed bytes, restart markers and fill bytes.
        let with_thumbnail =
            jpeg(&[0xFF, 0xE1, 0, 6, 0xFF, SOI, 0xFF, EOI, 0xFF, SOS, 0, 2, 1, 0xFF, 0, 2, 0xFF, 0xD3, 3, 0xFF]);
        let plain = jpeg(&[0xFF, SOS, 0, 2, 9]);
        let file = [&with_thumbnail[..], b"--boundary\r\n", &plain].concat();
        assert_eq!(all(&file), [with_thumbnail, plain]);
    }

    #[test]
    fn a_cut_picture_is_an_error_and_no_picture_is_the_end() {
        let whole = jpeg(&[0xFF, SOS, 0, 2, 9]);
        for length in 2..whole.len() {
            let cut = next_jpeg(&mut &whole[..length]);
            assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "cut at {length}");
        }
        assert!(next_jpeg(&mut &b"nothing here"[..]).unwrap().is_none());
    }

    #[test]
    fn a_picture_without_end_stops_at_the_limit() {
        let endless = io::BufReader::new(io::Read::chain(&[0xFF, SOI][..], io::repeat(7)));
        assert_eq!(next_jpeg(&mut { endless }).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let fill = io::BufReader::new(io::Read::chain(&[0xFF, SOI][..], io::repeat(0xFF)));
        assert_eq!(next_jpeg(&mut { fill }).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
