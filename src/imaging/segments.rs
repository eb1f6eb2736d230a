//! The marker segments of a JPEG file (ITU-T T.81, annex B.1.1). Everything that walks a JPEG walks it with [`Segments`].

/// Start and end of image, start of scan.
pub(crate) const SOI: u8 = 0xd8;
pub(crate) const EOI: u8 = 0xd9;
pub(crate) const SOS: u8 = 0xda;

/// A segment of fewer bytes holds no embedded thumbnail, so a start of image within it belongs to the next picture.
const THUMBNAIL_BYTES_MIN: usize = 128;

/// A marker and the parameters that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    /// The marker's code, the byte behind 0xff.
    pub marker: u8,
    /// Parameters without their length; empty for markers that stand alone.
    pub body: &'a [u8],
    /// Offset of the first 0xff, fill bytes included.
    pub start: usize,
    /// Offset of the first byte behind the segment; behind a start of scan, coded data begins there.
    pub end: usize,
}

impl Segment<'_> {
    /// Whether this is a start of frame, whatever the coding; DHT, JPG and DAC lie between those markers.
    pub fn is_frame(&self) -> bool {
        matches!(self.marker, 0xc0..=0xcf) && !matches!(self.marker, 0xc4 | 0xc8 | 0xcc)
    }
}

/// The segments of a picture, from behind its start of image on.
///
/// Coded data, restart markers in it and bytes that belong to no segment are passed over, as every decoder does.
#[derive(Clone, Debug)]
pub(crate) struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    pub fn of(picture: &'a [u8]) -> Self {
        Self { bytes: picture, at: 2 }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    /// The next segment; none where the bytes end before it does.
    fn next(&mut self) -> Option<Segment<'a>> {
        let (start, at, marker) = next_marker(self.bytes, self.at)?;
        let mut segment = Segment { marker, body: &[], start, end: at };
        if !matches!(marker, SOI | EOI) {
            let length = usize::from(u16::from_be_bytes(*self.bytes.get(at..)?.first_chunk()?)).max(2);
            segment.body = self.bytes.get(at + 2..at + length)?;
            segment.end = at + length;
        }
        self.at = segment.end;
        Some(segment)
    }
}

/// The next marker from `at` on other than a restart marker or TEM: where its first 0xff is, where its code ends, its code.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(usize, usize, u8)> {
    loop {
        let start = at + bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        // Any number of 0xff may fill up before the code.
        let code = start + bytes.get(start..)?.iter().position(|&byte| byte != 0xff)?;
        at = code + 1;
        match *bytes.get(code)? {
            0 | 0x01 | 0xd0..=0xd7 => {}
            marker => return Some((start, at, marker)),
        }
    }
}

/// How far a picture reaches in a stream of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Up to and including its end of image.
    Whole(usize),
    /// Another picture begins at this offset before this one has ended.
    Cut(usize),
    /// The bytes end before the picture does.
    Unfinished,
}

/// Where the first picture begins, or what may become the beginning of one.
pub(crate) fn first_start(bytes: &[u8]) -> usize {
    let found = bytes.windows(2).position(|pair| pair == [0xff, SOI]);
    found.unwrap_or(if bytes.last() == Some(&0xff) { bytes.len() - 1 } else { bytes.len() })
}

/// Measures the picture that `bytes` begin with.
pub(crate) fn extent(bytes: &[u8]) -> Extent {
    let mut segments = Segments::of(bytes);
    loop {
        let begun = segments.at;
        let Some(segment) = segments.next() else {
            let unfinished = next_marker(bytes, begun);
            let start = unfinished.and_then(|(_, at, marker)| swallowed_start(bytes, marker, at, None));
            return start.map_or(Extent::Unfinished, Extent::Cut);
        };
        match segment.marker {
            EOI => return Extent::Whole(segment.end),
            SOI => return Extent::Cut(segment.start),
            _ => {}
        }
        // The length is searched too: a picture may be cut right before it.
        let length_at = segment.end - segment.body.len() - 2;
        if let Some(start) = swallowed_start(bytes, segment.marker, length_at, Some(segment.end)) {
            return Extent::Cut(start);
        }
    }
}

/// Where another picture begins within a segment because the segment's own picture was cut there. Metadata may hold a
/// thumbnail; then another marker follows it. `end` is none for a segment that reaches beyond `bytes`.
fn swallowed_start(bytes: &[u8], marker: u8, length_at: usize, end: Option<usize>) -> Option<usize> {
    // The next picture's marker may begin within the segment and end behind it.
    let end_of_search = end.map_or(bytes.len(), |end| bytes.len().min(end + 2));
    let segment = bytes.get(length_at..end_of_search)?;
    let at = segment.windows(3).position(|bytes| bytes == [0xff, SOI, 0xff])?;
    let metadata = matches!(marker, 0xe0..=0xef | 0xfe) && at >= 2;
    let thumbnail = metadata
        && end
            .is_none_or(|end| segment.len() >= THUMBNAIL_BYTES_MIN && bytes.get(end).is_none_or(|&next| next == 0xff));
    (!thumbnail).then_some(length_at + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn markers(bytes: &[u8]) -> Vec<(u8, usize, usize, usize)> {
        Segments::of(bytes).map(|one| (one.marker, one.body.len(), one.start, one.end)).collect()
    }

    #[test]
    fn segments_are_found_behind_fill_stray_and_stuffed_bytes() {
        let bytes = [
            &[0xff, SOI][..],
            // Stray bytes, then a segment with two fill bytes in front.
            &[7, 0xff, 0, 9, 0xff, 0xff, 0xff, 0xdb, 0, 4, 1, 2],
            // A scan with a stuffed byte, a restart marker behind a fill byte, and TEM.
            &[0xff, SOS, 0, 3, 5, 1, 0xff, 0, 2, 0xff, 0xff, 0xd0, 3, 0xff, 1],
            &[0xff, EOI, 0xff],
        ]
        .concat();
        assert_eq!(markers(&bytes), [(0xdb, 2, 6, 14), (SOS, 1, 14, 19), (EOI, 0, 29, 31)]);
    }

    #[test]
    fn a_segment_that_is_cut_is_none() {
        assert_eq!(markers(&[0xff, SOI, 0xff, 0xdb, 0, 4, 1]), []);
        assert_eq!(markers(&[0xff, SOI, 0xff, 0xdb, 0]), []);
        // A length below its own two bytes says nothing; the search goes on behind it.
        assert_eq!(markers(&[0xff, SOI, 0xff, 0xdb, 0, 0, 0xff, EOI]), [(0xdb, 0, 2, 6), (EOI, 0, 6, 8)]);
    }

    #[test]
    fn a_picture_ends_where_the_next_one_begins() {
        let next = [0xff, SOI, 0xff, 0xe0, 0, 2, 0xff, EOI];
        let cut_in = |head: &[u8]| extent(&[&[0xff, SOI], head, &next].concat());
        // Within coded data, within a table, and within a segment whose length reaches into the next picture.
        assert_eq!(cut_in(&[0xff, SOS, 0, 2, 1, 2]), Extent::Cut(8));
        assert_eq!(cut_in(&[0xff, 0xdb, 0, 67, 1, 2]), Extent::Cut(8));
        assert_eq!(cut_in(&[0xff, 0xe0, 0, 10, 1, 2]), Extent::Cut(8));
        // Right behind a marker, and within the length that follows it.
        assert_eq!(cut_in(&[0xff, 0xdb]), Extent::Cut(4));
        assert_eq!(cut_in(&[0xff, 0xdb, 0]), Extent::Cut(5));
        // A table whose rest is still to be read.
        assert_eq!(extent(&[0xff, SOI, 0xff, 0xdb, 0, 67, 1, 2]), Extent::Unfinished);
        // A thumbnail within metadata is part of the picture.
        let thumbnail = [&[0xff, SOI, 0xff, EOI][..], &[0; 140]].concat();
        let exif = [&[0xff, SOI, 0xff, 0xe1, 0, 146][..], &thumbnail, &[0xff, EOI]].concat();
        assert_eq!(extent(&exif), Extent::Whole(exif.len()));
    }
}
