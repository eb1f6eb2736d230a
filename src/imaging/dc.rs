//! The DC coefficients of a baseline JPEG's luma blocks, without decoding the rest (ITU-T T.81, F.2.2).
//!
//! Every coefficient has to be parsed, since codes have variable lengths, but AC coefficients are only skipped.

use crate::imaging::header::array;
use crate::imaging::jpeg::JpegHeader;
use crate::imaging::segments::{SOS, Segments};
use crate::imaging::standard_tables::{AC_CHROMA, AC_LUMA, DC_CHROMA, DC_LUMA};

/// Codes up to this length are found with one look; longer ones are rare.
const FAST_BITS: u32 = 10;
/// Coefficients are skipped by so many bits at a time.
const SKIP_BITS: u32 = 12;
/// A block has a DC and 63 AC coefficients.
const COEFFICIENTS: u32 = 64;
/// A code of sixteen bits and a value of fifteen: what one coefficient takes at most.
const COEFFICIENT_BITS_MAX: u32 = 31;
/// So many bits of a read can be used, wherever in a byte it began.
const READ_BITS: u32 = 57;
/// A code has at most sixteen bits.
const CODE_BITS_MAX: usize = 16;
/// A read may look eight bytes beyond the last coded one.
const READ_AHEAD: [u8; 16] = [0; 16];

/// One mean a luma block, row by row.
pub(super) struct Blocks {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
    pub picture: (u32, u32),
}

/// Reads the means; none for what is no plain baseline picture, or a damaged one: the decoder says what is wrong with it.
pub(super) fn read(bytes: &[u8], pixels_max: u64) -> Option<Blocks> {
    // Makes sure of the end marker.
    let header = JpegHeader::read(bytes).ok()?;
    let scan = Scan::of(bytes).filter(|scan| !scan.progressive && !scan.oriented)?;
    let pixels = u64::from(header.width) * u64::from(header.height);
    if pixels == 0 || pixels > pixels_max || scan.components.is_empty() {
        return None;
    }
    scan.blocks(bytes.get(scan.start..header.end()?)?, (header.width, header.height))
}

/// Whether the first scan of a progressive picture holds all that it should. Its decoder fills up what is missing. True for
/// kinds that are not looked at here.
pub(super) fn first_scan_is_whole(bytes: &[u8], size: (u32, u32)) -> bool {
    let Some(scan) = Scan::of(bytes).filter(|scan| scan.progressive) else { return true };
    scan.blocks(bytes.get(scan.start..).unwrap_or_default(), size).is_some()
}

/// A Huffman table: code → symbol.
struct Table {
    /// For the next [`FAST_BITS`] bits: length and symbol; length 0 where the code is longer.
    fast: Vec<(u8, u8)>,
    /// By length: first code, its symbol's place, and one beyond the last code.
    long: [(u32, usize, u32); CODE_BITS_MAX + 1],
    symbols: Vec<u8>,
}

/// What the next [`SKIP_BITS`] bits hold of whole AC coefficients with their values.
#[derive(Clone, Copy, Default)]
struct Skip {
    /// Bits of all of them; 0 where not even one fits.
    bits: u8,
    /// Coefficients, those that are zero included.
    coefficients: u8,
    /// The block's end follows them, whose bits are counted.
    ends: bool,
}

impl Table {
    /// From the counts of codes a length and the symbols in order (annex C).
    fn read(bytes: &[u8]) -> Option<Self> {
        let (counts, symbols) = bytes.split_at_checked(CODE_BITS_MAX)?;
        let mut table = Self {
            fast: vec![(0, 0); 1 << FAST_BITS],
            long: [(0, 0, 0); CODE_BITS_MAX + 1],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(counts) {
            table.long[length as usize] = (code, place, code + u32::from(count));
            if code + u32::from(count) > 1 << length {
                return None;
            }
            for _ in 0..count {
                let symbol = *symbols.get(place)?;
                if length <= FAST_BITS {
                    let first = (code << (FAST_BITS - length)) as usize;
                    table.fast.get_mut(first..first + (1 << (FAST_BITS - length)))?.fill((length as u8, symbol));
                }
                code += 1;
                place += 1;
            }
            code <<= 1;
        }
        Some(table)
    }

    /// Length and symbol of the code that `bits` begin with.
    #[inline]
    fn look(&self, bits: u64) -> Option<(u32, u8)> {
        let (length, symbol) = self.fast[(bits >> (64 - FAST_BITS)) as usize];
        if length > 0 {
            return Some((u32::from(length), symbol));
        }
        (FAST_BITS + 1..=CODE_BITS_MAX as u32).find_map(|length| {
            let code = (bits >> (64 - length)) as u32;
            let (first, place, end) = self.long[length as usize];
            let symbol = (first..end).contains(&code).then(|| self.symbols.get(place + (code - first) as usize))??;
            Some((length, *symbol))
        })
    }

    /// The AC coefficient that `bits` begin with: bits of its code and value, and how many coefficients it makes with the
    /// zeros before it; none at the block's end (F.2.2.2).
    #[inline]
    fn coefficient(&self, bits: u64) -> Option<(u32, u32)> {
        let (length, symbol) = self.look(bits)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        Some((length + size, if size == 0 && run != 15 { 0 } else { run + 1 }))
    }

    /// What the first [`SKIP_BITS`] bits hold, as far as they tell it.
    fn skip(&self, first: u64) -> Skip {
        let mut skip = Skip::default();
        while let Some((bits, coefficients)) = self.coefficient(first << skip.bits) {
            let all = u32::from(skip.bits) + bits;
            let beyond = u32::from(skip.coefficients) + coefficients;
            if all > SKIP_BITS || beyond >= COEFFICIENTS {
                break;
            }
            (skip.bits, skip.coefficients, skip.ends) = (all as u8, beyond as u8, coefficients == 0);
            if skip.ends {
                break;
            }
        }
        skip
    }
}

/// An AC table with what can be skipped at once.
struct AcTable {
    codes: Table,
    skips: Vec<Skip>,
}

impl AcTable {
    fn new(codes: Table) -> Self {
        let skips = (0..1_u64 << SKIP_BITS).map(|first| codes.skip(first << (64 - SKIP_BITS))).collect();
        Self { codes, skips }
    }

    /// Parses the rest of a block from `bit` on, behind its DC coefficient.
    #[inline]
    fn skip_block(&self, data: &[u8], bit: &mut usize) -> Option<()> {
        let mut coefficient = 1;
        loop {
            let (mut word, mut left) = (bits(data, *bit)?, READ_BITS);
            while left >= COEFFICIENT_BITS_MAX {
                let skip = self.skips[(word >> (64 - SKIP_BITS)) as usize];
                let (mut taken, mut ends) = (u32::from(skip.bits), skip.ends);
                let beyond = coefficient + u32::from(skip.coefficients);
                if taken > 0 && beyond < COEFFICIENTS {
                    coefficient = beyond;
                } else {
                    // One alone: a long one, or the block's last, which no end follows.
                    let (bits, coefficients) = self.codes.coefficient(word)?;
                    (taken, ends) = (bits, coefficients == 0);
                    coefficient += coefficients;
                }
                *bit += taken as usize;
                if ends || coefficient >= COEFFICIENTS {
                    return Some(());
                }
                word <<= taken;
                left -= taken;
            }
        }
    }
}

/// One component of the scan.
struct Component {
    across: usize,
    down: usize,
    dc: usize,
    ac: usize,
    luma: bool,
}

/// What the segments before the coded data say.
#[derive(Default)]
struct Scan {
    components: Vec<Component>,
    /// Sampling of the frame: the largest of any component.
    across_max: usize,
    down_max: usize,
    dc: [Option<Table>; 4],
    ac: [Option<AcTable>; 4],
    /// DC quantisation step of luma.
    step: f32,
    /// MCUs between restart markers; 0: none.
    restart: usize,
    /// Where the coded data begins.
    start: usize,
    /// Progressive: the first scan holds DC coefficients alone, and not to their last bit.
    progressive: bool,
    /// There is EXIF, which may tell an orientation.
    oriented: bool,
}

impl Scan {
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut scan = Self::default();
        let mut steps = [0.0_f32; 4];
        // Identifier, sampling across and down, quantisation table.
        let mut frame: Vec<(u8, usize, usize, usize)> = Vec::new();
        for segment in Segments::of(bytes) {
            let body = segment.body;
            match segment.marker {
                0xc0..=0xc2 => {
                    frame = frame_components(body)?;
                    scan.progressive = segment.marker == 0xc2;
                }
                _ if segment.is_frame() => return None,
                // An EXIF orientation has to be applied.
                0xe1 if body.starts_with(b"Exif") => scan.oriented = true,
                0xc4 => scan.tables(body)?,
                0xdb => quantisation(body, &mut steps)?,
                0xdd => scan.restart = usize::from(u16::from_be_bytes(array(body, 0)?)),
                SOS => {
                    scan.start = segment.end;
                    scan.standard_tables()?;
                    scan.choose(body, &frame, &steps)?;
                    return Some(scan);
                }
                _ => {}
            }
        }
        None
    }

    /// A DHT segment.
    fn tables(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = body.split_first() {
            let total: usize = rest.get(..CODE_BITS_MAX)?.iter().map(|&count| usize::from(count)).sum();
            let (table, rest) = rest.split_at_checked(CODE_BITS_MAX + total)?;
            let (table, at) = (Table::read(table)?, usize::from(place & 15));
            if place >> 4 == 0 {
                *self.dc.get_mut(at)? = Some(table);
            } else {
                *self.ac.get_mut(at)? = Some(AcTable::new(table));
            }
            body = rest;
        }
        Some(())
    }

    /// The standard's tables, where a picture brings none: those of many cameras do not (annex K.3).
    fn standard_tables(&mut self) -> Option<()> {
        for (at, (dc, ac)) in [(&DC_LUMA, &AC_LUMA), (&DC_CHROMA, &AC_CHROMA)].into_iter().enumerate() {
            if self.dc[at].is_none() {
                self.tables(dc)?;
            }
            if self.ac[at].is_none() {
                self.tables(ac)?;
            }
        }
        Some(())
    }

    /// An SOS segment.
    fn choose(&mut self, body: &[u8], frame: &[(u8, usize, usize, usize)], steps: &[f32; 4]) -> Option<()> {
        let (&count, rest) = body.split_first()?;
        for pair in rest.chunks_exact(2).take(usize::from(count)) {
            let (place, &(_, across, down, table)) =
                frame.iter().enumerate().find(|(_, component)| component.0 == pair[0])?;
            let (dc, ac) = (usize::from(pair[1] >> 4), usize::from(pair[1] & 15));
            if place == 0 {
                self.step = *steps.get(table)?;
            }
            self.components.push(Component { across, down, dc, ac, luma: place == 0 });
        }
        self.across_max = frame.iter().map(|component| component.1).max()?;
        self.down_max = frame.iter().map(|component| component.2).max()?;
        let luma = self.components.iter().find(|component| component.luma)?;
        // CMYK has no luma, and a luma that is sampled less than the colours is nothing a camera makes.
        let usual = luma.across == self.across_max && luma.down == self.down_max && frame.len() <= 3;
        (usual && self.step > 0.0).then_some(())
    }

    fn blocks(&self, coded: &[u8], picture: (u32, u32)) -> Option<Blocks> {
        let blocks = |pixels: u32| (pixels as usize).div_ceil(8);
        let (width, height) = (blocks(picture.0), blocks(picture.1));
        let interleaved = self.components.len() > 1;
        let unit = if interleaved { (self.across_max, self.down_max) } else { (1, 1) };
        let (columns, rows) = (width.div_ceil(unit.0), height.div_ceil(unit.1));
        let mut found = Blocks { width, height, values: vec![0.0; width * height], picture };
        let (mut data, mut rest) = segment(coded);
        let (mut bit, mut previous) = (0, [0_i32; 4]);
        for number in 0..columns * rows {
            if self.restart > 0 && number > 0 && number % self.restart == 0 {
                whole(&data, bit)?;
                (data, rest) = segment(rest);
                (bit, previous) = (0, [0; 4]);
            }
            let (column, row) = (number % columns * unit.0, number / columns * unit.1);
            for (component, previous) in self.components.iter().zip(&mut previous) {
                let (across, down) = if interleaved { (component.across, component.down) } else { (1, 1) };
                for block in 0..across * down {
                    *previous += self.block(component, &data, &mut bit)?;
                    let (x, y) = (column + block % across, row + block / across);
                    if component.luma && x < width && y < height {
                        found.values[y * width + x] = (*previous as f32 * self.step / 8.0 + 128.0).clamp(0.0, 255.0);
                    }
                }
            }
        }
        whole(&data, bit)?;
        Some(found)
    }

    /// Reads one block of a component and gives its DC coefficient's difference from the last one.
    #[inline]
    fn block(&self, component: &Component, data: &[u8], bit: &mut usize) -> Option<i32> {
        let difference = dc_difference(self.dc.get(component.dc)?.as_ref()?, data, bit)?;
        if !self.progressive {
            self.ac.get(component.ac)?.as_ref()?.skip_block(data, bit)?;
        }
        Some(difference)
    }
}

/// None where more was read than there is: the rest were zeros behind the data.
fn whole(data: &[u8], bit: usize) -> Option<()> {
    (bit <= (data.len() - READ_AHEAD.len()) * 8).then_some(())
}

/// An SOF segment.
fn frame_components(body: &[u8]) -> Option<Vec<(u8, usize, usize, usize)>> {
    let [bits, _, _, _, _, count] = array(body, 0)?;
    if bits != 8 || count > 4 {
        return None;
    }
    let components: Vec<_> = body
        .get(6..)?
        .chunks_exact(3)
        .take(usize::from(count))
        .map(|c| (c[0], usize::from(c[1] >> 4), usize::from(c[1] & 15), usize::from(c[2])))
        .collect();
    components
        .iter()
        .all(|component| (1..=4).contains(&component.1) && (1..=4).contains(&component.2))
        .then_some(components)
}

/// A DQT segment: the first entry of each table.
fn quantisation(mut body: &[u8], steps: &mut [f32; 4]) -> Option<()> {
    while let Some((&place, rest)) = body.split_first() {
        let wide = place >> 4 > 0;
        let first = if wide { u16::from_be_bytes(array(rest, 0)?) } else { u16::from(*rest.first()?) };
        *steps.get_mut(usize::from(place & 15))? = f32::from(first);
        body = rest.get(if wide { 128 } else { 64 }..)?;
    }
    Some(())
}

/// The coded bytes up to the next restart marker, without the zeros stuffed behind 0xff, and what follows the marker.
fn segment(coded: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut data = Vec::with_capacity(coded.len() + READ_AHEAD.len());
    let mut rest = coded;
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        let next = rest.get(at + 1).copied().unwrap_or(0xd9);
        if next == 0xff {
            // Any number of bytes may fill up before a marker.
            data.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            continue;
        }
        if next != 0 {
            data.extend_from_slice(&rest[..at]);
            data.extend_from_slice(&READ_AHEAD);
            return (data, rest.get(at + 2..).unwrap_or_default());
        }
        data.extend_from_slice(&rest[..=at]);
        rest = &rest[at + 2..];
    }
    data.extend_from_slice(rest);
    data.extend_from_slice(&READ_AHEAD);
    (data, &[])
}

/// [`READ_BITS`] bits and more from `bit` on, the first one highest.
#[inline]
fn bits(data: &[u8], bit: usize) -> Option<u64> {
    let word = data.get(bit / 8..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*word) << (bit % 8))
}

/// Parses a DC coefficient and gives its difference from the last one.
#[inline]
fn dc_difference(dc: &Table, data: &[u8], bit: &mut usize) -> Option<i32> {
    let word = bits(data, *bit)?;
    let (length, category) = dc.look(word)?;
    let category = u32::from(category);
    if category > 11 {
        return None;
    }
    let mut difference = 0;
    if category > 0 {
        let value = ((word << length) >> (64 - category)) as i32;
        // A leading 0 means negative (F.2.2.1, EXTEND).
        difference = if value < 1 << (category - 1) { value - (1 << category) + 1 } else { value };
    }
    *bit += (length + category) as usize;
    Some(difference)
}
