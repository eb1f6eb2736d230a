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

use crate::imaging::dc;
use crate::imaging::decode::{Decoded, Failure, SIDE_MAX};
use crate::imaging::header::{PixelSize, array};
use crate::imaging::picture::Pixels;
use crate::imaging::segments::{EOI, SOI, SOS, Segment, Segments};

/// Define number of lines: the height, behind the first scan.
const DNL: u8 = 0xdc;
/// Tells the decoder to use the standard Huffman tables (ITU-T T.81, annex K.3): an APP0 segment of the AVI format.
const AVI1: [u8; 9] = [0xff, 0xe0, 0x00, 0x07, b'A', b'V', b'I', b'1', 0x00];
/// Stands where the end marker was: enough for a decoder that reads eight bytes ahead, too little to make up a row from.
const RUN_OUT: [u8; 16] = [0; 16];

/// What the segments before the first scan say.
#[derive(Default)]
pub(super) struct JpegHeader {
    pub width: u32,
    pub height: u32,
    /// An Adobe segment: four components are stored inverted then.
    adobe: bool,
    /// Huffman tables are in the file. USB cameras leave the standard ones out of their frames (UVC 1.5, MJPEG payload).
    huffman: bool,
    /// Coded in one go; a progressive picture's decoder looks for a marker behind every scan, the last one's included.
    sequential: bool,
    /// Components of the frame, the first one's name, and the largest vertical sampling factor among them.
    components: u8,
    first_component: Option<u8>,
    down_max: u8,
    /// Where the last end marker is.
    end: usize,
}

impl JpegHeader {
    /// Reads the segments up to the first scan and makes sure that an end marker follows.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let mut header = Self::default();
        let mut segments = Segments::of(bytes);
        let scan = loop {
            let segment = segments.next().ok_or_else(|| Failure::damaged("it ends within its header"))?;
            match segment.marker {
                _ if segment.is_frame() => header.frame(&segment)?,
                0xc4 => header.huffman = true,
                0xcc => return Err(Failure::unsupported("arithmetic coding")),
                0xde | 0xdf => return Err(Failure::unsupported("hierarchical coding")),
                0xf7 => return Err(Failure::unsupported("JPEG-LS")),
                0xee => header.adobe |= segment.body.starts_with(b"Adobe"),
                EOI => return Err(Failure::damaged("it holds no image")),
                SOS if header.components == 0 => return Err(Failure::damaged("its size is missing")),
                SOS => break segment,
                _ => {}
            }
        };
        if header.height == 0 && segments.any(|segment| segment.marker == DNL) {
            return Err(Failure::unsupported("its height is told behind its data, DNL"));
        }
        // The decoder puts the rows of such pictures in the wrong places, or wants the tables of components to come.
        let separate = header.sequential && scan.body.first() < Some(&header.components);
        if separate && (header.down_max > 1 || scan.body.get(1) != header.first_component.as_ref()) {
            return Err(Failure::unsupported("components in separate scans"));
        }
        // Two bytes that never occur within coded data, where 0xff is always followed by 0 or a restart marker. The end is
        // searched from behind, where it nearly always is.
        let coded = bytes.get(scan.end..).unwrap_or_default();
        let end = coded.windows(2).rposition(|pair| pair == [0xff, EOI]);
        header.end = scan.end + end.ok_or_else(|| Failure::damaged("its end is missing"))?;
        Ok(header)
    }

    /// A start of frame (T.81, B.2.2): precision, height, width, and three bytes a component.
    fn frame(&mut self, segment: &Segment<'_>) -> Result<(), Failure> {
        match segment.marker {
            0xc0..=0xc2 => {}
            0xc3 => return Err(Failure::unsupported("lossless coding")),
            0xc5..=0xc7 => return Err(Failure::unsupported("hierarchical coding")),
            _ => return Err(Failure::unsupported("arithmetic coding")),
        }
        let Some([bits, height_high, height_low, width_high, width_low, components]) = array(segment.body, 0) else {
            return Err(Failure::damaged("it ends within its header"));
        };
        if bits != 8 {
            return Err(Failure::unsupported(format!("{bits} bits a sample")));
        }
        if !matches!(components, 1 | 3 | 4) {
            return Err(Failure::unsupported(format!("{components} components")));
        }
        self.height = u32::from(u16::from_be_bytes([height_high, height_low]));
        self.width = u32::from(u16::from_be_bytes([width_high, width_low]));
        self.sequential = segment.marker != 0xc2;
        self.components = components;
        let factors = || segment.body.get(6..).into_iter().flat_map(|told| told.chunks_exact(3).map(|one| one[1]));
        if factors().any(|factor| factor >> 4 == 3 || factor & 15 == 3) {
            return Err(Failure::unsupported("subsampling by three"));
        }
        let first = factors().next().unwrap_or_default();
        // The decoder spreads the colours over the brightness, never the brightness over the colours.
        if factors().any(|factor| factor >> 4 > first >> 4 || factor & 15 > first & 15) {
            return Err(Failure::unsupported("colours in a finer grid than the brightness"));
        }
        self.first_component = segment.body.get(6).copied();
        self.down_max = first & 15;
        Ok(())
    }

    /// Where the end marker is; none where the coded data would begin behind it.
    pub(super) const fn end(&self) -> Option<usize> {
        if self.end > 0 { Some(self.end) } else { None }
    }

    /// The file as the decoder is to see it: without stray and fill bytes, and without metadata other than EXIF.
    fn prepared(&self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut prepared = Vec::with_capacity(bytes.len() + AVI1.len() + RUN_OUT.len());
        prepared.extend([0xff, SOI]);
        prepared.extend_from_slice(if self.huffman { &[] } else { &AVI1 });
        let mut coded_from = None;
        for segment in Segments::of(bytes) {
            if let Some(from) = coded_from.take() {
                extend_without_fill(&mut prepared, bytes.get(from..segment.start).unwrap_or_default());
            }
            match segment.marker {
                EOI => {
                    prepared.extend_from_slice(if self.sequential { &RUN_OUT } else { &[0xff, EOI] });
                    return Ok(prepared);
                }
                SOI => return Err(Failure::damaged("another picture begins within it")),
                0xe1 if !segment.body.starts_with(b"Exif\0\0") => continue,
                0xe0 | 0xe2..=0xed | 0xef | 0xfe | DNL => continue,
                SOS => coded_from = Some(segment.end),
                _ => {}
            }
            prepared.extend([0xff, segment.marker]);
            prepared
                .extend_from_slice(bytes.get(segment.end - segment.body.len() - 2..segment.end).unwrap_or_default());
        }
        Err(Failure::damaged("its end is missing"))
    }
}

/// Appends coded data without the bytes that fill up before a marker.
fn extend_without_fill(prepared: &mut Vec<u8>, mut coded: &[u8]) {
    while let Some(at) = coded.windows(2).position(|pair| pair == [0xff, 0xff]) {
        prepared.extend_from_slice(coded.get(..at).unwrap_or_default());
        coded = coded.get(at + 1..).unwrap_or_default();
    }
    prepared.extend_from_slice(coded.strip_suffix(&[0xff]).unwrap_or(coded));
}

/// Decodes the picture, whose header gave `size`.
pub(super) fn decode(bytes: &[u8], size: PixelSize) -> Result<Decoded, Failure> {
    let header = JpegHeader::read(bytes)?;
    if !header.sequential && !dc::first_scan_is_whole(bytes, size) {
        return Err(Failure::damaged("its first scan is cut"));
    }
    let prepared = header.prepared(bytes)?;
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
