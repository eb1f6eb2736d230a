//! JPEG, through zune-jpeg directly.
//!
//! The `image` crate wraps the same decoder but forgives: a picture that ends early comes back grey from there on. Here
//! three things make that an error. A picture without its end marker is refused. The decoder runs in strict mode, in which
//! a broken bitstream is an error. And since even then it makes up what is missing once it has seen the end marker (as in
//! a camera frame that lost packets on the way), it is not shown that marker where it can do without.

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::imaging::decode::{Decoded, Failure, SIDE_MAX};
use crate::imaging::header::{PixelSize, array};
use crate::imaging::picture::Pixels;

const SOI: [u8; 2] = [0xff, 0xd8];
const EOI: [u8; 2] = [0xff, 0xd9];
/// Tells the decoder to use the standard Huffman tables (ITU-T T.81, annex K.3): an APP0 segment of the AVI format.
const AVI1: [u8; 9] = [0xff, 0xe0, 0x00, 0x07, b'A', b'V', b'I', b'1', 0x00];
/// Stands where the end marker was: enough for a decoder that reads eight bytes ahead, too little to make up a row from.
const RUN_OUT: [u8; 16] = [0; 16];

/// What the segments before the first scan say.
pub(super) struct JpegHeader {
    pub width: u32,
    pub height: u32,
    /// An Adobe segment: four components are stored inverted then.
    adobe: bool,
    /// Huffman tables are in the file. USB cameras leave the standard ones out of their frames (UVC 1.5, MJPEG payload).
    huffman: bool,
    /// Coded in one go; a progressive picture's decoder looks for a marker behind every scan, the last one's included.
    sequential: bool,
    /// Where the end marker is.
    end: usize,
}

impl JpegHeader {
    /// Walks the segments up to the first scan and makes sure that an end marker follows.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut header = Self { width: 0, height: 0, adobe: false, huffman: false, sequential: false, end: 0 };
        let mut framed = false;
        let mut at = SOI.len();
        loop {
            let Some([mark, kind]) = array(bytes, at) else { return Err("it ends within its header") };
            if mark != 0xff || kind == 0xff {
                // Fill bytes before a marker are allowed; anything else is left to the decoder to judge.
                at += 1;
                continue;
            }
            let length = array(bytes, at + 2).map_or(0, |length| usize::from(u16::from_be_bytes(length)));
            let body = bytes.get(at + 4..).unwrap_or_default();
            match kind {
                // Start of frame, whatever the coding; between them are DHT, JPG and DAC.
                0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                    let Some([height_high, height_low, width_high, width_low]) = array(body, 1) else {
                        return Err("it ends within its header");
                    };
                    header.height = u32::from(u16::from_be_bytes([height_high, height_low]));
                    header.width = u32::from(u16::from_be_bytes([width_high, width_low]));
                    header.sequential = matches!(kind, 0xc0 | 0xc1);
                    framed = true;
                }
                0xc4 => header.huffman = true,
                0xee => header.adobe |= body.starts_with(b"Adobe"),
                0xd9 => return Err("it holds no image"),
                0xda if !framed => return Err("its size is missing"),
                0xda => break,
                _ => {}
            }
            at += 2 + length;
        }
        // Two bytes that never occur within coded data, where 0xff is always followed by 0 or a restart marker. The end is
        // searched from behind, where it nearly always is.
        let coded = bytes.get(at..).unwrap_or_default();
        let end = coded.windows(EOI.len()).rposition(|pair| pair == EOI).ok_or("its end is missing")?;
        header.end = at + end;
        Ok(header)
    }

    /// Where the end marker is; none where the coded data would begin behind it.
    pub(super) const fn end(&self) -> Option<usize> {
        if self.end > 0 { Some(self.end) } else { None }
    }

    /// The file as the decoder is to see it.
    fn prepared(&self, bytes: &[u8]) -> Vec<u8> {
        let tables: &[u8] = if self.huffman { &[] } else { &AVI1 };
        let (end, tail): (_, &[u8]) = if self.sequential { (self.end, &RUN_OUT) } else { (bytes.len(), &[]) };
        [&SOI, tables, bytes.get(SOI.len()..end).unwrap_or_default(), tail].concat()
    }
}

/// Decodes the picture, whose header gave `size`.
pub(super) fn decode(bytes: &[u8], size: PixelSize) -> Result<Decoded, Failure> {
    let header = JpegHeader::read(bytes).map_err(Failure::damaged)?;
    let prepared = header.prepared(bytes);
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(SIDE_MAX as usize)
        .set_max_height(SIDE_MAX as usize);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&prepared), options);
    decoder.decode_headers().map_err(Failure::damaged)?;
    if decoder.dimensions() != Some((size.0 as usize, size.1 as usize)) {
        return Err(Failure::damaged("it tells two sizes"));
    }
    let colours = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        // The decoder takes four components for inverted ones, as Adobe stores them; without Adobe's segment they are not.
        Some(ColorSpace::CMYK) if !header.adobe => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let mut samples = vec![0; size.0 as usize * size.1 as usize * colours.num_components()];
    decoder.decode_into(&mut samples).map_err(Failure::damaged)?;
    let pixels = match colours {
        ColorSpace::Luma => Pixels::Grey(samples),
        ColorSpace::CMYK => Pixels::Rgb(rgb_of_cmyk(&samples)),
        _ => Pixels::Rgb(samples),
    };
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok(Decoded { pixels, orientation: orientation.unwrap_or(Orientation::NoTransforms) })
}

/// Ink on white paper: a channel is what its ink and the black ink let through.
fn rgb_of_cmyk(samples: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / 4 * 3);
    for &[cyan, magenta, yellow, black] in samples.as_chunks::<4>().0 {
        let through = |ink: u8| {
            let product = u16::from(255 - ink) * u16::from(255 - black);
            ((product + 127) / 255) as u8
        };
        rgb.extend([through(cyan), through(magenta), through(yellow)]);
    }
    rgb
}
